/* What a change costs: which drivers are called, how often, and for how many keys. */
#include "core/reconcile-look-fixture.h"

#include <stdio.h>
#include <string.h>

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
