/* What is on trial is undone by itself, unless it is confirmed. */
#include "core/reconcile-look-fixture.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOK_TEST(what_nobody_confirms_is_undone_everywhere),
        LOOK_TEST(what_is_confirmed_stays),
        LOOK_TEST(what_was_changed_is_as_before),
        LOOK_TEST(what_was_undone_may_be_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
