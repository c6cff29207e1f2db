/* lb-backend.c - the driver of load-balanced services.
 *
 *     lb/service/<name>/<node>   a section of HAProxy's configuration, with its servers
 *
 * What HAProxy has is asked of it, each time; nothing is taken from memory. Where only servers
 * differ they are changed while it runs, else it is reloaded.
 *
 *     timer ──► question to HAProxy ──► answer: counters; differs? ──┐
 *                                  └──► none: hung ──────────────────┼──► reconcile_wake()
 *     the child's end ───────────────────────────────────────────────┘ */
#include "services/lb/lb-backend.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "services/lb/lb-driver.h"

enum {
    POLL_MSEC = 1000,
    RELOADING_MSEC = 20,
    HUNG_USEC = 3000000, /* without an answer */
    KILL_USEC = 3000000, /* after it was found hung */
};

/* Files without a service; a name that none can have. */
#define LEFTOVERS "?"

static int owns(const char *key)
{
    return strncmp(key, LB_KEY_PREFIX, strlen(LB_KEY_PREFIX)) == 0;
}

/* --- timer --- */

static void on_timer(uv_timer_t *timer);

static void plan_next(struct lb *lb)
{
    if (lb->is_running) {
        uv_timer_start(lb->timer, on_timer, lb->reload_usec ? RELOADING_MSEC : POLL_MSEC, 0);
    } else {
        uv_timer_stop(lb->timer);
    }
}

/* Does its configuration have what it should? */
static int needs_load(const struct lb *lb)
{
    size_t loaded = 0;

    omap_foreach (e, &lb->wanted) {
        const struct lb_wanted *w = e->value;
        int is_loaded = lb_wanted_is_loaded(lb, w);
        if (!is_loaded && lb_can_be_loaded(w)) {
            return 1;
        }
        loaded += (size_t)is_loaded;
    }
    return loaded != lb->stat.proxies.len;
}

static int servers_differ(const struct lb *lb)
{
    omap_foreach (e, &lb->wanted) {
        const struct lb_wanted *w = e->value;
        if (lb_wanted_is_loaded(lb, w) && !lb_runtime_matches(lb, w)) {
            return 1;
        }
    }
    return 0;
}

