/* The overlay on WireGuard: what vpn/self and vpn/peer resources describe, on the host.
 *
 * `vpn/self/<node>` is everything but the peers: the device (kernel or wireguard-go), its key,
 * address, routes and the guard. `vpn/peer/<node>` is that the device has the peer; which allowed
 * IPs, endpoint and keepalive it has is decided by vpn-path.c from second to second, in the tick,
 * and compared here too, so that a pass repairs what was changed by hand.
 *
 *     netlink: link, address, route ──► calm timer ──► drifted? ──┐
 *     nftables: our table ────────────────────────────────────────┼──► reconcile_wake()
 *     wireguard-go ended ─────────────────────────────────────────┘
 *     tick (1 s or 4 s) ──► wg show dump ──► vpn-path ──► wg set
 *
 * Peers on the device carry only their public key; <run_dir>/vpn-peers.json says whose it is. One
 * without a name is found under "vpn/peer/?<key>", so that it is removed - unless the same pass
 * adds a peer with this key: then it is left as it is, with its session. */
#include "services/vpn/vpn-wireguard.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "services/vpn/vpn-driver.h"

enum {
    CALM_MSEC = 200, /* events within this time are looked at once */
    TICK_FAST_MSEC = 1000,
    TICK_SLOW_MSEC = 4000, /* with what a repair takes it stays within 5 s */
    NAMES_SIZE_MAX = 4 << 20,
};

#define SELF_PREFIX "vpn/self/"
#define PEER_PREFIX "vpn/peer/"

/* One per resource key. */
struct vpn_state {
    char key[KEY_TEXT_SIZE]; /* of a peer on the device; "" for the device, and for ourselves */
};

static int owns(const char *key)
{
    return strncmp(key, SELF_PREFIX, strlen(SELF_PREFIX)) == 0 ||
           strncmp(key, PEER_PREFIX, strlen(PEER_PREFIX)) == 0;
}

/* The node of a peer's key, or NULL if it is another's. */
static const char *peer_of(const char *key)
{
    size_t size = strlen(PEER_PREFIX);

    return strncmp(key, PEER_PREFIX, size) == 0 ? key + size : NULL;
}

static int is_own_self(const struct vpn *v, const char *key)
{
    return strncmp(key, SELF_PREFIX, strlen(SELF_PREFIX)) == 0 &&
           strcmp(key + strlen(SELF_PREFIX), v->env->node) == 0;
}

/* --- timers and events --- */

static void on_tick(uv_timer_t *timer);

/* Ticks come at whole seconds of the wall clock, so that both ends of a pair, which see the same
 * handshake, change their ways at the same moment. */
static void schedule_tick(struct vpn *v)
{
    int unsettled = 0;

    if (v->peers.len == 0 || !v->self_json) {
        uv_timer_stop(v->tick);
        v->ticking = 0;
        return;
    }
    omap_foreach (e, &v->peers) {
        unsettled |= ((struct vpn_peer *)e->value)->path.unsettled;
    }
    int64_t period = unsettled ? TICK_FAST_MSEC : TICK_SLOW_MSEC;
    int64_t rest = period - (clock_now_usec() / 1000) % period;
    if (v->path.due_usec) {
        int64_t due = (v->path.due_usec - clock_monotonic_usec()) / 1000;
        rest = due < rest ? (due > 0 ? due : 0) : rest;
    }
    uv_update_time(v->env->loop);
    uv_timer_start(v->tick, on_tick, (uint64_t)rest + 1, 0);
    v->ticking = 1;
}

/* Is a peer missing on the device, or one there that isn't ours? */
static int peers_drifted(const struct vpn *v)
{
    size_t present = 0;

    omap_foreach (e, &v->peers) {
        present += ((struct vpn_peer *)e->value)->path.seen.present != 0;
    }
    return present != v->peers.len || present != v->dump.len ||
           strcmp(v->dump.private_key, v->private_key) != 0 || v->dump.port != v->self.port;
}

static void on_tick(uv_timer_t *timer)
{
    struct vpn *v = timer->data;
    struct error error;

    v->ticking = 0;
    if (!v->device.reachable || vpn_peers_dump(v, &error) < 0 || peers_drifted(v)) {
        reconcile_wake(v->env->reconcile);
    } else {
        vpn_peers_step(v);
        if (vpn_peers_apply(v, NULL, 0, &error) < 0) {
            reconcile_wake(v->env->reconcile); /* it tells the error if it stays */
        }
        vpn_report_endpoints(v);
    }
    schedule_tick(v);
}

