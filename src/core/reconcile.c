#include "core/reconcile.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "core/replica.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/mem.h"

enum {
    WAKE_MSEC = 5,      /* wakes within this time make one pass */
    CHECK_MSEC = 60000, /* a pass even if nobody noticed a drift */
    BACKOFF_MIN_MSEC = 100,
    BACKOFF_MAX_MSEC = 30000,
    BUSY_MAX = 10,    /* so many passes may change something in a row, */
    BUSY_MSEC = 1000, /* then they come this far apart: something undoes what we do */
    LEAVE_ROUNDS = 100,
    LEAVE_PAUSE_MSEC = 50,
    LOOK_MSEC = 500, /* for a driver to find out how the host is, outside of the loop */
    ERRORS_MAX = 100, /* reported at once */
};

struct driver {
    const struct backend *backend;
    void *self; /* NULL: not started yet, tried again at each pass */
};

struct reconcile {
    struct backend_env env;
    struct replica replica;
    char *path; /* of the replica's file */
    struct driver *drivers;
    size_t driver_len;
    uv_timer_t timer;
    int known;               /* there is a replica: from the file or from the server */
    int unsaved;             /* the file doesn't have the replica as it is */
    int is_outside;          /* the loop runs for a driver's sake: no passes */
    unsigned failures, busy; /* passes in a row: that failed, that changed something */
    reconcile_applied_fn *applied;
    void *arg;
    json_t *errors; /* as last reported; NULL: never */
    int64_t reported;
};

/* What one pass found and did. */
struct outcome {
    size_t changes; /* items that weren't as they must be */
    size_t waiting; /* RESULT_NOT_YET */
    size_t blind;   /* drivers that couldn't look */
    json_t *errors;
};

static void note(struct outcome *outcome, const char *key, const char *message)
{
    if (json_array_size(outcome->errors) < ERRORS_MAX) {
        json_array_append_new(outcome->errors,
                              json_pack("{s:s, s:s}", "key", key, "message", message));
    }
}

/* --- one driver --- */

struct batch {
    struct backend_item *items;
    size_t len;
};

static void add_item(struct batch *batch, const char *key, const json_t *spec, const void *state,
                     enum backend_match match)
{
    /* Grows by doubling: at lengths that are a power of two. */
    if ((batch->len & (batch->len - 1)) == 0) {
        batch->items =
            xrealloc(batch->items, (batch->len ? 2 * batch->len : 1) * sizeof *batch->items);
    }
    batch->items[batch->len++] = (struct backend_item){
        .key = key, .spec = spec, .state = state, .match = match, .result = RESULT_NOT_YET};
}

/* Removals first: what takes a name or an address away makes room for what needs it. */
static void diff(const struct reconcile *r, const struct driver *driver, const struct omap *states,
                 int removals_only, struct batch *batch)
{
    omap_foreach (entry, states) {
        if (removals_only || !omap_get(&r->replica.resources, entry->key)) {
            add_item(batch, entry->key, NULL, entry->value, MATCH_REPLACE);
        }
    }
    omap_foreach (resource, &r->replica.resources) {
        if (removals_only || !driver->backend->owns(resource->key)) {
            continue;
        }
        const void *state = omap_get(states, resource->key);
        enum backend_match match = MATCH_REPLACE;
        if (state) {
            match = driver->backend->compare(driver->self, resource->key, resource->value, state);
        }
        if (match != MATCH_SAME) {
            add_item(batch, resource->key, resource->value, state, match);
        }
    }
}

static void take_results(const struct driver *driver, const struct batch *batch,
                         struct outcome *outcome)
{
    outcome->changes += batch->len;
    for (size_t i = 0; i < batch->len; i++) {
        const struct backend_item *item = &batch->items[i];
        if (item->result == RESULT_NOT_YET) {
            outcome->waiting++;
        } else if (item->result == RESULT_FAILED) {
            note(outcome, item->key, item->error.detail[0] ? item->error.detail : "failed");
        }
    }
}

static int driver_start(struct reconcile *r, struct driver *driver, struct error *error)
{
    return driver->self ? 0 : driver->backend->start(&r->env, &driver->self, error);
}

