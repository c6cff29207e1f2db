#include "services/sdn/sdn-explain.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/ip.h"
#include "lib/mem.h"
#include "services/sdn/sdn-flows.h"

enum {
    TEXT_MAX = 1000,
    VALUE_SIZE = 64,
};

/* --- fields --- */

/* How many bits the mask has, if they are the first ones; else -1. */
static int prefix_len(uint64_t mask, unsigned bits)
{
    unsigned len = 0;

    while (len < bits && mask >> (bits - 1 - len) & 1) {
        len++;
    }
    uint64_t wanted = len ? ~(uint64_t)0 >> (64 - bits) & ~(uint64_t)0 << (bits - len) : 0;
    return mask == wanted ? (int)len : -1;
}

static const char *address_text(const struct of_match *match, enum of_field field,
                                char text[VALUE_SIZE])
{
    char address[IP4_TEXT_SIZE], mask[IP4_TEXT_SIZE];
    int len = prefix_len(match->mask[field], 32);

    ip4_format((uint32_t)match->value[field], address);
    if (len == 32) {
        snprintf(text, VALUE_SIZE, "%s", address);
    } else if (len >= 0) {
        snprintf(text, VALUE_SIZE, "%s/%d", address, len);
    } else {
        snprintf(text, VALUE_SIZE, "%s/%s", address,
                 ip4_format((uint32_t)match->mask[field], mask));
    }
    return text;
}

static json_t *in_port(uint64_t port)
{
    return port == OF_PORT_LOCAL     ? json_string("local")
           : port == SDN_PORT_TUNNEL ? json_string("tunnel")
                                     : json_integer((json_int_t)port);
}

static json_t *field_value(const struct of_match *match, enum of_field field)
{
    unsigned bits = of_field_bits(field);
    uint64_t value = match->value[field], mask = match->mask[field];
    char text[VALUE_SIZE];

    if (field == OF_IN_PORT) {
        return in_port(value);
    }
    if (field == OF_IPV4_SRC || field == OF_IPV4_DST || field == OF_ARP_SPA ||
        field == OF_ARP_TPA) {
        return json_string(address_text(match, field, text));
    }
    if (mask != ~(uint64_t)0 >> (64 - bits)) {
        snprintf(text, sizeof text, "%#" PRIx64 "/%#" PRIx64, value, mask);
        return json_string(text);
    }
    if (field == OF_ETH_TYPE || bits > 32) {
        snprintf(text, sizeof text, field == OF_ETH_TYPE ? "0x%04" PRIx64 : "%#" PRIx64, value);
        return json_string(text);
    }
    return json_integer((json_int_t)value);
}

static json_t *match_json(const struct of_match *match)
{
    json_t *json = json_object();

    for (enum of_field field = 0; field < OF_FIELD_LEN; field++) {
        if (of_match_has(match, field)) {
            json_object_set_new(json, of_field_name(field), field_value(match, field));
        }
    }
    return json;
}

static const char *port_name(uint32_t port, char text[VALUE_SIZE])
{
    if (port == OF_PORT_LOCAL || port == SDN_PORT_TUNNEL) {
        return port == OF_PORT_LOCAL ? "local" : "tunnel";
    }
    snprintf(text, VALUE_SIZE, "%" PRIu32, port);
    return text;
}

static json_t *actions_json(const struct of_flow *flow)
{
    json_t *json = json_array();
    char text[2 * VALUE_SIZE], port[VALUE_SIZE];

    for (unsigned i = 0; i < flow->actions_len && i < OF_ACTIONS_MAX; i++) {
        const struct of_action *action = &flow->actions[i];
        if (action->type == OF_ACTION_OUTPUT) {
            snprintf(text, sizeof text, "output:%s", port_name(action->port, port));
        } else {
            snprintf(text, sizeof text, "set_field:%#" PRIx64 "->%s", action->value,
                     of_field_name(action->field));
        }
        json_array_append_new(json, json_string(text));
    }
    if (flow->goto_table) {
        snprintf(text, sizeof text, "goto_table:%u", flow->goto_table);
        json_array_append_new(json, json_string(text));
    }
    if (json_array_size(json) == 0) {
        json_array_append_new(json, json_string(flow->unknown_len ? "unknown" : "drop"));
    }
    return json;
}

/* --- words --- */

static void say_protocol(const struct of_match *match, struct buf *text)
{
    uint64_t protocol = match->value[OF_IP_PROTO];

    if (!of_match_has(match, OF_IP_PROTO)) {
        buf_printf(text, of_match_has(match, OF_ETH_TYPE) ? "What comes" : "Everything");
    } else if (protocol == 6 || protocol == 17 || protocol == 1) {
        buf_printf(text, "%s", protocol == 6 ? "TCP" : protocol == 17 ? "UDP" : "ICMP");
    } else {
        buf_printf(text, "Protocol %" PRIu64, protocol);
    }
}

