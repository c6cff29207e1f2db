/* trials-test.c - what was forced goes away by itself, unless it is confirmed. */
#include "server/trials.h"

#include "core/deployment-fixture.h"

#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"

static const char SHARP[] = "{\"sharp\":true}";

static struct outcome make(struct fixture *f, int force, const char *spec)
{
    return do_write(f, (struct write){.verb = WRITE_CREATE, .kind = "toy/marks", .force = force},
                    spec);
}

static const json_t *object_of(struct fixture *f, const char *id)
{
    _cleanup_free_ char *key = xasprintf("object/toy/marks/%s", id);

    return tree_value(deployment_tree(f->d), key);
}

/* 0: not on trial. */
static json_int_t deadline_of(struct fixture *f, const char *id)
{
    return json_get_integer(json_object_get(object_of(f, id), "sealed"), "confirmBy", 0);
}

static void set_deadline(struct fixture *f, const char *id, json_int_t deadline)
{
    json_t *sealed = deadline ? json_pack("{s:I}", "confirmBy", deadline) : json_object();
    struct outcome o = do_write(
        f, (struct write){.verb = WRITE_PATCH, .kind = "toy/marks", .id = id, .sealed = sealed},
        "{\"sharp\":false}");

    assert_int_equal(o.rc, 0);
    json_decref(sealed);
}

