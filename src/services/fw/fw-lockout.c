/* fw-lockout.c - changes that would cut a node's agent off from the server, or everybody from the
 * node's ssh or from the server itself: by the verdict on the packets that these need, before the
 * change and after it.
 *
 *     link   to the server's port, new and established; back from it, established
 *     ssh    to tcp port 22 on the public side, new and established, and back: from one source at
 *            least. Of all sources those are looked at where a rule's prefix begins or has just
 *            ended: no other ones can differ.
 *     server on the server's own machine the same for the port of the agents' links
 *
 * Looked at are only changes of what could matter: a rule that drops from a few addresses, none of
 * them the server's, costs no walk over the others. So many such rules that together cover
 * everybody aren't noticed. Rules of the overlay's side and IPv6 are left out. */
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/fw/fw-kinds.h"
#include "services/fw/fw-verdict.h"

enum {
    SSH_PORT = 22,
    WIDE = 8,       /* from so many addresses: more than a few */
    LINKS_MAX = 16, /* addresses that a node's link may come from */
};

static const struct fw_range EPHEMERAL = {32768, 60999};

/* A rule with where it holds. */
struct placed {
    struct fw_rule rule;
    const json_t *spec; /* borrowed */
};

/* All rules that can matter, in order. */
struct gathered {
    struct placed *list;
    size_t len;
    int done;
};

struct lockout {
    const struct fw_change *change;
    struct view *view;
    struct gathered before, after;
    struct error *error;
    int rc;
};

/* --- what there is --- */

static int can_matter(const json_t *spec)
{
    const char *protocol = json_get_string(spec, "protocol", "any");

    return (strcmp(protocol, "any") == 0 || strcmp(protocol, "tcp") == 0) &&
           strcmp(json_get_string(spec, "side", "any"), "overlay") != 0 &&
           strcmp(json_get_string(spec, "action", ""), "log") != 0;
}

/* Does the rule parse? What was stored does. */
static int read_rule(struct lockout *l, const char *id, const json_t *spec, int is_after,
                     struct fw_rule *ret_rule)
{
    json_t *body = fw_rule_body(spec, l->view, is_after ? l->change : NULL);
    int rc = body ? fw_rule_parse(id, body, ret_rule, NULL) : -1;

    json_decref(body);
    return rc == 0;
}

struct gathering {
    struct lockout *lockout;
    struct gathered *into;
    int is_after;
};

static void gather_one(struct gathering *g, const char *id, const json_t *spec)
{
    struct gathered *into = g->into;

    if (!spec || !can_matter(spec)) {
        return;
    }
    if ((into->len & (into->len + 1)) == 0) { /* 0, 1, 3, 7, …: full */
        into->list = xrealloc(into->list, (2 * into->len + 2) * sizeof *into->list);
    }
    if (read_rule(g->lockout, id, spec, g->is_after, &into->list[into->len].rule)) {
        into->list[into->len++].spec = spec;
    }
}

static int is_changed(const struct lockout *l, const char *kind, const char *id)
{
    return strcmp(l->change->kind, kind) == 0 && strcmp(l->change->id, id) == 0;
}

static void on_rule(void *arg, const char *id, const json_t *object)
{
    struct gathering *g = arg;

    if (!g->is_after || !is_changed(g->lockout, FW_RULES.name, id)) {
        gather_one(g, id, json_object_get(object, "spec"));
    }
}

static int compare_placed(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;

    return fw_rule_compare(&x->rule, &y->rule);
}

static const struct gathered *gather(struct lockout *l, int is_after)
{
    /* Nodes and policies leave the rules as they are. */
    is_after = is_after && (strcmp(l->change->kind, FW_RULES.name) == 0 ||
                            strcmp(l->change->kind, FW_GROUPS.name) == 0);
    struct gathering g = {l, is_after ? &l->after : &l->before, is_after};

    if (g.into->done) {
        return g.into;
    }
    view_each(l->view, "object/fw/rules/", on_rule, &g);
    if (is_after && strcmp(l->change->kind, FW_RULES.name) == 0) {
        gather_one(&g, l->change->id, l->change->after);
    }
    if (g.into->len > 0) {
        qsort(g.into->list, g.into->len, sizeof *g.into->list, compare_placed);
    }
    g.into->done = 1;
    return g.into;
}

static void gathered_done(struct gathered *gathered)
{
    for (size_t i = 0; i < gathered->len; i++) {
        fw_rule_done(&gathered->list[i].rule);
    }
    free(gathered->list);
}

static const json_t *node_spec(const struct lockout *l, const char *node, int is_after)
{
    return is_after && is_changed(l, "nodes", node) ? l->change->after
                                                    : view_spec(l->view, "nodes", node);
}

/* --- the defaults of a node --- */