static void on_answer(void *arg, const char *text)
{
    struct lb *lb = arg;
    struct lb_stat stat;
    int was_hung = lb->hung_usec != 0;

    lb->probe = lb_probe_free(lb->probe);
    if (!text || lb_stat_parse(text, &stat) < 0) {
        return; /* asked again by the timer */
    }
    lb_process_told(lb, &stat);
    if (!lb->reload_usec) {
        lb_runtime_sweep(lb);
        lb_counters_save(lb, 0);
        lb_process_bound_log(lb);
    }
    if (was_hung || lb->reload_usec || needs_load(lb) || servers_differ(lb)) {
        reconcile_wake(lb->env->reconcile);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct lb *lb = timer->data;
    int64_t now = clock_monotonic_usec();

    if (lb->reload_usec) {
        lb->asked_usec = 0;
        reconcile_wake(lb->env->reconcile); /* which looks */
        plan_next(lb);
        return;
    }
    lb->asked_usec = lb->asked_usec ? lb->asked_usec : now;
    if (!lb->probe) {
        lb->probe = lb_probe_new(lb->env->loop, lb->socket, LB_STAT_COMMAND, on_answer, lb);
    }
    if (now - lb->asked_usec >= HUNG_USEC) {
        lb->hung_usec = lb->hung_usec ? lb->hung_usec : now;
        reconcile_wake(lb->env->reconcile);
    }
    plan_next(lb);
}

/* --- life --- */

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

static void stop(void *self)
{
    struct lb *lb = self;

    lb_counters_save(lb, 1);
    lb->probe = lb_probe_free(lb->probe);
    uv_close((uv_handle_t *)lb->timer, on_timer_closed);
    lb_process_done(lb);
    children_free(lb->children);
    lb_wanted_clear(lb);
    omap_clear(&lb->totals, free);
    free(lb);
}

static int start(const struct backend_env *env, void **ret_self, struct error *error)
{
    struct children *children;
    int rc = children_new(env->loop, env->run_dir, env->log_dir, &children, error);

    if (rc < 0) {
        return rc;
    }
    struct lb *lb = xnew(struct lb);
    lb->env = env;
    lb->children = children;
    lb->timer = xnew(uv_timer_t);
    uv_timer_init(env->loop, lb->timer);
    lb->timer->data = lb;
    lb_process_init(lb);
    lb_counters_load(lb);
    *ret_self = lb;
    return 0;
}

/* --- observe and compare --- */

static void put_state(const struct lb *lb, struct omap *states, const char *name, void *state)
{
    _cleanup_free_ char *key = xasprintf(LB_KEY_PREFIX "%s/%s", name, lb->env->node);

    omap_put(states, key, state);
}

static int observe(void *self, struct omap *states, struct error *error)
{
    struct lb *lb = self;

    lb_process_look(lb);
    plan_next(lb);
    omap_foreach (e, &lb->stat.proxies) {
        put_state(lb, states, e->key, e->value);
    }
    if (lb->wanted.len == 0 && lb->stat.proxies.len == 0 &&
        (lb->is_running || lb_files_present(lb))) {
        put_state(lb, states, LEFTOVERS, lb);
    }
    return 0;
}

/* States are what the driver holds. */
static void free_state(void *state)
{
}

static enum backend_match compare(void *self, const char *key, const json_t *spec,
                                  const void *state)
{
    struct lb *lb = self;
    char name[LB_NAME_SIZE];
    struct error error;

    if (lb_key_parse(key, lb->env->node, name) < 0 || lb_wanted_put(lb, name, spec, &error) < 0 ||
        lb->hung_usec || lb->reload_usec) {
        return MATCH_UPDATE;
    }
    const struct lb_wanted *w = omap_get(&lb->wanted, name);
    return !w->is_refused && lb_wanted_is_loaded(lb, w) && lb_runtime_matches(lb, w)
               ? MATCH_SAME
               : MATCH_UPDATE;
}

/* --- apply --- */

/* What is wanted now. */
static void take_item(struct lb *lb, struct backend_item *item)
{
    char name[LB_NAME_SIZE];
    int is_leftovers = strstr(item->key, "/" LEFTOVERS "/") != NULL;

    item->result = RESULT_NOT_YET;
    if (is_leftovers && !item->spec) {
        return;
    }
    if (lb_key_parse(item->key, lb->env->node, name) < 0) {
        item->result = RESULT_FAILED;
        error_set(&item->error, 400, NULL, "%.100s is not about this node", item->key);
    } else if (!item->spec) {
        lb_wanted_del(lb, name);
        lb_counters_drop(lb, name);
    } else if (lb_wanted_put(lb, name, item->spec, &item->error) < 0) {
        item->result = RESULT_FAILED;
    }
}

static int change_servers(struct lb *lb, struct error *error)
{
    int rc = 0;

    omap_foreach (e, &lb->wanted) {
        const struct lb_wanted *w = e->value;
        if (rc == 0 && lb_wanted_is_loaded(lb, w) && !lb_runtime_matches(lb, w)) {
            rc = lb_runtime_apply(lb, w, error);
        }
    }
    return rc;
}

/* 0: all is as it can be. */
static int bring(struct lb *lb, struct error *error)
{
    if (lb->wanted.len == 0) {
        return lb_process_remove(lb, error);
    }
    if (lb->is_running && lb->hung_usec) {
        if (clock_monotonic_usec() - lb->hung_usec < KILL_USEC) {
            return -EAGAIN;
        }
        int rc = lb_process_stop(lb, error); /* then it is started */
        if (rc < 0) {
            return rc;
        }
    }
    if (lb->reload_usec) {
        int rc = lb_process_settle(lb, error);
        if (rc < 0) {
            return rc;
        }
    }
    lb_wanted_check_ports(lb);
    if (needs_load(lb)) {
        return lb_process_load(lb, error);
    }
    return lb->is_running ? change_servers(lb, error) : 0;
}

static void finish(const struct lb *lb, struct backend_item *item, int rc,
                   const struct error *error)
{
    char name[LB_NAME_SIZE];
    const struct lb_wanted *w = item->spec && lb_key_parse(item->key, lb->env->node, name) == 0
                                    ? omap_get(&lb->wanted, name)
                                    : NULL;

    if (w && w->problem[0]) {
        item->result = RESULT_FAILED;
        error_set(&item->error, 409, NULL, "%s", w->problem);
    } else if (rc == -EAGAIN) {
        item->result = RESULT_NOT_YET;
    } else if (rc < 0) {
        item->result = RESULT_FAILED;
        item->error = *error;
    } else {
        item->result = RESULT_DONE;
    }
}

static void apply(void *self, struct backend_item *items, size_t len)
{
    struct lb *lb = self;
    struct error error = {0};

    for (size_t i = 0; i < len; i++) {
        take_item(lb, &items[i]);
    }
    int rc = bring(lb, &error);
    if (rc < 0 && rc != -EAGAIN) {
        snprintf(lb->problem, sizeof lb->problem, "%.399s", error.detail);
    } else if (rc == 0) {
        lb->problem[0] = '\0';
    }
    for (size_t i = 0; i < len; i++) {
        if (items[i].result != RESULT_FAILED) {
            finish(lb, &items[i], rc, &error);
        }
    }
    plan_next(lb);
}

static int restore(void *self, struct error *error)
{
    return lb_counters_remove(self, error);
}

const struct backend BACKEND_LB = {
    .service = "lb",
    .name = "haproxy",
    .owns = owns,
    .start = start,
    .stop = stop,
    .observe = observe,
    .free_state = free_state,
    .compare = compare,
    .apply = apply,
    .restore = restore,
    .status = lb_report,
};
