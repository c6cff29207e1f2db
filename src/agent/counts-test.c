/* counts-test.c - counters go to the server in batches, and answers to the one who asked. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/answers.h"
#include "agent/counts.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "link/link.h"
#include "link/message.h"

struct world {
    uv_loop_t loop;
    json_t *sent; /* messages */
    struct counts *counts;
    struct answers *answers;
};

static void take(void *arg, json_t *message)
{
    struct world *w = arg;

    json_array_append_new(w->sent, message);
}

static int set_up(void **state)
{
    struct world *w = xnew(struct world);

    uv_loop_init(&w->loop);
    w->sent = json_array();
    w->counts = counts_new(&w->loop, take, w);
    w->answers = answers_new(take, w);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    counts_free(w->counts);
    answers_free(w->answers);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    json_decref(w->sent);
    free(w);
    return 0;
}

/* Runs until nothing is to be sent any more. */
static void settle(struct world *w)
{
    uv_run(&w->loop, UV_RUN_DEFAULT);
}

static const json_t *values_of(const struct world *w, size_t i)
{
    return json_object_get(json_array_get(w->sent, i), "values");
}

static void expect(const struct world *w, size_t i, const char *text)
{
    json_t *wanted = json_loads(text, 0, NULL);

    if (!json_equal((json_t *)values_of(w, i), wanted)) {
        _cleanup_free_ char *is = json_dumps(w->sent, 0);
        fail_msg("message %zu isn't %s: %s", i, text, is);
    }
    json_decref(wanted);
}

/* --- counters --- */

static void changes_of_one_turn_are_one_message(void **state)
{
    struct world *w = *state;

    counts_welcomed(w->counts);
    counts_put(w->counts, "sdn/filter/1", 1, 60);
    counts_put(w->counts, "sdn/filter/2", 0, 0);
    counts_put(w->counts, "sdn/filter/1", 2, 120);
    settle(w);
    assert_int_equal(json_array_size(w->sent), 1);
    assert_string_equal(json_get_string(json_array_get(w->sent, 0), "type", ""), "counters");
    expect(w, 0, "{\"sdn/filter/1\":[2,120],\"sdn/filter/2\":[0,0]}");
}

static void only_what_changed_is_told_again(void **state)
{
    struct world *w = *state;

    counts_welcomed(w->counts);
    counts_put(w->counts, "sdn/filter/1", 1, 60);
    counts_put(w->counts, "sdn/filter/2", 1, 60);
    settle(w);
    counts_put(w->counts, "sdn/filter/1", 1, 60);
    counts_put(w->counts, "sdn/filter/2", 2, 60);
    settle(w);
    assert_int_equal(json_array_size(w->sent), 2);
    expect(w, 1, "{\"sdn/filter/2\":[2,60]}");
}

/* The second change waits for the first one's pause: the loop is still busy with that. */
static void a_second_batch_waits(void **state)
{
    struct world *w = *state;

    counts_welcomed(w->counts);
    counts_put(w->counts, "sdn/filter/1", 1, 60);
    while (json_array_size(w->sent) == 0) {
        uv_run(&w->loop, UV_RUN_ONCE);
    }
    uint64_t sent = uv_now(&w->loop);
    counts_put(w->counts, "sdn/filter/1", 2, 120);
    settle(w);
    expect(w, 1, "{\"sdn/filter/1\":[2,120]}");
    assert_true(uv_now(&w->loop) - sent >= COUNTS_MSEC);
}

static void a_server_is_told_everything_at_first(void **state)
{
    struct world *w = *state;

    counts_put(w->counts, "sdn/filter/1", 1, 60);
    counts_put(w->counts, "sdn/filter/2", 2, 60);
    settle(w);
    assert_int_equal(json_array_size(w->sent), 0);
    counts_welcomed(w->counts);
    settle(w);
    expect(w, 0, "{\"sdn/filter/1\":[1,60],\"sdn/filter/2\":[2,60]}");
    counts_disconnected(w->counts);
    counts_gone(w->counts, "sdn/filter/1");
    settle(w);
    assert_int_equal(json_array_size(w->sent), 1);
    counts_welcomed(w->counts);
    settle(w);
    expect(w, 1, "{\"sdn/filter/1\":null,\"sdn/filter/2\":[2,60]}");
    counts_disconnected(w->counts);
    counts_welcomed(w->counts);
    settle(w);
    expect(w, 2, "{\"sdn/filter/2\":[2,60]}");
}

static void one_that_comes_back_is_no_more_gone(void **state)
{
    struct world *w = *state;

    counts_welcomed(w->counts);
    counts_put(w->counts, "sdn/filter/1", 1, 60);
    counts_gone(w->counts, "sdn/filter/1");
    counts_gone(w->counts, "sdn/filter/9");
    counts_put(w->counts, "sdn/filter/1", 1, 60);
    settle(w);
    expect(w, 0, "{\"sdn/filter/1\":[1,60]}");
    counts_gone(w->counts, "sdn/filter/1");
    settle(w);
    expect(w, 1, "{\"sdn/filter/1\":null}");
    counts_gone(w->counts, "sdn/filter/1");
    settle(w);
    assert_int_equal(json_array_size(w->sent), 2);
}

static void many_are_several_messages(void **state)
{
    struct world *w = *state;
    char name[32];
    size_t told = 0;

    for (int i = 0; i < 2 * MESSAGE_COUNTERS_MAX + 1; i++) {
        snprintf(name, sizeof name, "sdn/filter/%d", i);
        counts_put(w->counts, name, 1, 1);
    }
    counts_welcomed(w->counts);
    settle(w);
    assert_int_equal(json_array_size(w->sent), 3);
    for (size_t i = 0; i < 3; i++) {
        told += json_object_size(values_of(w, i));
    }
    assert_int_equal(told, 2 * MESSAGE_COUNTERS_MAX + 1);
    assert_int_equal(json_object_size(values_of(w, 2)), 1);
}

