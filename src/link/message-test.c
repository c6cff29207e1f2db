#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "link/frame.h"
#include "link/message.h"

/* --- frames --- */

struct lines {
    char text[256];
    int stop;
};

static int note(void *arg, const char *line, size_t size)
{
    struct lines *lines = arg;

    strncat(lines->text, line, size);
    strcat(lines->text, "|");
    return lines->stop;
}

static void lines_are_cut_out_of_any_pieces(void **state)
{
    static const char TEXT[] = "one\n\ntwo\nthr";

    for (size_t piece = 1; piece < sizeof TEXT; piece++) {
        struct frame frame = {.limit = 3};
        struct lines lines = {0};
        for (size_t at = 0; at < sizeof TEXT - 1; at += piece) {
            size_t left = sizeof TEXT - 1 - at;
            assert_int_equal(
                frame_push(&frame, TEXT + at, left < piece ? left : piece, note, &lines), 0);
        }
        assert_string_equal(lines.text, "one||two|");
        assert_int_equal(frame_push(&frame, "\n", 1, note, &lines), 0);
        assert_string_equal(lines.text, "one||two|thr|");
        assert_null(frame.begun.data); /* nothing is kept */
        frame_done(&frame);
    }
}

static void long_lines_end_the_frame(void **state)
{
    static const char *const LONG[] = {"four", "four\n", "abc\nfour\n"};

    for (size_t i = 0; i < ARRAY_LEN(LONG); i++) {
        struct frame frame = {.limit = 3};
        struct lines lines = {0};
        assert_int_equal(frame_push(&frame, LONG[i], strlen(LONG[i]), note, &lines), -E2BIG);
        assert_null(strstr(lines.text, "four"));
        frame_done(&frame);

        int rc = 0;
        for (const char *c = LONG[i]; *c && rc == 0; c++) {
            rc = frame_push(&frame, c, 1, note, &lines);
        }
        assert_int_equal(rc, -E2BIG);
        frame_done(&frame);
    }
}

static void a_line_can_stop_the_frame(void **state)
{
    struct frame frame = {.limit = 30};
    struct lines lines = {.stop = 7};

    assert_int_equal(frame_push(&frame, "a\nb\n", 4, note, &lines), 7);
    assert_string_equal(lines.text, "a|");
    frame_done(&frame);
}

static void messages_are_objects_with_a_type(void **state)
{
    static const char *const BAD[] = {"",
                                      "{",
                                      "[]",
                                      "7",
                                      "{}",
                                      "{\"type\":7}",
                                      "{\"type\":\"\"}",
                                      "nul\0l",
                                      "{\"type\":\"a\"} x",
                                      "{\"type\":\"a\",\"type\":\"b\"}",
                                      "{\"type\":\"a b\"}",
                                      "\xff"};
    json_t *message = NULL;
    const char *type = NULL;
    struct error error;

    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        assert_int_equal(frame_parse(BAD[i], strlen(BAD[i]), &message, &type, &error), -EINVAL);
        assert_int_equal(error.status, 400);
        assert_null(message);
    }
    assert_int_equal(frame_parse("{\"type\":\"hello\"}xx", 16, &message, &type, &error), 0);
    assert_string_equal(type, "hello");
    json_decref(message);
}

/* --- fields --- */

static const char JOIN[] =
    "{\"version\":1,\"token\":\"t\",\"secret\":\"s\",\"csr\":\"pem\",\"id\":\"Agent.1\","
    "\"services\":[\"vpn\"],\"endpoint\":\"192.0.2.1:51820\",\"routes\":[\"10.0.0.0/8\"],"
    "\"hostname\":\"h\",\"agentVersion\":\"0.1\"}";

/* `good` with one member set to the JSON text `value`, or without it if NULL. */
static json_t *with(const char *good, const char *name, const char *value)
{
    json_t *message = json_loads(good, 0, NULL);

    assert_non_null(message);
    if (value) {
        json_t *member = json_loads(value, JSON_DECODE_ANY, NULL);
        assert_non_null(member);
        json_object_set_new(message, name, member);
    } else {
        json_object_del(message, name);
    }
    return message;
}

