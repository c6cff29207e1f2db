#include "core/reconcile.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "core/reconcile-internal.h"
#include "core/replica.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/mem.h"

enum {
    LEAVE_ROUNDS = 100,
    LEAVE_PAUSE_MSEC = 50,
    LOOK_MSEC = 500, /* for a driver to find out how the host is, outside of the loop */
    NSEC_PER_MSEC = 1000000,
    MANY = 1000,      /* resources */
    TIDY_MSEC = 1000, /* after a pass over many, when what came of it is over, too */
};

struct reconcile {
    struct replica replica;
    struct trials trials;
    char *path; /* of the replica's file */
    struct reconcile_driver *drivers;
    size_t driver_len;
    struct omap unowned; /* keys of resources that no driver knows; the values mean nothing */
    uv_loop_t *loop;
    uv_timer_t timer;
    int known;              /* there is a replica: from the file or from the server */
    int unsaved;            /* the file doesn't have the replica as it is */
    int is_outside;         /* the loop runs for a driver's sake alone: no passes */
    unsigned save_failures; /* in a row */
    char save_problem[300]; /* "": none */
    uint64_t due;           /* when there is something to do besides the drivers' passes */
    uint64_t tidy_due;      /* when memory that isn't used is given back; NEVER: it was */
    uint64_t rests_until;   /* uv_hrtime(); the server's changes aren't driven before that */
    reconcile_applied_fn *applied;
    void *arg;
    json_t *errors; /* as last reported; NULL: never */
    int64_t reported;
};

/* --- when --- */

static void on_timer(uv_timer_t *timer);

/* The next thing that is due, be it a driver or the file. */
static void schedule(struct reconcile *r)
{
    uint64_t due = r->due, trial = trials_due(&r->trials);

    due = trial < due ? trial : due;
    due = r->tidy_due < due ? r->tidy_due : due;
    for (size_t i = 0; i < r->driver_len; i++) {
        due = r->drivers[i].due < due ? r->drivers[i].due : due;
    }
    if (!r->known || due == NEVER || r->is_outside) {
        uv_timer_stop(&r->timer);
        return;
    }
    uv_update_time(r->loop);
    uint64_t now = uv_now(r->loop);
    uv_timer_start(&r->timer, on_timer, due > now ? due - now : 0, 0);
}

static uint64_t in_msec(struct reconcile *r, uint64_t msec)
{
    uv_update_time(r->loop);
    return uv_now(r->loop) + msec;
}

/* At once, but passes take no more than half of the time: so a single change doesn't wait, and of
 * a burst of them, as when many nodes join, the more come together the longer a pass takes. */
static uint64_t at_once(struct reconcile *r)
{
    uint64_t now = uv_hrtime();

    return in_msec(r, now < r->rests_until ? (r->rests_until - now) / NSEC_PER_MSEC : 0);
}

static void rest_as_long(struct reconcile *r, uint64_t began)
{
    uint64_t now = uv_hrtime();

    r->rests_until = now + (now - began);
}

static uint64_t soon(const struct reconcile_driver *d)
{
    return in_msec(d->reconcile, d->busy < BUSY_MAX ? WAKE_MSEC : BUSY_MSEC);
}

void reconcile_wake(struct reconcile_driver *d)
{
    driver_mark(d, NULL, soon(d));
    schedule(d->reconcile);
}

void reconcile_wake_key(struct reconcile_driver *d, const char *key)
{
    int is_alone = !d->whole && d->backend->look && d->busy < BUSY_MAX;

    driver_mark(d, key, is_alone ? at_once(d->reconcile) : soon(d));
    schedule(d->reconcile);
}

void reconcile_wake_all(struct reconcile *r)
{
    for (size_t i = 0; i < r->driver_len; i++) {
        driver_mark(&r->drivers[i], NULL, soon(&r->drivers[i]));
    }
    schedule(r);
}

/* Whoever owns it has another thing to do now. */
static void mark_owners(void *arg, const char *key)
{
    struct reconcile *r = arg;

    for (size_t i = 0; i < r->driver_len; i++) {
        struct reconcile_driver *d = &r->drivers[i];
        if (d->backend->owns(key)) {
            driver_renew(d);
            driver_mark(d, key, at_once(r));
        }
    }
}

/* --- the file --- */