static void on_calm(uv_timer_t *timer)
{
    struct vpn *v = timer->data;

    if (v->self_json && vpn_device_drifted(v)) {
        reconcile_wake(v->env->reconcile);
    }
    vpn_report_self(v);
}

static void on_event(void *arg, enum netlink_event event, const char *table)
{
    struct vpn *v = arg;

    if (event == NETLINK_EVENT_NFTABLES) {
        if (!table || strcmp(table, VPN_TABLE) == 0) {
            v->guard.dirty = 1;
            reconcile_wake(v->env->reconcile);
        }
    } else if (!uv_is_active((uv_handle_t *)v->calm)) {
        uv_timer_start(v->calm, on_calm, CALM_MSEC, 0);
    }
}

/* --- life --- */

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

static uv_timer_t *timer_new(struct vpn *v)
{
    uv_timer_t *timer = xnew(uv_timer_t);

    uv_timer_init(v->env->loop, timer);
    timer->data = v;
    return timer;
}

static void stop(void *self)
{
    struct vpn *v = self;

    if (!v) {
        return;
    }
    netlink_watch_free(v->watch);
    uv_close((uv_handle_t *)v->tick, on_timer_closed);
    uv_close((uv_handle_t *)v->calm, on_timer_closed);
    if (v->children) {
        children_free(v->children);
    }
    netlink_free(v->nl);
    vpn_device_state_done(&v->device);
    vpn_guard_done(v);
    vpn_peers_clear(v);
    dump_done(&v->dump);
    json_decref(v->self_json);
    json_decref(v->self_fact);
    json_decref(v->names);
    mem_wipe(v->private_key, sizeof v->private_key);
    free(v);
}

static void load_names(struct vpn *v)
{
    _cleanup_free_ char *path = xasprintf("%s/vpn-peers.json", v->env->run_dir);
    _cleanup_buf_ struct buf buf = BUF_INIT(NAMES_SIZE_MAX);
    const char *id;
    json_t *value;
    void *next;

    /* Without it, or if it is damaged, peers are found again by their keys. */
    if (file_read(path, &buf) < 0 || !buf.data ||
        json_parse(buf.data, buf.size, &v->names, NULL) < 0 || !json_is_object(v->names)) {
        json_decref(v->names);
        v->names = json_object();
    }
    json_object_foreach_safe(v->names, next, id, value)
    {
        if (!json_is_string(value)) {
            json_object_del(v->names, id);
        }
    }
}

static int start(const struct backend_env *env, void **ret_self, struct error *error)
{
    struct vpn *v = xnew(struct vpn);

    v->env = env;
    v->tick = timer_new(v);
    v->calm = timer_new(v);
    v->guard.dirty = 1;
    load_names(v);
    int rc = netlink_new(&v->nl);
    if (rc == 0) {
        rc = netlink_watch_new(env->loop, on_event, v, &v->watch);
    }
    if (rc < 0) {
        error_set(error, error_status(rc), NULL, "cannot talk to the kernel: %s", strerror(-rc));
    } else {
        rc = children_new(env->loop, env->run_dir, env->log_dir, &v->children, error);
    }
    if (rc < 0) {
        stop(v);
        return rc;
    }
    *ret_self = v;
    return 0;
}

/* --- observe and compare --- */

static void put_state(struct omap *states, char *name, const char *key)
{
    struct vpn_state *state = xnew(struct vpn_state);

    memcpy(state->key, key, strlen(key) + 1);
    free(omap_put(states, name, state));
    free(name);
}

static int observe(void *self, struct omap *states, struct error *error)
{
    struct vpn *v = self;
    char key[KEY_TEXT_SIZE];

    int rc = vpn_guard_observe(v, error);
    if (rc == 0) {
        rc = vpn_device_observe(v, error);
    }
    if (rc < 0) {
        snprintf(v->problem, sizeof v->problem, "%s", error->detail);
        v->starting = 0;
        return rc;
    }
    if (vpn_device_present(v)) {
        put_state(states, xasprintf(SELF_PREFIX "%s", v->env->node), "");
    }
    if (json_object_get(v->names, v->env->node)) {
        put_state(states, xasprintf(PEER_PREFIX "%s", v->env->node), "");
    }
    for (size_t i = 0; i < v->dump.len; i++) {
        const char *id = vpn_name_of(v, v->dump.peers[i].key);
        memcpy(key, v->dump.peers[i].key, sizeof key);
        if (id) {
            put_state(states, xasprintf(PEER_PREFIX "%s", id), key);
        } else {
            put_state(states, xasprintf(PEER_PREFIX "?%s", key), key);
        }
    }
    return 0;
}

