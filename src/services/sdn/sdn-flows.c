#include "services/sdn/sdn-flows.h"

#include "openflow/match.h"

#define COOKIE_OWNER ((uint64_t)0xC50D << 48)

enum {
    ETH_IPV4 = 0x0800,
    PROTOCOL_TCP = 6,
    /* In table 0: what is refused comes before what is let in. */
    PRIORITY_REFUSE = 200,
    PRIORITY_ADMIT = 100,
};

uint64_t sdn_cookie(enum sdn_kind kind, uint64_t number)
{
    return COOKIE_OWNER | (uint64_t)kind << 40 | number;
}

int sdn_cookie_parse(uint64_t cookie, enum sdn_kind *ret_kind, uint64_t *ret_number)
{
    unsigned kind = cookie >> 40 & 0xff;

    if (cookie >> 48 != COOKIE_OWNER >> 48 || kind >= SDN_KIND_LEN) {
        return 0;
    }
    *ret_kind = (enum sdn_kind)kind;
    *ret_number = cookie & SDN_NUMBER_MAX;
    return 1;
}

/* --- the base --- */

struct base {
    const struct sdn_self *self;
    unsigned number; /* only flows of this one */
    size_t skip;     /* so many more come before the one that is asked for */
    int found;
    struct of_flow *flow;
};

/* True when this is the flow that is asked for; it then has all but its match's addresses. */
static int is_next(struct base *base, unsigned number, uint8_t table, uint16_t priority,
                   uint32_t in_port)
{
    if (base->found || number != base->number || base->skip-- > 0) {
        return 0;
    }
    *base->flow = (struct of_flow){.table = table,
                                   .priority = priority,
                                   .flags = OF_FLOW_SEND_REMOVED,
                                   .cookie = sdn_cookie(SDN_BASE, number)};
    of_match_set(&base->flow->match, OF_IN_PORT, in_port);
    return base->found = 1;
}

static void match_prefix(struct of_flow *flow, enum of_field field, struct ip4_prefix prefix)
{
    of_match_set(&flow->match, OF_ETH_TYPE, ETH_IPV4);
    of_match_set_masked(&flow->match, field, prefix.address, ip4_mask(prefix.len));
}

static void refuse(struct base *base, struct ip4_prefix source)
{
    if (is_next(base, SDN_BASE_REST, SDN_TABLE_ADMISSION, PRIORITY_REFUSE, SDN_PORT_TUNNEL)) {
        match_prefix(base->flow, OF_IPV4_SRC, source);
    }
}

static void admit_from_tunnel(struct base *base, struct ip4_prefix destination)
{
    if (is_next(base, SDN_BASE_REST, SDN_TABLE_ADMISSION, PRIORITY_ADMIT, SDN_PORT_TUNNEL)) {
        match_prefix(base->flow, OF_IPV4_SRC, base->self->range);
        match_prefix(base->flow, OF_IPV4_DST, destination);
        base->flow->goto_table = SDN_TABLE_FILTERS;
    }
}

static void admit_from_node(struct base *base, struct ip4_prefix source)
{
    if (is_next(base, SDN_BASE_REST, SDN_TABLE_ADMISSION, PRIORITY_ADMIT, OF_PORT_LOCAL)) {
        match_prefix(base->flow, OF_IPV4_SRC, source);
        base->flow->goto_table = SDN_TABLE_FILTERS;
    }
}

static void go_on(struct base *base, uint8_t table, uint32_t in_port)
{
    if (is_next(base, SDN_BASE_REST, table, 0, in_port)) {
        base->flow->goto_table = table + 1;
    }
}

static void forward(struct base *base, unsigned number, uint32_t in_port, uint32_t out_port)
{
    if (is_next(base, number, SDN_TABLE_FORWARDING, 0, in_port)) {
        of_flow_output(base->flow, out_port);
    }
}

/* Clients with a device on the node have the lower half of their range; the others live behind
 * the tunnel (vpn-clients-driver.h). */
static struct ip4_prefix lower_half(struct ip4_prefix range)
{
    return (struct ip4_prefix){range.address, range.len < 32 ? range.len + 1 : 32};
}

int sdn_base_flow(const struct sdn_self *self, unsigned number, size_t index,
                  struct of_flow *ret_flow)
{
    const struct ip4_prefix own = {self->address, 32};
    const struct ip4_prefix clients = lower_half(self->clients);
    struct base base = {.self = self, .number = number, .skip = index, .flow = ret_flow};

    refuse(&base, own);
    admit_from_tunnel(&base, own);
    admit_from_node(&base, own);
    if (self->clients.len > 0) {
        refuse(&base, clients);
        admit_from_tunnel(&base, self->clients);
        admit_from_node(&base, clients);
    }
    for (uint8_t table = SDN_TABLE_FILTERS; table <= SDN_TABLE_FLOWS; table++) {
        go_on(&base, table, SDN_PORT_TUNNEL);
        go_on(&base, table, OF_PORT_LOCAL);
    }
    forward(&base, SDN_BASE_IN, SDN_PORT_TUNNEL, OF_PORT_LOCAL);
    forward(&base, SDN_BASE_OUT, OF_PORT_LOCAL, SDN_PORT_TUNNEL);
    return base.found;
}

