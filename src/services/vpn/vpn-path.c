#include "services/vpn/vpn-path.h"

#include <string.h>

enum {
    USEC = 1000000,
    SESSION_SEC = 180, /* WireGuard's REJECT_AFTER_TIME: an older session is dead */
    QUIET_SEC = 20,    /* longer than PATH_SILENT_SEC, so that the other end notices */
    TRY_SEC = 60,
    SLOT_SEC = 5, /* one endpoint; WireGuard repeats a handshake after as long */
    SECOND_SEC = 2,
    PATIENCE_MSEC = 500, /* the other end will begin */
    NEWCOMER_MSEC = 100, /* the others have been told, nearly at the same moment */
    WINDOW_SEC = 20,
    WINDOW_EVERY_SEC = 300,
    GAP_SEC = 12,        /* we slept: silence of that time says nothing */
    HUB_STEADY_SEC = 30, /* an earlier hub must have been heard for so long */
    DOUBT_SEC = 7,       /* a keepalive is missing */
};

uint32_t path_pair(const char *a, const char *b)
{
    /* FNV-1a over both, in one order. */
    const char *first = strcmp(a, b) <= 0 ? a : b, *second = first == a ? b : a;
    uint32_t hash = 2166136261U;

    for (const char *p = first; *p; p++) {
        hash = (hash ^ (uint8_t)*p) * 16777619U;
    }
    hash = (hash ^ 0xffU) * 16777619U;
    for (const char *p = second; *p; p++) {
        hash = (hash ^ (uint8_t)*p) * 16777619U;
    }
    return hash;
}

static int is_silent(const struct path_peer *p, struct path_now now)
{
    return now.usec - p->heard_usec >= (int64_t)PATH_SILENT_SEC * USEC;
}

int path_alive(const struct path_peer *p, struct path_now now)
{
    return p->heard && !is_silent(p, now);
}

void path_peer_changed(struct path_peer *p, struct path_now now)
{
    p->tries = 0;
    p->try_until_usec = now.usec + (int64_t)TRY_SEC * USEC;
}

void path_done(struct path_peer *p)
{
    if (p->want.renew) {
        /* Its counters begin again, and the first bytes may be as many as before. */
        p->rx_last = 0;
    }
    p->want.renew = 0;
    p->want.endpoint = (struct ip4_endpoint){0};
}

/* --- what was seen --- */

static void learn_first(struct path_peer *p, struct path_now now)
{
    p->known = 1;
    p->known_usec = now.usec;
    p->heard_usec = now.usec;
    p->alive_since_usec = now.usec;
    p->rx_last = p->seen.rx_bytes;
    p->tried_slot = -1;
    path_peer_changed(p, now);
    if (p->seen.present) {
        /* We were restarted: go on as it is, and take a peer with a session for alive. */
        p->state = p->seen.own ? PATH_DIRECT : PATH_HUB;
        p->good = p->seen.endpoint;
        p->heard = p->seen.handshake_sec != 0;
    }
}

static void learn(struct path_peer *p, struct path_now now)
{
    const struct path_seen *seen = &p->seen;

    p->grew = seen->rx_bytes > p->rx_last;
    p->rx_last = seen->rx_bytes;
    if (seen->handshake_sec != p->handshake_last) {
        p->handshake_last = seen->handshake_sec;
        p->session_usec = now.usec;
    }
    if (!p->grew) {
        return;
    }
    if (!path_alive(p, now)) {
        p->alive_since_usec = now.usec;
    }
    p->heard = 1;
    p->heard_usec = now.usec;
    if (seen->endpoint.port && seen->handshake_sec) {
        p->good = seen->endpoint;
    }
}

static int has_session(const struct path_peer *p, struct path_now now)
{
    return p->seen.handshake_sec && now.usec - p->session_usec < (int64_t)SESSION_SEC * USEC;
}

/* After a pause of ours, all that was measured in time moves on with it. */
static void skip_gap(struct path *path, struct path_peer *const *peers, size_t len,
                     struct path_now now)
{
    int64_t gap = now.usec - path->last_usec;

