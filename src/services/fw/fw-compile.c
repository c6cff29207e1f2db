#include "services/fw/fw-compile.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "services/bridges.h"

enum {
    FRAME_SIZE_MAX = 48 << 20,
    ELEMENTS_MAX = 64, /* that one rule may have in a set */
};

/* Rules with the same one are one set. */
struct shape {
    enum fw_side side;
    enum fw_protocol protocol;
    enum fw_state state;
    uint8_t source_len, destination_len; /* 0: not looked at */
    uint8_t has_port;
};

struct building {
    struct fw_document *document;
    const struct fw_marked *rules;
    struct buf counters, sets, chain;
    struct shape *shapes; /* of the document's sets */
    size_t *capacities;
    size_t block, block_begins; /* number; its first set */
};

/* --- words --- */

static const char *const SIDE[][3] = {
    {"", "iifname \"cnsmo*\" ", "iifname != \"cnsmo*\" "},
    {"", "oifname \"cnsmo*\" ", "oifname != \"cnsmo*\" "},
};
static const char *const PROTOCOL[] = {"", "meta l4proto tcp ", "meta l4proto udp ",
                                       "meta l4proto { icmp, ipv6-icmp } "};
static const char *const STATE[] = {"", "ct state new ", "ct state established,related "};
static const char *const ACTION[] = {"accept", "drop", "reject with icmpx port-unreachable"};

static void write_action(struct buf *buf, const struct fw_rule *rule)
{
    if (rule->action == FW_LOG) {
        buf_printf(buf, "limit rate 10/second burst 20 packets log prefix \"cnsmo fw %s: \"\n",
                   rule->id);
    } else {
        buf_printf(buf, "%s\n", ACTION[rule->action]);
    }
}

/* --- shapes --- */

static int has_one_length(const struct fw_addresses *addresses)
{
    for (size_t i = 1; i < addresses->len; i++) {
        if (addresses->list[i].len != addresses->list[0].len) {
            return 0;
        }
    }
    return 1;
}

/* Single ports only, and neither too many elements nor none at all. */
static int has_shape(const struct fw_rule *rule, struct shape *ret_shape)
{
    size_t sources = rule->source.len, destinations = rule->destination.len;
    size_t elements = (sources ? sources : 1) * (destinations ? destinations : 1) *
                      (rule->port.len ? rule->port.len : 1);

    for (size_t i = 0; i < rule->port.len; i++) {
        if (rule->port.list[i].from != rule->port.list[i].to) {
            return 0;
        }
    }
    if (rule->action == FW_LOG || rule->source_port.len > 0 || elements > ELEMENTS_MAX ||
        sources + destinations + rule->port.len == 0 || !has_one_length(&rule->source) ||
        !has_one_length(&rule->destination)) {
        return 0;
    }
    *ret_shape =
        (struct shape){.side = rule->side,
                       .protocol = rule->protocol,
                       .state = rule->state,
                       .source_len = sources ? rule->source.list[0].len : 0,
                       .destination_len = destinations ? rule->destination.list[0].len : 0,
                       .has_port = rule->port.len > 0};
    return 1;
}

static int shapes_equal(const struct shape *a, const struct shape *b)
{
    return a->side == b->side && a->protocol == b->protocol && a->state == b->state &&
           a->source_len == b->source_len && a->destination_len == b->destination_len &&
           a->has_port == b->has_port;
}

static void write_field(struct buf *buf, const char **comma, const char *field, uint8_t len)
{
    char mask[IP4_TEXT_SIZE];

    buf_printf(buf, "%s%s", *comma, field);
    if (len < 32) {
        buf_printf(buf, " & %s", ip4_format(ip4_mask(len), mask));
    }
    *comma = " . ";
}

static void write_set(struct buf *buf, const char *name, const struct shape *shape)
{
    const char *comma = "";

    buf_printf(buf, "set %s { type ", name);
    for (int i = 0; i < (shape->source_len > 0) + (shape->destination_len > 0); i++) {
        buf_printf(buf, "%sipv4_addr", comma);
        comma = " . ";
    }
    buf_printf(buf, "%s; counter; }\n",
               !shape->has_port ? ""
               : *comma         ? " . inet_service"
                                : "inet_service");
}

static void write_set_rule(struct buf *buf, const char *name, const struct shape *shape,
                           const struct fw_rule *rule)
{
    const char *comma = "";

    buf_printf(buf, "%s%s%s", SIDE[rule->direction][shape->side], PROTOCOL[shape->protocol],
               STATE[shape->state]);
    if (shape->source_len > 0) {
        write_field(buf, &comma, "ip saddr", shape->source_len);
    }
    if (shape->destination_len > 0) {
        write_field(buf, &comma, "ip daddr", shape->destination_len);
    }
    if (shape->has_port) {
        write_field(buf, &comma, shape->protocol == FW_TCP ? "tcp dport" : "udp dport", 32);
    }
    buf_printf(buf, " @%s ", name);
    write_action(buf, rule);
}