struct choosing {
    const struct lockout *lockout;
    const char *node;
    int is_after;
    int in_rank, out_rank;
    struct fw_policy policy;
};

static void choose(struct choosing *c, const json_t *spec)
{
    const json_t *node = node_spec(c->lockout, c->node, c->is_after);
    const char *in = json_get_string(spec, "in", NULL), *out = json_get_string(spec, "out", NULL);
    int rank = fw_policy_rank(spec);

    if (!spec || !where_holds_on("fw", spec, c->node, node)) {
        return;
    }
    if (in && rank > c->in_rank) {
        c->in_rank = rank;
        c->policy.in = (enum fw_action)fw_action_parse(in);
    }
    if (out && rank > c->out_rank) {
        c->out_rank = rank;
        c->policy.out = (enum fw_action)fw_action_parse(out);
    }
}

static void on_policy(void *arg, const char *id, const json_t *object)
{
    struct choosing *c = arg;

    if (!c->is_after || !is_changed(c->lockout, FW_POLICIES.name, id)) {
        choose(c, json_object_get(object, "spec"));
    }
}

/* Of equal ones the first by name holds; the changed one, which comes last here, is taken for the
 * weaker: that errs only where two policies of one rank differ. */
static struct fw_policy policy_of(const struct lockout *l, const char *node, int is_after)
{
    struct choosing c = {.lockout = l,
                         .node = node,
                         .is_after = is_after,
                         .in_rank = -1,
                         .out_rank = -1,
                         .policy = {.in = FW_ACCEPT, .out = FW_ACCEPT}};

    view_each(l->view, "object/fw/policies/", on_policy, &c);
    if (is_after && strcmp(l->change->kind, FW_POLICIES.name) == 0) {
        choose(&c, l->change->after);
    }
    return c.policy;
}

/* --- a node's addresses and its link --- */

struct link {
    int is_known;
    int is_server; /* the server runs on this machine: others' links arrive here */
    struct ip4_endpoint server;
    uint32_t addresses[LINKS_MAX]; /* that the node may have at its end */
    size_t len;
};

static void add_address(struct link *link, const char *text)
{
    uint32_t address;

    if (text && link->len < LINKS_MAX && ip4_parse(text, &address) == 0) {
        link->addresses[link->len++] = address;
    }
}

/* Behind a NAT the node's own addresses are others than the one that the server saw. An agent on
 * the server's own machine talks to it over loopback, where nothing is filtered. */
static struct link link_of(const struct lockout *l, const char *node)
{
    static const struct ip4_prefix LOOPBACK = {.address = 0x7f000000, .len = 8};
    _cleanup_free_ char *self_key = xasprintf("fact/%s/vpn.self", node);
    _cleanup_free_ char *seen_key = xasprintf("fact/%s/core.seen", node);
    const json_t *addresses = json_object_get(view_get(l->view, self_key), "addresses");
    const json_t *seen = view_get(l->view, seen_key);
    const char *from = json_get_string(seen, "address", "");
    struct link link = {.is_known = 0};
    uint32_t address;

    for (size_t i = 0; i < json_array_size(addresses); i++) {
        add_address(&link, json_string_value(json_array_get(addresses, i)));
    }
    if (link.len == 0) {
        add_address(&link, from);
    }
    if (ip4_endpoint_parse(json_get_string(seen, "server", ""), &link.server) == 0 &&
        ip4_parse(from, &address) == 0) {
        link.is_server =
            address == link.server.address || ip4_contains(LOOPBACK, link.server.address);
        link.is_known = !link.is_server;
    }
    return link;
}

static struct fw_packet packet(enum fw_direction direction, enum fw_state state,
                               struct fw_range port, struct fw_range source_port)
{
    return (struct fw_packet){.direction = direction,
                              .side = FW_PUBLIC,
                              .protocol = FW_TCP,
                              .state = state,
                              .port = port,
                              .source_port = source_port};
}

static struct fw_packet between(struct fw_packet p, const uint32_t *source,
                                const uint32_t *destination)
{
    p.has_source = source != NULL;
    p.source = source ? *source : 0;
    p.has_destination = destination != NULL;
    p.destination = destination ? *destination : 0;
    return p;
}

/* The three that the link needs, from and to one of the node's addresses. */
static void link_packets(const struct link *link, const uint32_t *own, struct fw_packet packets[3])
{
    struct fw_range port = {link->server.port, link->server.port};

    packets[0] = between(packet(FW_OUT, FW_NEW, port, EPHEMERAL), own, &link->server.address);
    packets[1] =
        between(packet(FW_OUT, FW_ESTABLISHED, port, EPHEMERAL), own, &link->server.address);
    packets[2] =
        between(packet(FW_IN, FW_ESTABLISHED, EPHEMERAL, port), &link->server.address, own);
}