static void driver_pass(struct reconcile *r, struct driver *driver, int removals_only,
                        struct outcome *outcome)
{
    const struct backend *backend = driver->backend;
    struct omap states = {0};
    struct batch batch = {0};
    struct error error = {0};

    int rc = driver_start(r, driver, &error);
    if (rc == 0) {
        rc = backend->observe(driver->self, &states, &error);
    }
    if (rc == -EAGAIN) {
        outcome->changes++;
        outcome->waiting++;
    } else if (rc < 0) {
        outcome->blind++;
        note(outcome, backend->service, error.detail[0] ? error.detail : strerror(-rc));
    } else {
        diff(r, driver, &states, removals_only, &batch);
        if (batch.len > 0) {
            backend->apply(driver->self, batch.items, batch.len);
        }
        take_results(driver, &batch, outcome);
    }
    free(batch.items);
    omap_clear(&states, backend->free_state);
}

/* --- outside of the loop --- */

static void on_time_over(uv_timer_t *timer)
{
    *(int *)timer->data = 1;
}

static void on_end_closed(uv_handle_t *handle)
{
    free(handle);
}

/* Runs the loop, in which no pass is made meanwhile: until the driver knows how the host is, or
 * else (is_looking 0) for that time. */
static void run_loop(struct reconcile *r, const struct driver *driver, int is_looking,
                     uint64_t msec)
{
    uv_timer_t *end = xnew(uv_timer_t);
    int is_over = 0;

    r->is_outside = 1;
    uv_timer_init(r->env.loop, end);
    end->data = &is_over;
    uv_update_time(r->env.loop);
    uv_timer_start(end, on_time_over, msec, 0);
    while (!is_over && (!is_looking || driver->backend->is_looking(driver->self))) {
        uv_run(r->env.loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)end, on_end_closed);
    r->is_outside = 0;
}

/* Before a pass that is made outside of the loop. */
static void let_look(struct reconcile *r, struct driver *driver)
{
    struct error error;

    if (driver->backend->is_looking && driver_start(r, driver, &error) == 0) {
        run_loop(r, driver, 1, LOOK_MSEC);
    }
}

/* --- passes --- */

static int save(struct reconcile *r)
{
    int rc = r->unsaved ? replica_save(&r->replica, r->path) : 0;

    r->unsaved = rc < 0;
    return rc;
}

static void save_and_note(struct reconcile *r, struct outcome *outcome)
{
    char message[200];

    int rc = save(r);
    if (rc < 0) {
        snprintf(message, sizeof message, "cannot write %s: %s", r->path, strerror(-rc));
        note(outcome, "replica", message);
    }
}

/* A resource that no driver of ours knows is told, not passed over. */
static void note_unowned(const struct reconcile *r, struct outcome *outcome)
{
    omap_foreach (resource, &r->replica.resources) {
        int owned = 0;
        for (size_t i = 0; i < r->driver_len && !owned; i++) {
            owned = r->drivers[i].backend->owns(resource->key);
        }
        if (!owned) {
            note(outcome, resource->key, "this agent has no such service");
        }
    }
}

static struct outcome run_pass(struct reconcile *r)
{
    struct outcome outcome = {.errors = json_array()};

    save_and_note(r, &outcome);
    for (size_t i = 0; i < r->driver_len; i++) {
        driver_pass(r, &r->drivers[i], 0, &outcome);
    }
    note_unowned(r, &outcome);
    return outcome;
}

int reconcile_pass(struct reconcile *r, struct error *error)
{
    if (!r->known) {
        return 0;
    }
    for (size_t i = 0; i < r->driver_len; i++) {
        let_look(r, &r->drivers[i]);
    }
    struct outcome outcome = run_pass(r);
    const json_t *first = json_array_get(outcome.errors, 0);
    int rc = (int)outcome.changes;

    if (outcome.blind > 0) {
        rc = -EIO;
    }
    if (first && error) {
        error_set(error, 500, NULL, "%s: %s", json_get_string(first, "key", ""),
                  json_get_string(first, "message", ""));
    }
    json_decref(outcome.errors);
    return rc;
}

