/* sdn-switch.c - the connection to the switch: changing flows. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/mem.h"
#include "services/overlay.h"
#include "services/sdn/sdn-driver.h"

enum {
    RETRY_MSEC = 100,
    CONNECT_MSEC = 3000,
    ECHO_MSEC = 2000,
    SILENT_MSEC = 4000,
    CALM_MSEC = 25, /* until packets from before aren't credited to new flows any more: 20 ms */
    PURGE_MSEC = 1000,
    ONLY_MAX = 32, /* objects that are read one by one; of more all are read */
};

/* --- changing --- */

static void delete_cookie(struct of_flow_mod *mod, uint64_t cookie)
{
    *mod = (struct of_flow_mod){.command = OF_DELETE,
                                .cookie_mask = ~(uint64_t)0,
                                .flow = {.table = OF_TABLE_ALL, .cookie = cookie}};
}

/* The next of the object's flows: 1, or 0 after the last one. */
static int next_flow(struct sdn *s, const struct sdn_object *object, struct of_flow_mod *ret_mod)
{
    int rc;

    do {
        rc = sdn_object_flow(&s->objects, object, s->flow_at - 1, &ret_mod->flow);
        s->flow_at++;
    } while (rc < 0);
    ret_mod->command = OF_ADD;
    return rc;
}

static int next_change(void *arg, size_t index, struct of_flow_mod *ret_mod)
{
    struct sdn *s = arg;

    if (index < s->foreign_len) {
        delete_cookie(ret_mod, s->foreign[index]);
        return 1;
    }
    for (; s->change_at < s->change_len; s->change_at++, s->flow_at = 0) {
        struct sdn_change *change = &s->changes[s->change_at];
        if (s->flow_at == 0) {
            change->first = index;
            s->flow_at = 1;
            if (change->object->found_len > 0) {
                delete_cookie(ret_mod, sdn_cookie(change->object->kind, change->object->number));
                return 1;
            }
        }
        if (next_flow(s, change->object, ret_mod)) {
            return 1;
        }
    }
    return 0;
}

static void on_refused(void *arg, size_t index, const struct error *error)
{
    struct sdn *s = arg;
    size_t at = s->change_len;

    while (at > 0 && (at - 1 > s->change_at || s->changes[at - 1].first > index)) {
        at--;
    }
    if (at > 0 && !s->changes[at - 1].object->error) {
        struct error *copy = xnew(struct error);
        *copy = *error;
        s->changes[at - 1].object->error = copy;
        s->changes[at - 1].object->is_error_told = 0;
        s->is_refused = 1;
    }
}

/* Those are read next, if they are few. */
static void end_bundle(struct sdn *s)
{
    sdn_forget_only(s);
    if (s->change_len <= ONLY_MAX && s->foreign_len == 0 && s->change_len > 0) {
        s->only = xcalloc(s->change_len, sizeof *s->only);
        s->only_len = s->change_len;
    }
    for (size_t i = 0; i < s->change_len; i++) {
        if (s->only) {
            s->only[i] = s->changes[i].object;
        } else {
            s->changes[i].object->is_changing = 0;
        }
    }
    free(TAKE(s->changes));
    s->change_len = 0;
}

/* They weren't made. */
static void mark_changes(struct sdn *s)
{
    for (size_t i = 0; i < s->change_len; i++) {
        sdn_mark(&s->objects, s->changes[i].object);
    }
}

static void on_calm(uv_timer_t *timer)
{
    struct sdn *s = timer->data;

    if (s->work != SDN_CALM) {
        return;
    }
    s->is_baseline = 1;
    sdn_read(s);
}

static void on_asked(void *arg, const struct error *error)
{
}

/* Not so if the connection is over: then the next one reads what there is, and it is tried again.
 */
static int is_answer(struct sdn *s)
{
    return of_barrier(s->conn, on_asked, s) == 0;
}

static void on_purged(void *arg, const struct error *error)
{
    struct sdn *s = arg;

    s->purging = NULL;
    if (s->work == SDN_CALM && !s->is_stopped) {
        uv_update_time(s->env->loop);
        uv_timer_start(&s->calm, on_calm, CALM_MSEC, 0);
    }
}

/* Open vSwitch's own datapath (seen with 3.1.0) may go on for seconds with a cached flow that has
 * another's actions, when two of them overlap: so after a change its cache begins anew. The
 * kernel's does as it is told. */
static void purge(struct sdn *s)
{
    _cleanup_free_ char *path = s->datapath && strcmp(s->datapath, "netdev") == 0
                                    ? unixctl_path(s->run_dir, "ovs-vswitchd")
                                    : NULL;

    if (path) {
        s->purging =
            unixctl_call(s->env->loop, path, "revalidator/purge", PURGE_MSEC, on_purged, s);
    } else {
        on_purged(s, NULL);
    }
}

static void on_committed(void *arg, const struct error *error)
{
    struct sdn *s = arg;

    s->work = SDN_IDLE;
    if (error) {
        mark_changes(s);
    }
    end_bundle(s);
    if (s->is_stopped) {
        sdn_forget_only(s);
        return;
    }
    if (!error) {
        s->work = SDN_CALM;
        purge(s);
        return;
    }
    sdn_forget_only(s);
    if (error->status == 503) {
        s->is_ordered = 1; /* the connection is gone, which its closed() tells; then all of it */
    } else if (s->is_refused) {
        s->is_ordered = 1; /* the others, without what was refused */
        sdn_step(s);
        sdn_wake(s);
    } else if (is_answer(s)) {
        sdn_fail(s, error);
    }
}

