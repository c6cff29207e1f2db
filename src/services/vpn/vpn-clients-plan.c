/* vpn-clients-plan.c - clients from outside as resources for their hubs.
 *
 *     vpn/client/openvpn/<name>    {"address"}               its OpenVPN server lets it in
 *     vpn/client/wireguard/<name>  {"address", "publicKey"}  a peer; only where that is the fabric
 *     vpn/clients/<hub>            {"range", "port", "overlay", "resolver"?, "domain"?}  the
 * OpenVPN server itself; planned from the node, while it has clients */
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/vpn/vpn-clients.h"

enum {
    CLIENT_PORT_DEFAULT = 1194,
};

static void plan_client(const char *id, const json_t *spec, struct view *view, struct plan *plan)
{
    const char *public_key = json_get_string(spec, "publicKey", NULL);
    struct vpn_client c;
    char text[IP4_TEXT_SIZE];

    vpn_client_read(view, spec, &c);
    if (!c.is_placed) {
        return;
    }
    _cleanup_free_ char *channel = xasprintf("node/%s", c.hub);
    _cleanup_free_ char *openvpn_key = xasprintf("vpn/client/openvpn/%s", id);
    _cleanup_free_ char *wireguard_key = xasprintf("vpn/client/wireguard/%s", id);
    plan_put(plan, channel, openvpn_key,
             json_pack("{s:s}", "address", ip4_format(c.address, text)));
    if (public_key && vpn_client_has_wireguard(view)) {
        plan_put(plan, channel, wireguard_key,
                 json_pack("{s:s, s:s}", "address", ip4_format(c.wireguard_address, text),
                           "publicKey", public_key));
    }
}

struct counting {
    struct view *view;
    const char *hub;
    size_t placed;
};

static void count_client(void *arg, const char *id, const json_t *value)
{
    struct counting *counting = arg;
    const json_t *spec = json_object_get(value, "spec");
    struct vpn_client c;

    if (counting->placed == 0 && strcmp(json_get_string(spec, "hub", ""), counting->hub) == 0) {
        vpn_client_read(counting->view, spec, &c);
        counting->placed += (size_t)c.is_placed;
    }
}

static void plan_hub(const char *id, const json_t *spec, struct view *view, struct plan *plan)
{
    struct counting counting = {.view = view, .hub = id};
    json_t *range = json_object_get(spec, "clientRange");
    const char *resolver, *domain;

    if (!json_get_bool(spec, "hub", 0) || !range) {
        return;
    }
    const json_t *overlay = view_spec(view, "settings", "overlay");
    view_each(view, "object/vpn/clients/", count_client, &counting);
    if (counting.placed == 0 || !overlay) {
        return;
    }
    _cleanup_free_ char *channel = xasprintf("node/%s", id);
    _cleanup_free_ char *key = xasprintf("vpn/clients/%s", id);
    json_t *body = json_pack("{s:O, s:I, s:O}", "range", range, "port",
                             json_get_integer(overlay, "clientPort", CLIENT_PORT_DEFAULT),
                             "overlay", json_object_get(overlay, "range"));
    if (vpn_client_resolver(view, id, &resolver, &domain) == 0) {
        json_object_set_new(body, "resolver", json_string(resolver));
        json_object_set_new(body, "domain", json_string(domain));
    }
    plan_put(plan, channel, key, body);
}

void vpn_clients_plan(const char *kind, const char *id, const json_t *spec, struct view *view,
                      struct plan *plan)
{
    if (strcmp(kind, "nodes") == 0) {
        plan_hub(id, spec, view, plan);
    } else if (strcmp(kind, VPN_CLIENTS.name) == 0) {
        plan_client(id, spec, view, plan);
    }
}
