/* ovsdb-test.c - splitting, the mirror, errors, and a connection with a server played by the test.
 */
#include "ovsdb/ovsdb-fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fake-peer.h"
#include "lib/mem.h"
#include "ovsdb/rpc.h"
#include "ovsdb/split.h"
#include "ovsdb/vswitch.h"

static json_t *parse(const char *text)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);

    assert_non_null(json);
    return json;
}

/* --- splitting --- */

static int note_object(void *arg, const char *text, size_t size)
{
    buf_append(arg, text, size);
    buf_append(arg, "|", 1);
    return 0;
}

static void split_into(const char *stream, size_t piece, int wanted_rc, const char *wanted)
{
    _cleanup_buf_ struct buf seen = BUF_INIT(4096);
    struct split split = {.begun.limit = 32};
    size_t size = strlen(stream);
    int rc = 0;

    for (size_t at = 0; rc == 0 && at < size; at += piece) {
        rc = split_push(&split, stream + at, size - at < piece ? size - at : piece, note_object,
                        &seen);
    }
    assert_int_equal(rc, wanted_rc);
    assert_string_equal(seen.data ? seen.data : "", wanted);
    split_done(&split);
}

static void objects_are_split(void **state)
{
    for (size_t piece = 1; piece < 40; piece++) {
        split_into("{\"a\":[1,{}]} \n{\"b\":2}{}", piece, 0, "{\"a\":[1,{}]}|{\"b\":2}|{}|");
        split_into("{\"a\":\"}\\\"{\"}{\"\\\\\":0}", piece, 0, "{\"a\":\"}\\\"{\"}|{\"\\\\\":0}|");
        split_into("{}[]", piece, -EBADMSG, "{}|");
        split_into("{\"a\":\"long long long long long long\"}", piece, -E2BIG, "");
    }
}

/* --- the mirror --- */

static void apply(struct ovsdb_mirror *mirror, const char *text, int wanted_rc)
{
    json_t *updates = parse(text);

    assert_int_equal(ovsdb_mirror_apply(mirror, updates), wanted_rc);
    json_decref(updates);
}

static void mirror_follows_updates(void **state)
{
    struct ovsdb_mirror mirror = {0};
    const char *uuid;

    apply(&mirror,
          "{\"Bridge\":{\"u1\":{\"new\":{\"name\":\"br0\",\"ports\":[\"set\",[]]}},"
          "\"u2\":{\"new\":{\"name\":\"br1\",\"ports\":[\"uuid\",\"p1\"]}}}}",
          0);
    assert_int_equal(mirror.rows_len, 2);
    const json_t *row = ovsdb_find(&mirror, "Bridge", "name", "br1", &uuid);
    assert_string_equal(uuid, "u2");
    assert_int_equal(ovsdb_set_len(row, "ports"), 1);
    assert_string_equal(ovsdb_uuid(ovsdb_set_at(row, "ports", 0)), "p1");
    apply(&mirror,
          "{\"Bridge\":{\"u1\":{\"old\":{\"name\":\"br0\"},\"new\":{\"name\":\"brX\"}},"
          "\"u2\":{\"old\":{\"name\":\"br1\"}}}}",
          0);
    assert_int_equal(mirror.rows_len, 1);
    assert_null(ovsdb_find(&mirror, "Bridge", "name", "br0", NULL));
    assert_null(ovsdb_row(&mirror, "Bridge", "u2"));
    assert_non_null(ovsdb_find(&mirror, "Bridge", "name", "brX", NULL));
    assert_null(ovsdb_find(&mirror, "Port", "name", "brX", NULL));
    apply(&mirror, "{\"Bridge\":{\"u9\":{\"old\":{}}}}", 0); /* of one that we never saw */
    assert_int_equal(mirror.rows_len, 1);
    apply(&mirror, "[]", -EBADMSG);
    apply(&mirror, "{\"Bridge\":[]}", -EBADMSG);
    apply(&mirror, "{\"Bridge\":{\"u1\":7}}", -EBADMSG);
    apply(&mirror, "{\"Bridge\":{\"u1\":{\"new\":7}}}", -EBADMSG);
    ovsdb_mirror_clear(&mirror);
    assert_int_equal(mirror.rows_len, 0);
}

