/* sdn-plan.c - filters and flows as resources for the nodes on which they hold.
 *
 *     sdn/self/<node>           {"address","range","clientRange"}: the bridge itself
 *     sdn/filter/<id>/<node>    {"direction","protocol","source","destination","port","priority",
 *                                "sourceSelf","destinationSelf",
 *                                "confirmWithin"?,"otherwise"?}
 *     sdn/flow/<id>/<node>      {"priority","match","actions"}
 *
 * Each stands on the node's own channel: one filter for one node is one message to it. README.md
 * says what the members mean. */
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/sdn/sdn-kinds.h"

/* --- the node's public endpoint --- */

/* Where it is reached from outside: declared, or where its link comes from. */
static int endpoint_of(struct view *view, const char *node, uint32_t *ret_address)
{
    const char *declared = json_get_string(view_spec(view, "nodes", node), "endpoint", "");
    _cleanup_free_ char *address = xstrndup(declared, strcspn(declared, ":"));
    _cleanup_free_ char *key = xasprintf("fact/%s/core.seen", node);

    return ip4_parse(*address ? address : json_get_string(view_get(view, key), "address", ""),
                     ret_address);
}

/* A prefix that covers the endpoint means the node, whatever its own devices are called by: behind
 * a cloud's 1:1 NAT they never see that address. 0.0.0.0/0 needs nothing of the kind, and within
 * the overlay there is no endpoint to look for. */
static int is_self(struct view *view, const char *node, struct ip4_prefix prefix)
{
    uint32_t address;

    return prefix.len > 0 && !sdn_is_of_overlay(view, prefix) &&
           endpoint_of(view, node, &address) == 0 && ip4_contains(prefix, address);
}

/* --- resources --- */

struct planning {
    const char *id;
    const json_t *spec;
    struct view *view;
    struct plan *plan;
    const json_t *trial; /* of a filter; NULL: it isn't on trial */
    json_t *bodies[4];   /* of a filter, that nodes have had so far */
};

static void put(struct plan *plan, const char *node, const char *what, const char *id,
                json_t *body)
{
    _cleanup_free_ char *channel = xasprintf("node/%s", node);
    _cleanup_free_ char *key = xasprintf("sdn/%s/%s/%s", what, id, node);

    plan_put(plan, channel, key, body);
}

static char *port_text(const json_t *spec)
{
    struct ports ports = {0};

    ports_parse(json_get_string(spec, "port", ""), &ports);
    return ports.from == 0          ? xstrdup("")
           : ports.from == ports.to ? xasprintf("%u", ports.from)
                                    : xasprintf("%u-%u", ports.from, ports.to);
}

/* What is kept beside the spec of a filter on trial, or NULL. */
static const json_t *trial_of(struct view *view, const char *id)
{
    _cleanup_free_ char *key = xasprintf("object/%s/%s", SDN_FILTERS.name, id);
    const json_t *sealed = json_object_get(view_get(view, key), "sealed");

    return json_object_get(sealed, "confirmBy") ? sealed : NULL;
}

static json_t *filter_body(const json_t *spec, struct view *view, const char *node)
{
    struct ip4_prefix source = {0}, destination = {0};
    char from[IP4_PREFIX_TEXT_SIZE], to[IP4_PREFIX_TEXT_SIZE];
    _cleanup_free_ char *port = port_text(spec);

    prefix_parse(json_get_string(spec, "source", "0.0.0.0/0"), &source);
    prefix_parse(json_get_string(spec, "destination", "0.0.0.0/0"), &destination);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:b}", "direction",
        json_get_string(spec, "direction", "both"), "protocol",
        json_get_string(spec, "protocol", "any"), "source", ip4_prefix_format(source, from),
        "destination", ip4_prefix_format(destination, to), "port", port, "priority",
        json_get_integer(spec, "priority", 1000), "sourceSelf", is_self(view, node, source),
        "destinationSelf", is_self(view, node, destination));
}

/* A filter on trial says so to those who have it, and what it returns to. */
static void add_trial(const struct planning *p, const char *node, json_t *body)
{
    const json_t *before = json_object_get(p->trial, "before");

    json_object_set_new(body, "confirmWithin", json_integer(CONFIRM_SEC));
    if (before && where_holds_on("sdn", before, node, view_spec(p->view, "nodes", node))) {
        json_object_set_new(body, "otherwise", filter_body(before, p->view, node));
    }
}

/* Most nodes have the same, and then share it: on all nodes that is most of what a filter takes.
 */
static void plan_filter_on(void *arg, const char *node)
{
    struct planning *p = arg;
    json_t *body = filter_body(p->spec, p->view, node);

    if (p->trial) {
        add_trial(p, node, body);
    }
    for (size_t i = 0; i < ARRAY_LEN(p->bodies); i++) {
        if (p->bodies[i] && json_equal(p->bodies[i], body)) {
            json_decref(body);
            body = json_incref(p->bodies[i]);
            break;
        }
        if (!p->bodies[i]) {
            p->bodies[i] = json_incref(body);
            break;
        }
    }
    put(p->plan, node, "filter", p->id, body);
}

static void plan_flow(const struct planning *p)
{
    const char *node = json_get_string(p->spec, "node", "");
    const json_t *actions = json_object_get(p->spec, "actions");

    if (where_runs("sdn", view_spec(p->view, "nodes", node))) {
        put(p->plan, node, "flow", p->id,
            json_pack("{s:I, s:o, s:[s]}", "priority", json_get_integer(p->spec, "priority", 1000),
                      "match", sdn_match(p->spec), "actions",
                      json_array_has(actions, "drop") ? "drop" : "pass"));
    }
}

static void plan_node(const struct planning *p)
{
    const json_t *overlay = view_spec(p->view, "settings", "overlay");
    const char *address = json_get_string(p->spec, "address", NULL);
    const char *range =
        json_get_bool(p->spec, "hub", 0) ? json_get_string(p->spec, "clientRange", "") : "";

    if (where_runs("sdn", p->spec) && overlay && address) {
        _cleanup_free_ char *channel = xasprintf("node/%s", p->id);
        _cleanup_free_ char *key = xasprintf("sdn/self/%s", p->id);
        plan_put(p->plan, channel, key,
                 json_pack("{s:s, s:O, s:s}", "address", address, "range",
                           json_object_get(overlay, "range"), "clientRange", range));
    }
}

void sdn_plan(const char *kind, const char *id, const json_t *spec, struct view *view,
              struct plan *plan)
{
    struct planning p = {.id = id, .spec = spec, .view = view, .plan = plan};

    if (strcmp(kind, "nodes") == 0) {
        plan_node(&p);
    } else if (strcmp(kind, SDN_FILTERS.name) == 0) {
        p.trial = trial_of(view, id);
        where_each("sdn", spec, view, plan_filter_on, &p);
        for (size_t i = 0; i < ARRAY_LEN(p.bodies); i++) {
            json_decref(p.bodies[i]);
        }
    } else if (strcmp(kind, SDN_FLOWS.name) == 0) {
        plan_flow(&p);
    }
}