static void join_is_taken_apart(void **state)
{
    static const char *const OPTIONAL[] = {"id", "services", "endpoint"};
    struct message_join join;
    json_t *message = json_loads(JOIN, 0, NULL);

    assert_int_equal(message_join(message, &join, NULL), 0);
    assert_string_equal(join.token, "t");
    assert_string_equal(join.secret, "s");
    assert_string_equal(join.csr, "pem");
    assert_string_equal(join.id, "Agent.1");
    assert_string_equal(join.endpoint, "192.0.2.1:51820");
    assert_string_equal(join.hostname, "h");
    assert_int_equal(json_array_size(join.services), 1);
    assert_int_equal(json_array_size(join.routes), 1);
    json_decref(message);
    for (size_t i = 0; i < ARRAY_LEN(OPTIONAL); i++) {
        message = with(JOIN, OPTIONAL[i], NULL);
        assert_int_equal(message_join(message, &join, NULL), 0);
        assert_int_equal(join.id != NULL, i != 0);
        assert_int_equal(join.services != NULL, i != 1);
        assert_int_equal(join.endpoint != NULL, i != 2);
        json_decref(message);
    }
}

static void bad_fields_are_named(void **state)
{
    static const struct {
        const char *name, *value, *pointer;
    } BAD[] = {
        {"version", NULL, "/version"},
        {"version", "2", "/version"},
        {"version", "\"1\"", "/version"},
        {"token", NULL, "/token"},
        {"token", "\"\"", "/token"},
        {"token", "7", "/token"},
        {"token", "null", "/token"},
        {"secret", "{}", "/secret"},
        {"csr", NULL, "/csr"},
        {"id", "\"\"", "/id"},
        {"id", "\"a b\"", "/id"},
        {"id", "7", "/id"},
        {"services", "\"vpn\"", "/services"},
        {"services", "[7]", "/services/0"},
        {"services", "[\"vpn\",\"V\"]", "/services/1"},
        {"endpoint", "\"host:1\"", "/endpoint"},
        {"endpoint", "\"192.0.2.1:99999\"", "/endpoint"},
        {"routes", NULL, "/routes"},
        {"routes", "[\"10.0.0.0\"]", "/routes/0"},
        {"hostname", "\"a\\u0007\"", "/hostname"},
        {"hostname", NULL, "/hostname"},
        {"agentVersion", "[]", "/agentVersion"},
    };
    struct message_join join = {.token = "untouched"};
    struct error error;

    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        json_t *message = with(JOIN, BAD[i].name, BAD[i].value);
        assert_int_equal(message_join(message, &join, &error), -EINVAL);
        assert_int_equal(error.status, 400);
        assert_string_equal(error.pointer, BAD[i].pointer);
        _cleanup_free_ char *quoted = xasprintf("\"%s\"", BAD[i].name);
        assert_memory_equal(error.detail, quoted, strlen(quoted));
        json_decref(message);
    }
    assert_string_equal(join.token, "untouched");
}

static void lengths_are_limited(void **state)
{
    _cleanup_free_ char *text = xcalloc(MESSAGE_PEM_MAX + 4, 1);
    struct message_join join;
    struct error error;

    memset(text, 'a', MESSAGE_PEM_MAX + 3);
    text[0] = text[MESSAGE_PEM_MAX + 2] = '"';
    json_t *message = with(JOIN, "csr", text);
    assert_int_equal(message_join(message, &join, &error), -EINVAL);
    assert_string_equal(error.detail, "\"csr\" must have at most 4096 characters");
    json_decref(message);

    json_t *routes = json_array();
    for (int i = 0; i <= MESSAGE_ROUTES_MAX; i++) {
        json_array_append_new(routes, json_string("10.0.0.0/8"));
    }
    message = json_loads(JOIN, 0, NULL);
    json_object_set_new(message, "routes", routes);
    assert_int_equal(message_join(message, &join, &error), -EINVAL);
    assert_string_equal(error.detail, "\"routes\" must have at most 512 members");
    json_decref(message);
}

