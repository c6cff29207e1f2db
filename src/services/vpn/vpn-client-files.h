/* vpn-client-files.h - the files that a client from outside needs, for stock OpenVPN and
 * WireGuard.
 *
 * Pure: what is sealed comes in as text, everything else through the view. OpenVPN's configuration
 * is one that 2.4 to 2.6 understand. It trusts the deployment's root alone, and of what that has
 * signed only the hub itself; the hub pushes address and routes. Sources: openvpn(8) of 2.4, 2.5
 * and 2.6; wg(8), wg-quick(8). */
#pragma once

#include "lib/buf.h"
#include "model/plan.h"

enum {
    VPN_CLIENT_FILE_MAX = 64 << 10, /* bytes of the largest */
};

struct vpn_client_parts {
    const char *id;
    const json_t *spec;
    const char *root;          /* PEM */
    const char *certificate;   /* PEM: the leaf and its intermediate */
    const char *key;           /* PEM; NULL: the client's own, which we don't have */
    const char *wireguard_key; /* base64; NULL: likewise */
};

/* Names its files id.crt, id.key and ca.crt, or, inline, holds them. 409 when the client has
 * nowhere to go. */
int vpn_client_openvpn(struct view *view, const struct vpn_client_parts *parts, int is_inline,
                       struct buf *out, struct error *error);

/* For wg-quick and the apps. Without the key it has a comment in its place. 409 when the fabric
 * isn't WireGuard, when the hub hasn't said its key yet, or as above. */
int vpn_client_wireguard(struct view *view, const struct vpn_client_parts *parts, struct buf *out,
                         struct error *error);
