#include "openflow/field.h"

#include <errno.h>
#include <string.h>

enum {
    BASIC = 0x8000, /* OXM classes: the specification's */
    NXM = 0x0001,   /* and Nicira's extended matches */
    IP = 0x0800,
    ARP = 0x0806,
    ICMP = 1,
    TCP = 6,
    UDP = 17,
};

const struct of_field_info OF_FIELDS[OF_FIELD_LEN] = {
    [OF_IN_PORT] = {"in_port", BASIC, 0, 4, 32, 0, 0, 0},
    [OF_ETH_SRC] = {"eth_src", BASIC, 4, 6, 48, 1, 0, 0},
    [OF_ETH_DST] = {"eth_dst", BASIC, 3, 6, 48, 1, 0, 0},
    [OF_ETH_TYPE] = {"eth_type", BASIC, 5, 2, 16, 0, 0, 0},
    [OF_VLAN_VID] = {"vlan_vid", BASIC, 6, 2, 13, 1, 0, 0},
    [OF_VLAN_PCP] = {"vlan_pcp", BASIC, 7, 1, 3, 0, 0, 0},
    [OF_IPV4_SRC] = {"ipv4_src", BASIC, 11, 4, 32, 1, IP, 0},
    [OF_IPV4_DST] = {"ipv4_dst", BASIC, 12, 4, 32, 1, IP, 0},
    [OF_IP_FRAG] = {"ip_frag", NXM, 26, 1, 2, 1, IP, 0},
    [OF_IP_DSCP] = {"ip_dscp", BASIC, 8, 1, 6, 0, IP, 0},
    [OF_IP_ECN] = {"ip_ecn", BASIC, 9, 1, 2, 0, IP, 0},
    [OF_IP_TTL] = {"nw_ttl", NXM, 29, 1, 8, 0, IP, 0},
    [OF_IP_PROTO] = {"ip_proto", BASIC, 10, 1, 8, 0, IP, 0},
    [OF_TCP_SRC] = {"tcp_src", BASIC, 13, 2, 16, 1, IP, TCP},
    [OF_TCP_DST] = {"tcp_dst", BASIC, 14, 2, 16, 1, IP, TCP},
    [OF_UDP_SRC] = {"udp_src", BASIC, 15, 2, 16, 1, IP, UDP},
    [OF_UDP_DST] = {"udp_dst", BASIC, 16, 2, 16, 1, IP, UDP},
    [OF_ICMPV4_TYPE] = {"icmpv4_type", BASIC, 19, 1, 8, 0, IP, ICMP},
    [OF_ICMPV4_CODE] = {"icmpv4_code", BASIC, 20, 1, 8, 0, IP, ICMP},
    [OF_ARP_OP] = {"arp_op", BASIC, 21, 2, 16, 0, ARP, 0},
    [OF_ARP_SPA] = {"arp_spa", BASIC, 22, 4, 32, 1, ARP, 0},
    [OF_ARP_TPA] = {"arp_tpa", BASIC, 23, 4, 32, 1, ARP, 0},
    [OF_ARP_SHA] = {"arp_sha", BASIC, 24, 6, 48, 1, ARP, 0},
    [OF_ARP_THA] = {"arp_tha", BASIC, 25, 6, 48, 1, ARP, 0},
    [OF_REG0] = {"reg0", NXM, 0, 4, 32, 1, 0, 0},
    [OF_REG1] = {"reg1", NXM, 1, 4, 32, 1, 0, 0},
    [OF_REG2] = {"reg2", NXM, 2, 4, 32, 1, 0, 0},
    [OF_REG3] = {"reg3", NXM, 3, 4, 32, 1, 0, 0},
    [OF_REG4] = {"reg4", NXM, 4, 4, 32, 1, 0, 0},
    [OF_REG5] = {"reg5", NXM, 5, 4, 32, 1, 0, 0},
    [OF_REG6] = {"reg6", NXM, 6, 4, 32, 1, 0, 0},
    [OF_REG7] = {"reg7", NXM, 7, 4, 32, 1, 0, 0},
    [OF_METADATA] = {"metadata", BASIC, 2, 8, 64, 1, 0, 0},
};

const char *of_field_name(enum of_field field)
{
    return OF_FIELDS[field].name;
}

int of_field_find(const char *name, enum of_field *ret_field)
{
    for (enum of_field field = 0; field < OF_FIELD_LEN; field++) {
        if (strcmp(OF_FIELDS[field].name, name) == 0) {
            *ret_field = field;
            return 0;
        }
    }
    return -ENOENT;
}

unsigned of_field_bits(enum of_field field)
{
    return OF_FIELDS[field].bits;
}

int of_field_is_maskable(enum of_field field)
{
    return OF_FIELDS[field].is_maskable;
}

/* --- what a switch would refuse --- */

static int refuse(enum of_field field, const char *what, unsigned number, struct error *error)
{
    char pointer[32] = "/";

    strncat(pointer, OF_FIELDS[field].name, sizeof pointer - 2);
    return error_set(error, 400, pointer, "%s %s0x%x", OF_FIELDS[field].name, what, number);
}

/* Is it a field of a transport's header, which fragments but the first don't carry? */
static int is_transport(enum of_field field)
{
    return OF_FIELDS[field].ip_proto != 0;
}

static int check_field(const struct of_match *match, enum of_field field, struct error *error)
{
    const struct of_field_info *info = &OF_FIELDS[field];
    uint64_t frag = match->value[OF_IP_FRAG];

    if (!info->is_maskable && match->mask[field] != ~(uint64_t)0 >> (64 - info->bits)) {
        return refuse(field, "must be exact; its mask can only be ",
                      (unsigned)(~(uint64_t)0 >> (64 - info->bits)), error);
    }
    if (info->eth_type && match->value[OF_ETH_TYPE] != info->eth_type) {
        return refuse(field, "needs eth_type=", info->eth_type, error);
    }
    if (info->ip_proto && match->value[OF_IP_PROTO] != info->ip_proto) {
        return refuse(field, "needs ip_proto=", info->ip_proto, error);
    }
    if (is_transport(field) && frag & OF_FRAG_LATER) {
        return refuse(field, "isn't in a fragment but the first, ip_frag must not have bit ",
                      OF_FRAG_LATER, error);
    }
    if (field == OF_VLAN_PCP && !(match->value[OF_VLAN_VID] & OF_VLAN_PRESENT)) {
        return refuse(field, "needs a tag, vlan_vid with bit ", OF_VLAN_PRESENT, error);
    }
    return 0;
}

int of_match_check(const struct of_match *match, struct error *error)
{
    for (enum of_field field = 0; field < OF_FIELD_LEN; field++) {
        int rc = of_match_has(match, field) ? check_field(match, field, error) : 0;
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}
