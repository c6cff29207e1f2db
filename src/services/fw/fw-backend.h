/* fw-backend.h - the firewall's driver: one nftables table; see core/backend.h. */
#pragma once

#include "core/backend.h"

extern const struct backend BACKEND_FW;
