/* vpn-clients-openvpn.h - the agent's half of outside clients: a hub's OpenVPN server for them. */
#pragma once

#include "core/backend.h"

extern const struct backend BACKEND_VPN_CLIENTS;
