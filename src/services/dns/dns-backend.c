/* Names for the machine's own programs.
 *
 *     dns/self/<node>   the daemon and the resolver; without it there is nothing of ours
 *     dns/settings      domain, whom else to ask
 *     dns/name/…, dns/record/…   what is answered
 *
 * The driver holds the resources; files are compared with them as a whole. Who isn't held, but has
 * left something on the host, is found by that: then all of it belongs to dns/self. */
#include "services/dns/dns-backend.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/reconcile.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/dns/dns-driver.h"
#include "services/overlay.h"

enum {
    TICK_MSEC = 1000,
};

#define SELF_PREFIX "dns/self/"
#define SETTINGS_KEY "dns/settings"

static int owns(const char *key)
{
    return strncmp(key, "dns/", 4) == 0;
}

static int is_self(const char *key)
{
    return strncmp(key, SELF_PREFIX, strlen(SELF_PREFIX)) == 0;
}

static int is_settings(const char *key)
{
    return strcmp(key, SETTINGS_KEY) == 0;
}

/* --- events --- */

static void on_tick(uv_timer_t *timer)
{
    daemon_tick(timer->data);
}

static void on_file(uv_fs_event_t *handle, const char *name, int events, int status)
{
    struct dns *d = handle->data;

    if (d->self && (!name || strcmp(name, resolver_file(d->resolver)) == 0) &&
        resolver_drifted(d->resolver)) {
        reconcile_wake(d->env->reconcile);
    }
}

/* The overlay's device came or went: who manages names by device has forgotten ours with it. */
static void fill_spec(struct dns *d, struct netlink_link *link, struct resolver_spec *ret_spec)
{
    *link = (struct netlink_link){0};
    if (netlink_link_get(d->nl, OVERLAY_BRIDGE, link) < 0) {
        netlink_link_get(d->nl, OVERLAY_TUNNEL, link);
    }
    *ret_spec = (struct resolver_spec){
        .device = link->name, .device_index = link->index, .domain = d->set.domain};
}

static void on_event(void *arg, enum netlink_event event, const char *table)
{
    struct dns *d = arg;
    struct netlink_link link;
    struct resolver_spec spec;

    if (event == NETLINK_EVENT_ROUTE && d->self && d->state == DNS_RUNNING) {
        fill_spec(d, &link, &spec);
        if (!resolver_matches(d->resolver, &spec)) {
            reconcile_wake(d->env->reconcile);
        }
    }
}

/* Only when that has changed: a watch that is made anew misses what happens meanwhile. */
static void watch_files(struct dns *d)
{
    const char *folder = resolver_folder(d->resolver);

    if (!d->watched || strcmp(d->watched, folder) != 0) {
        uv_fs_event_stop(d->files);
        free(TAKE(d->watched));
        if (uv_fs_event_start(d->files, on_file, folder, 0) == 0) {
            d->watched = xstrdup(folder);
        }
    }
}

/* --- life --- */

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void free_memory(struct dns *d)
{
    dns_set_done(&d->set);
    json_decref(d->self);
    json_decref(d->settings);
    json_decref(d->upstreams);
    free(d->folder);
    free(d->hosts);
    free(d->upstreams_path);
    free(d->counts_path);
    free(d->held_path);
    free(d->watched);
    free(d);
}

static void stop(void *self)
{
    struct dns *d = self;

    counts_save(d);
    held_save(d);
    if (d->socket >= 0) {
        close(d->socket);
    }
    netlink_watch_free(d->watch);
    netlink_free(d->nl);
    children_free(d->children);
    resolver_free(d->resolver);
    uv_close((uv_handle_t *)d->timer, on_closed);
    uv_close((uv_handle_t *)d->files, on_closed);
    free_memory(d);
}

static struct dns *make(const struct backend_env *env)
{
    struct dns *d = xnew(struct dns);