/* The set of the block with this shape; made, with the rule that looks into it, if there is none.
 */
static struct fw_set *set_of(struct building *b, const struct shape *shape,
                             const struct fw_rule *rule)
{
    struct fw_document *d = b->document;

    for (size_t i = b->block_begins; i < d->len; i++) {
        if (shapes_equal(&b->shapes[i], shape)) {
            return &d->sets[i];
        }
    }
    d->sets = xrealloc(d->sets, (d->len + 1) * sizeof *d->sets);
    b->shapes = xrealloc(b->shapes, (d->len + 1) * sizeof *b->shapes);
    b->capacities = xrealloc(b->capacities, (d->len + 1) * sizeof *b->capacities);
    b->shapes[d->len] = *shape;
    b->capacities[d->len] = 0;
    struct fw_set *set = &d->sets[d->len];
    *set = (struct fw_set){.elements = NULL};
    snprintf(set->name, sizeof set->name, "%s%zu_%zu", rule->direction == FW_IN ? "in" : "out",
             b->block, d->len - b->block_begins);
    d->len++;
    write_set(&b->sets, set->name, shape);
    write_set_rule(&b->chain, set->name, shape, rule);
    return set;
}

/* --- elements --- */

static void add_element(struct building *b, struct fw_set *set, const char *key,
                        const struct fw_marked *marked)
{
    size_t *capacity = &b->capacities[set - b->document->sets];

    if (set->len == *capacity) {
        *capacity = *capacity ? 2 * *capacity : 4;
        set->elements = xrealloc(set->elements, *capacity * sizeof *set->elements);
    }
    struct fw_element *element = &set->elements[set->len++];
    memcpy(element->key, key, sizeof element->key);
    element->rule = (uint32_t)(marked - b->rules);
    snprintf(element->mark, sizeof element->mark, "%s.%016" PRIx64, marked->rule->id,
             marked->hash);
}

static void write_key(const struct fw_rule *rule, size_t source, size_t destination, size_t port,
                      char key[FW_KEY_SIZE])
{
    struct buf buf = BUF_INIT(FW_KEY_SIZE);
    char text[IP4_TEXT_SIZE];
    const char *comma = "";

    if (rule->source.len > 0) {
        buf_printf(&buf, "%s", ip4_format(rule->source.list[source].address, text));
        comma = " . ";
    }
    if (rule->destination.len > 0) {
        buf_printf(&buf, "%s%s", comma,
                   ip4_format(rule->destination.list[destination].address, text));
        comma = " . ";
    }
    if (rule->port.len > 0) {
        buf_printf(&buf, "%s%u", comma, rule->port.list[port].from);
    }
    snprintf(key, FW_KEY_SIZE, "%s", buf.data);
    buf_done(&buf);
}

static void add_elements(struct building *b, struct fw_set *set, const struct fw_marked *marked)
{
    const struct fw_rule *rule = marked->rule;
    char key[FW_KEY_SIZE];

    for (size_t s = 0; s == 0 || s < rule->source.len; s++) {
        for (size_t d = 0; d == 0 || d < rule->destination.len; d++) {
            for (size_t p = 0; p == 0 || p < rule->port.len; p++) {
                write_key(rule, s, d, p, key);
                add_element(b, set, key, marked);
            }
        }
    }
}

/* --- plain rules --- */

static void write_mark(struct buf *buf, const struct fw_marked *marked)
{
    buf_printf(buf, "counter r.%016" PRIx64 ".%s { }\n", marked->hash, marked->rule->id);
}

/* One alone without braces: those would make a set of it, which costs more. */
static void write_addresses(struct buf *buf, const char *field,
                            const struct fw_addresses *addresses)
{
    char text[IP4_PREFIX_TEXT_SIZE];

    if (addresses->len > 0) {
        buf_printf(buf, "%s %s", field, addresses->len > 1 ? "{ " : "");
        for (size_t i = 0; i < addresses->len; i++) {
            buf_printf(buf, "%s%s", i > 0 ? ", " : "",
                       ip4_prefix_format(addresses->list[i], text));
        }
        buf_printf(buf, "%s", addresses->len > 1 ? " } " : " ");
    }
}

