/* vpn-plan.c - the overlay as resources: what a node is, and what every other must know of it.
 *
 * A node object gives two resources: vpn/self/<id> for the node itself, as soon as it runs vpn;
 * and vpn/peer/<id> for all who run vpn, once it has reported its public key. README.md has their
 * form.
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
#include "services/vpn/vpn-clients.h"
#include "vpn-schemas.h"

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

static json_t *endpoints_of(const char *id, const json_t *spec, const json_t *self,
                            struct view *view)
{
    const char *declared = json_get_string(spec, "endpoint", "");
    const char *public = public_address(id, self, view);
    json_int_t port = json_get_integer(self, "port", 0);
    struct observing observing = {.view = view, .id = id, .endpoints = json_array()};
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
    if (*json_get_string(spec, "cloud", "")) {
        json_array_foreach (json_object_get(self, "addresses"), i, address) {
            add_address(observing.endpoints, json_string_value(address), port, "local");
        }
    }
    view_each(view, "index/hub/", add_observed, &observing);
    return observing.endpoints;
}

static void plan_node(const char *kind, const char *id, const json_t *spec, struct view *view,
                      struct plan *plan)
{
    const json_t *overlay = view_spec(view, "settings", "overlay");
    const char *address = json_get_string(spec, "address", NULL);

    if (!json_array_has(json_object_get(spec, "services"), "vpn") || !overlay || !address) {
        return;
    }
    _cleanup_free_ char *channel = xasprintf("node/%s", id);
    _cleanup_free_ char *self_key = xasprintf("vpn/self/%s", id);
    _cleanup_free_ char *peer_key = xasprintf("vpn/peer/%s", id);
    _cleanup_free_ char *fact_key = xasprintf("fact/%s/vpn.self", id);
    const json_t *self = view_get(view, fact_key);
    int hub = json_get_bool(spec, "hub", 0);
    int is_public = *json_get_string(spec, "endpoint", "") || public_address(id, self, view);
    const char *cloud = json_get_string(spec, "cloud", "");

    plan_put(plan, channel, self_key,
             json_pack("{s:s, s:O, s:O, s:O, s:O, s:b, s:b, s:s}", "address", address, "range",
                       json_object_get(overlay, "range"), "fabric",
                       json_object_get(overlay, "fabric"), "mtu", json_object_get(overlay, "mtu"),
                       "port", json_object_get(overlay, "port"), "hub", hub, "public", is_public,
                       "cloud", cloud));
    if (self) {
        plan_put(plan, "service/vpn", peer_key,
                 json_pack("{s:s, s:s, s:b, s:s, s:o}", "address", address, "publicKey",
                           json_get_string(self, "publicKey", ""), "hub", hub, "cloud", cloud,
                           "endpoints", endpoints_of(id, spec, self, view)));
    }
}

/* Two machines with one key would take each other's traffic: a public key has one owner. */
static void vpn_claims(const char *key, const json_t *value,
                       void (*claim)(void *arg, const char *name, const char *pointer), void *arg)
{
    static const char SUFFIX[] = "/vpn.self";
    size_t length = strlen(key);

    vpn_clients_claims(key, value, claim, arg);
    const char *public_key = json_get_string(value, "publicKey", NULL);

    if (public_key && strncmp(key, "fact/", 5) == 0 && length > sizeof SUFFIX - 1 &&
        strcmp(key + length - (sizeof SUFFIX - 1), SUFFIX) == 0) {
        char name[80];
        snprintf(name, sizeof name, "vpn-key/%.64s", public_key);
        claim(arg, name, "/publicKey");
    }
}

static void vpn_plan(const char *kind, const char *id, const json_t *spec, struct view *view,
                     struct plan *plan)
{
    if (strcmp(kind, "nodes") == 0) {
        plan_node(kind, id, spec, view, plan);
    }
    vpn_clients_plan(kind, id, spec, view, plan);
}

static const char *const PLANS[] = {"nodes", "vpn/clients", NULL};
static const struct kind *const KINDS[] = {&VPN_CLIENTS, NULL};

static const struct fact_type FACTS[] = {
    {.name = "vpn.self", .schema_text = SCHEMA_VPN_SELF},
    {.name = "vpn.endpoint/", .schema_text = SCHEMA_VPN_ENDPOINT},
    {.name = NULL},
};

const struct service SERVICE_VPN = {
    .name = "vpn",
    .kinds = KINDS,
    .facts = FACTS,
    .plans = PLANS,
    .complete = vpn_clients_complete,
    .validate = vpn_clients_validate,
    .may_delete = vpn_clients_may_delete,
    .claims = vpn_claims,
    .plan = vpn_plan,
    .status = vpn_clients_status,
};