/* Those that somebody needs who connects to a port of the node. */
static void visit_packets(uint16_t port, const uint32_t *own, const uint32_t *source,
                          struct fw_packet packets[3])
{
    struct fw_range range = {port, port};

    packets[0] = between(packet(FW_IN, FW_NEW, range, EPHEMERAL), source, own);
    packets[1] = between(packet(FW_IN, FW_ESTABLISHED, range, EPHEMERAL), source, own);
    packets[2] = between(packet(FW_OUT, FW_ESTABLISHED, EPHEMERAL, range), own, source);
}

/* --- is it cut? --- */

/* The rules and defaults of one node. */
struct node_rules {
    const struct fw_rule **rules;
    size_t len;
    struct fw_policy policy;
};

static struct node_rules rules_of(struct lockout *l, const char *node, int is_after)
{
    const struct gathered *all = gather(l, is_after);
    const json_t *spec = node_spec(l, node, is_after);
    struct node_rules r = {.rules = xcalloc(all->len + 1, sizeof *r.rules),
                           .policy = policy_of(l, node, is_after)};

    for (size_t i = 0; i < all->len; i++) {
        if (where_holds_on("fw", all->list[i].spec, node, spec)) {
            r.rules[r.len++] = &all->list[i].rule;
        }
    }
    return r;
}

static int all_accepted(const struct node_rules *r, const struct fw_packet packets[3])
{
    for (int i = 0; i < 3; i++) {
        if (fw_verdict(r->rules, r->len, &r->policy, &packets[i]) != FW_ACCEPT) {
            return 0;
        }
    }
    return 1;
}

/* From any one of the node's addresses: another that was cut already, which may not be the one
 * that the link comes from, doesn't excuse it. */
static int link_is_cut(const struct node_rules *before, const struct node_rules *after,
                       const struct link *link)
{
    struct fw_packet packets[3];

    for (size_t i = 0; link->is_known && i < link->len; i++) {
        link_packets(link, &link->addresses[i], packets);
        if (all_accepted(before, packets) && !all_accepted(after, packets)) {
            return 1;
        }
    }
    return 0;
}

/* Nobody is there. */
static int is_reserved(uint32_t address)
{
    return address >> 24 == 0 || address >> 24 == 127 || address >> 28 >= 14;
}

static int works_from(const struct node_rules *r, const struct link *link, uint16_t port,
                      uint32_t source)
{
    struct fw_packet packets[3];

    if (is_reserved(source)) {
        return 0;
    }
    for (size_t i = 0; i == 0 || i < link->len; i++) {
        visit_packets(port, link->len > 0 ? &link->addresses[i] : NULL, &source, packets);
        if (all_accepted(r, packets)) {
            return 1;
        }
    }
    return 0;
}

static int works_at_ends(const struct node_rules *r, const struct link *link, uint16_t port,
                         const struct fw_addresses *addresses)
{
    for (size_t i = 0; i < addresses->len; i++) {
        struct ip4_prefix prefix = addresses->list[i];
        if (works_from(r, link, port, prefix.address) ||
            works_from(r, link, port, (prefix.address | ~ip4_mask(prefix.len)) + 1)) {
            return 1;
        }
    }
    return 0;
}

/* From one source at least. */
static int can_be_visited(const struct node_rules *r, const struct link *link, uint16_t port)
{
    static const uint32_t AFTER_RESERVED[] = {0x01000000, 0x80000000};

    for (size_t i = 0; i < ARRAY_LEN(AFTER_RESERVED); i++) {
        if (works_from(r, link, port, AFTER_RESERVED[i])) {
            return 1;
        }
    }
    for (size_t i = 0; i < r->len; i++) {
        const struct fw_rule *rule = r->rules[i];
        if (works_at_ends(r, link, port,
                          rule->direction == FW_IN ? &rule->source : &rule->destination)) {
            return 1;
        }
    }
    return 0;
}

/* --- nodes that a change concerns --- */

static void check_node(struct lockout *l, const char *node)
{
    struct link link = link_of(l, node);
    struct node_rules before = rules_of(l, node, 0), after = rules_of(l, node, 1);

    if (link_is_cut(&before, &after, &link)) {
        char server[IP4_TEXT_SIZE];
        l->rc = error_set(l->error, 409, NULL,
                          "it would cut %s off from this server, which it reaches at %s:%u", node,
                          ip4_format(link.server.address, server), link.server.port);
    } else if (!can_be_visited(&after, &link, SSH_PORT) &&
               can_be_visited(&before, &link, SSH_PORT)) {
        l->rc =
            error_set(l->error, 409, NULL,
                      "it would cut off ssh: nobody could reach port %d of %s any more; accept "
                      "it with a rule of a lower order first",
                      SSH_PORT, node);
    } else if (link.is_server && !can_be_visited(&after, &link, link.server.port) &&
               can_be_visited(&before, &link, link.server.port)) {
        l->rc = error_set(l->error, 409, NULL,
                          "it would cut all agents off from this server: nobody could reach port "
                          "%u of %s any more; accept it with a rule of a lower order first",
                          link.server.port, node);
    }
    free(before.rules);
    free(after.rules);
}

