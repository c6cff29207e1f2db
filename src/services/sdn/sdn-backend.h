/* sdn-backend.h - the agent's half of sdn: all overlay traffic through a bridge of Open vSwitch.
 */
#pragma once

#include "core/backend.h"

extern const struct backend BACKEND_SDN;