    d->env = env;
    d->socket = -1;
    d->log_size = -1;
    d->folder = xasprintf("%s/dns", env->run_dir);
    d->hosts = xasprintf("%s/hosts", d->folder);
    d->upstreams_path = xasprintf("%s/upstreams", d->folder);
    d->counts_path = xasprintf("%s/dns-counts.json", env->state_dir);
    d->held_path = xasprintf("%s/held.json", d->folder);
    d->resolver = resolver_new(env->state_dir);
    d->timer = xnew(uv_timer_t);
    uv_timer_init(env->loop, d->timer);
    d->timer->data = d;
    d->files = xnew(uv_fs_event_t);
    uv_fs_event_init(env->loop, d->files);
    d->files->data = d;
    dns_set_init(&d->set);
    return d;
}

static int start(const struct backend_env *env, void **ret_self, struct error *error)
{
    struct dns *d = make(env);
    int rc = netlink_new(&d->nl);

    rc = rc < 0 ? rc : netlink_watch_new(env->loop, on_event, d, &d->watch);
    if (rc < 0) {
        error_set(error, error_status(rc), NULL, "cannot talk to the kernel: %s", strerror(-rc));
    } else {
        rc = children_new(env->loop, env->run_dir, env->log_dir, &d->children, error);
    }
    if (rc < 0) {
        stop(d);
        return rc;
    }
    counts_load(d);
    held_load(d);
    uv_timer_start(d->timer, on_tick, TICK_MSEC, TICK_MSEC);
    *ret_self = d;
    return 0;
}

/* --- observe and compare --- */

static int observe(void *self, struct omap *states, struct error *error)
{
    static char something;
    struct dns *d = self;
    int rc = daemon_observe(d, error);

    rc = rc < 0 ? rc : resolver_observe(d->resolver, error);
    if (rc < 0) {
        return rc;
    }
    watch_files(d);
    if (d->self || daemon_present(d) || resolver_present(d->resolver)) {
        _cleanup_free_ char *key = xasprintf(SELF_PREFIX "%s", d->env->node);
        omap_put(states, key, d->self ? (void *)d->self : &something);
    }
    if (d->settings) {
        omap_put(states, SETTINGS_KEY, d->settings);
    }
    omap_foreach (e, &d->set.items) {
        omap_put(states, e->key, e->value);
    }
    return 0;
}

static const void *look(void *self, const char *key)
{
    struct dns *d = self;

    return is_self(key) ? d->self : is_settings(key) ? d->settings : omap_get(&d->set.items, key);
}

static void free_state(void *state)
{
}

/* Names wait for nobody: where there is no daemon, dns/self says why. */
static enum backend_match compare(void *self, const char *key, const json_t *spec,
                                  const void *state)
{
    struct dns *d = self;
    struct netlink_link link;
    struct resolver_spec resolver;

    if (is_settings(key)) {
        return d->settings && json_equal(d->settings, spec) ? MATCH_SAME : MATCH_UPDATE;
    }
    if (!is_self(key)) {
        const json_t *held = omap_get(&d->set.items, key);
        return held && json_equal(held, spec) && !d->files_dirty ? MATCH_SAME : MATCH_UPDATE;
    }
    if (!d->self || !json_equal(d->self, spec) || !d->settings || !daemon_matches(d)) {
        return MATCH_UPDATE;
    }
    fill_spec(d, &link, &resolver);
    return resolver_matches(d->resolver, &resolver) ? MATCH_SAME : MATCH_UPDATE;
}

/* --- apply --- */

static int take_settings(struct dns *d, const json_t *spec, struct error *error)
{
    char *domain;
    json_t *upstreams;

    json_decref(d->settings);
    d->settings = NULL;
    if (!spec) {
        return 0;
    }
    int rc = dns_settings_parse(spec, &domain, &upstreams, error);
    if (rc == 0) {
        d->settings = json_incref((json_t *)spec);
        json_decref(d->upstreams);
        d->upstreams = upstreams;
        dns_set_domain(&d->set, domain);
        free(domain);
    }
    return rc;
}