static void write_ports(struct buf *buf, const char *protocol, const char *field,
                        const struct fw_ports *ports)
{
    if (ports->len > 0) {
        buf_printf(buf, "%s %s %s", protocol, field, ports->len > 1 ? "{ " : "");
        for (size_t i = 0; i < ports->len; i++) {
            buf_printf(buf, "%s%u", i > 0 ? ", " : "", ports->list[i].from);
            if (ports->list[i].to > ports->list[i].from) {
                buf_printf(buf, "-%u", ports->list[i].to);
            }
        }
        buf_printf(buf, "%s", ports->len > 1 ? " } " : " ");
    }
}

static void add_plain(struct building *b, const struct fw_marked *marked)
{
    const struct fw_rule *rule = marked->rule;
    const char *protocol = rule->protocol == FW_TCP ? "tcp" : "udp";

    write_mark(&b->counters, marked);
    buf_printf(&b->chain, "%s%s%s", SIDE[rule->direction][rule->side], PROTOCOL[rule->protocol],
               STATE[rule->state]);
    write_addresses(&b->chain, "ip saddr", &rule->source);
    write_addresses(&b->chain, "ip daddr", &rule->destination);
    write_ports(&b->chain, protocol, "dport", &rule->port);
    write_ports(&b->chain, protocol, "sport", &rule->source_port);
    buf_printf(&b->chain, "counter name \"r.%016" PRIx64 ".%s\" ", marked->hash, rule->id);
    write_action(&b->chain, rule);
}

/* --- chains --- */

static const char VITAL_IN[] = "iifname != \"cnsmo*\" udp sport 67 udp dport 68 accept\n"
                               "iifname != \"cnsmo*\" udp sport 547 udp dport 546 accept\n";
static const char VITAL_OUT[] = "oifname != \"cnsmo*\" udp sport 68 udp dport 67 accept\n"
                                "oifname != \"cnsmo*\" udp sport 546 udp dport 547 accept\n";
static const char VITAL_BOTH[] = "ct state established,related accept\n"
                                 "icmpv6 type { nd-router-solicit, nd-router-advert, "
                                 "nd-neighbor-solicit, nd-neighbor-advert } accept\n";

static void write_fabric(struct buf *chain, const char *device, const char *field,
                         const struct fw_policy *policy)
{
    for (size_t i = 0; i < policy->vpn_ports_len; i++) {
        buf_printf(chain, "%s != \"cnsmo*\" udp %s %u accept\n", device, field,
                   policy->vpn_ports[i]);
    }
}

static void write_default(struct building *b, enum fw_direction direction,
                          const struct fw_policy *policy)
{
    enum fw_action action = direction == FW_IN ? policy->in : policy->out;
    const char *name = direction == FW_IN ? "policy-in" : "policy-out";

    if (action == FW_ACCEPT) {
        return;
    }
    buf_printf(&b->chain, "%s%s", VITAL_BOTH, direction == FW_IN ? VITAL_IN : VITAL_OUT);
    write_fabric(&b->chain, direction == FW_IN ? "iifname" : "oifname", "dport", policy);
    if (direction == FW_OUT) {
        write_fabric(&b->chain, "oifname", "sport", policy);
    }
    buf_printf(&b->counters, "counter %s { }\n", name);
    buf_printf(&b->chain, "counter name \"%s\" %s\n", name, ACTION[action]);
}

/* Where the chain hangs, for a direction in which something is looked at. The rule with a state
 * is what makes conntrack put fragments together. */
static void write_hooks(struct buf *frame, enum fw_direction direction)
{
    static const char HOOK[] = "chain %s { type filter hook %s priority -150; policy accept;\n";

    if (direction == FW_IN) {
        buf_printf(frame, HOOK, "arriving", "prerouting");
        buf_printf(frame, "iifname != \"lo\" fib daddr type local ct state "
                          "new,established,related,invalid,untracked jump in\n}\n");
        return;
    }
    buf_printf(frame, HOOK, "leaving", "output");
    buf_printf(frame, "oifname != \"lo\" ct state new,established,related,invalid,untracked "
                      "jump out\n}\n");
    buf_printf(frame, HOOK, "forwarded", "forward");
    for (size_t i = 0; BRIDGES[i]; i++) {
        buf_printf(frame, "oifname \"%s*\" accept\n", BRIDGES[i]);
    }
    for (size_t i = 0; BRIDGES[i]; i++) {
        buf_printf(frame, "iifname \"%s*\" jump out\n", BRIDGES[i]);
    }
    buf_printf(frame, "}\n");
}

/* --- all of it --- */

static int compare_marked(const void *a, const void *b)
{
    const struct fw_marked *x = a, *y = b;

    return fw_rule_compare(x->rule, y->rule);
}