static int take_self(struct vpn *v, const json_t *spec, struct error *error)
{
    if (v->self_json && json_equal(v->self_json, spec)) {
        return 0;
    }
    int rc = vpn_self_parse(spec, &v->self, error);
    if (rc == 0) {
        json_decref(v->self_json);
        v->self_json = json_deep_copy(spec);
    }
    return rc;
}

static enum backend_match compare_self(struct vpn *v, const json_t *spec)
{
    struct error error;
    int first = !v->self_json;

    /* The key is needed to compare with; not having it is for apply() to mend. */
    if (take_self(v, spec, &error) < 0) {
        return MATCH_UPDATE;
    }
    if (first) {
        vpn_device_key(v, &error);
    }
    if (!vpn_device_matches(v)) {
        return MATCH_UPDATE;
    }
    v->problem[0] = '\0';
    v->starting = 0;
    vpn_report_self(v);
    if (!v->ticking) {
        schedule_tick(v);
    }
    return MATCH_SAME;
}

static enum backend_match compare_peer(struct vpn *v, const char *id, const json_t *spec,
                                       const struct vpn_state *state)
{
    struct error error;
    const char *key = json_get_string(spec, "publicKey", "");

    if (strcmp(id, v->env->node) == 0) {
        v->path.announced = 1;
        return MATCH_SAME;
    }
    if (strcmp(key, state->key) != 0) {
        return MATCH_REPLACE;
    }
    if (vpn_peer_take(v, id, spec, &error) < 0) {
        return MATCH_UPDATE;
    }
    const struct vpn_peer *peer = omap_get(&v->peers, id);
    if (!peer->path.known) {
        return MATCH_SAME; /* after our start: the first step learns from the device */
    }
    return vpn_peer_matches(v, peer) ? MATCH_SAME : MATCH_UPDATE;
}

static enum backend_match compare(void *self, const char *key, const json_t *spec,
                                  const void *state)
{
    struct vpn *v = self;
    const char *id = peer_of(key);

    if (id) {
        return compare_peer(v, id, spec, state);
    }
    /* One for another node would be the server's mistake; apply() says so. */
    return is_own_self(v, key) ? compare_self(v, spec) : MATCH_UPDATE;
}

/* --- apply --- */

static void finish(struct backend_item *item, int rc, const struct error *error)
{
    item->result = rc == 0 ? RESULT_DONE : rc == -EAGAIN ? RESULT_NOT_YET : RESULT_FAILED;
    if (rc < 0 && error) {
        item->error = *error;
    }
}

static int remove_self(struct vpn *v, struct error *error)
{
    int rc = vpn_device_remove(v, error);

    if (rc < 0) {
        return rc;
    }
    json_decref(v->self_json);
    json_decref(v->self_fact);
    v->self_json = v->self_fact = NULL;
    v->problem[0] = '\0';
    v->path.start_usec = 0;
    if (v->env->report) {
        v->env->report(v->env->report_arg, "vpn.self", NULL);
    }
    /* What was observed is gone. */
    vpn_device_state_done(&v->device);
    dump_done(&v->dump);
    return 0;
}

static int apply_self(struct vpn *v, const struct backend_item *item, struct error *error)
{
    if (!is_own_self(v, item->key)) {
        return error_set(error, 400, NULL, "%s is not about this node", item->key);
    }
    int rc = take_self(v, item->spec, error);
    if (rc == 0) {
        rc = vpn_device_apply(v, error);
    }
    v->starting = rc == -EAGAIN;
    if (rc == -EAGAIN) {
        snprintf(v->problem, sizeof v->problem, "the tunnel's device is being made");
    } else {
        snprintf(v->problem, sizeof v->problem, "%s", rc < 0 ? error->detail : "");
    }
    if (rc == 0) {
        vpn_report_self(v);
    }
    return rc;
}

/* Takes a peer over; whether it gets onto the device shows later. */
static int apply_peer(struct vpn *v, const struct backend_item *item, struct error *error)
{
    const char *id = peer_of(item->key);

    if (strcmp(id, v->env->node) == 0) {
        v->path.announced = 1; /* what we get of ourselves the others get too */
        return 0;
    }
    return vpn_peer_take(v, id, item->spec, error);
}

