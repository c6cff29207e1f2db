/* sdn-public-rules.h - what a filter is to nftables, on the machine's own NICs. Pure.
 *
 * Ten thousand rules in a row would cost each packet ten thousand comparisons, the tunnel's
 * encrypted ones too. So filters are sorted by their shape - direction, priority, which fields
 * they look at, and how many bits of each - and each shape is one rule that looks a packet's
 * masked fields up in one hash set, as Open vSwitch does it ("tuple space search"):
 *
 *     chain arriving {
 *         ip frag-off & 8191 == 0 meta l4proto . ip daddr & 255.255.0.0 . th dport \
 *             @arriving_1000_proto_d16_port16 drop
 *         ip daddr @own ip frag-off & 8191 == 0 meta l4proto . th dport \
 *             @arriving_1000_proto_dself_port16 drop
 *     }
 *     set arriving_1000_proto_d16_port16 {
 *         type inet_proto . ipv4_addr . inet_service; counter
 *         elements = { tcp . 134.157.0.0 . 1919 counter packets 3 bytes 180 comment "filter 7" }
 *     }
 *
 * A packet costs as many look-ups as there are shapes, which are few, and a filter more or less is
 * some elements. Rules of a higher priority stand first; a dropped packet is seen by no later one,
 * so each is counted once.
 *
 * A filter becomes several elements: one for each direction, one more where its prefix covers this
 * node's public address (the NIC may then have another one, behind a 1:1 NAT: set `own`), and for
 * a range of ports one for each block of ports that begin with the same bits. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/error.h"
#include "lib/ip.h"

#define PUBLIC_TABLE "cnsmo_sdn" /* of family netdev */
#define PUBLIC_OWN "own"         /* the set of the NICs' own addresses */

enum {
    PUBLIC_SELF = 33,       /* instead of a prefix length: one of our own addresses */
    PUBLIC_NAME_SIZE = 64,  /* of a set */
    PUBLIC_KEY_SIZE = 16,   /* proto . source . destination . port, each padded to 4 bytes */
    PUBLIC_PARTS_MAX = 120, /* 2 directions, 2 for a prefix and ourselves, 30 blocks of ports */
};

struct public_filter {
    uint8_t arriving, leaving;
    uint8_t source_self, destination_self;
    uint8_t protocol;               /* of IP; 0: any */
    uint16_t port_first, port_last; /* 0: any */
    uint16_t priority;
    struct ip4_prefix source, destination;
};

struct public_shape {
    uint8_t leaving;
    uint8_t has_protocol;
    uint8_t source_bits, destination_bits; /* 0 to 32, or PUBLIC_SELF */
    uint8_t port_bits;                     /* 0 to 16 */
    uint16_t priority;
};

/* One element of one set. */
struct public_part {
    struct public_shape shape;
    uint8_t key[PUBLIC_KEY_SIZE]; /* as the kernel has it */
    uint8_t key_size;
};

/* A resource sdn/filter/<id>/<node>. */
int public_filter_parse(const json_t *spec, struct public_filter *ret_filter, struct error *error);

int public_filter_equal(const struct public_filter *a, const struct public_filter *b);

/* Is it about the overlay alone? Then it has no part here. */
int public_filter_is_inside(const struct public_filter *filter, struct ip4_prefix overlay);

/* Fills `parts` and returns how many. */
size_t public_filter_parts(const struct public_filter *filter,
                           struct public_part parts[PUBLIC_PARTS_MAX]);

/* The name of its set, and back; -EINVAL if it isn't one. */
const char *public_shape_name(const struct public_shape *shape, char name[PUBLIC_NAME_SIZE]);
int public_shape_parse(const char *name, struct public_shape *ret_shape);

/* <0, 0 or >0: the order in which their rules stand. */
int public_shape_compare(const struct public_shape *a, const struct public_shape *b);

/* As nft lists them and takes them; new references. */
json_t *public_table(void);
json_t *public_own_set(void);
json_t *public_shape_set(const struct public_shape *shape);
json_t *public_shape_rule(const struct public_shape *shape);
json_t *public_chain(int leaving);
/* A NIC's chain, named after its number, and its one rule. `device` may be NULL: nft 1.0.6 doesn't
 * list it. */
json_t *public_hook(int leaving, int index, const char *device);
json_t *public_hook_rule(int leaving, int index);
/* The number of the NIC whose chain is called so; -EINVAL for another name. */
int public_hook_parse(const char *name, int *ret_leaving, int *ret_index);

/* Elements are written as text: a tree of all those of ten thousand filters would take more memory
 * than all else in the agent. What "delete element" takes: */
void public_key_write(struct buf *buf, const struct public_shape *shape, const uint8_t *key);
/* The same with its comment, from which the filter's id can be read after any restart. */
void public_element_write(struct buf *buf, const struct public_shape *shape, const uint8_t *key,
                          const char *id);
/* The id in a comment, or NULL. */
const char *public_comment_id(const char *comment);