/* The rules of one direction, in order. */
static void add_rules(struct building *b, const struct fw_marked *rules, size_t len,
                      enum fw_direction direction)
{
    const struct fw_rule *last = NULL;

    for (size_t i = 0; i < len; i++) {
        const struct fw_rule *rule = rules[i].rule;
        struct shape shape;
        if (rule->direction != direction) {
            continue;
        }
        if (!last || last->action != rule->action) {
            b->block++;
            b->block_begins = b->document->len;
        }
        last = rule;
        if (has_shape(rule, &shape)) {
            add_elements(b, set_of(b, &shape, rule), &rules[i]);
        } else {
            add_plain(b, &rules[i]);
        }
    }
}

static void write_chain(struct building *b, struct buf *frame, enum fw_direction direction)
{
    if (b->chain.size > 0) {
        buf_printf(frame, "chain %s {\n%s}\n", direction == FW_IN ? "in" : "out", b->chain.data);
        write_hooks(frame, direction);
    }
    buf_done(&b->chain);
}

/* Of equal keys the one that was added first comes first. */
static int compare_elements(const void *a, const void *b)
{
    const struct fw_element *const *x = a, *const *y = b;
    int by_key = strcmp((*x)->key, (*y)->key);

    return by_key ? by_key : (*x > *y) - (*x < *y);
}

/* Elements were added in the rules' order: of equal ones the first rule's is the one that packets
 * would meet. */
static void sort_set(struct fw_set *set)
{
    struct fw_element *sorted = xcalloc(set->len + 1, sizeof *sorted);
    _cleanup_free_ const struct fw_element **order = xcalloc(set->len + 1, sizeof *order);
    size_t len = 0;

    for (size_t i = 0; i < set->len; i++) {
        order[i] = &set->elements[i];
    }
    qsort(order, set->len, sizeof *order, compare_elements);
    for (size_t i = 0; i < set->len; i++) {
        if (len == 0 || strcmp(sorted[len - 1].key, order[i]->key) != 0) {
            sorted[len++] = *order[i];
        }
    }
    free(set->elements);
    set->elements = sorted;
    set->len = len;
}

/* --- rules whose elements are all others' --- */

/* They leave no other trace in the table than a counter that stays zero. */
static void add_shadowed(struct building *b, size_t len)
{
    const struct fw_document *d = b->document;
    _cleanup_free_ uint8_t *has_element = xcalloc(len + 1, 1);

    for (size_t i = 0; i < d->len; i++) {
        for (size_t k = 0; k < d->sets[i].len; k++) {
            has_element[d->sets[i].elements[k].rule] = 1;
        }
    }
    for (size_t i = 0; i < len; i++) {
        struct shape shape;
        if (!has_element[i] && has_shape(b->rules[i].rule, &shape)) {
            write_mark(&b->counters, &b->rules[i]);
        }
    }
}

/* --- the document --- */

struct fw_document *fw_compile(struct fw_marked *rules, size_t len, const struct fw_policy *policy,
                               const char *const *marks)
{
    struct building b = {.document = xnew(struct fw_document),
                         .rules = rules,
                         .counters = BUF_INIT(FRAME_SIZE_MAX),
                         .sets = BUF_INIT(FRAME_SIZE_MAX),
                         .chain = BUF_INIT(FRAME_SIZE_MAX)};
    _cleanup_buf_ struct buf chains = BUF_INIT(FRAME_SIZE_MAX);

    for (size_t i = 0; marks[i]; i++) {
        buf_printf(&b.counters, "counter %s { }\n", marks[i]);
    }
    if (len > 0) {
        qsort(rules, len, sizeof *rules, compare_marked);
    }
    for (int direction = FW_IN; direction <= FW_OUT; direction++) {
        add_rules(&b, rules, len, (enum fw_direction)direction);
        write_default(&b, (enum fw_direction)direction, policy);
        write_chain(&b, &chains, (enum fw_direction)direction);
    }
    for (size_t i = 0; i < b.document->len; i++) {
        sort_set(&b.document->sets[i]);
    }
    add_shadowed(&b, len);
    b.document->frame =
        xasprintf("table inet " FW_TABLE " {\n%s%s%s}\n", b.counters.data ? b.counters.data : "",
                  b.sets.data ? b.sets.data : "", chains.data ? chains.data : "");
    buf_done(&b.counters);
    buf_done(&b.sets);
    free(b.shapes);
    free(b.capacities);
    return b.document;
}

struct fw_document *fw_document_free(struct fw_document *document)
{
    if (document) {
        for (size_t i = 0; i < document->len; i++) {
            free(document->sets[i].elements);
        }
        free(document->sets);
        free(document->frame);
        free(document);
    }
    return NULL;
}
