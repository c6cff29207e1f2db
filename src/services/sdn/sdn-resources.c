/* sdn-resources.c - the resources' JSON, taken apart. The server has checked it; what it sends is
 * checked again all the same, since a flow that means something else than was asked for is worse
 * than none. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "openflow/match.h"
#include "services/sdn/sdn-flows.h"

enum {
    PROTOCOL_ICMP = 1,
    PROTOCOL_TCP = 6,
    PROTOCOL_UDP = 17,
    PORT_MAX = 65535,
};

static int wrong(struct error *error, const char *pointer, const char *what)
{
    return error_set(error, 400, pointer, "%s", what);
}

/* A prefix or a bare address. Host bits would be cut off silently, so they are refused. */
static int parse_prefix(const char *text, struct ip4_prefix *ret_prefix)
{
    struct ip4_prefix prefix = {.len = 32};

    int rc =
        strchr(text, '/') ? ip4_prefix_parse(text, &prefix) : ip4_parse(text, &prefix.address);
    if (rc < 0 || prefix.address & ~ip4_mask(prefix.len)) {
        return -EINVAL;
    }
    *ret_prefix = prefix;
    return 0;
}

int sdn_self_parse(const json_t *spec, struct sdn_self *ret_self, struct error *error)
{
    const char *clients = json_get_string(spec, "clientRange", "");
    struct sdn_self self = {0};

    if (ip4_parse(json_get_string(spec, "address", ""), &self.address) < 0) {
        return wrong(error, "/address", "the node's own address is missing");
    }
    if (parse_prefix(json_get_string(spec, "range", ""), &self.range) < 0 || self.range.len == 0) {
        return wrong(error, "/range", "the overlay's range is missing");
    }
    if (clients[0] && (parse_prefix(clients, &self.clients) < 0 || self.clients.len == 0)) {
        return wrong(error, "/clientRange", "clientRange is not a prefix");
    }
    *ret_self = self;
    return 0;
}

/* --- filters --- */

static int parse_direction(const char *text, struct sdn_rule *rule)
{
    if (strcmp(text, "in") == 0) {
        rule->from = SDN_FROM_TUNNEL;
    } else if (strcmp(text, "out") == 0) {
        rule->from = SDN_FROM_NODE;
    } else if (strcmp(text, "both") == 0) {
        rule->from = SDN_FROM_TUNNEL | SDN_FROM_NODE;
    } else {
        return -EINVAL;
    }
    return 0;
}

static int parse_protocol(const char *text, struct sdn_rule *rule)
{
    static const struct {
        const char *name;
        uint8_t number;
    } PROTOCOLS[] = {{"icmp", PROTOCOL_ICMP}, {"tcp", PROTOCOL_TCP}, {"udp", PROTOCOL_UDP}};

    for (size_t i = 0; i < ARRAY_LEN(PROTOCOLS); i++) {
        if (strcmp(text, PROTOCOLS[i].name) == 0) {
            rule->protocol = PROTOCOLS[i].number;
            rule->has |= SDN_HAS_PROTOCOL;
            return 0;
        }
    }
    return strcmp(text, "any") == 0 ? 0 : -EINVAL;
}

static int parse_ports(const char *text, struct sdn_rule *rule)
{
    if (!text[0]) {
        return 0;
    }
    const char *end = ip_ports_read(text, &rule->first_port, &rule->last_port);
    if (!end || *end || rule->last_port < rule->first_port ||
        (rule->protocol != PROTOCOL_TCP && rule->protocol != PROTOCOL_UDP)) {
        return -EINVAL;
    }
    rule->has |= SDN_HAS_PORT;
    return 0;
}

static int parse_priority(const json_t *spec, struct sdn_rule *rule, struct error *error)
{
    json_int_t priority = json_get_integer(spec, "priority", -1);

    if (priority < 1 || priority > UINT16_MAX) {
        return wrong(error, "/priority", "the priority is not between 1 and 65535");
    }
    rule->priority = (uint16_t)priority;
    return 0;
}

static void set_prefixes(struct sdn_rule *rule, struct ip4_prefix source,
                         struct ip4_prefix destination)
{
    rule->source = source.address;
    rule->source_len = source.len;
    rule->destination = destination.address;
    rule->destination_len = destination.len;
}

int sdn_filter_parse(const json_t *spec, struct sdn_rule *ret_rule, struct error *error)
{
    struct sdn_rule rule = {.kind = SDN_FILTER};
    struct ip4_prefix source, destination;

    if (parse_direction(json_get_string(spec, "direction", ""), &rule) < 0) {
        return wrong(error, "/direction", "the direction is none of in, out, both");
    }
    if (parse_protocol(json_get_string(spec, "protocol", ""), &rule) < 0) {
        return wrong(error, "/protocol", "the protocol is none of any, tcp, udp, icmp");
    }
    if (parse_prefix(json_get_string(spec, "source", ""), &source) < 0) {
        return wrong(error, "/source", "the source is not a prefix");
    }
    if (parse_prefix(json_get_string(spec, "destination", ""), &destination) < 0) {
        return wrong(error, "/destination", "the destination is not a prefix");
    }
    if (parse_ports(json_get_string(spec, "port", ""), &rule) < 0) {
        return wrong(error, "/port", "the port is not one or a range of tcp or udp");
    }
    set_prefixes(&rule, source, destination);
    int rc = parse_priority(spec, &rule, error);
    if (rc == 0) {
        *ret_rule = rule;
    }
    return rc;
}

/* --- flows --- */

struct match {
    struct sdn_rule *rule;
    struct ip4_prefix source, destination;
};