static void hello_and_sync_are_checked(void **state)
{
    static const char HELLO[] = "{\"version\":1,\"id\":\"Agent.1\",\"revision\":0,\"digest\":"
                                "\"0123456789abcdef0123456789abcdef\",\"agentVersion\":\"1\","
                                "\"started\":5}";
    static const struct {
        const char *name, *value;
    } BAD[] = {{"revision", "-1"},   {"revision", "1.5"},
               {"digest", "\"0\""},  {"digest", "\"0123456789ABCDEF0123456789abcdef\""},
               {"started", "\"5\""}, {"started", NULL}};
    struct message_hello hello;
    struct message_sync sync;
    struct error error;
    json_t *message = json_loads(HELLO, 0, NULL);

    assert_int_equal(message_hello(message, &hello, NULL), 0);
    assert_int_equal(hello.started, 5);
    assert_int_equal(message_sync(message, &sync, NULL), 0);
    assert_string_equal(sync.digest, hello.digest);
    json_decref(message);
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        message = with(HELLO, BAD[i].name, BAD[i].value);
        assert_int_equal(message_hello(message, &hello, &error), -EINVAL);
        assert_string_equal(error.pointer + 1, BAD[i].name);
        json_decref(message);
    }
}

/* Older servers don't say which authority signs. */
static void authority_is_optional_and_checked(void **state)
{
#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    static const char SYNC[] = "{\"revision\":1,\"digest\":\"0123456789abcdef0123456789abcdef\"}";
    static const char WELCOME[] =
        "{\"version\":1,\"id\":\"Agent.1\",\"time\":\"2026-01-02T03:04:05Z\"}";
    static const struct {
        const char *value;
        int is_good;
    } CASES[] = {{NULL, 1}, {"\"" ID "\"", 1}, {"\"" ID "0\"", 0}, {"\"\"", 0}, {"7", 0}};

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        json_t *one = with(SYNC, "authority", CASES[i].value);
        json_t *two = with(WELCOME, "authority", CASES[i].value);
        struct message_sync sync;
        struct message_welcome welcome;
        assert_int_equal(message_sync(one, &sync, NULL) == 0, CASES[i].is_good);
        assert_int_equal(message_welcome(two, &welcome, NULL) == 0, CASES[i].is_good);
        if (CASES[i].is_good && CASES[i].value) {
            assert_string_equal(sync.authority, ID);
            assert_string_equal(welcome.authority, ID);
        } else if (CASES[i].is_good) {
            assert_null(sync.authority);
            assert_null(welcome.authority);
        }
        json_decref(one);
        json_decref(two);
    }
#undef ID
}

static void ack_errors_are_checked(void **state)
{
    static const char ACK[] = "{\"revision\":3,\"errors\":[{\"key\":\"k\",\"message\":\"m\"}]}";
    static const char *const BAD[] = {"{}", "[7]", "[{\"key\":\"k\"}]",
                                      "[{\"key\":\"k\",\"message\":7}]"};
    struct message_ack ack;
    struct error error;
    json_t *message = json_loads(ACK, 0, NULL);

    assert_int_equal(message_ack(message, &ack, NULL), 0);
    assert_int_equal(ack.revision, 3);
    json_decref(message);
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        message = with(ACK, "errors", BAD[i]);
        assert_int_equal(message_ack(message, &ack, &error), -EINVAL);
        assert_memory_equal(error.pointer, "/errors", 7);
        json_decref(message);
    }
}