static void columns_are_read(void **state)
{
    json_t *row =
        parse("{\"one\":\"a\",\"none\":[\"set\",[]],\"two\":[\"set\",[\"a\",\"b\"]],"
              "\"n\":7,\"map\":[\"map\",[[\"k\",\"v\"],[\"x\"],7]],\"bad\":[\"set\",7]}");

    assert_string_equal(ovsdb_string(row, "one"), "a");
    assert_null(ovsdb_string(row, "none"));
    assert_null(ovsdb_string(row, "missing"));
    assert_string_equal(ovsdb_string(row, "two"), "a");
    assert_int_equal(ovsdb_set_len(row, "none"), 0);
    assert_int_equal(ovsdb_set_len(row, "missing"), 0);
    assert_int_equal(ovsdb_set_len(row, "one"), 1);
    assert_int_equal(ovsdb_set_len(row, "two"), 2);
    assert_true(ovsdb_set_has(row, "two", "b"));
    assert_false(ovsdb_set_has(row, "two", "c"));
    assert_int_equal(ovsdb_integer(row, "n", -1), 7);
    assert_int_equal(ovsdb_integer(row, "one", -1), -1);
    assert_int_equal(ovsdb_integer(row, "none", -1), -1);
    assert_string_equal(ovsdb_map_get(row, "map", "k"), "v");
    assert_null(ovsdb_map_get(row, "map", "x"));
    assert_null(ovsdb_map_get(row, "one", "k"));
    assert_null(ovsdb_uuid(json_object_get(row, "one")));
    json_decref(row);
}

/* --- messages --- */

static void results(const char *text, const char *wanted)
{
    json_t *answer = parse(text);
    json_t *ops = parse("[{\"op\":\"insert\",\"table\":\"Bridge\"},{\"op\":\"abort\"}]");
    struct error error = {0};
    int rc = rpc_check_results(answer, ops, &error);

    assert_int_equal(rc < 0, wanted[0] != '\0');
    assert_string_equal(error.detail, wanted);
    json_decref(answer);
    json_decref(ops);
}

static void results_are_checked(void **state)
{
    results("[{},{}]", "");
    results("[{\"error\":\"constraint violation\",\"details\":\"two of a kind\"},null]",
            "the database refused operation 0 (insert Bridge): two of a kind (constraint "
            "violation)");
    results("[{},{\"error\":\"aborted\"}]", "the database refused operation 1 (abort ): aborted");
    results("[{},{},{\"error\":\"referential integrity violation\"}]",
            "the database refused the transaction: referential integrity violation");
    results("[{}]", "the database answered fewer operations than asked");
    results("{}", "the database's answer isn't a list of results");
}

/* --- a connection --- */

struct world {
    struct client c;
    struct fake_peer peer;
};

static int world_make(void **state)
{
    struct world *w = xnew(struct world);

    client_init(&w->c);
    fake_peer_listen(&w->peer, &w->c.loop);
    *state = w;
    return 0;
}

static int world_drop(void **state)
{
    struct world *w = *state;

    fake_peer_done(&w->peer);
    client_done(&w->c);
    free(w);
    return 0;
}

static void say(struct world *w, const char *text)
{
    fake_peer_send(&w->peer, text, strlen(text));
}

/* Waits until the client has said that, and forgets all up to there: what came with it is heard
 * next. */
static void hear(struct world *w, const char *text)
{
    struct buf *received = &w->peer.received;
    const char *found;

    while (!received->data || !(found = strstr(received->data, text))) {
        run_until(&w->c.loop, &w->peer.received_len, (int)received->size + 1);
    }
    buf_consume(received, (size_t)(found - received->data) + strlen(text));
    w->peer.received_len = (int)received->size;
}

static void open_with(struct world *w, struct ovsdb_config config)
{
    json_t *columns = json_pack("{s:[s]}", "Bridge", "name");

    config.path = w->peer.path;
    config.monitor = columns;
    client_connect(&w->c, config);
    json_decref(columns);
    hear(w, "{\"method\":\"monitor\",\"params\":[\"Open_vSwitch\",null,{\"Bridge\":{\"columns\":["
            "\"name\"]}}],\"id\":0}");
    say(w, "{\"id\":0,\"error\":null,\"result\":{\"Bridge\":{\"u\":{\"new\":{\"name\":\"b\"}}}}}");
    run_until(&w->c.loop, &w->c.opened, 1);
}

static void ends_with(struct world *w, int status, const char *words)
{
    run_until(&w->c.loop, &w->c.closed, 1);
    assert_int_equal(w->c.reason.status, status);
    if (!strstr(w->c.reason.detail, words)) {
        fail_msg("\"%s\" isn't in \"%s\"", words, w->c.reason.detail);
    }
}

static void transaction_goes_out_and_comes_back(void **state)
{
    struct world *w = *state;
    struct outcome outcome = {0};
    json_t *ops = parse("[{\"op\":\"abort\"}]");

    open_with(w, (struct ovsdb_config){0});
    assert_non_null(ovsdb_find(ovsdb_mirror(w->c.db), "Bridge", "name", "b", NULL));
    assert_int_equal(ovsdb_transact(w->c.db, ops, note_done, &outcome), 0);
    json_decref(ops);
    hear(w, "{\"method\":\"transact\",\"params\":[\"Open_vSwitch\",{\"op\":\"abort\"}],\"id\":1}");
    say(w,
        "{\"method\":\"update\",\"id\":null,\"params\":[null,{\"Bridge\":{\"u\":{\"old\":{}}}}]}"
        "{\"id\":99,\"error\":null,\"result\":[]}{\"id\":1,\"error\":null,\"result\":[{}]}");
    run_until(&w->c.loop, &outcome.done, 1);
    assert_int_equal(w->c.updated, 1);
    assert_null(ovsdb_find(ovsdb_mirror(w->c.db), "Bridge", "name", "b", NULL));
    assert_int_equal(json_array_size(outcome.results), 1);
    json_decref(outcome.results);
}