static void say_port(const struct of_match *match, enum of_field tcp, enum of_field udp,
                     struct buf *text)
{
    enum of_field field = of_match_has(match, tcp) ? tcp : udp;

    if (!of_match_has(match, field)) {
        return;
    }
    uint64_t first = match->value[field], last = first | (~match->mask[field] & 0xffff);
    buf_printf(text, first == last ? " port %" PRIu64 : " ports %" PRIu64 "-%" PRIu64, first,
               last);
}

static void say_address(const struct of_match *match, enum of_field field, const char *word,
                        struct buf *text)
{
    char address[VALUE_SIZE];

    buf_printf(text, " %s %s", word,
               of_match_has(match, field) ? address_text(match, field, address) : "anywhere");
}

static void say_rest(const struct of_match *match, struct buf *text)
{
    static const struct {
        enum of_field field;
        const char *word;
    } FIELDS[] = {{OF_ICMPV4_TYPE, "type"},
                  {OF_ICMPV4_CODE, "code"},
                  {OF_IP_DSCP, "DSCP"},
                  {OF_IP_ECN, "ECN"}};

    for (size_t i = 0; i < ARRAY_LEN(FIELDS); i++) {
        if (of_match_has(match, FIELDS[i].field)) {
            buf_printf(text, ", %s %" PRIu64, FIELDS[i].word, match->value[FIELDS[i].field]);
        }
    }
    if (of_match_has(match, OF_IN_PORT)) {
        uint64_t port = match->value[OF_IN_PORT];
        buf_printf(text, ", coming from %s,",
                   port == OF_PORT_LOCAL     ? "the node"
                   : port == SDN_PORT_TUNNEL ? "the tunnel"
                                             : "another port");
    }
    if (match->unknown_len > 0) {
        buf_printf(text, " with more that isn't shown");
    }
}

static void say_actions(const struct of_flow *flow, struct buf *text)
{
    static const char *const TABLES[] = {"admission", "the filters", "the operator's flows",
                                         "forwarding"};

    for (unsigned i = 0; i < flow->actions_len && i < OF_ACTIONS_MAX; i++) {
        const struct of_action *action = &flow->actions[i];
        const char *to = action->port == OF_PORT_LOCAL     ? " is given to the node"
                         : action->port == SDN_PORT_TUNNEL ? " is sent into the tunnel"
                                                           : " is sent to another port";
        buf_printf(text, "%s", action->type == OF_ACTION_OUTPUT ? to : " is changed");
    }
    if (flow->goto_table) {
        buf_printf(text, " goes on to %s",
                   flow->goto_table < ARRAY_LEN(TABLES) ? TABLES[flow->goto_table]
                                                        : "another table");
    } else if (flow->actions_len == 0) {
        buf_printf(text,
                   flow->unknown_len ? " is handled in a way that isn't shown" : " is dropped");
    }
}

static json_t *sentence(const struct of_flow *flow)
{
    const struct of_match *match = &flow->match;
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_MAX);
    int has_address = of_match_has(match, OF_ETH_TYPE);

    say_protocol(match, &text);
    if (has_address) {
        say_address(match, OF_IPV4_SRC, "from", &text);
        say_port(match, OF_TCP_SRC, OF_UDP_SRC, &text);
        say_address(match, OF_IPV4_DST, "to", &text);
        say_port(match, OF_TCP_DST, OF_UDP_DST, &text);
    }
    say_rest(match, &text);
    say_actions(flow, &text);
    buf_printf(&text, ".");
    return json_string(text.data);
}

static json_t *owner_of(uint64_t cookie)
{
    enum sdn_kind kind;
    uint64_t number;
    char text[VALUE_SIZE];

    if (!sdn_cookie_parse(cookie, &kind, &number)) {
        return json_string("other");
    }
    if (kind == SDN_BASE) {
        return json_string("base");
    }
    snprintf(text, sizeof text, "%s/%" PRIu64, kind == SDN_FILTER ? "filter" : "flow", number);
    return json_string(text);
}

json_t *sdn_explain(const struct of_flow_stats *stats)
{
    const struct of_flow *flow = &stats->flow;
    char cookie[VALUE_SIZE];

    snprintf(cookie, sizeof cookie, "0x%016" PRIx64, flow->cookie);
    return json_pack("{s:i, s:i, s:s, s:o, s:o, s:I, s:I, s:o, s:o}", "table", flow->table,
                     "priority", flow->priority, "cookie", cookie, "match",
                     match_json(&flow->match), "actions", actions_json(flow), "packets",
                     (json_int_t)stats->packets, "bytes", (json_int_t)stats->bytes, "owner",
                     owner_of(flow->cookie), "text", sentence(flow));
}
