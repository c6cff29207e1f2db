/* vpn-plan.h - the server's half of vpn; see README.md. */
#pragma once

#include "core/service.h"

extern const struct service SERVICE_VPN;
