/* The overlay: what the vpn's resources describe, on the host.
 *
 * `vpn/self/<node>` is everything but the peers: device, address, routes, guard, and what the
 * fabric runs. `vpn/peer/<node>` is that the fabric knows the peer; `vpn/client/wireguard/<name>`
 * an outside client of this hub; `vpn/crl` whose certificates are worth nothing any more.
 *
 *     netlink: link, address, route ──► calm timer ──► drifted? ──┐
 *     nftables: our table ────────────────────────────────────────┼──► reconcile_wake()
 *     a child ended; the fabric's tick ───────────────────────────┘ */
#include "services/vpn/vpn-backend.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/reconcile.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/vpn/vpn-driver.h"
#include "services/vpn/vpn-openvpn.h"

enum {
    CALM_MSEC = 200, /* events within this time are looked at once */
};

#define SELF_PREFIX "vpn/self/"
#define CRL_KEY "vpn/crl"

const struct vpn_fabric *const VPN_FABRICS[] = {&VPN_WIREGUARD, &VPN_OPENVPN, NULL};

static int is_self(const char *key)
{
    return strncmp(key, SELF_PREFIX, strlen(SELF_PREFIX)) == 0;
}

static int owns(const char *key)
{
    return is_self(key) || vpn_peer_of(key) || vpn_client_of(key) || strcmp(key, CRL_KEY) == 0;
}

static int is_own_self(const struct vpn *v, const char *key)
{
    return is_self(key) && strcmp(key + strlen(SELF_PREFIX), v->env->node) == 0;
}

static int is_own_peer(const struct vpn *v, const char *key)
{
    const char *id = vpn_peer_of(key);

    return id && strcmp(id, v->env->node) == 0;
}

/* --- timers and events --- */

static void on_tick(uv_timer_t *timer);

static void schedule_tick(struct vpn *v)
{
    int64_t msec = v->self_json ? v->fabric->tick_msec(v) : -1;

    v->ticking = msec >= 0;
    if (!v->ticking) {
        uv_timer_stop(v->tick);
        return;
    }
    uv_update_time(v->env->loop);
    uv_timer_start(v->tick, on_tick, (uint64_t)msec, 0);
}

