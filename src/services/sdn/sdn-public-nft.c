/* What sdn-public-rules.h describes, in nft's JSON. Given in the form in which nft lists it, so
 * that both can be compared: nft itself adds that a packet must be IPv4 where a rule looks at IPv4
 * fields, and doesn't list that. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "services/sdn/sdn-public-rules.h"

static const char *const CHAINS[] = {"arriving", "leaving"};
static const char *const HOOKS[] = {"ingress", "egress"};

/* --- table, sets, chains --- */

json_t *public_table(void)
{
    return json_pack("{s:{s:s, s:s}}", "table", "family", "netdev", "name", PUBLIC_TABLE);
}

json_t *public_own_set(void)
{
    return json_pack("{s:{s:s, s:s, s:s, s:s}}", "set", "family", "netdev", "table", PUBLIC_TABLE,
                     "name", PUBLIC_OWN, "type", "ipv4_addr");
}

/* Takes the reference `list`: of one element only that. */
static json_t *unwrap(json_t *list)
{
    if (json_array_size(list) != 1) {
        return list;
    }
    json_t *only = json_incref(json_array_get(list, 0));
    json_decref(list);
    return only;
}

static int is_prefix(uint8_t bits)
{
    return bits > 0 && bits != PUBLIC_SELF;
}

json_t *public_shape_set(const struct public_shape *shape)
{
    json_t *types = json_array();
    char name[PUBLIC_NAME_SIZE];

    if (shape->has_protocol) {
        json_array_append_new(types, json_string("inet_proto"));
    }
    if (is_prefix(shape->source_bits)) {
        json_array_append_new(types, json_string("ipv4_addr"));
    }
    if (is_prefix(shape->destination_bits)) {
        json_array_append_new(types, json_string("ipv4_addr"));
    }
    if (shape->port_bits > 0) {
        json_array_append_new(types, json_string("inet_service"));
    }
    if (json_array_size(types) == 0) {
        json_array_append_new(types, json_string("ether_type"));
    }
    return json_pack("{s:{s:s, s:s, s:s, s:o, s:[{s:n}]}}", "set", "family", "netdev", "table",
                     PUBLIC_TABLE, "name", public_shape_name(shape, name), "type", unwrap(types),
                     "stmt", "counter");
}

json_t *public_chain(int leaving)
{
    return json_pack("{s:{s:s, s:s, s:s}}", "chain", "family", "netdev", "table", PUBLIC_TABLE,
                     "name", CHAINS[leaving]);
}

json_t *public_hook(int leaving, int index, const char *device)
{
    char name[32];

    snprintf(name, sizeof name, "%s_%d", CHAINS[leaving], index);
    return json_pack("{s:{s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:s*}}", "chain", "family", "netdev",
                     "table", PUBLIC_TABLE, "name", name, "type", "filter", "hook", HOOKS[leaving],
                     "prio", 0, "policy", "accept", "dev", device);
}

/* --- rules --- */

/* Takes the reference `expr`. */
static json_t *rule(const char *chain, json_t *expr)
{
    return json_pack("{s:{s:s, s:s, s:s, s:o}}", "rule", "family", "netdev", "table", PUBLIC_TABLE,
                     "chain", chain, "expr", expr);
}

json_t *public_hook_rule(int leaving, int index)
{
    char name[32];

    snprintf(name, sizeof name, "%s_%d", CHAINS[leaving], index);
    return rule(name, json_pack("[{s:{s:s}}]", "jump", "target", CHAINS[leaving]));
}

static json_t *meta(const char *key)
{
    return json_pack("{s:{s:s}}", "meta", "key", key);
}

static json_t *payload(const char *protocol, const char *field)
{
    return json_pack("{s:{s:s, s:s}}", "payload", "protocol", protocol, "field", field);
}

static json_t *address(const char *field, uint8_t bits)
{
    char mask[IP4_TEXT_SIZE];

    if (bits == 32) {
        return payload("ip", field);
    }
    return json_pack("{s:[o, s]}", "&", payload("ip", field), ip4_format(ip4_mask(bits), mask));
}