struct touching {
    struct lockout *lockout;
    const struct fw_rule *rule;
};

static int is_wide(const struct fw_rule *rule)
{
    const struct fw_addresses *sources =
        rule->direction == FW_IN ? &rule->source : &rule->destination;

    for (size_t i = 0; i < sources->len; i++) {
        if (sources->list[i].len <= WIDE) {
            return 1;
        }
    }
    return sources->len == 0 || rule->action == FW_ACCEPT;
}

/* Whatever its addresses are, does it look at what visitors of the port need? */
static int touches_visits(const struct fw_rule *rule, uint16_t port)
{
    struct fw_rule anywhere = *rule;
    struct fw_packet packets[3];

    anywhere.source.len = anywhere.destination.len = 0;
    visit_packets(port, NULL, NULL, packets);
    return is_wide(rule) &&
           (fw_rule_matches(&anywhere, &packets[0]) || fw_rule_matches(&anywhere, &packets[1]) ||
            fw_rule_matches(&anywhere, &packets[2]));
}

static int touches_link(const struct fw_rule *rule, const struct link *link)
{
    struct fw_packet packets[3];

    for (size_t i = 0; link->is_known && i < link->len; i++) {
        link_packets(link, &link->addresses[i], packets);
        if (fw_rule_matches(rule, &packets[0]) || fw_rule_matches(rule, &packets[1]) ||
            fw_rule_matches(rule, &packets[2])) {
            return 1;
        }
    }
    return 0;
}

static void on_node_of_rule(void *arg, const char *node)
{
    const struct touching *t = arg;
    struct link link = link_of(t->lockout, node);

    if (t->lockout->rc == 0 &&
        (touches_visits(t->rule, SSH_PORT) || touches_link(t->rule, &link) ||
         (link.is_server && touches_visits(t->rule, link.server.port)))) {
        check_node(t->lockout, node);
    }
}

static void on_node(void *arg, const char *node)
{
    struct lockout *l = arg;

    if (l->rc == 0) {
        check_node(l, node);
    }
}

/* What a rule of this action can do, by coming or by going. */
static void check_rule(struct lockout *l, const char *id, const json_t *spec, int is_after)
{
    struct touching t = {.lockout = l};
    struct fw_rule rule;

    if (spec && can_matter(spec) && read_rule(l, id, spec, is_after, &rule)) {
        t.rule = &rule;
        if (is_after == (rule.action != FW_ACCEPT)) {
            where_each("fw", spec, l->view, on_node_of_rule, &t);
        }
        fw_rule_done(&rule);
    }
}

static void on_rule_of_group(void *arg, const char *id, const json_t *object)
{
    struct lockout *l = arg;
    const json_t *spec = json_object_get(object, "spec");
    const char *source = fw_group_of(json_get_string(spec, "source", ""));
    const char *destination = fw_group_of(json_get_string(spec, "destination", ""));

    if ((source && strcmp(source, l->change->id) == 0) ||
        (destination && strcmp(destination, l->change->id) == 0)) {
        check_rule(l, id, spec, 0);
        check_rule(l, id, spec, 1);
    }
}

/* Most changes of a node are none of what rules look at. */
static void check_changed_node(struct lockout *l)
{
    const json_t *before = view_spec(l->view, "nodes", l->change->id), *after = l->change->after;

    if (before && where_runs("fw", after) &&
        !(where_runs("fw", before) &&
          json_equal(json_object_get(before, "labels"), json_object_get(after, "labels")))) {
        check_node(l, l->change->id);
    }
}

int fw_lockout_check(const struct fw_change *change, struct view *view, struct error *error)
{
    struct lockout l = {.change = change, .view = view, .error = error};
    const json_t *before = view_spec(view, change->kind, change->id);

    if (strcmp(change->kind, "nodes") == 0) {
        check_changed_node(&l);
    } else if (strcmp(change->kind, FW_GROUPS.name) == 0) {
        if (before) {
            view_each(view, "object/fw/rules/", on_rule_of_group, &l);
        }
    } else if (strcmp(change->kind, FW_POLICIES.name) == 0) {
        where_each("fw", before, view, on_node, &l);
        where_each("fw", change->after, view, on_node, &l);
    } else {
        check_rule(&l, change->id, before, 0);
        check_rule(&l, change->id, change->after, 1);
    }
    gathered_done(&l.before);
    gathered_done(&l.after);
    return l.rc;
}