/* Takes the reference `errors`. */
static void report(struct reconcile *r, json_t *errors)
{
    if (r->errors && r->reported == r->replica.revision && json_equal(r->errors, errors)) {
        json_decref(errors);
        return;
    }
    json_decref(r->errors);
    r->errors = errors;
    r->reported = r->replica.revision;
    if (r->applied) {
        r->applied(r->arg, r->reported, r->errors);
    }
}

/* At the latest after `msec`; an earlier pass that is due anyway will do. */
static void schedule(struct reconcile *r, uint64_t msec);

static uint64_t backoff_msec(unsigned failures)
{
    unsigned shift = failures < 10 ? failures : 10;
    uint64_t msec = (uint64_t)BACKOFF_MIN_MSEC << shift;

    return msec < BACKOFF_MAX_MSEC ? msec : BACKOFF_MAX_MSEC;
}

static void on_timer(uv_timer_t *timer)
{
    struct reconcile *r = timer->data;

    if (!r->known || r->is_outside) {
        return;
    }
    struct outcome outcome = run_pass(r);
    int failed = json_array_size(outcome.errors) > 0;
    int settled = outcome.changes == 0 && !failed;

    r->busy = outcome.changes > 0 ? r->busy + 1 : 0;
    r->failures = failed || outcome.waiting > 0 ? r->failures + 1 : 0;
    if (failed || settled) {
        report(r, outcome.errors);
    } else {
        json_decref(outcome.errors);
    }
    if (r->failures > 0) {
        schedule(r, backoff_msec(r->failures - 1));
    } else if (settled) {
        schedule(r, CHECK_MSEC);
    } else {
        reconcile_wake(r); /* look whether it's right now */
    }
}

static void schedule(struct reconcile *r, uint64_t msec)
{
    if (!uv_is_active((uv_handle_t *)&r->timer) || uv_timer_get_due_in(&r->timer) > msec) {
        uv_update_time(r->env.loop);
        uv_timer_start(&r->timer, on_timer, msec, 0);
    }
}

void reconcile_wake(struct reconcile *r)
{
    schedule(r, r->busy < BUSY_MAX ? WAKE_MSEC : BUSY_MSEC);
}

/* --- changes from the server --- */

void reconcile_begin_snapshot(struct reconcile *r)
{
    replica_begin(&r->replica, 1);
}

void reconcile_abort(struct reconcile *r)
{
    replica_begin(&r->replica, 0);
}

void reconcile_put(struct reconcile *r, const char *key, int64_t revision, json_t *body)
{
    replica_change(&r->replica, key, json_incref(body));
}

void reconcile_delete(struct reconcile *r, const char *key, int64_t revision)
{
    replica_change(&r->replica, key, NULL);
}

int reconcile_sync(struct reconcile *r, int64_t revision, const char *digest)
{
    int rc = replica_commit(&r->replica, revision, digest);

    if (rc < 0) {
        return rc;
    }
    if (rc > 0 || !r->known) {
        r->unsaved = 1;
        r->failures = 0;
        r->busy = 0;
    }
    r->known = 1;
    /* The pass writes the file before it applies anything: once for many syncs that come together,
     * as they do while many nodes join. Lost before that, the server sends them again. */
    reconcile_wake(r);
    return 0;
}

int64_t reconcile_revision(const struct reconcile *r)
{
    return r->replica.revision;
}

const char *reconcile_digest(const struct reconcile *r, char hex[33])
{
    return digest_format(r->replica.digest, hex);
}

/* --- leaving --- */

/* Until the driver finds nothing of its own any more. */
static int remove_all(struct reconcile *r, struct driver *driver, struct error *error)
{
    for (int round = 0;; round++) {
        struct outcome outcome = {.errors = json_array()};
        let_look(r, driver);
        driver_pass(r, driver, 1, &outcome);
        const json_t *first = json_array_get(outcome.errors, 0);
        int clean = outcome.changes == 0 && !first;

        if (!clean && round == LEAVE_ROUNDS) {
            error_set(error, 500, NULL, "%s: %s", json_get_string(first, "key", "host"),
                      json_get_string(first, "message", "something is still there"));
        }
        json_decref(outcome.errors);
        if (clean || round == LEAVE_ROUNDS) {
            return clean ? 0 : -EIO;
        }
        if (round > 0 && driver->backend->is_looking && driver->self) {
            run_loop(r, driver, 0, LEAVE_PAUSE_MSEC);
        } else if (round > 0) {
            poll(NULL, 0, LEAVE_PAUSE_MSEC); /* the loop isn't running any more */
        }
    }
}

