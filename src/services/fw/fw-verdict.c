#include "services/fw/fw-verdict.h"

enum {
    DHCP_SERVER = 67,
    DHCP_CLIENT = 68,
};

static int has_address(const struct fw_addresses *addresses, int is_known, uint32_t address)
{
    for (size_t i = 0; is_known && i < addresses->len; i++) {
        if (ip4_contains(addresses->list[i], address)) {
            return 1;
        }
    }
    return addresses->len == 0;
}

static int has_port(const struct fw_ports *ports, struct fw_range range)
{
    for (size_t i = 0; i < ports->len; i++) {
        if (range.from >= ports->list[i].from && range.to <= ports->list[i].to) {
            return 1;
        }
    }
    return ports->len == 0;
}

int fw_rule_matches(const struct fw_rule *rule, const struct fw_packet *packet)
{
    if (rule->direction != packet->direction ||
        (rule->side != FW_ANY_SIDE && rule->side != packet->side) ||
        (rule->protocol != FW_ANY && rule->protocol != packet->protocol) ||
        (rule->state != FW_ANY_STATE && rule->state != packet->state)) {
        return 0;
    }
    /* Addresses are IPv4's: a rule with one means no other packets. */
    if (packet->is_ip6 && rule->source.len + rule->destination.len > 0) {
        return 0;
    }
    return has_address(&rule->source, packet->has_source, packet->source) &&
           has_address(&rule->destination, packet->has_destination, packet->destination) &&
           has_port(&rule->port, packet->port) &&
           has_port(&rule->source_port, packet->source_port);
}

static int is_port(struct fw_range range, uint16_t port)
{
    return range.from == port && range.to == port;
}

static int is_of_fabric(const struct fw_policy *policy, const struct fw_packet *packet)
{
    for (size_t i = 0; i < policy->vpn_ports_len; i++) {
        if (is_port(packet->port, policy->vpn_ports[i]) ||
            (packet->direction == FW_OUT && is_port(packet->source_port, policy->vpn_ports[i]))) {
            return 1;
        }
    }
    return 0;
}

/* That of IPv6 isn't modelled: no test sends its neighbours' messages. */
static int is_vital(const struct fw_policy *policy, const struct fw_packet *packet)
{
    int is_in = packet->direction == FW_IN;

    if (packet->protocol != FW_UDP || packet->side != FW_PUBLIC) {
        return 0;
    }
    return is_of_fabric(policy, packet) ||
           (!packet->is_ip6 && is_port(packet->port, is_in ? DHCP_CLIENT : DHCP_SERVER) &&
            is_port(packet->source_port, is_in ? DHCP_SERVER : DHCP_CLIENT));
}

enum fw_action fw_verdict(const struct fw_rule *const *rules, size_t len,
                          const struct fw_policy *policy, const struct fw_packet *packet)
{
    for (size_t i = 0; i < len; i++) {
        if (rules[i]->action != FW_LOG && fw_rule_matches(rules[i], packet)) {
            return rules[i]->action;
        }
    }
    if (packet->state == FW_ESTABLISHED || is_vital(policy, packet)) {
        return FW_ACCEPT;
    }
    return packet->direction == FW_IN ? policy->in : policy->out;
}
