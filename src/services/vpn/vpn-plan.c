/* vpn-plan.c - the overlay as resources: what a node is, and what others must know of it.
 *
 * A node object gives two resources: vpn/self/<id> for the node itself, as soon as it runs vpn;
 * and vpn/peer/<id> for those who talk to it, once it has reported its tunnel. The overlay's
 * settings give the hubs the revoked certificates. README.md has their form.
 *
 * Who must know a node: everybody in a mesh. Where traffic goes through hubs anyway (OpenVPN, or
 * more nodes than a mesh takes) everybody knows the hubs, and only they know the others, so that a
 * node that joins costs one message to each hub.
 *
 * Where a node can be reached, best first:
 *   declared  spec.endpoint, or its address with the port the node reported
 *   public    the address its link comes from, if that is one of the host's own: no NAT between
 *   local     the host's other addresses, for nodes of the same cloud
 *   observed  where hubs see its packets come from: behind a NAT this may be reached by others
 * too, once both have sent to each other */
#include "services/vpn/vpn-plan.h"

#include <stdio.h>
#include <string.h>

#include "lib/ip.h"
#include "lib/json.h"
#include "lib/mem.h"

static void add_endpoint(json_t *endpoints, const char *endpoint, const char *via)
{
    size_t i;
    json_t *known;

    json_array_foreach (endpoints, i, known) {
        if (strcmp(json_get_string(known, "endpoint", ""), endpoint) == 0) {
            return;
        }
    }
    json_array_append_new(endpoints, json_pack("{s:s, s:s}", "endpoint", endpoint, "via", via));
}

static void add_address(json_t *endpoints, const char *address, json_int_t port, const char *via)
{
    char text[IP4_ENDPOINT_TEXT_SIZE];

    snprintf(text, sizeof text, "%.15s:%d", address, (int)port);
    add_endpoint(endpoints, text, via);
}

struct observing {
    struct view *view;
    const char *id;
    json_t *endpoints;
};

static void add_observed(void *arg, const char *hub, const json_t *value)
{
    struct observing *o = arg;
    _cleanup_free_ char *key = xasprintf("fact/%s/vpn.endpoint/%s", hub, o->id);
    const char *endpoint = json_get_string(view_get(o->view, key), "endpoint", NULL);

    if (endpoint && strcmp(hub, o->id) != 0) {
        add_endpoint(o->endpoints, endpoint, "observed");
    }
}

/* The address its link comes from, if the host itself has that address; else NULL. */
static const char *public_address(const char *id, const json_t *self, struct view *view)
{
    _cleanup_free_ char *key = xasprintf("fact/%s/core.seen", id);
    const char *seen = json_get_string(view_get(view, key), "address", NULL);

    return seen && json_array_has(json_object_get(self, "addresses"), seen) ? seen : NULL;
}

/* --- who talks to whom --- */

static int is_openvpn(const json_t *overlay)
{
    return strcmp(json_get_string(overlay, "fabric", ""), "openvpn") == 0;
}

static int is_mesh(const json_t *overlay, struct view *view)
{
    return !is_openvpn(overlay) && !view_get(view, "index/large/vpn");
}

struct choosing {
    struct view *view;
    const char *server; /* NULL while there is none */
};

static void choose_server(void *arg, const char *hub, const json_t *value)
{
    struct choosing *choosing = arg;
    _cleanup_free_ char *runs = xasprintf("index/service/vpn/%s", hub);
    _cleanup_free_ char *came = xasprintf("fact/%s/core.seen", hub);

    if (!choosing->server && view_get(choosing->view, runs) && view_get(choosing->view, came)) {
        choosing->server = hub;
    }
}

/* The node whose OpenVPN server everybody uses: the first hub in the order of ids. One whose
 * machine hasn't joined yet runs none. */
static const char *server_of(const json_t *overlay, struct view *view)
{
    struct choosing choosing = {.view = view};

    if (is_openvpn(overlay)) {
        view_each(view, "index/hub/", choose_server, &choosing);
    }
    return choosing.server ? choosing.server : "";
}

/* --- a node --- */

/* What the plan of one node looks at. */
struct planned_node {
    const char *id;
    const json_t *spec, *overlay;
    const json_t *self; /* its fact vpn.self, or NULL */
    struct view *view;
    int hub;
};

