/* vpn-fabric.h - what carries the overlay from machine to machine: WireGuard or OpenVPN.
 *
 * Device name, marks, address, routes, MTU, forwarding and guard are the same with every fabric
 * (vpn-device.c, vpn-guard.c); a fabric makes the link, runs what moves packets through it, and
 * knows its peers. `vpn/self` says which fabric is in force: v->fabric. When that changes the
 * device first takes the old one's parts away and then asks the new one; guard and unreachable
 * route stay all the time, so nothing leaves in clear meanwhile.
 *
 *     observe (each fabric) ─► matches? ─no─► the others' remove ─► make_link ─► mark
 *                                                 ─► prepare ─► address, up, route ─► finish
 *
 * Functions return 0, -EAGAIN (it is coming; try again soon) or a negative errno with *error
 * filled. "The link" is v->device.link. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "core/backend.h"
#include "lib/netlink.h"

struct vpn;
struct vpn_peer;

/* How many peers are reached in which way; for the status' message. */
struct vpn_count {
    size_t direct, hub, none, hubs;
    int hub_alive;
};

struct vpn_fabric {
    const char *name;   /* in vpn/self */
    int routes_clients; /* outside clients of ours may be behind the link */

    /* Is the link of a kind that this fabric makes? */
    int (*owns_link)(const struct netlink_link *link);
    /* The link is of that kind, but unmarked: did we make it, and were stopped before we could
     * mark it? */
    int (*made_link)(const struct vpn *v);

    /* Every fabric is asked at each observation, after the link was looked at. states() adds what
     * peers of it there are on the host. */
    void (*observe)(struct vpn *v);
    void (*states)(struct vpn *v, struct omap *states);
    /* Is anything of this fabric there? */
    int (*present)(struct vpn *v);

    /* The tunnel is to leave the host for the namespace (`inside`), or the other way. What can be
     * got ready before it is taken away, so that little is lost: -EAGAIN until it is. */
    int (*can_move)(struct vpn *v, struct error *error);
    /* Moves it, or takes it away, to be made anew at its new place. */
    int (*move)(struct vpn *v, int inside, struct error *error);

    /* On the host, or in the namespace if vpn_is_inside(). */
    int (*make_link)(struct vpn *v, struct error *error);
    int (*matches)(struct vpn *v);
    int (*prepare)(struct vpn *v, struct error *error); /* the link is there and marked; or NULL */
    int (*finish)(struct vpn *v, struct error *error);  /* address and routes are too; or NULL */
    /* Takes away all of it, with the link if it is this fabric's. */
    int (*remove)(struct vpn *v, struct error *error);

    /* The peer's resource is the one in v->peers, and what states() gave is `note`. */
    enum backend_match (*compare_peer)(struct vpn *v, const char *id, const char *note);
    enum backend_match (*compare_client)(struct vpn *v, const char *name);
    /* The items' peers and clients have been taken over, or dropped. Sets the result of those that
     * are still RESULT_NOT_YET. */
    void (*apply_peers)(struct vpn *v, struct backend_item *items, size_t len);
    /* What note of an applied peer is kept for the next states(). */
    const char *(*peer_note)(const json_t *spec);

    /* Milliseconds until tick() is wanted; -1: not at all. */
    int64_t (*tick_msec)(const struct vpn *v);
    void (*tick)(struct vpn *v);

    /* After -EAGAIN, what is waited for: a sentence, or NULL. May be NULL itself. */
    const char *(*waits_for)(const struct vpn *v);
    int (*hangs)(const struct vpn *v); /* or because something doesn't work; may be NULL */

    /* Who runs the tunnel, for fact and status; NULL: not known yet. */
    const char *(*backend)(const struct vpn *v);
    /* The status of one peer; counts it. A new reference. */
    json_t *(*peer_status)(struct vpn *v, const char *id, const struct vpn_peer *peer,
                           struct vpn_count *count);
};

extern const struct vpn_fabric VPN_WIREGUARD, VPN_OPENVPN;

/* All of them, NULL-terminated. */
extern const struct vpn_fabric *const VPN_FABRICS[];
