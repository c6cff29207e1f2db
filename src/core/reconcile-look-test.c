/* What a change costs: which drivers are called, how often, and for how many keys. Two drivers:
 * one that observes everything ("all/"), one that can look at keys ("key/"). Both own "both/". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/digest.h"
#include "core/reconcile.h"
#include "core/replica.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    MANY = 2000,
};

/* A driver and its part of the host: key -> value. */
struct part {
    const struct backend_env *env;
    const char *prefix;
    struct omap things;
    struct omap accepted; /* answered with "not yet", in force when finish() is called */
    int is_slow;          /* applies answer "not yet" */
    int fails;            /* applies fail */
    int wakes;            /* so many looks find that everything should be looked at */
    unsigned observed, looked, compared, applied, items;
    unsigned others; /* calls of the other drivers when it was last applied */
};

struct fixture {
    char folder[64];
    uv_loop_t loop;
    uv_timer_t ticker; /* so that uv_run() always comes back */
    struct part all, key;
    struct reconcile *r;
    struct omap wanted; /* what the server has put: key -> value */
    int64_t sent;       /* its revision */
    int64_t acked;
    unsigned reports, errors;
};

static struct fixture *the; /* drivers are told where they are by their start() only */

static int owns_all(const char *key)
{
    return strncmp(key, "all/", 4) == 0 || strncmp(key, "both/", 5) == 0;
}

static int owns_key(const char *key)
{
    return strncmp(key, "key/", 4) == 0 || strncmp(key, "both/", 5) == 0;
}

static int start_all(const struct backend_env *env, void **ret_self, struct error *error)
{
    the->all.env = env;
    *ret_self = &the->all;
    return 0;
}

static int start_key(const struct backend_env *env, void **ret_self, struct error *error)
{
    the->key.env = env;
    *ret_self = &the->key;
    return 0;
}

static void stop(void *self)
{
}

static void drop(void *value)
{
    json_decref(value);
}

static int observe(void *self, struct omap *states, struct error *error)
{
    struct part *part = self;

    part->observed++;
    omap_foreach (thing, &part->things) {
        omap_put(states, thing->key, json_incref(thing->value));
    }
    return 0;
}

static const void *look(void *self, const char *key)
{
    struct part *part = self;

    part->looked++;
    if (part->wakes > 0) {
        part->wakes--;
        reconcile_wake(part->env->reconcile);
    }
    return omap_get(&part->things, key);
}

static enum backend_match compare(void *self, const char *key, const json_t *spec,
                                  const void *state)
{
    ((struct part *)self)->compared++;
    return json_equal(spec, state) ? MATCH_SAME : MATCH_UPDATE;
}

static void come_true(struct part *part, const char *key, const json_t *spec)
{
    json_decref(spec ? omap_put(&part->things, key, json_incref((json_t *)spec))
                     : omap_del(&part->things, key));
}

static void apply(void *self, struct backend_item *items, size_t len)
{
    struct part *part = self;
    const struct part *other = part == &the->all ? &the->key : &the->all;

    part->others = other->observed + other->looked;
    part->applied++;
    part->items += (unsigned)len;
    for (size_t i = 0; i < len; i++) {
        assert_false(i > 0 && items[i - 1].spec && !items[i].spec);
        items[i].result = part->fails     ? RESULT_FAILED
                          : part->is_slow ? RESULT_NOT_YET
                                          : RESULT_DONE;
        if (part->is_slow) {
            json_decref(
                omap_put(&part->accepted, items[i].key,
                         items[i].spec ? json_incref((json_t *)items[i].spec) : json_null()));
        } else if (!part->fails) {
            come_true(part, items[i].key, items[i].spec);
        }
    }
}

/* What was accepted is in force now, and the driver says so. */
static void finish(struct part *part)
{
    omap_foreach (entry, &part->accepted) {
        come_true(part, entry->key, json_is_null((json_t *)entry->value) ? NULL : entry->value);
        reconcile_wake_key(part->env->reconcile, entry->key);
    }
    omap_clear(&part->accepted, drop);
}

static const struct backend ALL = {
    .service = "all",
    .name = "all",
    .owns = owns_all,
    .start = start_all,
    .stop = stop,
    .observe = observe,
    .free_state = drop,
    .compare = compare,
    .apply = apply,
};

static const struct backend KEY = {
    .service = "key",
    .name = "key",
    .owns = owns_key,
    .start = start_key,
    .stop = stop,
    .observe = observe,
    .free_state = drop,
    .compare = compare,
    .apply = apply,
    .look = look,
};