    if (path->last_usec && gap > (int64_t)GAP_SEC * USEC) {
        for (size_t i = 0; i < len; i++) {
            struct path_peer *p = peers[i];
            p->heard_usec += gap;
            p->alive_since_usec += gap;
            p->session_usec += gap;
            p->quiet_until_usec += gap;
            p->try_until_usec += gap;
        }
    }
    path->last_usec = now.usec;
}

/* --- the active hub --- */

/* At our start nothing was heard yet of anybody, and the first hub must be believed in. */
static int hub_usable(const struct path *path, const struct path_peer *p, struct path_now now)
{
    int starting = now.usec - path->start_usec < (int64_t)PATH_SILENT_SEC * USEC;

    return path_alive(p, now) || (starting && !is_silent(p, now));
}

static int hub_steady(const struct path_peer *p, struct path_now now)
{
    return path_alive(p, now) && now.wall_sec % 10 == 0 &&
           now.usec - p->alive_since_usec >= (int64_t)HUB_STEADY_SEC * USEC;
}

static void choose_hub(struct path *path, struct path_peer *const *peers, size_t len,
                       struct path_now now)
{
    struct path_peer *first = NULL, *learnt = NULL, *usable = NULL, *active = path->active;
    int before = 1;

    for (size_t i = 0; i < len; i++) {
        struct path_peer *p = peers[i];
        if (!p->config.hub) {
            continue;
        }
        first = first ? first : p;
        learnt = learnt || !p->seen.range ? learnt : p;
        before = before && p != active;
        usable = usable || !hub_usable(path, p, now) ? usable : p;
        if (active && before && hub_steady(p, now)) {
            path->active = p;
            return;
        }
    }
    if (active && active->config.hub && hub_usable(path, active, now)) {
        return;
    }
    if (!active && learnt && !is_silent(learnt, now)) {
        path->active = learnt;
        return;
    }
    path->active = usable ? usable : active && active->config.hub ? active : first;
}

/* --- decisions --- */

static int in_window(const struct path_peer *p, struct path_now now)
{
    int64_t offset = p->config.pair % WINDOW_EVERY_SEC;

    return (now.wall_sec + offset) % WINDOW_EVERY_SEC < WINDOW_SEC;
}

static struct ip4_endpoint next_endpoint(struct path_peer *p)
{
    const struct path_config *c = &p->config;
    int known = p->good.port == 0;

    for (size_t i = 0; i < c->endpoints_len; i++) {
        known |=
            c->endpoints[i].address == p->good.address && c->endpoints[i].port == p->good.port;
    }
    size_t len = c->endpoints_len + (known ? 0 : 1);
    if (len == 0) {
        return (struct ip4_endpoint){0};
    }
    size_t i = p->tries++ % len;
    return i < c->endpoints_len ? c->endpoints[i] : p->good;
}

/* When the first handshake with a peer may be begun. */
static int64_t first_try_usec(const struct path *path, const struct path_peer *p)
{
    if (!path->announced) {
        return INT64_MAX;
    }
    if (p->known_usec > path->announced_usec) {
        return p->known_usec; /* it is the newcomer, and knows us already */
    }
    if (p->known_usec < path->announced_usec) {
        int64_t wait_msec = path->public ? PATIENCE_MSEC : NEWCOMER_MSEC;
        return path->announced_usec + wait_msec * 1000;
    }
    /* Both are old, and we were started again. */
    return p->known_usec + (p->config.second ? (int64_t)PATIENCE_MSEC * 1000 : 0);
}

/* True while the peer's first try isn't due; notes when the next such try is. */
static int must_wait(struct path *path, const struct path_peer *p, struct path_now now)
{
    int64_t due_usec = first_try_usec(path, p);

    if (p->seen.handshake_sec || p->heard || p->tries > 0 || now.usec >= due_usec) {
        return 0;
    }
    if (due_usec != INT64_MAX && (!path->due_usec || due_usec < path->due_usec)) {
        path->due_usec = due_usec;
    }
    return 1;
}