static int is_to_change(struct sdn_object *object)
{
    if (object->kind == SDN_BASE && object->number >= SDN_BASE_LEN) {
        object->is_leaving = 1; /* ours, by its cookie, but we never made it */
    }
    int differs = object->is_wanted ? !sdn_is_in_force(object) : !sdn_is_as_wanted(object);
    return (object->is_wanted || object->is_leaving) && !object->error && differs;
}

static size_t collect(struct sdn *s)
{
    struct sdn_objects *objects = &s->objects;

    s->changes = xcalloc(objects->marked_len + 1, sizeof *s->changes);
    for (size_t i = 0; i < objects->marked_len; i++) {
        if (is_to_change(objects->marked[i])) {
            s->changes[s->change_len++] = (struct sdn_change){.object = objects->marked[i]};
            objects->marked[i]->is_changing = 1;
        }
    }
    sdn_unmark(objects);
    return s->change_len;
}

static void change_flows(struct sdn *s)
{
    static const struct of_bundle_source SOURCE = {
        .next = next_change, .refused = on_refused, .done = on_committed};
    struct error error;

    s->is_ordered = 0;
    s->is_refused = 0;
    s->change_at = s->flow_at = 0;
    if (collect(s) == 0 && s->foreign_len == 0) {
        free(TAKE(s->changes));
        return;
    }
    int rc = fault_point();
    if (rc == 0) {
        rc = of_bundle(s->conn, &SOURCE, s);
    }
    if (rc < 0) {
        mark_changes(s);
        end_bundle(s);
        sdn_forget_only(s);
        if (rc == -ENOTCONN) {
            s->is_ordered = 1; /* it ends just now; over the next one */
            return;
        }
        error_set(&error, error_status(rc), NULL, "cannot change the flows: %s", strerror(-rc));
        sdn_fail(s, &error);
        return;
    }
    s->work = SDN_BUNDLE;
    s->active_usec = clock_monotonic_usec();
    of_conn_flush(s->conn); /* other drivers, and the replica, take their time */
}

int sdn_switch_step(struct sdn *s)
{
    if (!s->of_peer.is_open || s->work != SDN_IDLE) {
        return 1;
    }
    if (sdn_read_if_late(s)) {
        return 1;
    }
    if (s->is_ordered) {
        change_flows(s);
    }
    return s->work != SDN_IDLE;
}

/* --- the connection --- */

static void on_removed(struct of_conn *conn, void *arg, const struct of_flow_removed *removed)
{
    struct sdn *s = arg;

    if (s->is_stopped) {
        return;
    }
    sdn_found_removed(&s->objects, removed);
    if (s->work == SDN_IDLE || s->work == SDN_COUNTING_FLOWS) {
        sdn_counters_changed(s);
        sdn_wake(s); /* it wasn't us */
    }
}

static void on_opened(struct of_conn *conn, void *arg, const struct of_features *features)
{
    struct sdn *s = arg;

    if (s->is_stopped) {
        return;
    }
    s->datapath_id = features->datapath_id;
    s->of_peer = (struct sdn_peer){.is_open = 1, .was_open = 1};
    s->is_read = 0;
    s->work = SDN_IDLE;
    sdn_step(s);
}

static void on_closed(struct of_conn *conn, void *arg, const struct error *error)
{
    struct sdn *s = arg;
    struct sdn_peer *peer = &s->of_peer;
    int64_t now = clock_monotonic_usec();

    unixctl_cancel(TAKE(s->purging));
    s->conn = NULL;
    s->is_read = 0;
    s->work = SDN_IDLE;
    sdn_forget_only(s);
    if (error->status == 0) {
        *peer = (struct sdn_peer){0};
    } else {
        peer->since_usec = peer->is_lost ? peer->since_usec : now;
        peer->is_open = 0;
        peer->is_lost = 1;
        error_set(&peer->error, 503, NULL, "Open vSwitch doesn't work: %.300s", error->detail);
    }
    peer->retry_usec = now + RETRY_MSEC * (int64_t)1000;
    sdn_wake(s);
    sdn_release(s);
}

void sdn_switch_connect(struct sdn *s)
{
    static const struct of_conn_handler HANDLER = {
        .opened = on_opened, .flow_removed = on_removed, .closed = on_closed};
    struct vswitch_bridge_state state;

    if (s->conn) {
        return;
    }
    if (!sdn_bridge_get(s, &state) || !state.datapath_id) {
        s->of_peer = (struct sdn_peer){0}; /* what was lost was another bridge's */
        return;
    }
    if (clock_monotonic_usec() < s->of_peer.retry_usec) {
        return;
    }
    _cleanup_free_ char *path = xasprintf("%s/%s.mgmt", s->run_dir, OVERLAY_BRIDGE);
    s->handles++;
    s->conn = of_conn_new(s->env->loop,
                          &(struct of_conn_config){.path = path,
                                                   .connect_msec = CONNECT_MSEC,
                                                   .echo_msec = ECHO_MSEC,
                                                   .silent_msec = SILENT_MSEC},
                          &HANDLER, s);
}

void sdn_switch_close(struct sdn *s)
{
    if (s->conn) {
        of_conn_close(s->conn);
    }
    s->of_peer = (struct sdn_peer){0};
    s->is_read = 0;
}
