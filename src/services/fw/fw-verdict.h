/* fw-verdict.h - what the firewall does to a packet, in one pure function: what the kernel is made
 * to do (fw-compile.h), and what changes that could cut somebody off are judged by (fw-lockout.c).
 * fw-kernel-test.c holds the two against each other.
 *
 *     the rules in their order    the first that matches; log goes on
 *     established                 accepted, if the default isn't accept
 *     what must never be cut      likewise: the fabric's tunnels, DHCP, IPv6's neighbours
 *     the default of the direction */
#pragma once

#include "services/fw/fw-rule.h"

enum {
    FW_VPN_PORTS_MAX = 4,
};

/* The defaults of a node, and the fabric's ports. */
struct fw_policy {
    enum fw_action in, out;
    uint16_t vpn_ports[FW_VPN_PORTS_MAX];
    size_t vpn_ports_len;
};

/* Ports are ranges: a packet whose port isn't known may have any of them, and is matched by a rule
 * only if the rule has all of them. */
struct fw_packet {
    enum fw_direction direction;
    enum fw_side side;         /* overlay or public */
    enum fw_protocol protocol; /* FW_ANY: another one */
    enum fw_state state;       /* new or established */
    int is_ip6;
    int has_source, has_destination; /* known? No rule with addresses matches others */
    uint32_t source, destination;
    struct fw_range port, source_port;
};

/* Would the rule look at it? */
int fw_rule_matches(const struct fw_rule *rule, const struct fw_packet *packet);

/* FW_ACCEPT, FW_DROP or FW_REJECT. The rules in order. */
enum fw_action fw_verdict(const struct fw_rule *const *rules, size_t len,
                          const struct fw_policy *policy, const struct fw_packet *packet);