static void try_endpoint(struct path_peer *p, struct path_now now)
{
    int64_t slot = (now.wall_sec - (p->config.second ? SECOND_SEC : 0)) / SLOT_SEC;
    int first = p->tries == 0;

    /* A slot that has just begun when it ends isn't a try. */
    if (slot == p->tried_slot ||
        (!first && now.usec - p->tried_usec < (int64_t)(SLOT_SEC - 1) * USEC)) {
        return;
    }
    struct ip4_endpoint endpoint = next_endpoint(p);
    if (endpoint.port) {
        p->tried_slot = slot;
        p->tried_usec = now.usec;
        p->want.endpoint = endpoint;
        /* Packets that came while it had no endpoint were tries of WireGuard's own, the next of
         * which would be 5 s later. */
        p->want.renew |= p->seen.present && (!first || p->seen.handshake_sec || !p->heard);
    }
}

static void fall_back(struct path_peer *p, struct path_now now)
{
    p->state = PATH_HUB;
    p->tries = 0;
    p->quiet_until_usec = now.usec + (int64_t)QUIET_SEC * USEC;
    p->try_until_usec = p->quiet_until_usec + (int64_t)TRY_SEC * USEC;
    p->want.endpoint = (struct ip4_endpoint){0};
    p->want.renew = 1;
}

static void decide(struct path *path, struct path_peer *p, struct path_now now)
{
    int fixed = path->hub || p->config.hub || !path->active;
    int hub_alive = path->active && path_alive(path->active, now);
    int silent = is_silent(p, now);

    switch (p->state) {
    case PATH_NEW:
        p->state = fixed || (path->public && p->config.public) ? PATH_DIRECT : PATH_HUB;
        break;
    case PATH_HUB:
        if (fixed || (p->grew && has_session(p, now))) {
            p->state = PATH_DIRECT;
        }
        break;
    case PATH_DIRECT:
        if (silent && !fixed && hub_alive) {
            fall_back(p, now);
        }
        break;
    }
    /* The first silence after it was heard begins a time of tries. */
    if (silent && p->heard && p->state == PATH_DIRECT) {
        p->heard = 0;
        path_peer_changed(p, now);
    }
    int needed = p->state == PATH_HUB || silent || !p->heard;
    int eager = now.usec < p->try_until_usec || in_window(p, now);
    int trying = needed && now.usec >= p->quiet_until_usec && (eager || p->config.hub);
    p->waiting = must_wait(path, p, now);
    if (trying && !p->waiting) {
        try_endpoint(p, now);
    } else if (p->state == PATH_DIRECT && !p->seen.present) {
        p->want.endpoint = p->good; /* the device was rebuilt */
    }
    p->want.own = p->state == PATH_DIRECT;
    p->want.range = p == path->active && !path->hub;
    int keep = trying || (p->state == PATH_DIRECT && !silent);
    p->want.keepalive_sec = keep && !p->waiting ? PATH_KEEPALIVE_SEC : 0;
    p->unsettled =
        (trying && eager) || (!silent && now.usec - p->heard_usec > (int64_t)DOUBT_SEC * USEC);
}

void path_step(struct path *path, struct path_peer *const *peers, size_t len, struct path_now now)
{
    if (!path->start_usec) {
        path->start_usec = now.usec;
    }
    if (!path->announced) {
        path->announced_usec = 0;
    } else if (!path->announced_usec) {
        path->announced_usec = now.usec;
    }
    path->due_usec = 0;
    skip_gap(path, peers, len, now);
    for (size_t i = 0; i < len; i++) {
        if (!peers[i]->known) {
            learn_first(peers[i], now);
        }
        learn(peers[i], now);
    }
    choose_hub(path, peers, len, now);
    for (size_t i = 0; i < len; i++) {
        decide(path, peers[i], now);
    }
}