static void on_tick(uv_timer_t *timer)
{
    struct vpn *v = timer->data;

    if (v->fabric) {
        v->fabric->tick(v);
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

void vpn_on_event(void *arg, enum netlink_event event, const char *table)
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
    vpn_openvpn_stop(v);
    if (v->children) {
        children_free(v->children);
    }
    netlink_free(v->nl);
    vpn_inner_release(v);
    vpn_device_state_done(&v->device);
    vpn_guard_done(v);
    vpn_peers_clear(v);
    dump_done(&v->dump);
    json_decref(v->self_json);
    json_decref(v->self_fact);
    json_decref(v->names);
    mem_wipe(&v->keys, sizeof v->keys);
    free(v);
}

static int start(const struct backend_env *env, void **ret_self, struct error *error)
{
    struct vpn *v = xnew(struct vpn);

    v->env = env;
    v->inner.fd = -1;
    v->tick = timer_new(v);
    v->calm = timer_new(v);
    v->guard.dirty = 1;
    vpn_names_load(v);
    int rc = netlink_new(&v->nl);
    if (rc == 0) {
        rc = netlink_watch_new(env->loop, vpn_on_event, v, &v->watch);
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
    vpn_openvpn_start(v);
    *ret_self = v;
    return 0;
}

/* --- observe and compare --- */

/* Peers that leave no trace of their own on the host; WireGuard's are found on the device. */
static void put_noted(struct vpn *v, struct omap *states)
{
    const char *id;
    json_t *note;

    json_object_foreach (v->names, id, note) {
        if (id[0] != '/' &&
            (strcmp(id, v->env->node) == 0 || !key_valid(json_string_value(note)))) {
            vpn_state_put(states, xasprintf(VPN_PEER_PREFIX "%s", id), json_string_value(note));
        }
    }
}

static int observe(void *self, struct omap *states, struct error *error)
{
    struct vpn *v = self;

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
        vpn_state_put(states, xasprintf(SELF_PREFIX "%s", v->env->node), "");
    }
    if (vpn_openvpn_crl_present(v)) {
        vpn_state_put(states, xstrdup(CRL_KEY), "");
    }
    put_noted(v, states);
    for (size_t i = 0; VPN_FABRICS[i]; i++) {
        VPN_FABRICS[i]->states(v, states);
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
        v->fabric = v->self.fabric;
        v->path.announced = v->self.told_key[0] != '\0';
    }
    return rc;
}

/* Have the others been told of the key that waits to become the device's? */
static int is_told_next(const struct vpn *v)
{
    return v->keys.next_public[0] && strcmp(v->self.told_key, v->keys.next_public) == 0;
}

static enum backend_match compare_self(struct vpn *v, const json_t *spec)
{
    struct error error;

    if (take_self(v, spec, &error) < 0 || is_told_next(v) || !vpn_device_matches(v)) {
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

static enum backend_match compare_peer(struct vpn *v, const char *key, const json_t *spec,
                                       const struct vpn_state *state)
{
    const char *id = vpn_peer_of(key);
    struct error error;

    if (is_own_peer(v, key)) {
        return MATCH_SAME;
    }
    if (vpn_peer_take(v, id, spec, &error) < 0) {
        return MATCH_UPDATE;
    }
    if (!v->fabric) {
        /* After our start vpn/self comes after the peers; which fabric's note it is shows then. */
        int same = strcmp(state->note, VPN_NOTE_OPENVPN) == 0 ||
                   strcmp(state->note, json_get_string(spec, "publicKey", "")) == 0;
        return same ? MATCH_SAME : MATCH_REPLACE;
    }
    return v->fabric->compare_peer(v, id, state->note);
}

static enum backend_match compare_client(struct vpn *v, const char *key, const json_t *spec)
{
    struct error error;

    if (vpn_client_take(v, vpn_client_of(key), spec, &error) < 0) {
        return MATCH_UPDATE;
    }
    return v->fabric ? v->fabric->compare_client(v, vpn_client_of(key)) : MATCH_SAME;
}

static enum backend_match compare(void *self, const char *key, const json_t *spec,
                                  const void *state)
{
    struct vpn *v = self;

    if (vpn_peer_of(key)) {
        return compare_peer(v, key, spec, state);
    }
    if (vpn_client_of(key)) {
        return compare_client(v, key, spec);
    }
    if (strcmp(key, CRL_KEY) == 0) {
        return vpn_openvpn_crl_matches(v, spec) ? MATCH_SAME : MATCH_UPDATE;
    }
    /* One for another node would be the server's mistake; apply() says so. */
    return is_own_self(v, key) ? compare_self(v, spec) : MATCH_UPDATE;
}

/* --- apply --- */

static void finish(struct backend_item *item, int rc, const struct error *error)
{
    item->result = rc == 0 ? RESULT_DONE : rc == -EAGAIN ? RESULT_NOT_YET : RESULT_FAILED;
    if (rc < 0) {
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
    v->fabric = NULL;
    v->path.announced = 0;
    v->problem[0] = '\0';
    if (v->env->report) {
        v->env->report(v->env->report_arg, "vpn.self", NULL);
    }
    /* What was observed is gone. */
    vpn_device_state_done(&v->device);
    return 0;
}

static int apply_self(struct vpn *v, const struct backend_item *item, struct error *error)
{
    if (!is_own_self(v, item->key)) {
        return error_set(error, 400, NULL, "%s is not about this node", item->key);
    }
    int rc = take_self(v, item->spec, error);
    if (rc == 0 && is_told_next(v)) {
        rc = vpn_key_switch(v, error);
    }
    if (rc == 0) {
        rc = vpn_device_apply(v, error);
    }
    v->starting = rc == -EAGAIN && !(v->fabric->hangs && v->fabric->hangs(v));
    if (rc == -EAGAIN) {
        const char *what = v->waits_usec          ? error->detail
                           : v->fabric->waits_for ? v->fabric->waits_for(v)
                                                  : NULL;
        snprintf(v->problem, sizeof v->problem, "%s",
                 what ? what : "the tunnel's device is being made");
    } else {
        snprintf(v->problem, sizeof v->problem, "%s", rc < 0 ? error->detail : "");
    }
    if (rc == 0) {
        vpn_report_self(v);
    }
    return rc;
}

static void apply_selves(struct vpn *v, struct backend_item *items, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (is_self(items[i].key)) {
            struct error error = {0};
            int rc = items[i].spec ? apply_self(v, &items[i], &error) : remove_self(v, &error);
            finish(&items[i], rc, &error);
        }
    }
}

/* Takes a peer or client over; whether it gets onto the host shows later. */
static int take(struct vpn *v, const struct backend_item *item, struct error *error)
{
    if (is_own_peer(v, item->key)) {
        return 0;
    }
    if (vpn_peer_of(item->key)) {
        return vpn_peer_take(v, vpn_peer_of(item->key), item->spec, error);
    }
    return vpn_client_take(v, vpn_client_of(item->key), item->spec, error);
}

static void drop(struct vpn *v, const char *key)
{
    if (vpn_client_of(key)) {
        vpn_client_drop(v, vpn_client_of(key));
        return;
    }
    vpn_report_gone(v, vpn_peer_of(key));
    vpn_peer_drop(v, vpn_peer_of(key));
}

static void note_names(struct vpn *v, const struct backend_item *items, size_t len)
{
    int changed = 0;

    for (size_t i = 0; i < len; i++) {
        const char *id = vpn_peer_of(items[i].key), *client = vpn_client_of(items[i].key);
        if ((!id && !client) || (id && id[0] == '?') || items[i].result != RESULT_DONE) {
            continue;
        }
        const char *note = NULL;
        if (items[i].spec) {
            note = id && v->fabric ? v->fabric->peer_note(items[i].spec)
                                   : json_get_string(items[i].spec, "publicKey", "");
        }
        _cleanup_free_ char *name = client ? xasprintf("/%s", client) : xstrdup(id);
        changed |= vpn_name_set(v, name, note);
    }
    /* Only a convenience for the next start: see vpn_names_load(). */
    if (changed) {
        vpn_names_save(v);
    }
}

static int is_peer(const struct backend_item *item)
{
    return vpn_peer_of(item->key) || vpn_client_of(item->key);
}

static void apply_peers(struct vpn *v, struct backend_item *items, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (is_peer(&items[i]) && !items[i].spec) {
            drop(v, items[i].key);
        }
    }
    for (size_t i = 0; i < len; i++) {
        if (is_peer(&items[i]) && items[i].spec) {
            int rc = take(v, &items[i], &items[i].error);
            items[i].result = rc < 0 && rc != -EAGAIN ? RESULT_FAILED : RESULT_NOT_YET;
        }
    }
    if (v->fabric) {
        v->fabric->apply_peers(v, items, len);
    }
    for (size_t i = 0; i < len; i++) {
        /* Without vpn/self there is nothing on the host that could still know it. */
        if (!v->fabric && is_peer(&items[i]) && !items[i].spec) {
            items[i].result = RESULT_DONE;
        }
    }
    note_names(v, items, len);
}

static void apply_crl(struct vpn *v, struct backend_item *items, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (strcmp(items[i].key, CRL_KEY) == 0) {
            struct error error = {0};
            finish(&items[i], vpn_openvpn_crl_apply(v, items[i].spec, &error), &error);
        }
    }
}

static void apply(void *self, struct backend_item *items, size_t len)
{
    struct vpn *v = self;

    for (size_t i = 0; i < len; i++) {
        items[i].result = RESULT_NOT_YET;
    }
    apply_crl(v, items, len);
    apply_selves(v, items, len);
    apply_peers(v, items, len);
    schedule_tick(v);
}

/* What is no item of its own: the file of names, and the folder of the fabric's files. */
static int restore(void *self, struct error *error)
{
    struct vpn *v = self;
    _cleanup_free_ char *path = xasprintf("%s/vpn-peers.json", v->env->run_dir);
    _cleanup_free_ char *folder = xasprintf("%s/vpn", v->env->run_dir);

    rmdir(folder); /* fails if somebody else's files are there */
    if (unlink(path) < 0 && errno != ENOENT) {
        return error_set(error, error_status(-errno), NULL, "cannot remove %s: %s", path,
                         strerror(errno));
    }
    return 0;
}

const struct backend BACKEND_VPN = {
    .service = "vpn",
    .name = "overlay",
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