static int is_wanted_key(const struct vpn *v, const char *key)
{
    omap_foreach (e, &v->peers) {
        if (strcmp(((struct vpn_peer *)e->value)->key, key) == 0) {
            return 1;
        }
    }
    return 0;
}

/* The keys of items whose peer leaves the device. The caller frees the array. */
static const char **gone_keys(struct vpn *v, const struct backend_item *items, size_t len,
                              size_t *ret_len)
{
    const char **gone = xcalloc(len + 1, sizeof *gone);

    *ret_len = 0;
    for (size_t i = 0; i < len; i++) {
        const struct vpn_state *state = items[i].state;
        if (state && state->key[0] && (!items[i].spec || items[i].match == MATCH_REPLACE) &&
            !is_wanted_key(v, state->key)) {
            gone[(*ret_len)++] = state->key;
        }
    }
    return gone;
}

static void note_names(struct vpn *v, const struct backend_item *items, size_t len)
{
    int changed = 0;

    for (size_t i = 0; i < len; i++) {
        const char *id = peer_of(items[i].key);
        if (!id || id[0] == '?' || items[i].result != RESULT_DONE) {
            continue;
        }
        const json_t *key = items[i].spec ? json_object_get(items[i].spec, "publicKey") : NULL;
        if (!key) {
            changed |= json_object_del(v->names, id) == 0;
        } else if (!json_equal(json_object_get(v->names, id), key)) {
            json_object_set_new(v->names, id, json_copy((json_t *)key));
            changed = 1;
        }
    }
    /* Only a convenience for the next start: see load_names(). */
    if (changed) {
        vpn_names_save(v);
    }
}

static void apply_peers(struct vpn *v, struct backend_item *items, size_t len)
{
    struct error error = {0};
    size_t gone_len;

    for (size_t i = 0; i < len; i++) {
        const char *id = peer_of(items[i].key);
        if (id && !items[i].spec) {
            vpn_report_gone(v, id);
            vpn_peer_drop(v, id);
            v->path.announced &= strcmp(id, v->env->node) != 0;
        }
    }
    for (size_t i = 0; i < len; i++) {
        if (peer_of(items[i].key) && items[i].spec) {
            int rc = apply_peer(v, &items[i], &items[i].error);
            items[i].result = rc < 0 ? RESULT_FAILED : RESULT_NOT_YET;
        }
    }
    int rc = 0;
    if (v->device.reachable) {
        const char **gone = gone_keys(v, items, len, &gone_len);
        if (v->self_json) {
            vpn_peers_step(v);
        }
        rc = vpn_peers_apply(v, gone, gone_len, &error);
        free(gone);
    }
    for (size_t i = 0; i < len; i++) {
        if (peer_of(items[i].key) && items[i].result == RESULT_NOT_YET) {
            /* Without the device a peer can only be gone. */
            int done = v->device.reachable || !items[i].spec ||
                       strcmp(peer_of(items[i].key), v->env->node) == 0;
            finish(&items[i], done ? rc : -EAGAIN, &error);
        }
    }
    note_names(v, items, len);
}

static void apply(void *self, struct backend_item *items, size_t len)
{
    struct vpn *v = self;

    for (size_t i = 0; i < len; i++) {
        items[i].result = RESULT_NOT_YET;
    }
    for (size_t i = 0; i < len; i++) {
        if (!peer_of(items[i].key)) {
            struct error error = {0};
            int rc = items[i].spec ? apply_self(v, &items[i], &error) : remove_self(v, &error);
            finish(&items[i], rc, &error);
        }
    }
    apply_peers(v, items, len);
    schedule_tick(v);
}

/* What is no item of its own: the file of names. */
static int restore(void *self, struct error *error)
{
    struct vpn *v = self;
    _cleanup_free_ char *path = xasprintf("%s/vpn-peers.json", v->env->run_dir);

    if (unlink(path) < 0 && errno != ENOENT) {
        return error_set(error, error_status(-errno), NULL, "cannot remove %s: %s", path,
                         strerror(errno));
    }
    return 0;
}

const struct backend BACKEND_VPN = {
    .service = "vpn",
    .name = "wireguard",
    .owns = owns,
    .start = start,
    .stop = stop,
    .observe = observe,
    .free_state = free,
    .compare = compare,
    .apply = apply,
    .restore = restore,
    .status = vpn_status,
};
