/* addresses.h - who has which part of the overlay: nodes' addresses and hubs' client ranges.
 *
 *     10.77.0.0/16   |1 2 3 ... nodes' addresses, from below |          ... 248.0/21 |
 *                                                            | the last quarter: hubs'
 *                                                            | client ranges, from above
 *
 * Each VPN client from outside belongs to a hub and has its addresses from that hub's client
 * range, so every other node needs one route for all of them. A node's address chosen by the
 * server is never in the top quarter; one chosen by hand may be, where no client range is. A
 * pinned client range may lie anywhere in the overlay where no address is.
 *
 * Everything is read through a view and changes nothing. Two writes at once that each look at what
 * the other is about to take are kept apart by claims (equal values) and by one key that every
 * change of a client range or an address rewrites (node_gate() in deployment-internal.h). */
#pragma once

#include <stdint.h>

#include "lib/error.h"
#include "lib/ip.h"
#include "model/plan.h"

enum {
    CLIENT_RANGE_MIN_LEN = 8,
    CLIENT_RANGE_MAX_LEN = 29, /* the smallest has room for two clients */
};

/* The overlay's range. -ENOENT: there are no settings. */
int addresses_overlay(struct view *view, struct ip4_prefix *ret_range);

/* The last quarter of a range. */
struct ip4_prefix addresses_top_quarter(struct ip4_prefix overlay);

/* 0, or 409 that names who has a part of the range: another hub, or the owner of an address. What
 * `node` itself has is passed over. */
int addresses_check_range(struct view *view, const char *node, struct ip4_prefix range,
                          struct error *error);

/* 0, or 409 that names the hub, other than `node`, in whose client range the address lies. */
int addresses_check_address(struct view *view, const char *node, uint32_t address,
                            struct error *error);

/* The next free address for a node after `hint`, so that an address isn't soon given again and
 * joining costs the same with many nodes as with few. -ENOSPC: there is none. */
int addresses_choose(struct view *view, uint32_t hint, uint32_t *ret_address);

/* The highest free client range of the usual size for a hub. -ENOSPC: there is none. */
int addresses_choose_range(struct view *view, const char *node, struct ip4_prefix *ret_range);
