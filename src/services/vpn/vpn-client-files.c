#include "services/vpn/vpn-client-files.h"

#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/vpn/vpn-clients.h"

enum {
    OPENVPN_MTU = 1400,   /* what the hub's server for clients has */
    WIREGUARD_MTU = 1420, /* what fits where the way has 1500 */
};

/* The client has a place, and its hub somewhere to be reached. */
static int check_place(struct view *view, const struct vpn_client_parts *parts,
                       struct error *error)
{
    _cleanup_free_ char *problem = vpn_client_problem(view, parts->id, parts->spec);

    return *problem ? error_set(error, 409, NULL, "%s", problem) : 0;
}

/* A PEM text ends with a newline, so the closing tag stands on a line of its own. */
static void add_inline(struct buf *out, const char *tag, const char *pem)
{
    size_t size = strlen(pem);

    buf_printf(out, "<%s>\n%s%s</%s>\n", tag, pem, size > 0 && pem[size - 1] == '\n' ? "" : "\n",
               tag);
}

static void add_openvpn_files(struct buf *out, const struct vpn_client_parts *parts, int is_inline)
{
    if (!is_inline) {
        buf_printf(out, "ca ca.crt\ncert %s.crt\nkey %s.key\n", parts->id, parts->id);
        return;
    }
    add_inline(out, "ca", parts->root);
    add_inline(out, "cert", parts->certificate);
    if (parts->key) {
        add_inline(out, "key", parts->key);
    } else {
        buf_printf(out,
                   "# The private key stayed where the certificate request was made: put it\n"
                   "# beside this file, under this name.\nkey %s.key\n",
                   parts->id);
    }
}

int vpn_client_openvpn(struct view *view, const struct vpn_client_parts *parts, int is_inline,
                       struct buf *out, struct error *error)
{
    struct vpn_client c;
    json_t *remote;
    size_t i;
    int rc = check_place(view, parts, error);

    if (rc < 0) {
        return rc;
    }
    vpn_client_read(view, parts->spec, &c);
    json_t *remotes = vpn_client_remotes(view, c.hub, 0);
    buf_printf(out, "# VPN client %s, through the hub %s.\nclient\ndev tun\nproto udp\n",
               parts->id, c.hub);
    json_array_foreach (remotes, i, remote) {
        const char *text = json_string_value(remote), *colon = strchr(text, ':');
        buf_printf(out, "remote %.*s %s\n", (int)(colon - text), text, colon + 1);
    }
    json_decref(remotes);
    /* 2.4 doesn't know data-ciphers; it agrees on one of these by itself. */
    buf_printf(out,
               "nobind\nresolv-retry infinite\nconnect-timeout 10\npersist-key\npersist-tun\n"
               "explicit-exit-notify 1\ntun-mtu %d\nremote-cert-tls server\n"
               "verify-x509-name %s name\ntls-version-min 1.2\n"
               "ignore-unknown-option data-ciphers\n"
               "data-ciphers AES-256-GCM:AES-128-GCM\nverb 3\n",
               OPENVPN_MTU, c.hub);
    add_openvpn_files(out, parts, is_inline);
    return 0;
}

static void add_interface(struct view *view, struct buf *out, const struct vpn_client_parts *parts,
                          const struct vpn_client *c)
{
    json_int_t mtu = json_get_integer(view_spec(view, "settings", "overlay"), "mtu", 0);
    const char *resolver, *domain;
    char text[IP4_TEXT_SIZE];

    buf_printf(out, "# VPN client %s, through the hub %s.\n[Interface]\n", parts->id, c->hub);
    if (parts->wireguard_key) {
        buf_printf(out, "PrivateKey = %s\n", parts->wireguard_key);
    } else {
        buf_printf(out,
                   "# Put your private key here, the one of the public key\n# %s:\n"
                   "# PrivateKey = ...\n",
                   json_get_string(parts->spec, "publicKey", ""));
    }
    buf_printf(out, "Address = %s/32\nMTU = %d\n", ip4_format(c->wireguard_address, text),
               mtu > 0 ? (int)mtu : WIREGUARD_MTU);
    if (vpn_client_resolver(view, c->hub, &resolver, &domain) == 0) {
        buf_printf(out, "DNS = %s, %s\n", resolver, domain);
    }
}

int vpn_client_wireguard(struct view *view, const struct vpn_client_parts *parts, struct buf *out,
                         struct error *error)
{
    struct vpn_client c;
    int rc = 0;

    if (!vpn_client_has_wireguard(view)) {
        return error_set(error, 409, NULL,
                         "WireGuard clients need the fabric wireguard, and it is %s; use OpenVPN",
                         json_get_string(view_spec(view, "settings", "overlay"), "fabric", "?"));
    }
    rc = check_place(view, parts, error);
    if (rc < 0) {
        return rc;
    }
    vpn_client_read(view, parts->spec, &c);
    _cleanup_free_ char *self_key = xasprintf("fact/%s/vpn.self", c.hub);
    const char *hub_key = json_get_string(view_get(view, self_key), "publicKey", "");
    if (!*hub_key) {
        return error_set(error, 409, NULL,
                         "the hub %s hasn't told its WireGuard key yet; its agent does when it "
                         "runs",
                         c.hub);
    }
    if (!json_object_get(parts->spec, "publicKey")) {
        return error_set(error, 409, NULL,
                         "it has no WireGuard key; make one: cnsmo vpn client renew %s",
                         parts->id);
    }
    json_t *remotes = vpn_client_remotes(view, c.hub, 1);
    add_interface(view, out, parts, &c);
    buf_printf(out,
               "\n[Peer]\nPublicKey = %s\nEndpoint = %s\nAllowedIPs = %s\n"
               "PersistentKeepalive = 25\n",
               hub_key, json_string_value(json_array_get(remotes, 0)),
               json_get_string(view_spec(view, "settings", "overlay"), "range", ""));
    json_decref(remotes);
    return 0;
}
