/* reconcile-driver.c - one pass of one driver: look, compare, apply. */
#include <errno.h>
#include <string.h>

#include "core/reconcile-internal.h"
#include "core/reconcile.h"
#include "lib/mem.h"

void reconcile_note(json_t *errors, const char *key, const char *message)
{
    if (json_array_size(errors) < ERRORS_MAX) {
        json_array_append_new(errors, json_pack("{s:s, s:s}", "key", key, "message", message));
    }
}

/* --- what is to be looked at --- */

void driver_init(struct reconcile_driver *d, struct reconcile *r, const struct replica *replica,
                 const struct trials *trials, const struct backend *backend,
                 const struct backend_env *env)
{
    *d = (struct reconcile_driver){.reconcile = r,
                                   .replica = replica,
                                   .trials = trials,
                                   .backend = backend,
                                   .env = *env,
                                   .whole = 1,
                                   .is_new = 1,
                                   .errors = json_array()};
    d->env.reconcile = d;
}

void driver_done(struct reconcile_driver *d)
{
    if (d->self) {
        d->backend->stop(d->self);
    }
    omap_clear(&d->keys, NULL);
    json_decref(d->errors);
}

static int can_look(const struct reconcile_driver *d)
{
    return d->backend->look && d->self;
}

static void add_key(struct reconcile_driver *d, const char *key)
{
    if (key && !d->whole && can_look(d)) {
        omap_put(&d->keys, key, d);
    } else {
        d->whole = 1;
        omap_clear(&d->keys, NULL);
    }
}

void driver_mark(struct reconcile_driver *d, const char *key, uint64_t due)
{
    add_key(d, key);
    d->due = due < d->due ? due : d->due;
    d->was_woken = 1;
}

void driver_renew(struct reconcile_driver *d)
{
    d->is_new = 1;
    d->failures = 0;
    d->busy = 0;
}

int driver_is_clean(const struct reconcile_driver *d)
{
    return !d->whole && d->keys.len == 0 && json_array_size(d->errors) == 0;
}

/* --- differences --- */

/* Items own their specs: the replica has them as text only. */
struct batch {
    struct backend_item *items;
    size_t len;
};

