#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/digest.h"
#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"

/* A host in memory: key -> value, all of it ours. It stays when drivers come and go. */
struct host {
    struct omap things;
    json_t *refused; /* keys whose apply fails */
    int not_yet;     /* so many applies of an item answer "not yet" */
    int blind;       /* so many observations fail */
    int fail_start;
    unsigned observed, applied, removed_before_added;
    int restored;
};

static int fake_owns(const char *key)
{
    return strncmp(key, "fake/", 5) == 0;
}

static int fake_start(const struct backend_env *env, void **ret_self, struct error *error)
{
    struct host *host = env->report_arg;

    if (host->fail_start > 0) {
        host->fail_start--;
        return error_set(error, 500, NULL, "no device");
    }
    *ret_self = host;
    return 0;
}

static void fake_stop(void *self)
{
}

static int fake_observe(void *self, struct omap *states, struct error *error)
{
    struct host *host = self;

    host->observed++;
    if (host->blind > 0) {
        host->blind--;
        return error_set(error, 500, NULL, "can't see");
    }
    omap_foreach (thing, &host->things) {
        omap_put(states, thing->key, json_incref(thing->value));
    }
    return 0;
}

static void fake_free_state(void *state)
{
    json_decref(state);
}

static enum backend_match fake_compare(void *self, const char *key, const json_t *spec,
                                       const void *state)
{
    return json_equal(spec, state) ? MATCH_SAME : MATCH_UPDATE;
}

static void fake_item(struct host *host, struct backend_item *item)
{
    if (json_array_has(host->refused, item->key)) {
        item->result = RESULT_FAILED;
        error_set(&item->error, 500, NULL, "refused");
        return;
    }
    if (host->not_yet > 0) {
        host->not_yet--;
        item->result = RESULT_NOT_YET;
        return;
    }
    json_decref(item->spec ? omap_put(&host->things, item->key, json_incref((json_t *)item->spec))
                           : omap_del(&host->things, item->key));
    item->result = RESULT_DONE;
}

static void fake_apply(void *self, struct backend_item *items, size_t len)
{
    struct host *host = self;

    host->applied++;
    for (size_t i = 0; i < len; i++) {
        if (i > 0 && !items[i - 1].spec && items[i].spec) {
            host->removed_before_added++;
        }
        assert_false(i > 0 && items[i - 1].spec && !items[i].spec);
        fake_item(host, &items[i]);
    }
}

static int fake_restore(void *self, struct error *error)
{
    ((struct host *)self)->restored++;
    return 0;
}

static json_t *fake_status(void *self)
{
    return json_pack("{s:s}", "state", "running");
}

static const struct backend FAKE = {
    .service = "fake",
    .name = "memory",
    .owns = fake_owns,
    .start = fake_start,
    .stop = fake_stop,
    .observe = fake_observe,
    .free_state = fake_free_state,
    .compare = fake_compare,
    .apply = fake_apply,
    .restore = fake_restore,
    .status = fake_status,
};

static const struct backend *const FAKES[] = {&FAKE, NULL};

struct fixture {
    char folder[64];
    uv_loop_t loop;
    uv_timer_t ticker; /* so that uv_run() always comes back */
    struct host host;
    struct reconcile *r;
    unsigned reports;
    int64_t revision;
    json_t *errors;
};

static void on_applied(void *arg, int64_t revision, const json_t *errors)
{
    struct fixture *f = arg;

    f->reports++;
    f->revision = revision;
    json_decref(f->errors);
    f->errors = json_deep_copy(errors);
}

static void start(struct fixture *f)
{
    struct backend_env env = {.node = "n", .report_arg = &f->host};

    assert_int_equal(reconcile_new(&f->loop, f->folder, FAKES, &env, on_applied, f, &f->r, NULL),
                     0);
}

static void restart(struct fixture *f)
{
    reconcile_free(f->r);
    start(f);
}

static void on_tick(uv_timer_t *timer)
{
}