static int take_self(struct dns *d, const char *key, const json_t *spec, struct error *error)
{
    if (spec && strcmp(key + strlen(SELF_PREFIX), d->env->node) != 0) {
        return error_set(error, 400, NULL, "%s is not about this node", key);
    }
    int rc = spec ? dns_self_parse(spec, d->address, error) : 0;
    if (rc == 0) {
        json_decref(d->self);
        d->self = json_incref((json_t *)spec);
    }
    return rc;
}

static int take_item(struct dns *d, const struct backend_item *item, struct error *error)
{
    if (is_settings(item->key)) {
        return take_settings(d, item->spec, error);
    }
    if (is_self(item->key)) {
        return take_self(d, item->key, item->spec, error);
    }
    if (!item->spec) {
        dns_set_drop(&d->set, item->key);
        return 0;
    }
    return dns_set_put(&d->set, item->key, item->spec, error);
}

/* The resolver is the last to come and the first to go: nobody is sent to where nobody answers. */
static int turn_off(struct dns *d, struct error *error)
{
    int rc = resolver_observe(d->resolver, error);

    rc = rc < 0 ? rc : resolver_restore(d->resolver, error);
    return rc < 0 ? rc : daemon_remove(d, error);
}

static int turn_on(struct dns *d, struct error *error)
{
    struct netlink_link link;
    struct resolver_spec spec;
    struct error ignored;
    int rc = resolver_observe(d->resolver, error);

    rc = rc < 0 ? rc : daemon_apply(d, error);
    if (rc == -EAGAIN) {
        return rc;
    }
    if (rc < 0) {
        resolver_restore(d->resolver, &ignored); /* tried again with the next pass */
        return rc;
    }
    fill_spec(d, &link, &spec);
    rc = resolver_matches(d->resolver, &spec) ? 0 : resolver_apply(d->resolver, &spec, error);
    watch_files(d);
    return rc;
}

/* Whether it can be in force is one question for all of them. */
static int commit(struct dns *d, struct error *error)
{
    if (!d->self) {
        return turn_off(d, error);
    }
    return d->settings ? turn_on(d, error) : -EAGAIN;
}

static void apply(void *self, struct backend_item *items, size_t len)
{
    struct dns *d = self;
    struct error error = {0};

    for (size_t i = 0; i < len; i++) {
        int rc = take_item(d, &items[i], &items[i].error);
        items[i].result = rc < 0 ? RESULT_FAILED : RESULT_DONE;
    }
    int rc = commit(d, &error);
    if (rc < 0 && rc != -EAGAIN && d->state != DNS_FAILED) {
        d->state = DNS_FAILED;
        snprintf(d->message, sizeof d->message, "%.299s", error.detail);
    }
    for (size_t i = 0; rc < 0 && i < len; i++) {
        if (items[i].result == RESULT_DONE) {
            items[i].result = rc == -EAGAIN ? RESULT_NOT_YET : RESULT_FAILED;
            items[i].error = error;
        }
    }
}

static int restore(void *self, struct error *error)
{
    return turn_off(self, error);
}

/* --- status --- */

static json_t *status(void *self)
{
    static const char *const STATES[] = {[DNS_OFF] = "starting",
                                         [DNS_STARTING] = "starting",
                                         [DNS_RUNNING] = "running",
                                         [DNS_HUNG] = "degraded",
                                         [DNS_FAILED] = "failed"};
    struct dns *d = self;

    if (!d->self) {
        return NULL;
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "state", STATES[d->state], "message",
                     d->message, "domain", d->set.domain, "address", d->address, "resolver",
                     resolver_way(d->resolver), "names", (json_int_t)d->set.items.len, "queries",
                     (json_int_t)counts_queries(d));
}

const struct backend BACKEND_DNS = {
    .service = "dns",
    .name = "dns",
    .owns = owns,
    .start = start,
    .stop = stop,
    .observe = observe,
    .free_state = free_state,
    .compare = compare,
    .apply = apply,
    .look = look,
    .restore = restore,
    .status = status,
};
