/* sdn-life.c - begins, carries on with what is ordered, and ends. */
#include <errno.h>
#include <string.h>

#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "services/sdn/sdn-driver.h"

enum {
    TICK_MSEC = 100,       /* while something is waited for */
    CALM_TICK_MSEC = 1000, /* else */
    LINK_MSEC = 20,        /* news of links within this time are looked at once */
    SAVE_SOON_USEC = 1000000,
    SAVE_SHARE = 500, /* saving takes at most one part in so many of the time */
    SAVE_USEC = 60000000,
};

#define RUN_DIR "/run/openvswitch"

/* --- orders --- */

void sdn_wake(struct sdn *s)
{
    if (!s->is_stopped) {
        reconcile_wake(s->env->reconcile);
    }
}

void sdn_fail(struct sdn *s, const struct error *error)
{
    s->is_failed = 1;
    s->is_ordered = 0;
    s->failure = *error;
    sdn_wake(s);
}

int sdn_base_is_in_force(const struct sdn *s)
{
    for (unsigned number = 0; number < SDN_BASE_LEN; number++) {
        const struct sdn_object *object = sdn_object_get(&s->objects, SDN_BASE, number);
        if (!object || !sdn_is_in_force(object)) {
            return 0;
        }
    }
    return s->is_read;
}

static void mark(struct sdn *s)
{
    struct error error;
    int rc = sdn_base_is_in_force(s) ? sdn_bridge_mark(s, &error) : 0;

    if (rc < 0 && rc != -ENODEV) {
        sdn_fail(s, &error);
    }
}

static void on_tick(uv_timer_t *timer);

/* Soon while something is waited for. */
static void schedule(struct sdn *s)
{
    int needs_file = s->is_unsaved || s->unsaved_usec > 0;
    int is_used = s->is_wanted || s->is_removing || s->db || s->has_file || needs_file;
    int is_waiting = !s->db_peer.is_open || s->removal || (s->is_wanted && !s->is_read);

    if (!is_used || s->is_stopped) {
        uv_timer_stop(&s->tick);
        return;
    }
    uint64_t msec = is_waiting ? TICK_MSEC : sdn_read_poll_msec(s);
    if (!uv_is_active((uv_handle_t *)&s->tick) || uv_timer_get_due_in(&s->tick) > msec) {
        uv_update_time(s->env->loop);
        uv_timer_start(&s->tick, on_tick, msec, 0);
    }
}

void sdn_step(struct sdn *s)
{
    if (s->is_stopped) {
        return;
    }
    int64_t now = clock_monotonic_usec();
    int needs_db = s->is_wanted || s->is_removing || s->has_file || !s->was_looked;
    if (needs_db && !s->db && now >= s->db_peer.retry_usec) {
        sdn_db_connect(s);
    }
    if (s->db_peer.is_open && !s->is_failed && !sdn_bridge_step(s)) {
        sdn_switch_connect(s);
        if (!sdn_switch_step(s) && s->is_wanted) {
            mark(s);
        }
    }
    schedule(s);
}

static void save_when_due(struct sdn *s, int64_t now)
{
    int64_t rest = s->save_cost_usec * SAVE_SHARE; /* changes don't wait for it too often */
    int64_t soon = rest > SAVE_SOON_USEC ? rest : SAVE_SOON_USEC;
    int is_due = (s->is_unsaved && now > s->saved_usec + soon) ||
                 (s->unsaved_usec > 0 && now > s->unsaved_usec + SAVE_USEC);

    if (!is_due || !s->has_file || !s->is_read) {
        return;
    }
    int rc = sdn_counters_save(s); /* if it can't be written, the next time */
    if (rc < 0 && !s->is_save_failing) {
        log_warn("the counters can't be saved", "folder", s->env->state_dir, "reason",
                 strerror(-rc), NULL);
    }
    s->is_save_failing = rc < 0;
}

static void on_tick(uv_timer_t *timer)
{
    struct sdn *s = timer->data;
    int64_t now = clock_monotonic_usec();

    sdn_step(s);
    sdn_read_poll(s, now);
    save_when_due(s, now);
    schedule(s);
}

/* --- links --- */

static void on_link(uv_timer_t *timer)
{
    struct sdn *s = timer->data;
    struct error error;

    if (s->is_wanted && s->db_peer.is_open && !s->is_transacting &&
        (sdn_bridge_differs(s, &error) != 0 ||
         (sdn_base_is_in_force(s) && !sdn_bridge_is_marked(s)))) {
        sdn_wake(s);
    }
}

static void on_event(void *arg, enum netlink_event event, const char *table)
{
    struct sdn *s = arg;

    if (!s->is_stopped && s->is_wanted && event == NETLINK_EVENT_ROUTE &&
        !uv_is_active((uv_handle_t *)&s->link)) {
        uv_timer_start(&s->link, on_link, LINK_MSEC, 0);
    }
}

/* --- life --- */

void sdn_release(struct sdn *s)
{
    if (--s->handles > 0) {
        return;
    }
    sdn_objects_done(&s->objects);
    free(s->changes);
    free(s->only);
    free(s->run_dir);
    free(s);
}

static void on_timer_closed(uv_handle_t *handle)
{
    sdn_release(handle->data);
}

void sdn_stop(void *self)
{
    static const struct error STOPPED = {.status = 503, .detail = "the agent is stopping"};
    struct sdn *s = self;

    if (!s) {
        return;
    }
    if (s->has_file && s->is_read && (s->is_unsaved || s->unsaved_usec > 0)) {
        sdn_counters_save(s);
    }
    s->is_stopped = 1;
    sdn_asks_fail(s, &STOPPED);
    netlink_watch_free(s->watch);
    netlink_free(s->nl);
    if (s->db) {
        ovsdb_close(s->db);
    }
    if (s->conn) {
        of_conn_close(s->conn);
    }
    uv_close((uv_handle_t *)&s->tick, on_timer_closed);
    uv_close((uv_handle_t *)&s->calm, on_timer_closed);
    uv_close((uv_handle_t *)&s->link, on_timer_closed);
}

static void init_timer(struct sdn *s, uv_timer_t *timer)
{
    uv_timer_init(s->env->loop, timer);
    timer->data = s;
    s->handles++;
}

int sdn_start(const struct backend_env *env, void **ret_self, struct error *error)
{
    const char *run_dir = getenv("OVS_RUNDIR");
    struct sdn *s = xnew(struct sdn);

    s->env = env;
    s->run_dir = xstrdup(run_dir && run_dir[0] ? run_dir : RUN_DIR);
    init_timer(s, &s->tick);
    init_timer(s, &s->calm);
    init_timer(s, &s->link);
    int rc = netlink_new(&s->nl);
    if (rc == 0) {
        rc = netlink_watch_new(env->loop, on_event, s, &s->watch);
    }
    if (rc < 0) {
        error_set(error, error_status(rc), NULL, "cannot talk to the kernel: %s", strerror(-rc));
        sdn_stop(s);
        return rc;
    }
    sdn_counters_load(s);
    sdn_step(s);
    *ret_self = s;
    return 0;
}