static void save(struct reconcile *r)
{
    if (!r->unsaved) {
        return;
    }
    int rc = replica_save(&r->replica, r->path);
    r->unsaved = rc < 0;
    r->save_failures = rc < 0 ? r->save_failures + 1 : 0;
    r->save_problem[0] = '\0';
    r->due = NEVER;
    if (rc < 0) {
        snprintf(r->save_problem, sizeof r->save_problem, "cannot write %s: %s", r->path,
                 strerror(-rc));
        r->due = in_msec(r, driver_backoff_msec(r->save_failures - 1));
    }
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

static int is_looking(const struct reconcile_driver *d)
{
    return d->backend->is_looking(d->self);
}

/* Runs the loop for that time, or no longer than until the driver knows how the host is. No passes
 * are made meanwhile: it is for those who make them themselves. */
static void run_loop(struct reconcile *r, const struct reconcile_driver *d, int only_to_look,
                     uint64_t msec)
{
    uv_timer_t *end = xnew(uv_timer_t);
    int is_over = 0;

    r->is_outside = 1;
    uv_timer_stop(&r->timer);
    uv_timer_init(r->loop, end);
    end->data = &is_over;
    uv_update_time(r->loop);
    uv_timer_start(end, on_time_over, msec, 0);
    while (!is_over && (!only_to_look || is_looking(d))) {
        uv_run(r->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)end, on_end_closed);
    r->is_outside = 0;
}

/* Before a pass that is made outside of the loop. */
static void let_look(struct reconcile *r, struct reconcile_driver *d)
{
    if (d->backend->is_looking && driver_start(d, NULL) == 0 && is_looking(d)) {
        run_loop(r, d, 1, LOOK_MSEC);
    }
}

/* --- passes --- */

/* Drivers build on each other, so after one that looks at everything at once did something, all
 * look whether they are still right. One that looks at keys knows whom it concerns. */
static void mark_others(struct reconcile *r, const struct reconcile_driver *changed)
{
    for (size_t i = 0; i < r->driver_len; i++) {
        if (&r->drivers[i] != changed) {
            driver_mark(&r->drivers[i], NULL, changed->due);
        }
    }
}

static struct outcome pass(struct reconcile *r, struct reconcile_driver *d)
{
    struct outcome outcome = driver_pass(d);

    if (outcome.changes > MANY || (outcome.was_whole && r->replica.resources.len > MANY)) {
        r->tidy_due = in_msec(r, TIDY_MSEC);
    }
    if (outcome.changes > 0 && !d->backend->look) {
        mark_others(r, d);
    }
    return outcome;
}

/* --- outcome --- */

/* All that isn't in force, a new reference. A resource that no driver of ours knows is told, not
 * passed over. */
static json_t *collect_errors(const struct reconcile *r)
{
    json_t *errors = json_array(), *error;
    size_t at;

    if (r->save_problem[0]) {
        reconcile_note(errors, "replica", r->save_problem);
    }
    for (size_t i = 0; i < r->driver_len; i++) {
        json_array_foreach (r->drivers[i].errors, at, error) {
            reconcile_note(errors, json_get_string(error, "key", ""),
                           json_get_string(error, "message", ""));
        }
    }
    omap_foreach (entry, &r->trials.by_key) {
        if (trials_is_over(&r->trials, entry->key)) {
            reconcile_note(errors, entry->key, "undone: nobody confirmed it in time");
        }
    }
    omap_foreach (entry, &r->unowned) {
        if (json_array_size(errors) == ERRORS_MAX) {
            break;
        }
        reconcile_note(errors, entry->key, "this agent has no such service");
    }
    return errors;
}

/* The loop's own pass tells the outcome, and tries again what failed. */
static void go_on_soon(struct reconcile *r)
{
    r->due = in_msec(r, WAKE_MSEC);
    for (size_t i = 0; i < r->driver_len; i++) {
        if (!driver_is_clean(&r->drivers[i])) {
            driver_mark(&r->drivers[i], NULL, r->due);
        }
    }
    schedule(r);
}

int reconcile_pass(struct reconcile *r, struct error *error)
{
    int changes = 0, is_blind = 0;

    if (!r->known) {
        return 0;
    }
    for (size_t i = 0; i < r->driver_len; i++) {
        let_look(r, &r->drivers[i]);
        driver_mark(&r->drivers[i], NULL, NEVER);
        struct outcome outcome = pass(r, &r->drivers[i]);
        changes += (int)outcome.changes;
        is_blind |= outcome.is_blind;
    }
    save(r);
    json_t *errors = collect_errors(r);
    const json_t *first = json_array_get(errors, 0);
    if (first && error) {
        error_set(error, 500, NULL, "%s: %s", json_get_string(first, "key", ""),
                  json_get_string(first, "message", ""));
    }
    json_decref(errors);
    go_on_soon(r);
    return is_blind ? -EIO : changes;
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

/* The revision is applied when all drivers are clean, and it is on the disk. What failed is told
 * as soon as each driver has tried what the server changed. */
static void conclude(struct reconcile *r)
{
    int is_clean = 1, is_tried = 1;

    for (size_t i = 0; i < r->driver_len; i++) {
        is_clean &= driver_is_clean(&r->drivers[i]);
        is_tried &= !r->drivers[i].is_new;
    }
    json_t *errors = collect_errors(r);
    int failed = json_array_size(errors) > 0;
    if (failed ? is_tried : is_clean) {
        report(r, errors);
    } else {
        json_decref(errors);
    }
}

/* A pass over many makes as many trees, among which is what stays: free() alone would keep most of
 * that for the process. */
static void tidy(struct reconcile *r, uint64_t now)
{
    if (r->tidy_due <= now) {
        r->tidy_due = NEVER;
        malloc_trim(0);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct reconcile *r = timer->data;
    uint64_t began = uv_hrtime(), now = in_msec(r, 0);

    r->due = NEVER;
    tidy(r, now);
    trials_end(&r->trials, now, mark_owners, r);
    for (size_t i = 0; i < r->driver_len; i++) {
        if (r->drivers[i].due <= now) {
            pass(r, &r->drivers[i]);
        }
    }
    rest_as_long(r, began);
    save(r);
    conclude(r);
    schedule(r);
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
    replica_change(&r->replica, key, body);
}

void reconcile_delete(struct reconcile *r, const char *key, int64_t revision)
{
    replica_change(&r->replica, key, NULL);
}

static int is_owned(const struct reconcile *r, const char *key)
{
    for (size_t i = 0; i < r->driver_len; i++) {
        if (r->drivers[i].backend->owns(key)) {
            return 1;
        }
    }
    return 0;
}

static void sort_out(struct reconcile *r, const char *key)
{
    if (is_owned(r, key)) {
        return;
    }
    if (omap_get(&r->replica.resources, key)) {
        omap_put(&r->unowned, key, r);
    } else {
        omap_del(&r->unowned, key);
    }
}

/* Few are on trial, so only those are made trees. */
static void sort_trial(struct reconcile *r, const char *key)
{
    const char *text = omap_get(&r->replica.resources, key);
    int may_be = text && strstr(text, "\"confirmWithin\"");
    json_t *body = may_be ? replica_body(&r->replica, key) : NULL;

    trials_put(&r->trials, key, body, uv_now(r->loop));
    json_decref(body);
}

static void on_changed(void *arg, const char *key)
{
    struct reconcile *r = arg;

    sort_trial(r, key);
    mark_owners(r, key);
    sort_out(r, key);
}

int reconcile_sync(struct reconcile *r, int64_t revision, const char *digest)
{
    int rc = replica_commit(&r->replica, revision, digest, on_changed, r);

    if (rc < 0) {
        return rc;
    }
    r->unsaved |= rc > 0 || !r->known;
    r->known = 1;
    /* Only the loop's next turn drives it: many syncs that come together make one pass. Lost
     * before they are saved, the server sends them again. */
    r->due = at_once(r);
    schedule(r);
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
static int remove_all(struct reconcile_driver *driver, struct error *error)
{
    struct reconcile *r = driver->reconcile;

    for (int round = 0;; round++) {
        let_look(r, driver);
        struct outcome outcome = driver_remove(driver);
        const json_t *first = json_array_get(driver->errors, 0);
        int clean = outcome.changes == 0 && !first;

        if (!clean && round == LEAVE_ROUNDS) {
            error_set(error, 500, NULL, "%s: %s", json_get_string(first, "key", "host"),
                      json_get_string(first, "message", "something is still there"));
        }
        if (clean || round == LEAVE_ROUNDS) {
            return clean ? 0 : -EIO;
        }
        if (round > 0 && driver->backend->is_looking) {
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
        struct reconcile_driver *driver = &r->drivers[i];
        int rc = remove_all(driver, first < 0 ? NULL : error);
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
        const struct reconcile_driver *driver = &r->drivers[i];
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

int reconcile_ask(struct reconcile *r, const char *what, backend_answer_fn *done, void *arg)
{
    int rc = -ENOENT;

    for (size_t i = 0; rc == -ENOENT && i < r->driver_len; i++) {
        const struct reconcile_driver *driver = &r->drivers[i];
        if (driver->self && driver->backend->ask) {
            rc = driver->backend->ask(driver->self, what, done, arg);
        }
    }
    return rc;
}

static void load(struct reconcile *r)
{
    _cleanup_free_ char *aside = xasprintf("%s.corrupt", r->path);
    struct error error = {0};

    int rc = replica_load(&r->replica, r->path, &error);
    if (rc == 0) {
        r->known = 1;
        omap_foreach (resource, &r->replica.resources) {
            sort_out(r, resource->key);
            sort_trial(r, resource->key);
        }
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
        driver_init(&r->drivers[i], r, &r->replica, &r->trials, backends[i], env);
        r->drivers[i].env.loop = loop;
    }
    r->loop = loop;
    r->due = r->tidy_due = NEVER;
    r->path = xasprintf("%s/replica.json", state_dir);
    r->applied = applied;
    r->arg = arg;
    uv_timer_init(loop, &r->timer);
    r->timer.data = r;
    load(r);
    schedule(r);
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
        driver_done(&r->drivers[i]);
    }
    replica_done(&r->replica);
    omap_clear(&r->unowned, NULL);
    trials_done(&r->trials);
    json_decref(r->errors);
    free(r->drivers);
    free(r->path);
    uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}