static const struct backend *const BOTH[] = {&ALL, &KEY, NULL};

/* --- the server and the loop --- */

/* What is acknowledged is on the disk. */
static void on_applied(void *arg, int64_t revision, const json_t *errors)
{
    struct fixture *f = arg;
    struct replica saved = {0};

    _cleanup_free_ char *path = xasprintf("%s/replica.json", f->folder);
    assert_int_equal(replica_load(&saved, path, NULL), 0);
    assert_int_equal(saved.revision, revision);
    assert_int_equal(saved.resources.len, f->wanted.len);
    replica_done(&saved);
    f->reports++;
    f->acked = revision;
    f->errors = (unsigned)json_array_size(errors);
}

static void put(struct fixture *f, const char *key, int value)
{
    json_t *body = json_pack("{s:i}", "v", value);

    reconcile_put(f->r, key, 1, body);
    json_decref(omap_put(&f->wanted, key, body));
}

static void delete (struct fixture *f, const char *key)
{
    reconcile_delete(f->r, key, 1);
    json_decref(omap_del(&f->wanted, key));
}

static void sync_now(struct fixture *f)
{
    struct digest sum = {0};
    char hex[33];

    omap_foreach (entry, &f->wanted) {
        digest_add(&sum, digest_of(entry->key, entry->value));
    }
    assert_int_equal(reconcile_sync(f->r, ++f->sent, digest_format(sum, hex)), 0);
}