static int take_number(const json_t *value, json_int_t max, json_int_t *ret_number)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > max) {
        return -EINVAL;
    }
    *ret_number = json_integer_value(value);
    return 0;
}

static int take_protocol(struct sdn_rule *rule, uint8_t protocol)
{
    if (rule->has & SDN_HAS_PROTOCOL && rule->protocol != protocol) {
        return -EINVAL;
    }
    rule->has |= SDN_HAS_PROTOCOL;
    rule->protocol = protocol;
    return 0;
}

/* tcp_src, tcp_dst, udp_src, udp_dst; they imply the protocol. */
static int take_port(struct sdn_rule *rule, const char *name, const json_t *value)
{
    json_int_t port;

    if (take_protocol(rule, name[0] == 't' ? PROTOCOL_TCP : PROTOCOL_UDP) < 0 ||
        take_number(value, PORT_MAX, &port) < 0) {
        return -EINVAL;
    }
    if (strcmp(name + 4, "src") == 0) {
        rule->has |= SDN_HAS_SOURCE_PORT;
        rule->source_port = (uint16_t)port;
    } else {
        rule->has |= SDN_HAS_PORT;
        rule->first_port = rule->last_port = (uint16_t)port;
    }
    return 0;
}

static int take_byte(struct sdn_rule *rule, const char *name, const json_t *value)
{
    const struct {
        const char *name;
        uint8_t has, max, *at;
    } bytes[] = {
        {"ip_proto", SDN_HAS_PROTOCOL, 255, &rule->protocol},
        {"icmpv4_type", SDN_HAS_ICMP_TYPE, 255, &rule->icmp_type},
        {"icmpv4_code", SDN_HAS_ICMP_CODE, 255, &rule->icmp_code},
        {"ip_dscp", SDN_HAS_DSCP, 63, &rule->dscp},
        {"ip_ecn", SDN_HAS_ECN, 3, &rule->ecn},
    };
    json_int_t number;

    for (size_t i = 0; i < ARRAY_LEN(bytes); i++) {
        if (strcmp(name, bytes[i].name) != 0) {
            continue;
        }
        if (take_number(value, bytes[i].max, &number) < 0 ||
            (bytes[i].has == SDN_HAS_PROTOCOL && take_protocol(rule, (uint8_t)number) < 0) ||
            (name[0] == 'i' && name[1] == 'c' && take_protocol(rule, PROTOCOL_ICMP) < 0)) {
            return -EINVAL;
        }
        *bytes[i].at = (uint8_t)number;
        rule->has |= bytes[i].has;
        return 0;
    }
    return -ENOENT;
}

static int take_in_port(struct sdn_rule *rule, const char *name)
{
    if (strcmp(name, "tunnel") == 0) {
        rule->from = SDN_FROM_TUNNEL;
    } else if (strcmp(name, "local") == 0) {
        rule->from = SDN_FROM_NODE;
    } else {
        return -EINVAL;
    }
    return 0;
}

static int take_field(struct match *match, const char *name, const json_t *value)
{
    const char *text = json_is_string(value) ? json_string_value(value) : "";

    if (strcmp(name, "in_port") == 0) {
        return take_in_port(match->rule, text);
    }
    if (strcmp(name, "ipv4_src") == 0) {
        return parse_prefix(text, &match->source);
    }
    if (strcmp(name, "ipv4_dst") == 0) {
        return parse_prefix(text, &match->destination);
    }
    if (strcmp(name, "tcp_src") == 0 || strcmp(name, "tcp_dst") == 0 ||
        strcmp(name, "udp_src") == 0 || strcmp(name, "udp_dst") == 0) {
        return take_port(match->rule, name, value);
    }
    return take_byte(match->rule, name, value);
}

static int parse_match(const json_t *json, struct sdn_rule *rule, struct error *error)
{
    struct match match = {.rule = rule};
    const char *name;
    json_t *value;

    if (!json_is_object(json)) {
        return wrong(error, "/match", "the match is missing");
    }
    json_object_foreach ((json_t *)json, name, value) {
        char pointer[64];
        int rc = take_field(&match, name, value);
        snprintf(pointer, sizeof pointer, "/match/%.40s", name);
        if (rc < 0) {
            return wrong(error, pointer,
                         rc == -ENOENT ? "there is no such field"
                                       : "this field can't have this value here");
        }
    }
    set_prefixes(rule, match.source, match.destination);
    return 0;
}

/* What a switch would refuse is refused here, with the field's name. */
static int check(const struct sdn_rule *rule, struct error *error)
{
    struct of_flow flow;

    sdn_rule_flow(rule, 0, 0, &flow);
    int rc = of_match_check(&flow.match, error);
    if (rc < 0) {
        error_prefix(error, "/match");
    }
    return rc;
}

int sdn_flow_parse(const json_t *spec, struct sdn_rule *ret_rule, struct error *error)
{
    struct sdn_rule rule = {.kind = SDN_FLOW, .from = SDN_FROM_TUNNEL | SDN_FROM_NODE};
    const json_t *actions = json_object_get(spec, "actions");

    int rc = parse_priority(spec, &rule, error);
    if (rc == 0) {
        rc = parse_match(json_object_get(spec, "match"), &rule, error);
    }
    if (rc < 0) {
        return rc;
    }
    rule.passes = json_array_has(actions, "pass");
    if (json_array_size(actions) != 1 || (!rule.passes && !json_array_has(actions, "drop"))) {
        return wrong(error, "/actions", "the actions are neither [\"drop\"] nor [\"pass\"]");
    }
    rc = check(&rule, error);
    if (rc == 0) {
        *ret_rule = rule;
    }
    return rc;
}