static void run_until_gone(struct fixture *f, const char *id)
{
    int64_t deadline = clock_monotonic_usec() + 20000000;

    while (object_of(f, id)) {
        assert_true(clock_monotonic_usec() < deadline);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static void only_what_is_refused_is_on_trial(void **state)
{
    struct fixture *f = *state;
    int64_t now = clock_now_usec() / 1000000;
    struct outcome o = make(f, 0, SHARP);

    assert_true(o.rc < 0);
    assert_int_equal(o.error.status, 409);
    o = make(f, 1, SHARP);
    assert_int_equal(o.rc, 0);
    assert_true(deadline_of(f, o.id) >= now + CONFIRM_SEC);
    o = make(f, 1, "{}");
    assert_int_equal(o.rc, 0);
    assert_int_equal(deadline_of(f, o.id), 0);
}

static void its_event_says_that_it_was_forced(void **state)
{
    struct fixture *f = *state;
    const struct tree *tree = deployment_tree(f->d);

    make(f, 1, SHARP);
    struct omap_entry *e = tree_first(tree, "object/events/");
    const json_t *spec = json_object_get(tree_value(tree, e->key), "spec");
    assert_string_equal(json_get_string(spec, "reason", ""), "forced");
}

static void a_list_is_forced_where_one_of_it_is(void **state)
{
    static const struct actor ADMIN = {.name = "admin", .source = "-", .role = ROLE_ADMIN};
    struct write common = {.verb = WRITE_CREATE, .kind = "toy/marks", .force = 1};
    struct fixture *f = *state;
    struct outcome o = {0};
    json_t *list = json_pack("[{s:{s:b}}, {s:{}}]", "spec", "sharp", 1, "spec");

    deployment_create_list(f->d, &ADMIN, &common, list, fixture_done, &o);
    json_decref(list);
    fixture_run(f, &o.finished);
    assert_int_equal(o.rc, 0);
    assert_true(deadline_of(f, "1") > 0 && deadline_of(f, "2") == 0);
    const struct tree *tree = deployment_tree(f->d);
    struct omap_entry *e = tree_first(tree, "object/events/");
    const json_t *spec = json_object_get(tree_value(tree, e->key), "spec");
    assert_string_equal(json_get_string(spec, "reason", ""), "forced");
}

static void what_nobody_confirms_is_deleted(void **state)
{
    struct fixture *f = *state;
    struct server_trials *trials = server_trials_new(&f->loop, f->d);
    struct outcome lost = make(f, 1, SHARP), kept = make(f, 1, SHARP), later = make(f, 1, SHARP);

    set_deadline(f, kept.id, 0);
    set_deadline(f, lost.id, 1);
    run_until_gone(f, lost.id);
    assert_non_null(object_of(f, kept.id));
    assert_true(deadline_of(f, later.id) > 0);
    server_trials_free(trials);
}

static void run_until_free(struct fixture *f, const char *id)
{
    int64_t deadline = clock_monotonic_usec() + 20000000;

    while (deadline_of(f, id)) {
        assert_true(clock_monotonic_usec() < deadline);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static int is_sharp(struct fixture *f, const char *id)
{
    return json_get_bool(json_object_get(object_of(f, id), "spec"), "sharp", 0);
}

static void what_was_changed_by_force_is_as_before(void **state)
{
    struct fixture *f = *state;
    struct outcome o = make(f, 0, "{}");
    struct write change = {.verb = WRITE_PATCH, .kind = "toy/marks", .id = o.id, .force = 1};

    assert_int_equal(do_write(f, change, SHARP).rc, 0);
    assert_int_equal(do_write(f, change, SHARP).rc, 0); /* again: not what it returns to */
    assert_true(is_sharp(f, o.id) && deadline_of(f, o.id) > 0);
    json_t *sealed = json_deep_copy(json_object_get(object_of(f, o.id), "sealed"));
    json_object_set_new(sealed, "confirmBy", json_integer(1));
    struct write hasten = {.verb = WRITE_PATCH,
                           .kind = "toy/marks",
                           .id = o.id,
                           .sealed = sealed,
                           .reason = "hastened"};
    assert_int_equal(do_write(f, hasten, "{\"sharp\":false}").rc, 0);
    json_decref(sealed);
    struct server_trials *trials = server_trials_new(&f->loop, f->d);
    run_until_free(f, o.id);
    assert_non_null(object_of(f, o.id));
    assert_false(is_sharp(f, o.id));
    assert_null(json_object_get(json_object_get(object_of(f, o.id), "sealed"), "before"));
    server_trials_free(trials);
}

/* It was forced itself, and confirmed. */
static void it_returns_to_what_would_be_refused(void **state)
{
    struct fixture *f = *state;
    struct outcome o = make(f, 0, "{}");
    json_t *sealed = json_pack("{s:{s:b}, s:i}", "before", "sharp", 1, "confirmBy", 1);
    struct write change = {.verb = WRITE_PATCH, .kind = "toy/marks", .id = o.id, .sealed = sealed};

    assert_int_equal(do_write(f, change, "{\"sharp\":false}").rc, 0);
    json_decref(sealed);
    struct server_trials *trials = server_trials_new(&f->loop, f->d);
    run_until_free(f, o.id);
    assert_true(is_sharp(f, o.id));
    server_trials_free(trials);
}

static void what_was_there_at_the_start_too(void **state)
{
    struct fixture *f = *state;
    struct outcome o = make(f, 1, SHARP);

    set_deadline(f, o.id, 1);
    struct server_trials *trials = server_trials_new(&f->loop, f->d);
    run_until_gone(f, o.id);
    server_trials_free(trials);
}

static void who_deletes_it_before_ends_it(void **state)
{
    struct fixture *f = *state;
    struct server_trials *trials = server_trials_new(&f->loop, f->d);
    struct outcome first = make(f, 1, SHARP), second = make(f, 1, SHARP);
    struct outcome o = do_write(
        f, (struct write){.verb = WRITE_DELETE, .kind = "toy/marks", .id = first.id}, NULL);

    assert_int_equal(o.rc, 0);
    set_deadline(f, second.id, 1);
    run_until_gone(f, second.id);
    server_trials_free(trials);
}

/* At the last moment: the confirmation is being stored when the deletion is built. */
static void who_confirms_in_time_keeps_it(void **state)
{
    struct fixture *f = *state;
    struct outcome o = make(f, 1, SHARP), confirmed = {0};
    json_t *none = json_object();

    set_deadline(f, o.id, 1);
    struct server_trials *trials = server_trials_new(&f->loop, f->d);
    begin_write(
        f, (struct write){.verb = WRITE_PATCH, .kind = "toy/marks", .id = o.id, .sealed = none},
        "{}", &confirmed);
    fixture_run(f, &confirmed.finished);
    assert_int_equal(confirmed.rc, 0);
    for (int i = 0; i < 3; i++) { /* after what was under way */
        make(f, 0, "{}");
    }
    assert_non_null(object_of(f, o.id));
    assert_int_equal(deadline_of(f, o.id), 0);
    json_decref(none);
    server_trials_free(trials);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_what_is_refused_is_on_trial),    TEST(its_event_says_that_it_was_forced),
        TEST(a_list_is_forced_where_one_of_it_is), TEST(what_nobody_confirms_is_deleted),
        TEST(what_was_there_at_the_start_too),     TEST(who_deletes_it_before_ends_it),
        TEST(who_confirms_in_time_keeps_it),       TEST(what_was_changed_by_force_is_as_before),
        TEST(it_returns_to_what_would_be_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