/* --- filters and flows --- */

static void match_ports(const struct sdn_rule *rule, struct of_port_mask mask,
                        struct of_match *match)
{
    int is_tcp = rule->protocol == PROTOCOL_TCP;

    if (rule->has & SDN_HAS_SOURCE_PORT) {
        of_match_set(match, is_tcp ? OF_TCP_SRC : OF_UDP_SRC, rule->source_port);
    }
    if (rule->has & SDN_HAS_PORT) {
        of_match_set_masked(match, is_tcp ? OF_TCP_DST : OF_UDP_DST, mask.value, mask.mask);
    }
}

static void match_rest(const struct sdn_rule *rule, struct of_match *match)
{
    const struct {
        uint8_t has, value;
        enum of_field field;
    } fields[] = {
        {SDN_HAS_PROTOCOL, rule->protocol, OF_IP_PROTO},
        {SDN_HAS_ICMP_TYPE, rule->icmp_type, OF_ICMPV4_TYPE},
        {SDN_HAS_ICMP_CODE, rule->icmp_code, OF_ICMPV4_CODE},
        {SDN_HAS_DSCP, rule->dscp, OF_IP_DSCP},
        {SDN_HAS_ECN, rule->ecn, OF_IP_ECN},
    };

    of_match_set(match, OF_ETH_TYPE, ETH_IPV4);
    of_match_set_masked(match, OF_IPV4_SRC, rule->source, ip4_mask(rule->source_len));
    of_match_set_masked(match, OF_IPV4_DST, rule->destination, ip4_mask(rule->destination_len));
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (rule->has & fields[i].has) {
            of_match_set(match, fields[i].field, fields[i].value);
        }
    }
}

int sdn_rule_flow(const struct sdn_rule *rule, uint64_t number, size_t index,
                  struct of_flow *ret_flow)
{
    struct of_port_mask masks[OF_PORT_MASKS_MAX] = {{0}};
    size_t masks_len = 1;
    size_t froms = rule->from == (SDN_FROM_TUNNEL | SDN_FROM_NODE) ? 2 : 1;

    if (rule->has & SDN_HAS_PORT) {
        masks_len = of_port_masks(rule->first_port, rule->last_port, masks);
    }
    if (index >= froms * masks_len) {
        return 0;
    }
    int is_second = index >= masks_len;
    int is_from_node = is_second || !(rule->from & SDN_FROM_TUNNEL);
    *ret_flow = (struct of_flow){
        .table = rule->kind == SDN_FILTER ? SDN_TABLE_FILTERS : SDN_TABLE_FLOWS,
        .priority = rule->priority,
        .flags = OF_FLOW_SEND_REMOVED,
        .cookie = sdn_cookie(rule->kind, number),
        .goto_table = rule->passes ? SDN_TABLE_FORWARDING : 0,
    };
    of_match_set(&ret_flow->match, OF_IN_PORT, is_from_node ? OF_PORT_LOCAL : SDN_PORT_TUNNEL);
    match_rest(rule, &ret_flow->match);
    match_ports(rule, masks[index % masks_len], &ret_flow->match);
    return 1;
}

/* --- comparing --- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15;
    return hash ^ hash >> 29;
}

uint64_t sdn_flow_key(const struct of_flow *flow)
{
    const struct of_match *match = &flow->match;
    uint64_t hash = mix((uint64_t)flow->table << 16 | flow->priority, match->fields);

    for (uint64_t rest = match->fields; rest; rest &= rest - 1) {
        int field = __builtin_ctzll(rest);
        hash = mix(mix(hash, match->value[field]), match->mask[field]);
    }
    return mix(hash, match->unknown_len);
}

uint64_t sdn_flow_digest(const struct of_flow *flow)
{
    uint64_t hash = mix(sdn_flow_key(flow), flow->cookie);

    hash = mix(hash, (uint64_t)flow->idle_sec << 32 | (uint64_t)flow->hard_sec << 16 |
                         (flow->flags & OF_FLOW_SEND_REMOVED));
    hash = mix(hash, (uint64_t)flow->goto_table << 16 | flow->importance);
    hash = mix(mix(hash, flow->metadata), flow->metadata_mask);
    for (unsigned i = 0; i < flow->actions_len && i < OF_ACTIONS_MAX; i++) {
        const struct of_action *action = &flow->actions[i];
        hash = mix(hash, action->type == OF_ACTION_OUTPUT ? action->port : action->value);
        hash = mix(hash, (uint64_t)action->type << 8 | action->field);
    }
    return mix(hash, (uint64_t)flow->unknown_len << 32 | flow->actions_len);
}