static int set_up(void **state)
{
    struct fixture *f = xnew(struct fixture);

    snprintf(f->folder, sizeof f->folder, "/tmp/reconcile-test.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    uv_loop_init(&f->loop);
    uv_timer_init(&f->loop, &f->ticker);
    uv_timer_start(&f->ticker, on_tick, 1, 1);
    start(f);
    *state = f;
    return 0;
}

static void remove_file(const struct fixture *f, const char *name)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", f->folder, name);
    remove(path);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    reconcile_free(f->r);
    uv_close((uv_handle_t *)&f->ticker, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    omap_clear(&f->host.things, fake_free_state);
    json_decref(f->host.refused);
    json_decref(f->errors);
    remove_file(f, "replica.json");
    remove_file(f, "replica.json.corrupt");
    assert_int_equal(rmdir(f->folder), 0);
    free(f);
    return 0;
}

static void put(struct fixture *f, const char *key, int value)
{
    json_t *body = json_pack("{s:i}", "v", value);

    reconcile_put(f->r, key, 1, body);
    json_decref(body);
}

/* Sums what the set must be: {"fake/a":1, …}. */
static int sync_as(struct fixture *f, int64_t revision, const char *set)
{
    json_t *all = json_loads(set, 0, NULL), *value;
    struct digest sum = {0};
    const char *key;
    char hex[33];

    json_object_foreach (all, key, value) {
        json_t *body = json_pack("{s:O}", "v", value);
        digest_add(&sum, digest_of(key, body));
        json_decref(body);
    }
    json_decref(all);
    return reconcile_sync(f->r, revision, digest_format(sum, hex));
}

static void assert_host(struct fixture *f, const char *set)
{
    json_t *want = json_loads(set, 0, NULL), *have = json_object();

    omap_foreach (thing, &f->host.things) {
        json_object_set(have, thing->key, json_object_get(thing->value, "v"));
    }
    assert_true(json_equal(want, have));
    json_decref(want);
    json_decref(have);
}

static void run_until_reports(struct fixture *f, unsigned reports)
{
    int64_t deadline = clock_monotonic_usec() + 20000000;

    while (f->reports < reports) {
        assert_true(clock_monotonic_usec() < deadline);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static const char *error_message(const struct fixture *f, const char *key)
{
    size_t i;
    json_t *error;

    json_array_foreach (f->errors, i, error) {
        if (strcmp(json_get_string(error, "key", ""), key) == 0) {
            return json_get_string(error, "message", "");
        }
    }
    return "";
}

/* --- tests --- */

static void a_snapshot_then_deltas_reach_the_host(void **state)
{
    struct fixture *f = *state;

    reconcile_begin_snapshot(f->r);
    put(f, "fake/a", 1);
    put(f, "fake/b", 1);
    assert_host(f, "{}");
    assert_int_equal(sync_as(f, 5, "{\"fake/a\":1,\"fake/b\":1}"), 0);
    run_until_reports(f, 1);
    assert_host(f, "{\"fake/a\":1,\"fake/b\":1}");
    assert_int_equal(f->revision, 5);
    assert_int_equal(json_array_size(f->errors), 0);
    assert_int_equal(reconcile_pass(f->r, NULL), 0);

    reconcile_delete(f->r, "fake/a", 6);
    put(f, "fake/b", 2);
    put(f, "fake/c", 1);
    assert_int_equal(sync_as(f, 7, "{\"fake/b\":2,\"fake/c\":1}"), 0);
    assert_int_equal(reconcile_pass(f->r, NULL), 3);
    assert_host(f, "{\"fake/b\":2,\"fake/c\":1}");
    assert_int_equal(f->host.removed_before_added, 1);
    assert_int_equal(reconcile_revision(f->r), 7);

    reconcile_begin_snapshot(f->r);
    put(f, "fake/d", 1);
    assert_int_equal(sync_as(f, 8, "{\"fake/d\":1}"), 0);
    reconcile_pass(f->r, NULL);
    assert_host(f, "{\"fake/d\":1}");
}

static void a_wrong_digest_changes_nothing(void **state)
{
    struct fixture *f = *state;

    put(f, "fake/a", 1);
    assert_int_equal(sync_as(f, 1, "{\"fake/a\":1}"), 0);
    put(f, "fake/b", 1);
    assert_int_equal(sync_as(f, 2, "{\"fake/a\":1}"), -ESTALE);
    reconcile_begin_snapshot(f->r);
    put(f, "fake/b", 1);
    assert_int_equal(sync_as(f, 2, "{\"fake/a\":1}"), -ESTALE);
    assert_int_equal(reconcile_revision(f->r), 1);
    reconcile_pass(f->r, NULL);
    assert_host(f, "{\"fake/a\":1}");
    /* What was refused is forgotten, and so is what a lost connection left open. */
    assert_int_equal(sync_as(f, 3, "{\"fake/a\":1}"), 0);
    reconcile_begin_snapshot(f->r);
    put(f, "fake/z", 1);
    reconcile_abort(f->r);
    put(f, "fake/b", 1);
    assert_int_equal(sync_as(f, 4, "{\"fake/a\":1,\"fake/b\":1}"), 0);
}

static void the_replica_outlives_us(void **state)
{
    struct fixture *f = *state;
    char before[33], after[33];

    put(f, "fake/a", 1);
    sync_as(f, 9, "{\"fake/a\":1}");
    reconcile_digest(f->r, before);
    restart(f); /* before anything was applied */
    assert_int_equal(reconcile_revision(f->r), 9);
    assert_string_equal(reconcile_digest(f->r, after), before);
    run_until_reports(f, 1);
    assert_host(f, "{\"fake/a\":1}");
}

static void a_corrupt_replica_tears_nothing_down(void **state)
{
    struct fixture *f = *state;
    _cleanup_buf_ struct buf text = BUF_INIT(10000);

    put(f, "fake/a", 1);
    sync_as(f, 9, "{\"fake/a\":1}");
    reconcile_pass(f->r, NULL);
    _cleanup_free_ char *path = xasprintf("%s/replica.json", f->folder);
    _cleanup_free_ char *aside = xasprintf("%s.corrupt", path);
    assert_int_equal(file_read(path, &text), 0);
    char *digit = strstr(text.data, "\"v\":1");
    assert_non_null(digit);
    digit[4] = '2'; /* valid JSON still */
    assert_int_equal(file_write_atomic(path, text.data, text.size, 0600), 0);
    restart(f);
    assert_int_equal(reconcile_revision(f->r), 0);
    assert_int_equal(access(aside, F_OK), 0);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(reconcile_pass(f->r, NULL), 0);
    assert_host(f, "{\"fake/a\":1}");
    reconcile_begin_snapshot(f->r);
    assert_int_equal(sync_as(f, 10, "{}"), 0);
    reconcile_pass(f->r, NULL);
    assert_host(f, "{}");
}

static void failures_are_told_once_and_tried_again(void **state)
{
    struct fixture *f = *state;

    f->host.refused = json_pack("[s]", "fake/b");
    f->host.not_yet = 2;
    put(f, "fake/a", 1);
    put(f, "fake/b", 1);
    put(f, "other/x", 1);
    sync_as(f, 3, "{\"fake/a\":1,\"fake/b\":1,\"other/x\":1}");
    run_until_reports(f, 1);
    assert_string_equal(error_message(f, "fake/b"), "refused");
    assert_string_equal(error_message(f, "other/x"), "this agent has no such service");
    unsigned before = f->host.observed;
    while (f->host.observed < before + 3) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_host(f, "{\"fake/a\":1}");
    assert_int_equal(f->reports, 1);
    json_array_clear(f->host.refused);
    run_until_reports(f, 2);
    assert_host(f, "{\"fake/a\":1,\"fake/b\":1}");
    assert_string_equal(error_message(f, "fake/b"), "");
}

static void a_driver_that_cannot_start_or_look_is_tried_again(void **state)
{
    struct fixture *f = *state;

    f->host.fail_start = 1;
    f->host.blind = 1;
    put(f, "fake/a", 1);
    sync_as(f, 3, "{\"fake/a\":1}");
    struct error error = {0};
    assert_int_equal(reconcile_pass(f->r, &error), -EIO);
    assert_string_equal(error.detail, "fake: no device");
    run_until_reports(f, 1);
    assert_string_equal(error_message(f, "fake"), "can't see");
    run_until_reports(f, 2);
    assert_host(f, "{\"fake/a\":1}");
}

static void many_wakes_make_one_pass(void **state)
{
    struct fixture *f = *state;

    put(f, "fake/a", 1);
    sync_as(f, 3, "{\"fake/a\":1}");
    run_until_reports(f, 1);
    json_decref(omap_del(&f->host.things, "fake/a"));
    f->host.observed = f->host.applied = 0;
    for (int i = 0; i < 1000; i++) {
        reconcile_wake_all(f->r);
    }
    while (f->host.observed < 2) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(f->host.applied, 1);
    assert_host(f, "{\"fake/a\":1}");
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->host.observed, 2);
}

static void leaving_removes_everything(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};

    put(f, "fake/a", 1);
    put(f, "fake/b", 1);
    sync_as(f, 3, "{\"fake/a\":1,\"fake/b\":1}");
    reconcile_pass(f->r, NULL);
    f->host.not_yet = 1;
    f->host.blind = 1;
    assert_int_equal(reconcile_leave(f->r, &error), 0);
    assert_host(f, "{}");
    assert_int_equal(f->host.restored, 1);
    _cleanup_free_ char *path = xasprintf("%s/replica.json", f->folder);
    assert_int_equal(access(path, F_OK), -1);
}

static void an_unwritable_replica_is_reported_but_applied(void **state)
{
    struct fixture *f = *state;

    _cleanup_free_ char *path = xasprintf("%s/replica.json", f->folder);
    assert_int_equal(mkdir(path, 0700), 0);
    put(f, "fake/a", 1);
    sync_as(f, 3, "{\"fake/a\":1}");
    run_until_reports(f, 1);
    assert_host(f, "{\"fake/a\":1}");
    assert_non_null(strstr(error_message(f, "replica"), "cannot write"));
    assert_int_equal(rmdir(path), 0);
    run_until_reports(f, 2);
    assert_int_equal(json_array_size(f->errors), 0);
    assert_int_equal(access(path, F_OK), 0);
}

static void status_comes_from_the_drivers(void **state)
{
    struct fixture *f = *state;

    sync_as(f, 1, "{}");
    reconcile_pass(f->r, NULL);
    json_t *status = reconcile_status(f->r);
    assert_string_equal(json_get_string(json_object_get(status, "fake"), "state", ""), "running");
    json_decref(status);
}

static int second_owns(const char *key)
{
    return 0;
}

static json_t *first_status(void *self)
{
    return json_pack("{s:s, s:s, s:[s]}", "state", "running", "message", "first", "clients", "a");
}

static json_t *second_status(void *self)
{
    return json_pack("{s:s, s:[s,s], s:{s:s}}", "message", "second", "clients", "b", "c", "server",
                     "state", "starting");
}

static json_t *no_status(void *self)
{
    return NULL;
}

static void statuses_of_one_service_are_joined(void **state)
{
    struct fixture *f = *state;
    struct backend first = FAKE, second = FAKE, third = FAKE;
    const struct backend *const backends[] = {&third, &first, &second, NULL};
    struct backend_env env = {.node = "n", .report_arg = &f->host};
    json_t *expected =
        json_pack("{s:{s:s, s:s, s:[s,s,s], s:{s:s}}}", "fake", "state", "running", "message",
                  "first", "clients", "a", "b", "c", "server", "state", "starting");

    first.status = first_status;
    second.status = second_status;
    third.status = no_status;
    second.owns = third.owns = second_owns;
    reconcile_free(f->r);
    assert_int_equal(
        reconcile_new(&f->loop, f->folder, backends, &env, on_applied, f, &f->r, NULL), 0);
    sync_as(f, 1, "{}");
    reconcile_pass(f->r, NULL);
    json_t *status = reconcile_status(f->r);
    assert_true(json_equal(status, expected));
    json_decref(status);
    json_decref(expected);
    restart(f); /* the backends are this function's */
}

#define RECONCILE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RECONCILE_TEST(a_snapshot_then_deltas_reach_the_host),
        RECONCILE_TEST(a_wrong_digest_changes_nothing),
        RECONCILE_TEST(the_replica_outlives_us),
        RECONCILE_TEST(a_corrupt_replica_tears_nothing_down),
        RECONCILE_TEST(failures_are_told_once_and_tried_again),
        RECONCILE_TEST(a_driver_that_cannot_start_or_look_is_tried_again),
        RECONCILE_TEST(many_wakes_make_one_pass),
        RECONCILE_TEST(leaving_removes_everything),
        RECONCILE_TEST(an_unwritable_replica_is_reported_but_applied),
        RECONCILE_TEST(status_comes_from_the_drivers),
        RECONCILE_TEST(statuses_of_one_service_are_joined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