static void counters_are_checked(void **state)
{
    static const char COUNTERS[] = "{\"values\":{\"sdn/filter/7\":[3,180],\"gone\":null}}";
    static const char *const BAD[] = {"[]",
                                      "7",
                                      "{\"a\":7}",
                                      "{\"a\":[1]}",
                                      "{\"a\":[1,2,3]}",
                                      "{\"a\":[1,-2]}",
                                      "{\"a\":[1,2.5]}",
                                      "{\"a\":[\"1\",2]}",
                                      "{\"\":[1,2]}",
                                      "{\"a\\u0007\":[1,2]}",
                                      "{\"ok\":[1,2],\"a\":false}"};
    const json_t *values;
    struct error error;
    json_t *message = json_loads(COUNTERS, 0, NULL), *many = json_object();

    assert_int_equal(message_counters(message, &values, NULL), 0);
    assert_int_equal(json_object_size(values), 2);
    json_decref(message);
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        message = with(COUNTERS, "values", BAD[i]);
        assert_int_equal(message_counters(message, &values, &error), -EINVAL);
        assert_string_equal(error.pointer, "/values");
        json_decref(message);
    }
    for (int i = 0; i <= MESSAGE_COUNTERS_MAX; i++) {
        char name[24];
        snprintf(name, sizeof name, "sdn/filter/%d", i);
        json_object_set_new(many, name, json_null());
    }
    message = json_pack("{s:o}", "values", many);
    assert_int_equal(message_counters(message, &values, &error), -EINVAL);
    assert_string_equal(error.detail, "\"values\" must have at most 1000 members");
    json_decref(message);
}

static void questions_and_answers_are_checked(void **state)
{
    static const char ASK[] = "{\"id\":7,\"what\":\"sdn/flows\"}";
    static const char ANSWER[] = "{\"id\":7,\"body\":{\"flows\":[]}}";
    static const struct {
        const char *name, *value, *pointer;
    } BAD[] = {
        {"id", NULL, "/id"},     {"id", "-1", "/id"},     {"id", "\"7\"", "/id"},
        {"body", "[]", "/body"}, {"body", NULL, "/body"}, {"error", "{\"status\":503}", "/body"},
    };
    struct message_ask ask;
    struct message_answer answer;
    struct error error;
    json_t *message = json_loads(ASK, 0, NULL);

    assert_int_equal(message_ask(message, &ask, NULL), 0);
    assert_int_equal(ask.id, 7);
    assert_string_equal(ask.what, "sdn/flows");
    json_decref(message);
    message = with(ANSWER, "body", NULL);
    json_object_set_new(message, "error", json_pack("{s:i, s:s}", "status", 503, "detail", "no"));
    assert_int_equal(message_answer(message, &answer, NULL), 0);
    assert_null(answer.body);
    message_read_error(answer.error, &error);
    assert_int_equal(error.status, 503);
    assert_string_equal(error.detail, "no");
    json_decref(message);
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        message = with(ANSWER, BAD[i].name, BAD[i].value);
        assert_int_equal(message_answer(message, &answer, &error), -EINVAL);
        assert_string_equal(error.pointer, BAD[i].pointer);
        json_decref(message);
    }
}

static void errors_go_round(void **state)
{
    struct error sent, got;

    error_set(&sent, 409, "/id", "id \"%s\" is taken", "Agent.1");
    json_t *message = message_error(&sent);
    message_read_error(message, &got);
    assert_int_equal(got.status, 409);
    assert_string_equal(got.pointer, "/id");
    assert_string_equal(got.detail, sent.detail);
    json_decref(message);

    snprintf(sent.detail, sizeof sent.detail, "cut \xc3"); /* half a character */
    message = message_error(&sent);
    assert_non_null(json_object_get(message, "detail"));
    json_decref(message);
    message = json_pack("{s:s}", "type", "error");
    message_read_error(message, &got);
    assert_int_equal(got.status, 500);
    json_decref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_cut_out_of_any_pieces),
        cmocka_unit_test(long_lines_end_the_frame),
        cmocka_unit_test(a_line_can_stop_the_frame),
        cmocka_unit_test(messages_are_objects_with_a_type),
        cmocka_unit_test(join_is_taken_apart),
        cmocka_unit_test(bad_fields_are_named),
        cmocka_unit_test(lengths_are_limited),
        cmocka_unit_test(hello_and_sync_are_checked),
        cmocka_unit_test(authority_is_optional_and_checked),
        cmocka_unit_test(ack_errors_are_checked),
        cmocka_unit_test(counters_are_checked),
        cmocka_unit_test(questions_and_answers_are_checked),
        cmocka_unit_test(errors_go_round),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