int reconcile_leave(struct reconcile *r, struct error *error)
{
    int first = 0;

    uv_timer_stop(&r->timer);
    for (size_t i = r->driver_len; i-- > 0;) {
        struct driver *driver = &r->drivers[i];
        int rc = remove_all(r, driver, first < 0 ? NULL : error);
        first = first < 0 ? first : rc;
        if (driver->self && driver->backend->restore) {
            rc = driver->backend->restore(driver->self, first < 0 ? NULL : error);
            first = first < 0 ? first : rc;
        }
    }
    r->unsaved = 0; /* nothing of it is to be there again */
    if (first == 0 && unlink(r->path) < 0 && errno != ENOENT) {
        first = -errno;
        error_set(error, 500, NULL, "cannot remove %s: %s", r->path, strerror(-first));
    }
    return first;
}

/* --- the reconciler --- */

/* Several drivers of one service make one status: lists are joined, else the first's word counts.
 */
static void merge_status(json_t *service, json_t *status)
{
    const char *key;
    json_t *value;

    json_object_foreach (status, key, value) {
        json_t *there = json_object_get(service, key);
        if (!there) {
            json_object_set(service, key, value);
        } else if (json_is_array(there) && json_is_array(value)) {
            json_array_extend(there, value);
        }
    }
}

json_t *reconcile_status(const struct reconcile *r)
{
    json_t *all = json_object();

    for (size_t i = 0; i < r->driver_len; i++) {
        const struct driver *driver = &r->drivers[i];
        json_t *status =
            driver->self && driver->backend->status ? driver->backend->status(driver->self) : NULL;
        json_t *service = json_object_get(all, driver->backend->service);
        if (status && !service) {
            json_object_set(all, driver->backend->service, status);
        } else if (status) {
            merge_status(service, status);
        }
        json_decref(status);
    }
    return all;
}

static void load(struct reconcile *r)
{
    _cleanup_free_ char *aside = xasprintf("%s.corrupt", r->path);
    struct error error = {0};

    int rc = replica_load(&r->replica, r->path, &error);
    if (rc == 0) {
        r->known = 1;
    } else if (rc != -ENOENT) {
        rename(r->path, aside);
        log_warn("the replica can't be used and is set aside; asking for a new one", "file", aside,
                 "reason", error.detail, NULL);
    }
}

int reconcile_new(uv_loop_t *loop, const char *state_dir, const struct backend *const *backends,
                  const struct backend_env *env, reconcile_applied_fn *applied, void *arg,
                  struct reconcile **ret_reconcile, struct error *error)
{
    struct reconcile *r = xnew(struct reconcile);

    while (backends[r->driver_len]) {
        r->driver_len++;
    }
    r->drivers = xcalloc(r->driver_len, sizeof *r->drivers);
    for (size_t i = 0; i < r->driver_len; i++) {
        r->drivers[i].backend = backends[i];
    }
    r->env = *env;
    r->env.loop = loop;
    r->env.reconcile = r;
    r->path = xasprintf("%s/replica.json", state_dir);
    r->applied = applied;
    r->arg = arg;
    uv_timer_init(loop, &r->timer);
    r->timer.data = r;
    load(r);
    reconcile_wake(r);
    *ret_reconcile = r;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void reconcile_free(struct reconcile *r)
{
    if (!r) {
        return;
    }
    save(r); /* what came since the last pass */
    for (size_t i = 0; i < r->driver_len; i++) {
        if (r->drivers[i].self) {
            r->drivers[i].backend->stop(r->drivers[i].self);
        }
    }
    replica_done(&r->replica);
    json_decref(r->errors);
    free(r->drivers);
    free(r->path);
    uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}
