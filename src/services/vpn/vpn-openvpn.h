/* vpn-openvpn.h - the parts of the OpenVPN fabric that the backend calls by name.
 *
 * The list of revoked certificates is kept whichever fabric is in force, so that it is there when
 * OpenVPN comes. */
#pragma once

#include <jansson.h>

#include "lib/error.h"

struct vpn;

void vpn_openvpn_start(struct vpn *v);
void vpn_openvpn_stop(struct vpn *v);

int vpn_openvpn_crl_present(const struct vpn *v);
int vpn_openvpn_crl_matches(const struct vpn *v, const json_t *spec);
/* NULL `spec` removes it. */
int vpn_openvpn_crl_apply(struct vpn *v, const json_t *spec, struct error *error);
