/* vpn-backend.h - the agent's half of vpn: the overlay's device, on either fabric. */
#pragma once

#include "core/backend.h"

extern const struct backend BACKEND_VPN;
