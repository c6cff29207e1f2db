#include "services/fw/fw-rule.h"

#include <errno.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"

/* --- words --- */

static const char *const DIRECTIONS[] = {"in", "out", NULL};
static const char *const SIDES[] = {"any", "overlay", "public", NULL};
static const char *const PROTOCOLS[] = {"any", "tcp", "udp", "icmp", NULL};
static const char *const STATES[] = {"any", "new", "established", NULL};
static const char *const ACTIONS[] = {"accept", "drop", "reject", "log", NULL};

static int word_of(const char *const *words, const char *word)
{
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], word) == 0) {
            return i;
        }
    }
    return -1;
}

int fw_action_parse(const char *word)
{
    return word_of(ACTIONS, word);
}

static int read_word(const json_t *body, const char *name, const char *const *words,
                     struct error *error)
{
    const char *word = json_get_string(body, name, words[0]);
    int at = word_of(words, word);

    return at >= 0
               ? at
               : error_set(error, 400, NULL, "\"%s\": there is no \"%.40s\" there", name, word);
}

/* --- ports --- */

static int compare_ranges(const void *a, const void *b)
{
    const struct fw_range *x = a, *y = b;

    return (x->from > y->from) - (x->from < y->from);
}

/* nft takes no ranges that overlap. */
static void merge_ranges(struct fw_ports *ports)
{
    size_t len = 0;

    qsort(ports->list, ports->len, sizeof *ports->list, compare_ranges);
    for (size_t i = 0; i < ports->len; i++) {
        struct fw_range *last = len > 0 ? &ports->list[len - 1] : NULL;
        if (last && ports->list[i].from <= last->to + 1) {
            last->to = ports->list[i].to > last->to ? ports->list[i].to : last->to;
        } else {
            ports->list[len++] = ports->list[i];
        }
    }
    ports->len = len;
}

int fw_ports_parse(const char *text, struct fw_ports *ret_ports)
{
    struct fw_ports ports = {.len = 0};
    const char *s = text;

    while (*s) {
        struct fw_range range;
        if (ports.len == FW_PORTS_MAX) {
            return -E2BIG;
        }
        s = ip_ports_read(s, &range.from, &range.to);
        if (!s || (*s && (*s != ',' || !s[1]))) {
            return -EINVAL;
        }
        if (range.to < range.from) {
            return -ERANGE;
        }
        ports.list[ports.len++] = range;
        s += *s == ',';
    }
    merge_ranges(&ports);
    *ret_ports = ports;
    return 0;
}

static int read_ports(const json_t *body, const char *name, struct fw_ports *ret_ports,
                      struct error *error)
{
    return fw_ports_parse(json_get_string(body, name, ""), ret_ports) == 0
               ? 0
               : error_set(error, 400, NULL, "\"%s\" isn't a list of ports", name);
}

/* --- addresses --- */

static int compare_prefixes(const void *a, const void *b)
{
    const struct ip4_prefix *x = a, *y = b;

    return x->address != y->address ? (x->address > y->address ? 1 : -1) : x->len - y->len;
}

/* Prefixes lie in one another or apart: so one that another covers comes right after it. One that
 * covers everything leaves none, which is all. */
static void merge_addresses(struct fw_addresses *addresses)
{
    size_t len = 0;

    if (addresses->len > 0) {
        qsort(addresses->list, addresses->len, sizeof *addresses->list, compare_prefixes);
    }
    for (size_t i = 0; i < addresses->len; i++) {
        if (len == 0 || !ip4_contains(addresses->list[len - 1], addresses->list[i].address)) {
            addresses->list[len++] = addresses->list[i];
        }
    }
    addresses->len = len > 0 && addresses->list[0].len == 0 ? 0 : len;
}

static int read_addresses(const json_t *body, const char *name, struct fw_addresses *addresses,
                          struct error *error)
{
    const json_t *list = json_object_get(body, name);
    size_t len = json_array_size(list);

    if ((list && !json_is_array(list)) || len > FW_ADDRESSES_MAX) {
        return error_set(error, 400, NULL, "\"%s\" must be a list of at most %d prefixes", name,
                         FW_ADDRESSES_MAX);
    }
    addresses->list = xcalloc(len + 1, sizeof *addresses->list);
    for (size_t i = 0; i < len; i++) {
        struct ip4_prefix prefix;
        const char *text = json_string_value(json_array_get(list, i));
        if (!text || ip4_prefix_parse(text, &prefix) < 0) {
            return error_set(error, 400, NULL, "\"%s\": \"%.40s\" is no prefix", name,
                             text ? text : "");
        }
        prefix.address &= ip4_mask(prefix.len);
        addresses->list[addresses->len++] = prefix;
    }
    merge_addresses(addresses);
    return 0;
}

/* --- rules --- */

static int read_words(const json_t *body, struct fw_rule *rule, struct error *error)
{
    int direction = read_word(body, "direction", DIRECTIONS, error);
    int side = direction < 0 ? direction : read_word(body, "side", SIDES, error);
    int protocol = side < 0 ? side : read_word(body, "protocol", PROTOCOLS, error);
    int state = protocol < 0 ? protocol : read_word(body, "state", STATES, error);
    int action = state < 0 ? state : read_word(body, "action", ACTIONS, error);

    if (action < 0) {
        return action;
    }
    rule->direction = (enum fw_direction)direction;
    rule->side = (enum fw_side)side;
    rule->protocol = (enum fw_protocol)protocol;
    rule->state = (enum fw_state)state;
    rule->action = (enum fw_action)action;
    return 0;
}

static int read_id(const char *id, struct fw_rule *rule, struct error *error)
{
    size_t len = strlen(id);

    if (len == 0 || len >= FW_ID_SIZE || strspn(id, "0123456789") != len) {
        return error_set(error, 400, NULL, "\"%.40s\" is no rule's number", id);
    }
    memcpy(rule->id, id, len + 1);
    return 0;
}

int fw_rule_parse(const char *id, const json_t *body, struct fw_rule *ret_rule,
                  struct error *error)
{
    struct fw_rule rule = {.order = json_get_integer(body, "order", 0)};
    int rc = read_id(id, &rule, error);

    rc = rc < 0 ? rc : read_words(body, &rule, error);
    rc = rc < 0 ? rc : read_ports(body, "port", &rule.port, error);
    rc = rc < 0 ? rc : read_ports(body, "sourcePort", &rule.source_port, error);
    rc = rc < 0 ? rc : read_addresses(body, "source", &rule.source, error);
    rc = rc < 0 ? rc : read_addresses(body, "destination", &rule.destination, error);
    if (rc == 0 && rule.port.len + rule.source_port.len > 0 && rule.protocol != FW_TCP &&
        rule.protocol != FW_UDP) {
        rc = error_set(error, 400, NULL, "\"port\" needs the protocol tcp or udp");
    }
    if (rc < 0) {
        fw_rule_done(&rule);
        return rc;
    }
    *ret_rule = rule;
    return 0;
}

void fw_rule_done(struct fw_rule *rule)
{
    free(rule->source.list);
    free(rule->destination.list);
    *rule = (struct fw_rule){0};
}

int fw_rule_compare(const struct fw_rule *a, const struct fw_rule *b)
{
    size_t x = strlen(a->id), y = strlen(b->id);

    return a->order != b->order ? (a->order > b->order ? 1 : -1)
           : x != y             ? (x > y ? 1 : -1)
                                : strcmp(a->id, b->id);
}