/* Takes the reference `spec`. */
static void add_item(struct batch *batch, const char *key, json_t *spec, const void *state,
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

/* Takes the reference `spec`. */
static void add_if_differs(const struct reconcile_driver *d, const char *key, json_t *spec,
                           const void *state, struct batch *batch)
{
    enum backend_match match = MATCH_REPLACE;

    if (state) {
        match = d->backend->compare(d->self, key, spec, state);
    }
    if (match != MATCH_SAME) {
        add_item(batch, key, spec, state, match);
    } else {
        json_decref(spec);
    }
}

/* What must be on the host, a new reference; NULL: nothing. */
static json_t *wanted_body(const struct reconcile_driver *d, const char *key)
{
    return trials_is_over(d->trials, key) ? trials_otherwise(d->trials, key)
                                          : replica_body(d->replica, key);
}

static int is_wanted(const struct reconcile_driver *d, const char *key)
{
    if (trials_is_over(d->trials, key)) {
        json_t *otherwise = trials_otherwise(d->trials, key);
        json_decref(otherwise);
        return otherwise != NULL;
    }
    return omap_get(&d->replica->resources, key) != NULL;
}

/* Removals first: what takes a name or an address away makes room for what needs it. */
static void diff(const struct reconcile_driver *d, const struct omap *states, int removals_only,
                 struct batch *batch)
{
    omap_foreach (entry, states) {
        if (removals_only || !is_wanted(d, entry->key)) {
            add_item(batch, entry->key, NULL, entry->value, MATCH_REPLACE);
        }
    }
    omap_foreach (resource, &d->replica->resources) {
        if (!removals_only && d->backend->owns(resource->key) && is_wanted(d, resource->key)) {
            add_if_differs(d, resource->key, wanted_body(d, resource->key),
                           omap_get(states, resource->key), batch);
        }
    }
}

/* The same for some keys alone. */
static void diff_keys(const struct reconcile_driver *d, const struct omap *keys,
                      struct batch *batch)
{
    omap_foreach (entry, keys) {
        if (!is_wanted(d, entry->key)) {
            const void *state = d->backend->look(d->self, entry->key);
            if (state) {
                add_item(batch, entry->key, NULL, state, MATCH_REPLACE);
            }
        }
    }
    omap_foreach (entry, keys) {
        if (is_wanted(d, entry->key)) {
            add_if_differs(d, entry->key, wanted_body(d, entry->key),
                           d->backend->look(d->self, entry->key), batch);
        }
    }
}

/* --- a pass --- */

static void take_results(struct reconcile_driver *d, const struct batch *batch,
                         struct outcome *outcome)
{
    outcome->changes = batch->len;
    for (size_t i = 0; i < batch->len; i++) {
        const struct backend_item *item = &batch->items[i];
        add_key(d, item->key); /* whether it is right now */
        if (item->result == RESULT_NOT_YET) {
            outcome->waiting++;
        } else if (item->result == RESULT_FAILED) {
            reconcile_note(d->errors, item->key,
                           item->error.detail[0] ? item->error.detail : "failed");
        }
    }
}

static void apply(struct reconcile_driver *d, struct batch *batch, struct outcome *outcome)
{
    if (batch->len > 0) {
        d->backend->apply(d->self, batch->items, batch->len);
    }
    take_results(d, batch, outcome);
    for (size_t i = 0; i < batch->len; i++) {
        json_decref((json_t *)batch->items[i].spec);
    }
    free(batch->items);
}

int driver_start(struct reconcile_driver *d, struct error *error)
{
    return d->self ? 0 : d->backend->start(&d->env, &d->self, error);
}

static void pass_whole(struct reconcile_driver *d, int removals_only, struct outcome *outcome)
{
    struct omap states = {0};
    struct batch batch = {0};
    struct error error = {0};

    d->whole = 0;
    omap_clear(&d->keys, NULL);
    int rc = driver_start(d, &error);
    rc = rc < 0 ? rc : d->backend->observe(d->self, &states, &error);
    if (rc == -EAGAIN) {
        d->whole = 1;
        outcome->changes++; /* perhaps */
        outcome->waiting++;
    } else if (rc < 0) {
        d->whole = 1;
        outcome->is_blind = 1;
        reconcile_note(d->errors, d->backend->service,
                       error.detail[0] ? error.detail : strerror(-rc));
    } else {
        diff(d, &states, removals_only, &batch);
        apply(d, &batch, outcome);
    }
    outcome->was_whole = 1;
    omap_clear(&states, d->backend->free_state);
}

static void pass_keys(struct reconcile_driver *d, struct outcome *outcome)
{
    struct omap keys = d->keys; /* the items' names are its */
    struct batch batch = {0};

    d->keys = (struct omap){0}; /* what the driver wakes us for meanwhile comes there */
    diff_keys(d, &keys, &batch);
    apply(d, &batch, outcome);
    omap_clear(&keys, NULL);
}

uint64_t driver_backoff_msec(unsigned failures)
{
    unsigned shift = failures < 10 ? failures : 10;
    uint64_t msec = (uint64_t)BACKOFF_MIN_MSEC << shift;

    return msec < BACKOFF_MAX_MSEC ? msec : BACKOFF_MAX_MSEC;
}

static void set_due(struct reconcile_driver *d, const struct outcome *outcome)
{
    uv_update_time(d->env.loop); /* the pass took a while */
    uint64_t now = uv_now(d->env.loop);
    int failed = json_array_size(d->errors) > 0;

    d->busy = outcome->changes > 0 ? d->busy + 1 : 0;
    d->failures = failed || outcome->waiting > 0 ? d->failures + 1 : 0;
    if (outcome->was_whole) {
        d->check = now + CHECK_MSEC;
    }
    uint64_t soon = now + (d->busy >= BUSY_MAX ? BUSY_MSEC : d->whole ? WAKE_MSEC : 0);
    uint64_t due = d->check;
    if (d->failures > 0) {
        due = now + driver_backoff_msec(d->failures - 1);
    } else if (outcome->changes > 0) {
        due = soon; /* looks whether it's right now */
    }
    d->due = d->was_woken && soon < due ? soon : due;
}

struct outcome driver_pass(struct reconcile_driver *d)
{
    struct outcome outcome = {0};

    json_array_clear(d->errors);
    d->is_new = 0;
    d->was_woken = 0;
    if (d->whole || d->keys.len == 0 || uv_now(d->env.loop) >= d->check) {
        pass_whole(d, 0, &outcome);
    } else {
        pass_keys(d, &outcome);
    }
    set_due(d, &outcome);
    return outcome;
}

struct outcome driver_remove(struct reconcile_driver *d)
{
    struct outcome outcome = {0};

    json_array_clear(d->errors);
    pass_whole(d, 1, &outcome);
    return outcome;
}
