/* dns-backend.h - the agent's half: a dnsmasq that answers this machine, and the machine's own
 * resolver pointed at it. README.md says how. */
#pragma once

#include "core/backend.h"

extern const struct backend BACKEND_DNS;