static json_t *port(uint8_t bits)
{
    if (bits == 16) {
        return payload("th", "dport");
    }
    return json_pack("{s:[o, i]}", "&", payload("th", "dport"), 0xffff & ~(0xffff >> bits));
}

/* Takes the reference `left`. */
static json_t *match(json_t *left, const char *right)
{
    return json_pack("{s:{s:s, s:o, s:s}}", "match", "op", "==", "left", left, "right", right);
}

/* Later ones have no ports, but data in their place, and nftables doesn't mind. */
static json_t *match_first_fragment(void)
{
    return json_pack("{s:{s:s, s:{s:[o, i]}, s:i}}", "match", "op", "==", "left", "&",
                     payload("ip", "frag-off"), 0x1fff, "right", 0);
}

static json_t *fields_of(const struct public_shape *shape)
{
    json_t *fields = json_array();

    if (shape->has_protocol) {
        json_array_append_new(fields, meta("l4proto"));
    }
    if (is_prefix(shape->source_bits)) {
        json_array_append_new(fields, address("saddr", shape->source_bits));
    }
    if (is_prefix(shape->destination_bits)) {
        json_array_append_new(fields, address("daddr", shape->destination_bits));
    }
    if (shape->port_bits > 0) {
        json_array_append_new(fields, port(shape->port_bits));
    }
    if (json_array_size(fields) == 0) {
        json_array_append_new(fields, meta("protocol"));
    }
    if (json_array_size(fields) == 1) {
        return unwrap(fields);
    }
    return json_pack("{s:o}", "concat", fields);
}

json_t *public_shape_rule(const struct public_shape *shape)
{
    char name[PUBLIC_NAME_SIZE], set[PUBLIC_NAME_SIZE + 1];
    json_t *expr = json_array();

    snprintf(set, sizeof set, "@%s", public_shape_name(shape, name));
    if (shape->source_bits == PUBLIC_SELF) {
        json_array_append_new(expr, match(payload("ip", "saddr"), "@" PUBLIC_OWN));
    }
    if (shape->destination_bits == PUBLIC_SELF) {
        json_array_append_new(expr, match(payload("ip", "daddr"), "@" PUBLIC_OWN));
    }
    if (shape->port_bits > 0) {
        json_array_append_new(expr, match_first_fragment());
    } else if (shape->has_protocol && shape->source_bits == 0 && shape->destination_bits == 0) {
        json_array_append_new(expr, match(meta("protocol"), "ip"));
    }
    json_array_append_new(expr, match(fields_of(shape), set));
    json_array_append_new(expr, json_pack("{s:n}", "drop"));
    return rule(CHAINS[shape->leaving], expr);
}

/* --- elements --- */

static void write_address(struct buf *buf, const uint8_t *key)
{
    char text[IP4_TEXT_SIZE];
    uint32_t number;

    memcpy(&number, key, sizeof number);
    buf_printf(buf, ",\"%s\"", ip4_format(ntohl(number), text));
}

void public_key_write(struct buf *buf, const struct public_shape *shape, const uint8_t *key)
{
    struct buf values = BUF_INIT(128);
    unsigned len = 0;

    if (shape->has_protocol) {
        buf_printf(&values, ",%u", key[4 * len++]);
    }
    if (is_prefix(shape->source_bits)) {
        write_address(&values, key + (size_t)4 * len++);
    }
    if (is_prefix(shape->destination_bits)) {
        write_address(&values, key + (size_t)4 * len++);
    }
    if (shape->port_bits > 0) {
        buf_printf(&values, ",%u", (unsigned)(key[4 * len] << 8 | key[4 * len + 1]));
        len++;
    }
    if (len == 0) {
        buf_printf(buf, "\"ip\"");
    } else if (len == 1) {
        buf_printf(buf, "%s", values.data + 1);
    } else {
        buf_printf(buf, "{\"concat\":[%s]}", values.data + 1);
    }
    buf_done(&values);
}

void public_element_write(struct buf *buf, const struct public_shape *shape, const uint8_t *key,
                          const char *id)
{
    buf_printf(buf, "{\"elem\":{\"val\":");
    public_key_write(buf, shape, key);
    buf_printf(buf, ",\"comment\":\"filter %s\"}}", id);
}