static json_t *endpoints_of(const struct planned_node *node)
{
    const char *declared = json_get_string(node->spec, "endpoint", "");
    const char *public = public_address(node->id, node->self, node->view);
    json_int_t port = json_get_integer(node->self, "port", 0);
    struct observing observing = {.view = node->view, .id = node->id, .endpoints = json_array()};
    size_t i;
    json_t *address;

    if (strchr(declared, ':')) {
        add_endpoint(observing.endpoints, declared, "declared");
    } else if (*declared) {
        add_address(observing.endpoints, declared, port, "declared");
    }
    if (public) {
        add_address(observing.endpoints, public, port, "public");
    }
    if (*json_get_string(node->spec, "cloud", "")) {
        json_array_foreach (json_object_get(node->self, "addresses"), i, address) {
            add_address(observing.endpoints, json_string_value(address), port, "local");
        }
    }
    /* For those who open a direct way through NATs; where there are only hubs nobody does. */
    if (is_mesh(node->overlay, node->view)) {
        view_each(node->view, "index/hub/", add_observed, &observing);
    }
    return observing.endpoints;
}

static const char *client_range(const struct planned_node *node)
{
    return node->hub ? json_get_string(node->spec, "clientRange", "") : "";
}

/* The public key is what others are told in the same moment: so the node knows that they know. */
static json_t *self_resource(const struct planned_node *node)
{
    const json_t *overlay = node->overlay;
    int is_public = *json_get_string(node->spec, "endpoint", "") ||
                    public_address(node->id, node->self, node->view);

    int sdn = json_array_has(json_object_get(node->spec, "services"), "sdn");

    return json_pack("{s:O, s:O, s:O, s:O, s:O, s:b, s:b, s:s, s:s, s:s, s:I, s:s, s:b}",
                     "address", json_object_get(node->spec, "address"), "range",
                     json_object_get(overlay, "range"), "fabric",
                     json_object_get(overlay, "fabric"), "mtu", json_object_get(overlay, "mtu"),
                     "port", json_object_get(overlay, "port"), "hub", node->hub, "public",
                     is_public, "cloud", json_get_string(node->spec, "cloud", ""), "server",
                     server_of(overlay, node->view), "clientRange", client_range(node),
                     "keyGeneration", json_get_integer(node->spec, "keyGeneration", 0),
                     "publicKey", json_get_string(node->self, "publicKey", ""), "sdn", sdn);
}

static json_t *peer_resource(const struct planned_node *node)
{
    return json_pack("{s:O, s:s, s:b, s:s, s:s, s:o}", "address",
                     json_object_get(node->spec, "address"), "publicKey",
                     json_get_string(node->self, "publicKey", ""), "hub", node->hub, "cloud",
                     json_get_string(node->spec, "cloud", ""), "clientRange", client_range(node),
                     "endpoints", endpoints_of(node));
}

void vpn_plan_node(const char *id, const json_t *spec, struct view *view, struct plan *plan)
{
    _cleanup_free_ char *fact_key = xasprintf("fact/%s/vpn.self", id);
    struct planned_node node = {.id = id,
                                .spec = spec,
                                .overlay = view_spec(view, "settings", "overlay"),
                                .self = view_get(view, fact_key),
                                .view = view,
                                .hub = json_get_bool(spec, "hub", 0)};

    if (!json_array_has(json_object_get(spec, "services"), "vpn") || !node.overlay ||
        !json_get_string(spec, "address", NULL)) {
        return;
    }
    _cleanup_free_ char *channel = xasprintf("node/%s", id);
    _cleanup_free_ char *self_key = xasprintf("vpn/self/%s", id);
    _cleanup_free_ char *peer_key = xasprintf("vpn/peer/%s", id);
    plan_put(plan, channel, self_key, self_resource(&node));
    if (node.self) {
        int is_told_all = node.hub || is_mesh(node.overlay, view);
        plan_put(plan, is_told_all ? "service/vpn" : "hub/vpn", peer_key, peer_resource(&node));
    }
}

/* --- the overlay --- */

void vpn_plan_overlay(struct view *view, struct plan *plan)
{
    const json_t *pem = json_object_get(view_get(view, "pki/crl"), "pem");

    if (pem) {
        plan_put(plan, "hub/vpn", "vpn/crl", json_pack("{s:O}", "pem", pem));
    }
}