/* --- answers --- */

/* What the drivers would be asked: answers at once, or when it is told to. */
struct reconcile {
    backend_answer_fn *done;
    void *arg;
    int rc;
};

int reconcile_ask(struct reconcile *r, const char *what, backend_answer_fn *done, void *arg)
{
    r->done = done;
    r->arg = arg;
    return r->rc;
}

static void answer(struct reconcile *r, const char *body)
{
    json_t *json = json_loads(body, 0, NULL);

    r->done(r->arg, json, NULL);
    json_decref(json);
}

static void expect_error(const struct world *w, int status, const char *detail)
{
    const json_t *message = json_array_get(w->sent, 0);
    const json_t *error = json_object_get(message, "error");

    assert_int_equal(json_array_size(w->sent), 1);
    assert_int_equal(json_get_integer(message, "id", 0), 7);
    assert_null(json_object_get(message, "body"));
    assert_int_equal(json_get_integer(error, "status", 0), status);
    assert_string_equal(json_get_string(error, "detail", ""), detail);
}

static void a_body_is_sent_with_its_number(void **state)
{
    struct world *w = *state;
    struct reconcile drivers = {0};

    answers_ask(w->answers, &drivers, 7, "sdn/flows");
    assert_int_equal(json_array_size(w->sent), 0);
    answer(&drivers, "{\"flows\":[]}");
    assert_int_equal(json_array_size(w->sent), 1);
    const json_t *message = json_array_get(w->sent, 0);
    assert_string_equal(json_get_string(message, "type", ""), "answer");
    assert_int_equal(json_get_integer(message, "id", 0), 7);
    assert_non_null(json_object_get(json_object_get(message, "body"), "flows"));
    assert_null(json_object_get(message, "error"));
}

static void what_no_driver_knows_is_refused(void **state)
{
    struct world *w = *state;
    struct reconcile drivers = {.rc = -ENOENT};

    answers_ask(w->answers, &drivers, 7, "sdn/flows");
    expect_error(w, 404, "this agent can't tell of \"sdn/flows\"");
}

/* Which is all the server wants to know. */
static void the_link_answers_itself(void **state)
{
    struct world *w = *state;
    struct reconcile drivers = {.rc = -ENOENT};

    answers_ask(w->answers, &drivers, 7, "link");
    const json_t *message = json_array_get(w->sent, 0);
    assert_int_equal(json_get_integer(message, "id", 0), 7);
    assert_true(json_is_object(json_object_get(message, "body")));
    assert_null(json_object_get(message, "error"));
}

static void a_failure_is_told(void **state)
{
    struct world *w = *state;
    struct reconcile drivers = {0};
    struct error error;

    error_set(&error, 503, NULL, "ovs-vswitchd doesn't answer");
    answers_ask(w->answers, &drivers, 7, "sdn/flows");
    drivers.done(drivers.arg, NULL, &error);
    expect_error(w, 503, "ovs-vswitchd doesn't answer");
}

static void too_long_an_answer_is_told(void **state)
{
    struct world *w = *state;
    struct reconcile drivers = {0};
    _cleanup_free_ char *text = xcalloc(LINK_LINE_MAX, 1);

    memset(text, 'a', LINK_LINE_MAX - 1);
    json_t *body = json_pack("{s:s}", "flows", text);
    answers_ask(w->answers, &drivers, 7, "sdn/flows");
    drivers.done(drivers.arg, body, NULL);
    json_decref(body);
    expect_error(w, 507, "the answer is longer than a message may be");
}

static void who_has_gone_gets_no_answer(void **state)
{
    struct world *w = *state;
    struct reconcile older = {0}, newer = {0};

    answers_ask(w->answers, &older, 7, "sdn/flows");
    answers_disconnected(w->answers);
    answers_ask(w->answers, &newer, 7, "sdn/flows");
    answer(&older, "{\"old\":1}");
    assert_int_equal(json_array_size(w->sent), 0);
    answer(&newer, "{\"new\":1}");
    assert_int_equal(json_array_size(w->sent), 1);
}

static void questions_are_bounded(void **state)
{
    struct world *w = *state;
    struct reconcile drivers[65] = {0};

    for (size_t i = 0; i < ARRAY_LEN(drivers); i++) {
        answers_ask(w->answers, &drivers[i], 7, "sdn/flows");
    }
    expect_error(w, 429, "too many questions at once");
    answers_free(TAKE(w->answers)); /* with questions under way */
    for (size_t i = 0; i + 1 < ARRAY_LEN(drivers); i++) {
        answer(&drivers[i], "{}");
    }
    assert_int_equal(json_array_size(w->sent), 1);
}

#define TEST(f_) cmocka_unit_test_setup_teardown(f_, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(changes_of_one_turn_are_one_message),
        TEST(only_what_changed_is_told_again),
        TEST(a_second_batch_waits),
        TEST(a_server_is_told_everything_at_first),
        TEST(one_that_comes_back_is_no_more_gone),
        TEST(many_are_several_messages),
        TEST(a_body_is_sent_with_its_number),
        TEST(what_no_driver_knows_is_refused),
        TEST(the_link_answers_itself),
        TEST(a_failure_is_told),
        TEST(too_long_an_answer_is_told),
        TEST(who_has_gone_gets_no_answer),
        TEST(questions_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
