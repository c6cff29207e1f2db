/* match.h - what packets a flow is for: fields with values and masks, and their OXM encoding.
 *
 * A match is a plain struct that needs no freeing. Begin with zeros (every packet), then set
 * fields; values are numbers in host order, an Ethernet address is a number of 48 bits:
 *
 *     struct of_match match = {0};
 *     of_match_set(&match, OF_ETH_TYPE, 0x0800);
 *     of_match_set(&match, OF_IP_PROTO, 6);
 *     of_match_set_masked(&match, OF_IPV4_DST, address, ip4_mask(16));
 *     of_match_set_masked(&match, OF_TCP_DST, masks[i].value, masks[i].mask);
 *
 * A range of ports becomes several flows, one for each of of_port_masks(). What a switch refuses
 * (tcp_dst without ip_proto=6, say) is found beforehand by of_match_check(), with the field's
 * name for the person who wrote it.
 *
 * The form is canonical: a value has no bits outside its mask, a mask of zero is no field. So two
 * matches are the same exactly if of_match_equal() says so, also when one came from a switch. A
 * decoded match may hold fields that aren't in the list below; they are only counted.
 *
 * Fields are encoded in the order of the list, which puts each after those it depends on and is
 * the order of Open vSwitch: an encoded match has the bytes that ovs-ofctl sends.
 *
 * Source: OpenFlow 1.4.1 section 7.2.3 (OXM); ip_frag, nw_ttl and the registers are Nicira's
 * extended matches, ovs-fields(7). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/error.h"

enum of_field {
    OF_IN_PORT, /* OF_PORT_LOCAL is the bridge's own */
    OF_ETH_SRC,
    OF_ETH_DST,
    OF_ETH_TYPE,
    OF_VLAN_VID, /* 0x1000 | id; 0 is "without a tag" */
    OF_VLAN_PCP,
    OF_IPV4_SRC,
    OF_IPV4_DST,
    OF_IP_FRAG, /* OF_FRAG_… */
    OF_IP_DSCP,
    OF_IP_ECN,
    OF_IP_TTL,
    OF_IP_PROTO,
    OF_TCP_SRC,
    OF_TCP_DST,
    OF_UDP_SRC,
    OF_UDP_DST,
    OF_ICMPV4_TYPE,
    OF_ICMPV4_CODE,
    OF_ARP_OP,
    OF_ARP_SPA,
    OF_ARP_TPA,
    OF_ARP_SHA,
    OF_ARP_THA,
    OF_REG0,
    OF_REG1,
    OF_REG2,
    OF_REG3,
    OF_REG4,
    OF_REG5,
    OF_REG6,
    OF_REG7,
    OF_METADATA,
    OF_FIELD_LEN,
};

enum {
    OF_FRAG_ANY = 1,   /* this bit: a fragment */
    OF_FRAG_LATER = 2, /* and this one: not the first, so it carries no ports */
    OF_FRAG_MASK = 3,
    OF_VLAN_PRESENT = 0x1000,
};

struct of_match {
    uint64_t fields; /* 1 << enum of_field for each that is set */
    uint64_t value[OF_FIELD_LEN];
    uint64_t mask[OF_FIELD_LEN]; /* of an exact value: all bits of the field */
    unsigned unknown_len;        /* decoded: how many fields there were beside these */
};

/* Bits beyond the field's width are cut off; a mask of 0 removes the field. */
void of_match_set(struct of_match *match, enum of_field field, uint64_t value);
void of_match_set_masked(struct of_match *match, enum of_field field, uint64_t value,
                         uint64_t mask);

static inline int of_match_has(const struct of_match *match, enum of_field field)
{
    return match->fields >> field & 1;
}

/* False if either has a field that we don't know. */
int of_match_equal(const struct of_match *a, const struct of_match *b);

/* -EINVAL, and which field ("/tcp_dst") lacks what, if a switch would refuse the match. */
int of_match_check(const struct of_match *match, struct error *error);

/* The specification's name ("tcp_dst", "icmpv4_type"), and back: -ENOENT if there is none. */
const char *of_field_name(enum of_field field);
int of_field_find(const char *name, enum of_field *ret_field);
/* Width in bits, and whether the switch takes a mask for it. */
unsigned of_field_bits(enum of_field field);
int of_field_is_maskable(enum of_field field);

/* --- ranges of ports --- */

struct of_port_mask {
    uint16_t value, mask;
};

enum {
    OF_PORT_MASKS_MAX = 30, /* the worst range, 1 to 65534 */
};

/* The fewest prefixes that cover `first` to `last` exactly and don't overlap; returns how many.
 * Prefixes, because a switch looks a packet up once per different mask: so all ranges of a node
 * share at most 16 lookups. 0 if the range is empty (first > last). */
size_t of_port_masks(uint16_t first, uint16_t last,
                     struct of_port_mask ret_masks[OF_PORT_MASKS_MAX]);