static void run_until_acked(struct fixture *f)
{
    int64_t deadline = clock_monotonic_usec() + 20000000;

    while (f->acked < f->sent || f->errors > 0) {
        assert_true(clock_monotonic_usec() < deadline);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static void forget_counts(struct fixture *f)
{
    struct part *parts[] = {&f->all, &f->key};

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        parts[i]->observed = parts[i]->looked = parts[i]->compared = 0;
        parts[i]->applied = parts[i]->items = 0;
    }
}

static void start(struct fixture *f)
{
    struct backend_env env = {.node = "n"};

    assert_int_equal(reconcile_new(&f->loop, f->folder, BOTH, &env, on_applied, f, &f->r, NULL),
                     0);
}

static void on_tick(uv_timer_t *timer)
{
}

/* The node has many resources already, all of them in force. */
static int set_up(void **state)
{
    struct fixture *f = xnew(struct fixture);
    char key[32];

    the = f;
    snprintf(f->folder, sizeof f->folder, "/tmp/reconcile-look-test.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    uv_loop_init(&f->loop);
    uv_timer_init(&f->loop, &f->ticker);
    uv_timer_start(&f->ticker, on_tick, 1, 1);
    start(f);
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "%s/%d", i % 2 ? "all" : "key", i);
        put(f, key, i);
    }
    sync_now(f);
    run_until_acked(f);
    forget_counts(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    reconcile_free(f->r);
    uv_close((uv_handle_t *)&f->ticker, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    omap_clear(&f->all.things, drop);
    omap_clear(&f->key.things, drop);
    omap_clear(&f->key.accepted, drop);
    omap_clear(&f->wanted, drop);
    _cleanup_free_ char *path = xasprintf("%s/replica.json", f->folder);
    unlink(path);
    assert_int_equal(rmdir(f->folder), 0);
    free(f);
    return 0;
}

/* Turns of the loop that come at once; a test for what doesn't happen. */
static void run_some(struct fixture *f)
{
    for (int i = 0; i < 10; i++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
}

/* --- tests --- */

static void some_keys_are_looked_at_alone(void **state)
{
    struct fixture *f = *state;

    put(f, "key/new", 1);
    put(f, "key/2", 7);
    delete (f, "key/0");
    sync_now(f);
    run_until_acked(f);
    assert_int_equal(f->key.things.len, MANY / 2);
    assert_int_equal(f->key.applied, 1);
    assert_int_equal(f->key.items, 3);
    assert_int_equal(f->key.looked, 6); /* before and after */
    assert_int_equal(f->key.compared, 3);
    assert_int_equal(f->key.observed + f->all.observed + f->all.applied, 0);
}

static void a_snapshot_costs_what_differs(void **state)
{
    struct fixture *f = *state;

    reconcile_begin_snapshot(f->r);
    json_decref(omap_del(&f->wanted, "key/0"));
    omap_foreach (entry, &f->wanted) {
        reconcile_put(f->r, entry->key, 1, entry->value);
    }
    put(f, "key/2", 7);
    sync_now(f);
    run_until_acked(f);
    assert_int_equal(f->key.items, 2);
    assert_int_equal(f->key.looked, 4);
    assert_int_equal(f->key.observed + f->all.observed, 0);
}

static void not_yet_is_not_acknowledged(void **state)
{
    struct fixture *f = *state;

    f->key.is_slow = 1;
    put(f, "key/new", 1);
    sync_now(f);
    while (f->key.applied == 0) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    run_some(f);
    assert_int_equal(f->acked, f->sent - 1);
    finish(&f->key);
    run_until_acked(f);
    assert_int_equal(f->key.observed + f->all.observed, 0);
}

static void a_key_of_two_is_acknowledged_by_both(void **state)
{
    struct fixture *f = *state;

    f->key.is_slow = 1;
    put(f, "both/x", 1);
    sync_now(f);
    while (f->all.observed < 2) { /* all is as it must be, for that one */
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    run_some(f);
    assert_non_null(omap_get(&f->all.things, "both/x"));
    assert_int_equal(f->acked, f->sent - 1);
    finish(&f->key);
    run_until_acked(f);
    assert_non_null(omap_get(&f->key.things, "both/x"));
}

static void the_owner_is_driven_first_and_then_all_look(void **state)
{
    struct fixture *f = *state;

    put(f, "all/new", 1);
    sync_now(f);
    run_until_acked(f);
    assert_int_equal(f->all.others, 0);
    assert_int_equal(f->all.observed, 2);
    assert_int_equal(f->key.observed, 1);
}

static void a_wake_is_for_one_driver(void **state)
{
    struct fixture *f = *state;

    json_decref(omap_del(&f->key.things, "key/0"));
    reconcile_wake_key(f->key.env->reconcile, "key/0");
    while (!omap_get(&f->key.things, "key/0")) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(f->key.observed, 0);
    json_decref(omap_del(&f->key.things, "key/0"));
    reconcile_wake(f->key.env->reconcile);
    while (!omap_get(&f->key.things, "key/0")) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(f->key.observed, 1);
    run_some(f);
    assert_int_equal(f->all.observed, 0);
    reconcile_wake(f->all.env->reconcile);
    while (f->all.observed == 0) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    run_some(f);
    assert_int_equal(f->key.observed, 1);
}

static void a_wake_within_a_pass_is_heard(void **state)
{
    struct fixture *f = *state;

    f->key.wakes = 1;
    put(f, "key/new", 1);
    put(f, "key/other", 1);
    sync_now(f);
    run_until_acked(f);
    assert_int_equal(f->key.items, 2);
    assert_int_equal(f->key.observed, 1);
}

static void a_revision_without_changes_calls_nobody(void **state)
{
    struct fixture *f = *state;

    sync_now(f);
    run_until_acked(f);
    assert_int_equal(f->key.observed + f->key.looked + f->all.observed, 0);
}

static void a_burst_is_applied_together(void **state)
{
    struct fixture *f = *state;
    char key[32];

    for (int i = 0; i < 30; i++) {
        snprintf(key, sizeof key, "key/new%d", i);
        put(f, key, i);
        sync_now(f);
    }
    run_until_acked(f);
    assert_int_equal(f->key.applied, 1);
    assert_int_equal(f->key.items, 30);
    assert_int_equal(f->reports, 2);
}

static void what_failed_is_told_until_it_works(void **state)
{
    struct fixture *f = *state;

    f->key.fails = 1;
    put(f, "key/new", 1);
    sync_now(f);
    while (f->errors == 0) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(f->acked, f->sent);
    /* Of another change it is still told that this one isn't in force. */
    put(f, "all/new", 1);
    sync_now(f);
    while (f->acked < f->sent) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(f->errors, 1);
    f->key.fails = 0;
    run_until_acked(f);
    assert_non_null(omap_get(&f->key.things, "key/new"));
}

static void a_new_process_looks_at_everything_once(void **state)
{
    struct fixture *f = *state;

    put(f, "key/new", 1);
    sync_now(f);
    run_until_acked(f);
    json_decref(omap_del(&f->key.things, "key/0")); /* while nobody looks */
    reconcile_free(f->r);
    forget_counts(f);
    start(f);
    f->acked = 0;
    run_until_acked(f);
    assert_non_null(omap_get(&f->key.things, "key/0"));
    assert_int_equal(f->key.observed, 1);
    assert_int_equal(f->key.items, 1);
    assert_int_equal(f->all.observed, 1);
}

static void put_on_trial(struct fixture *f, const char *key, int sec)
{
    json_t *body = json_pack("{s:i}", "v", 1);

    if (sec > 0) {
        json_object_set_new(body, "confirmWithin", json_integer(sec));
    }
    reconcile_put(f->r, key, 1, body);
    json_decref(omap_put(&f->wanted, key, body));
    sync_now(f);
}

static void run_until_undone(struct fixture *f)
{
    int64_t deadline = clock_monotonic_usec() + 20000000;

    while (f->errors == 0 || omap_get(&f->key.things, "both/trial") ||
           omap_get(&f->all.things, "both/trial")) {
        assert_true(clock_monotonic_usec() < deadline);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static void what_nobody_confirms_is_undone_everywhere(void **state)
{
    struct fixture *f = *state;

    put_on_trial(f, "both/trial", 1);
    run_until_acked(f);
    assert_non_null(omap_get(&f->key.things, "both/trial"));
    assert_non_null(omap_get(&f->all.things, "both/trial"));
    run_until_undone(f);
    assert_int_equal(f->errors, 1);
    /* It doesn't come back by itself, nor when something else changes. */
    put(f, "key/new", 1);
    sync_now(f);
    assert_int_equal(reconcile_pass(f->r, NULL), 1);
    assert_non_null(omap_get(&f->key.things, "key/new"));
    assert_null(omap_get(&f->key.things, "both/trial"));
    /* The server takes it away. */
    delete (f, "both/trial");
    sync_now(f);
    run_until_acked(f);
}

static void what_is_confirmed_stays(void **state)
{
    struct fixture *f = *state;

    put_on_trial(f, "both/trial", 1);
    run_until_acked(f);
    put_on_trial(f, "both/trial", 0);
    run_until_acked(f);
    put_on_trial(f, "both/other", 1);
    int64_t deadline = clock_monotonic_usec() + 20000000;
    while (f->errors == 0) { /* until a later trial is over */
        assert_true(clock_monotonic_usec() < deadline);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_non_null(omap_get(&f->key.things, "both/trial"));
    assert_non_null(omap_get(&f->all.things, "both/trial"));
}

static json_int_t value_of(struct omap *things, const char *key)
{
    return json_get_integer(omap_get(things, key), "v", -1);
}

static void what_was_changed_is_as_before(void **state)
{
    struct fixture *f = *state;

    put_on_trial(f, "both/trial", 0); /* v 1 */
    run_until_acked(f);
    json_t *body =
        json_pack("{s:i, s:i, s:{s:i}}", "v", 2, "confirmWithin", 1, "otherwise", "v", 1);
    reconcile_put(f->r, "both/trial", 1, body);
    json_decref(omap_put(&f->wanted, "both/trial", body));
    sync_now(f);
    run_until_acked(f);
    assert_int_equal(value_of(&f->key.things, "both/trial"), 2);
    int64_t deadline = clock_monotonic_usec() + 20000000;
    while (f->errors == 0 || value_of(&f->key.things, "both/trial") != 1 ||
           value_of(&f->all.things, "both/trial") != 1) {
        assert_true(clock_monotonic_usec() < deadline);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(f->errors, 1);
}

static void what_was_undone_may_be_tried_again(void **state)
{
    struct fixture *f = *state;

    put_on_trial(f, "both/trial", 1);
    run_until_acked(f);
    run_until_undone(f);
    put_on_trial(f, "both/trial", 3600);
    run_until_acked(f);
    assert_non_null(omap_get(&f->key.things, "both/trial"));
}

#define LOOK_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOK_TEST(some_keys_are_looked_at_alone),
        LOOK_TEST(a_snapshot_costs_what_differs),
        LOOK_TEST(not_yet_is_not_acknowledged),
        LOOK_TEST(a_key_of_two_is_acknowledged_by_both),
        LOOK_TEST(the_owner_is_driven_first_and_then_all_look),
        LOOK_TEST(a_wake_is_for_one_driver),
        LOOK_TEST(a_wake_within_a_pass_is_heard),
        LOOK_TEST(a_revision_without_changes_calls_nobody),
        LOOK_TEST(a_burst_is_applied_together),
        LOOK_TEST(what_failed_is_told_until_it_works),
        LOOK_TEST(a_new_process_looks_at_everything_once),
        LOOK_TEST(what_nobody_confirms_is_undone_everywhere),
        LOOK_TEST(what_is_confirmed_stays),
        LOOK_TEST(what_was_changed_is_as_before),
        LOOK_TEST(what_was_undone_may_be_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
