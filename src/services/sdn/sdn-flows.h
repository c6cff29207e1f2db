/* sdn-flows.h - what the resources of sdn mean in the switch's tables. Pure.
 *
 * A resource is parsed once into a compact struct (a struct of_flow is large, and a node may have
 * ten thousand filters); its flows are made from that whenever they are needed, by number:
 *
 *     sdn_filter_parse(spec, &rule, error);
 *     for (size_t i = 0; sdn_rule_flow(&rule, 7, i, &flow); i++) { ... }
 *
 *     table 0  admission: only addresses that can be genuine; else dropped
 *              from the tunnel: to us (or our outside clients), from the overlay but not from us
 *              from the node:   from its own address (or its outside clients)
 *     table 1  filters, which drop                                        no match ─► 2
 *     table 2  flows that an operator wrote: drop, or pass (to 3)          no match ─► 3
 *     table 3  forwarding: tunnel ─► node, node ─► tunnel
 *
 * All flows have an in_port and a cookie that says whose they are, so that the switch's counters
 * can be told apart after any restart. A port range becomes a few prefixes (of_port_masks()).
 * Fragments after the first carry no ports: a filter with ports lets them pass, which is harmless
 * since without the first fragment nothing comes of them.
 *
 * What is on the switch is compared with what is wanted by digests: numbers that add up. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/ip.h"
#include "openflow/flow.h"

/* --- whose flow it is --- */

enum sdn_kind {
    SDN_BASE,
    SDN_FILTER,
    SDN_FLOW,
    SDN_KIND_LEN,
};

/* Numbers of the base. The two of table 3 have an own one: they count all traffic. */
enum {
    SDN_BASE_REST = 0,
    SDN_BASE_IN = 1,
    SDN_BASE_OUT = 2,
    SDN_BASE_LEN = 3,
};

#define SDN_NUMBER_MAX (((uint64_t)1 << 40) - 1)

uint64_t sdn_cookie(enum sdn_kind kind, uint64_t number);
/* False: somebody else's. */
int sdn_cookie_parse(uint64_t cookie, enum sdn_kind *ret_kind, uint64_t *ret_number);

enum {
    SDN_TABLE_ADMISSION,
    SDN_TABLE_FILTERS,
    SDN_TABLE_FLOWS,
    SDN_TABLE_FORWARDING,
    SDN_TABLE_LEN,
    SDN_PORT_TUNNEL = 1, /* OpenFlow's number of the port to the tunnel */
};

/* --- the node itself --- */

struct sdn_self {
    uint32_t address;
    struct ip4_prefix range;
    struct ip4_prefix clients; /* of our outside clients; len 0: none */
};

/* {"address","range","clientRange"}; -EINVAL and the member. */
int sdn_self_parse(const json_t *spec, struct sdn_self *ret_self, struct error *error);

/* 1 and the flow, 0 after the last one. `number`: SDN_BASE_… */
int sdn_base_flow(const struct sdn_self *self, unsigned number, size_t index,
                  struct of_flow *ret_flow);

/* --- filters and flows --- */

enum {
    SDN_FROM_TUNNEL = 1,
    SDN_FROM_NODE = 2,
};

/* sdn_rule.has */
enum {
    SDN_HAS_PROTOCOL = 1,
    SDN_HAS_SOURCE_PORT = 2,
    SDN_HAS_PORT = 4,
    SDN_HAS_ICMP_TYPE = 8,
    SDN_HAS_ICMP_CODE = 16,
    SDN_HAS_DSCP = 32,
    SDN_HAS_ECN = 64,
};

struct sdn_rule {
    uint32_t source, destination;
    uint16_t first_port, last_port; /* of the destination */
    uint16_t source_port;
    uint16_t priority;
    uint8_t source_len, destination_len;
    uint8_t kind;   /* enum sdn_kind */
    uint8_t from;   /* SDN_FROM_… */
    uint8_t passes; /* goes on to forwarding; else dropped */
    uint8_t has;
    uint8_t protocol; /* IANA's number */
    uint8_t icmp_type, icmp_code, dscp, ecn;
    uint8_t padding; /* none, so that rules can be compared as bytes */
};

int sdn_filter_parse(const json_t *spec, struct sdn_rule *ret_rule, struct error *error);
int sdn_flow_parse(const json_t *spec, struct sdn_rule *ret_rule, struct error *error);

/* 1 and the flow, 0 after the last one. */
int sdn_rule_flow(const struct sdn_rule *rule, uint64_t number, size_t index,
                  struct of_flow *ret_flow);

/* --- comparing --- */

/* Of table, priority and match: in a switch only one flow can have these. */
uint64_t sdn_flow_key(const struct of_flow *flow);
/* Of all that of_flow_equal() compares. */
uint64_t sdn_flow_digest(const struct of_flow *flow);
