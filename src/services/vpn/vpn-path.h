/* vpn-path.h - pure: does a peer's traffic go to it directly or through which hub?
 *
 * A peer's /32 stands on exactly one WireGuard peer, and WireGuard drops what arrives from
 * another. So both ends of a pair must come to the same answer at about the same time, without
 * talking to each other: they see the same handshakes, and the driver steps at whole seconds of
 * the wall clock.
 *
 *            fixed, or a public endpoint at both ends: at once
 *                 ┌─────────────────────────────────────────────────┐
 *                 │     session younger than 180 s, bytes arrive    ▼
 *   (new) ──► [PATH_HUB] ─────────────────────────────────────► [PATH_DIRECT]
 *                 ▲  quiet 20 s, tries 60 s, then                   │
 *                 │  tries 20 s in every 300 s                      │
 *                 └─────────── nothing received for 15 s ◄──────────┘  only if the hub is alive
 *
 * "Fixed" are pairs that have no other way: one of them is a hub, or there is no hub at all.
 *
 * While it tries, every 5 s the peer gets its next endpoint, and a new session. One end does so 2
 * s after the other: when both begin a handshake at once, each drops its own for the other's.
 * Being quiet after a fall-back, with the session forgotten, makes the other end fall back too
 * when only one direction of the path is dead. The 300 s are counted from a moment that both ends
 * derive from their names, so that they try at the same time, which is what opens NATs.
 *
 * The active hub carries the overlay range: the first, in the order of ids, of those heard within
 * 15 s, so that all nodes agree. An earlier one that comes (back) is taken when it has been heard
 * for 30 s, at the next full ten seconds.
 *
 * The very first handshake of a pair is begun by the end that was there first: the newcomer knows
 * its peers before they know it, so what it sent at once would be lost, and WireGuard sends again
 * only after 5 s. A newcomer starts to count when it is announced (vpn/self says that the
 * others have been told its key): if it has no public endpoint nobody can begin but
 * itself, and it soon does; else it leaves the others a moment.
 *
 * How to use: fill `path`, and per peer `config` and (before each step) `seen`; call path_step();
 * make the device match each peer's `want`; tell that it was done with path_done(). The caller
 * owns all memory; pointers in `peers` are in the order of ids. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/ip.h"

enum {
    PATH_ENDPOINTS_MAX = 16,
    PATH_SILENT_SEC = 15,
    PATH_KEEPALIVE_SEC = 5,
};

enum path_state {
    PATH_NEW,
    PATH_HUB,
    PATH_DIRECT,
};

struct path_peer {
    /* What the resource says. `pair` is the same number at both ends: path_pair(). */
    struct path_config {
        int hub;
        int public; /* has a declared or public endpoint */
        uint32_t pair;
        int second; /* our tries come 2 s after the other end's */
        struct ip4_endpoint endpoints[PATH_ENDPOINTS_MAX];
        size_t endpoints_len;
    } config;

    /* What the device says. */
    struct path_seen {
        int present; /* the device has this peer; the rest is 0 if not */
        uint64_t rx_bytes;
        int64_t handshake_sec;        /* wall clock; 0: never */
        struct ip4_endpoint endpoint; /* port 0: none */
        int own, range;               /* its allowed IPs hold its /32, the overlay range */
    } seen;

    /* What the device shall have. */
    struct path_want {
        int own, range;
        unsigned keepalive_sec;       /* 0: off */
        struct ip4_endpoint endpoint; /* port 0: leave it as WireGuard has it */
        int renew;                    /* forget the session: remove the peer and add it again */
    } want;

    enum path_state state;
    int unsettled; /* something is about to change: look again in a second */
    int waiting;   /* its first try isn't due yet: WireGuard must have no reason to begin */

    /* Our memory; zero for a new peer. Times are monotonic. */
    int known;                      /* the members below are filled */
    int64_t known_usec;             /* since when */
    int heard;                      /* bytes came, and it wasn't silent since */
    int64_t heard_usec;             /* when they last did, or when it got known */
    int64_t alive_since_usec;       /* heard without a break since */
    int64_t session_usec;           /* when the last handshake was noticed */
    int64_t quiet_until_usec;       /* no tries before */
    int64_t try_until_usec;         /* tries without a break until */
    int64_t tried_usec, tried_slot; /* the last try */
    unsigned tries;                 /* counts through the endpoints */
    uint64_t rx_last;
    int64_t handshake_last;
    int grew;                 /* bytes came since the last step */
    struct ip4_endpoint good; /* where it was last heard from */
};

struct path_now {
    int64_t usec;     /* monotonic */
    int64_t wall_sec; /* since 1970 */
};

struct path {
    int hub, public; /* about ourselves */
    int announced;   /* the others were told of us */

    /* The caller reads it: when the next first try is due, monotonic; 0: none waits. */
    int64_t due_usec;
    int64_t announced_usec; /* our memory */

    struct path_peer *active; /* the active hub; NULL: none. The caller clears it when it frees
                               * that peer */
    int64_t start_usec, last_usec;
};

/* A number that both ends of a pair of node ids agree about. */
uint32_t path_pair(const char *a, const char *b);

/* The peer's endpoints changed: tries begin anew. */
void path_peer_changed(struct path_peer *peer, struct path_now now);

void path_step(struct path *path, struct path_peer *const *peers, size_t len, struct path_now now);

/* The peer's `want` is on the device now. */
void path_done(struct path_peer *peer);

/* Was it heard lately? */
int path_alive(const struct path_peer *peer, struct path_now now);