static void transactions_have_limits(void **state)
{
    struct world *w = *state;
    struct outcome outcome = {0};
    json_t *ops = json_array(), *large = json_array();
    char *text = xcalloc(1, OVSDB_QUEUE_MAX + 1);

    memset(text, 'x', OVSDB_QUEUE_MAX);
    json_array_append_new(large, json_string(text));
    free(text);
    open_with(w, (struct ovsdb_config){0});
    assert_int_equal(ovsdb_transact(w->c.db, large, note_done, &outcome), -E2BIG);
    for (int i = 0; i < OVSDB_TRANSACTIONS_MAX; i++) {
        assert_int_equal(ovsdb_transact(w->c.db, ops, note_done, &outcome), 0);
    }
    assert_int_equal(ovsdb_transact(w->c.db, ops, note_done, &outcome), -EAGAIN);
    ovsdb_close(w->c.db);
    assert_int_equal(ovsdb_transact(w->c.db, ops, note_done, &outcome), -ENOTCONN);
    ends_with(w, 0, "closed by us");
    assert_int_equal(outcome.done, OVSDB_TRANSACTIONS_MAX);
    json_decref(ops);
    json_decref(large);
}

static void echoes_go_both_ways(void **state)
{
    struct world *w = *state;

    open_with(w, (struct ovsdb_config){.echo_msec = 1, .silent_msec = 60000});
    say(w, "{\"method\":\"echo\",\"params\":[\"hi\"],\"id\":\"x\"}");
    hear(w, "{\"result\":[\"hi\"],\"error\":null,\"id\":\"x\"}");
    for (int i = 0; i < 5; i++) {
        hear(w, "{\"method\":\"echo\",\"params\":[],\"id\":\"echo\"}");
        say(w, "{\"result\":[],\"error\":null,\"id\":\"echo\"}");
    }
    assert_int_equal(w->c.closed, 0);
}

static void silent_server_is_given_up(void **state)
{
    struct world *w = *state;

    open_with(w, (struct ovsdb_config){.echo_msec = 1, .silent_msec = 1});
    ends_with(w, 408, "hung");
}

static void broken_protocol_ends_it(void **state)
{
    static const struct {
        const char *text, *words;
    } BROKEN[] = {
        {"hello", "not JSON"},
        {"{\"a\":1,}", "not valid JSON"},
        {"{\"a\":1}", "isn't JSON-RPC"},
        {"{\"method\":\"echo\",\"params\":7,\"id\":1}", "isn't JSON-RPC"},
        {"{\"method\":\"update\",\"params\":[null],\"id\":null}", "isn't JSON-RPC"},
        {"{\"method\":\"update\",\"params\":[null,[]],\"id\":null}", "an update"},
    };
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_LEN(BROKEN); i++) {
        open_with(w, (struct ovsdb_config){0});
        say(w, BROKEN[i].text);
        ends_with(w, 503, BROKEN[i].words);
        fake_peer_hang_up(&w->peer);
    }
}

static void too_long_a_message_ends_it(void **state)
{
    struct world *w = *state;
    char *text = xcalloc(1, 1 << 20);

    memset(text, '[', 1 << 20);
    open_with(w, (struct ovsdb_config){0});
    say(w, "{\"a\":");
    for (int i = 0; i <= OVSDB_MESSAGE_MAX >> 20; i++) {
        fake_peer_send(&w->peer, text, 1 << 20);
    }
    free(text);
    ends_with(w, 503, "too long");
}

static void bad_path_is_told(void **state)
{
    struct world *w = *state;
    char path[300];

    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    client_connect(&w->c, (struct ovsdb_config){.path = path});
    ends_with(w, 400, "too long");
    client_connect(&w->c, (struct ovsdb_config){.path = "/nowhere/db.sock"});
    ends_with(w, 503, "cannot connect");
}

#define in_world(test) cmocka_unit_test_setup_teardown(test, world_make, world_drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_split),
        cmocka_unit_test(mirror_follows_updates),
        cmocka_unit_test(columns_are_read),
        cmocka_unit_test(results_are_checked),
        in_world(transaction_goes_out_and_comes_back),
        in_world(transactions_have_limits),
        in_world(echoes_go_both_ways),
        in_world(silent_server_is_given_up),
        in_world(broken_protocol_ends_it),
        in_world(too_long_a_message_ends_it),
        in_world(bad_path_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
