/* sdn-lockout.c - filters that would cut a node's agent off from the server: what it then has
 * could be changed by nobody any more. */
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/sdn/sdn-kinds.h"

/* A filter's match, and what is looked for. */
struct lockout {
    struct view *view;
    struct ip4_prefix source, destination;
    struct ports ports;
    const char *direction;
    struct error *error;
    int rc;
};

static const struct ip4_prefix LOOPBACK = {.address = 0x7f000000, .len = 8};

static int is_direction(const struct lockout *l, const char *word)
{
    return strcmp(l->direction, "both") == 0 || strcmp(l->direction, word) == 0;
}

/* May the node have an address in the prefix? Those that we know of: where its link comes from,
 * and what it said of its devices. */
static int covers_node(const struct lockout *l, struct ip4_prefix prefix, const char *node,
                       uint32_t seen)
{
    _cleanup_free_ char *key = xasprintf("fact/%s/vpn.self", node);
    const json_t *addresses = json_object_get(view_get(l->view, key), "addresses");
    json_t *item;
    size_t i;

    if (ip4_contains(prefix, seen)) {
        return 1;
    }
    json_array_foreach ((json_t *)addresses, i, item) {
        uint32_t address;
        if (json_is_string(item) && ip4_parse(json_string_value(item), &address) == 0 &&
            ip4_contains(prefix, address)) {
            return 1;
        }
    }
    return 0;
}

/* What the agent sends has the server's port; what it gets has one that nobody knows, so only a
 * filter without a port is sure to match it. */
static int cuts(const struct lockout *l, const char *node, uint32_t seen,
                struct ip4_endpoint server)
{
    int has_port = l->ports.from != 0;
    int covers_port = !has_port || (server.port >= l->ports.from && server.port <= l->ports.to);

    if (is_direction(l, "out") && covers_port && ip4_contains(l->destination, server.address) &&
        covers_node(l, l->source, node, seen)) {
        return 1;
    }
    return is_direction(l, "in") && !has_port && ip4_contains(l->source, server.address) &&
           covers_node(l, l->destination, node, seen);
}

/* An agent on the server's own machine talks to it over loopback, where nothing is filtered. */
static void look_at_node(void *arg, const char *node)
{
    struct lockout *l = arg;
    _cleanup_free_ char *key = xasprintf("fact/%s/core.seen", node);
    const json_t *fact = view_get(l->view, key);
    const char *text = json_get_string(fact, "server", "");
    struct ip4_endpoint server;
    uint32_t seen;

    if (l->rc < 0 || ip4_endpoint_parse(text, &server) < 0 ||
        ip4_parse(json_get_string(fact, "address", ""), &seen) < 0 || seen == server.address ||
        ip4_contains(LOOPBACK, server.address) || !cuts(l, node, seen, server)) {
        return;
    }
    l->rc = error_set(l->error, 409, NULL,
                      "it would cut %s off from this server, which it reaches at %s", node, text);
}

int sdn_is_of_overlay(struct view *view, struct ip4_prefix prefix)
{
    struct ip4_prefix range;
    const char *text = json_get_string(view_spec(view, "settings", "overlay"), "range", "");

    return ip4_prefix_parse(text, &range) == 0 && prefix.len >= range.len &&
           ip4_contains(range, prefix.address);
}

/* Reads the filter's match; 0 if it can't matter to a link. */
static int read_filter(struct lockout *l, const json_t *spec)
{
    const char *protocol = json_get_string(spec, "protocol", "any");

    l->direction = json_get_string(spec, "direction", "both");
    prefix_parse(json_get_string(spec, "source", "0.0.0.0/0"), &l->source);
    prefix_parse(json_get_string(spec, "destination", "0.0.0.0/0"), &l->destination);
    ports_parse(json_get_string(spec, "port", ""), &l->ports);
    return (strcmp(protocol, "any") == 0 || strcmp(protocol, "tcp") == 0) &&
           !sdn_is_of_overlay(l->view, l->source) && !sdn_is_of_overlay(l->view, l->destination);
}

int sdn_lockout_check(const json_t *spec, struct view *view, struct error *error)
{
    struct lockout l = {.view = view, .error = error};

    if (read_filter(&l, spec)) {
        where_each("sdn", spec, view, look_at_node, &l);
    }
    return l.rc;
}

/* --- a node that changes --- */

struct beginning {
    struct lockout lockout;
    const char *node;
    const json_t *before, *after; /* NULL: it is new */
};

/* One that names the node was looked at when it was made. */
static void look_at_filter(void *arg, const char *id, const json_t *object)
{
    struct beginning *b = arg;
    const json_t *spec = json_object_get(object, "spec");

    if (b->lockout.rc < 0 || json_object_get(spec, "node") ||
        !where_holds_on("sdn", spec, b->node, b->after) ||
        where_holds_on("sdn", spec, b->node, b->before) || !read_filter(&b->lockout, spec)) {
        return;
    }
    look_at_node(&b->lockout, b->node);
    if (b->lockout.rc < 0) {
        _cleanup_free_ char *why = xstrdup(b->lockout.error->detail);
        b->lockout.rc = error_set(b->lockout.error, 409, NULL,
                                  "sdn filter %s would hold on it, and %s; delete or change the "
                                  "filter first",
                                  id, why);
    }
}

int sdn_lockout_check_node(const char *node, const json_t *node_spec, struct view *view,
                           struct error *error)
{
    struct beginning b = {.lockout = {.view = view, .error = error},
                          .node = node,
                          .before = view_spec(view, "nodes", node),
                          .after = node_spec};

    /* Most changes of a node are none of what filters look at. */
    if (!b.before || !where_runs("sdn", node_spec) ||
        (where_runs("sdn", b.before) &&
         json_equal(json_object_get(b.before, "labels"), json_object_get(node_spec, "labels")))) {
        return 0;
    }
    view_each(view, "object/sdn/filters/", look_at_filter, &b);
    return b.lockout.rc;
}
