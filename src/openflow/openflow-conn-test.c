/* openflow-conn-test.c - a connection, with a switch played by the test. */
#include "openflow/openflow-fixture.h"

#include <errno.h>
#include <string.h>

#include "fake-peer.h"
#include "lib/mem.h"
#include "openflow/wire.h"

struct world {
    struct client c;
    struct fake_peer peer;
    uint16_t control; /* what the bundle message that was heard last wants */
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

static void say(struct world *w, const struct of_out *out)
{
    fake_peer_send(&w->peer, out->bytes, out->size);
}

/* A message of the switch with so many zeros as body. */
static struct of_out message(uint8_t version, uint8_t type, uint32_t xid, size_t zeros)
{
    struct of_out out = {0};

    of_begin(&out, version, type, xid);
    of_pad(&out, zeros);
    of_finish(&out, 0);
    return out;
}

/* Waits for a message of that type; returns its number. */
static uint32_t hear(struct world *w, uint8_t type)
{
    const uint8_t *data;

    for (;;) {
        data = (uint8_t *)w->peer.received.data;
        size_t size = w->peer.received.size;
        for (size_t at = 0; size - at >= OF_HEADER_BYTES && of_u16(data + at, 2) <= size - at;
             at += of_u16(data + at, 2)) {
            if (of_u8(data + at, 1) == type) {
                uint32_t xid = of_u32(data + at, 4);
                w->control = type == OF_BUNDLE_CONTROL ? of_u16(data + at, 12) : 0;
                buf_consume(&w->peer.received, at + of_u16(data + at, 2));
                w->peer.received_len = (int)w->peer.received.size;
                return xid;
            }
        }
        run_until(&w->c.loop, &w->peer.received_len, (int)size + 1);
    }
}

/* Waits for just this message; others may come before and with it. */
static void hear_all(struct world *w, const struct of_out *out)
{
    const struct buf *received = &w->peer.received;

    while (!received->data || !memmem(received->data, received->size, out->bytes, out->size)) {
        run_until(&w->c.loop, &w->peer.received_len, (int)received->size + 1);
    }
}

/* Says hello and who it is. */
static void open_with(struct world *w, struct of_conn_config config)
{
    client_connect(&w->c, w->peer.path, config);
    run_until(&w->c.loop, &w->peer.accepted, 1);
    if (w->peer.is_deaf) {
        struct of_out hello = message(OF_VERSION_14, OF_HELLO, 1, 0);
        struct of_out features = message(OF_VERSION_14, OF_FEATURES_REPLY, 2, 24);
        say(w, &hello);
        say(w, &features);
    } else {
        hear(w, OF_HELLO);
        struct of_out hello = message(OF_VERSION_14, OF_HELLO, 1, 0);
        say(w, &hello);
        struct of_out features =
            message(OF_VERSION_14, OF_FEATURES_REPLY, hear(w, OF_FEATURES_REQUEST), 24);
        say(w, &features);
    }
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

static void asks_only_when_open(void **state)
{
    struct world *w = *state;
    struct outcome outcome = {0};

    client_connect(&w->c, w->peer.path, (struct of_conn_config){0});
    assert_int_equal(of_barrier(w->c.conn, note_done, &outcome), -ENOTCONN);
    assert_int_equal(of_bundle(w->c.conn, &CHANGES, &outcome), -ENOTCONN);
    assert_int_equal(of_conn_version(w->c.conn), 0);
    of_conn_close(w->c.conn);
    of_conn_close(w->c.conn);
    ends_with(w, 0, "closed by us");
    assert_int_equal(outcome.done, 0);
}

static void too_many_requests_wait(void **state)
{
    struct world *w = *state;
    struct outcome outcome = {0};

    open_with(w, (struct of_conn_config){0});
    for (int i = 0; i < OF_REQUESTS_MAX; i++) {
        assert_int_equal(of_barrier(w->c.conn, note_done, &outcome), 0);
    }
    assert_int_equal(of_barrier(w->c.conn, note_done, &outcome), -EAGAIN);
    struct of_out reply = message(OF_VERSION_14, OF_BARRIER_REPLY, hear(w, OF_BARRIER_REQUEST), 0);
    say(w, &reply);
    run_until(&w->c.loop, &outcome.done, 1);
    assert_int_equal(of_barrier(w->c.conn, note_done, &outcome), 0);
    fake_peer_hang_up(&w->peer);
    ends_with(w, 503, "switch");
    assert_int_equal(outcome.done, OF_REQUESTS_MAX + 1);
    assert_int_equal(outcome.failed, OF_REQUESTS_MAX);
}

static void echoes_are_answered(void **state)
{
    struct world *w = *state;
    struct of_out echo = {0};

    open_with(w, (struct of_conn_config){0});
    of_begin(&echo, OF_VERSION_14, OF_ECHO_REQUEST, 77);
    memcpy(of_out_room(&echo, 5), "hello", 5);
    of_finish(&echo, 0);
    say(w, &echo);
    echo.bytes[1] = OF_ECHO_REPLY;
    hear_all(w, &echo);
}

static void quiet_switch_stays_if_it_answers(void **state)
{
    struct world *w = *state;

    open_with(w, (struct of_conn_config){.echo_msec = 1, .silent_msec = 60000});
    for (int i = 0; i < 5; i++) {
        struct of_out reply = message(OF_VERSION_14, OF_ECHO_REPLY, hear(w, OF_ECHO_REQUEST), 0);
        say(w, &reply);
    }
    assert_int_equal(w->c.closed, 0);
}

static void silent_switch_is_given_up(void **state)
{
    struct world *w = *state;

    open_with(w, (struct of_conn_config){.echo_msec = 1, .silent_msec = 1});
    hear(w, OF_ECHO_REQUEST);
    ends_with(w, 408, "hung");
}

static void broken_protocol_ends_it(void **state)
{
    static const struct {
        uint8_t bytes[16];
        size_t size;
        const char *words;
    } BROKEN[] = {
        {{5, 3, 0, 7, 0, 0, 0, 0}, 8, "wrong length"},
        {{4, 3, 0, 8, 0, 0, 0, 0}, 8, "another version"},
        {{5, 11, 0, 8, 0, 0, 0, 0}, 8, "removed flow"},
        {{5, 12, 0, 8, 0, 0, 0, 0}, 8, "port"},
        {{5, 1, 0, 8, 0, 0, 0, 0}, 8, "error message"},
    };
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_LEN(BROKEN); i++) {
        w->peer.accepted = 0;
        open_with(w, (struct of_conn_config){0});
        fake_peer_send(&w->peer, BROKEN[i].bytes, BROKEN[i].size);
        ends_with(w, 503, BROKEN[i].words);
        fake_peer_hang_up(&w->peer);
    }
}

/* An answer in two messages, one byte at a time. */
static void answers_come_in_any_pieces(void **state)
{
    struct world *w = *state;
    struct outcome outcome = {0};
    struct of_out parts = {0};

    open_with(w, (struct of_conn_config){0});
    assert_int_equal(of_ask_tables(w->c.conn, note_table, note_done, &outcome), 0);
    uint32_t xid = hear(w, OF_MULTIPART_REQUEST);
    for (int part = 0; part < 2; part++) {
        size_t start = parts.size;
        of_begin(&parts, OF_VERSION_14, OF_MULTIPART_REPLY, xid);
        of_put(&parts, OF_MULTIPART_TABLE, 2);
        of_put(&parts, part == 0 ? OF_MULTIPART_MORE : 0, 2);
        of_pad(&parts, 4);
        of_put(&parts, (uint64_t)part, 1);
        of_pad(&parts, 3);
        of_put(&parts, 5, 4);
        of_pad(&parts, 16);
        of_finish(&parts, start);
    }
    for (size_t i = 0; i < parts.size; i++) {
        fake_peer_send(&w->peer, parts.bytes + i, 1);
        uv_run(&w->c.loop, UV_RUN_NOWAIT);
    }
    run_until(&w->c.loop, &outcome.done, 1);
    assert_int_equal(outcome.failed, 0);
    assert_int_equal(outcome.len, 2);
    assert_int_equal(outcome.tables[1].table, 1);
    assert_int_equal(outcome.tables[1].flows_len, 5);
}

static void cut_answer_is_a_failure(void **state)
{
    struct world *w = *state;
    struct outcome outcome = {0};

    open_with(w, (struct of_conn_config){0});
    assert_int_equal(of_ask_tables(w->c.conn, note_table, note_done, &outcome), 0);
    struct of_out part =
        message(OF_VERSION_14, OF_MULTIPART_REPLY, hear(w, OF_MULTIPART_REQUEST), 8 + 24);
    of_store(part.bytes + 8, OF_MULTIPART_TABLE, 2);
    of_store(part.bytes + 10, OF_MULTIPART_MORE, 2);
    say(w, &part);
    run_until(&w->c.loop, &outcome.len, 1);
    fake_peer_hang_up(&w->peer);
    ends_with(w, 503, "switch");
    assert_int_equal(outcome.done, 1);
    assert_int_equal(outcome.failed, 1);
}

/* --- bundles --- */

static int next_for_ever(void *arg, size_t index, struct of_flow_mod *ret_mod)
{
    size_t *taken = arg;

    *taken = index + 1;
    ret_mod->flow.priority = 1;
    return 1;
}

static int endless_failed;

static void on_endless(void *arg, const struct error *error)
{
    endless_failed += error != NULL;
}

static void unread_bundle_waits(void **state)
{
    static const struct of_bundle_source SOURCE = {.next = next_for_ever, .done = on_endless};
    struct world *w = *state;
    size_t taken = 0, before;

    w->peer.is_deaf = 1;
    open_with(w, (struct of_conn_config){0});
    endless_failed = 0;
    assert_int_equal(of_bundle(w->c.conn, &SOURCE, &taken), 0);
    do { /* until the socket's buffer is full */
        before = taken;
        uv_run(&w->c.loop, UV_RUN_NOWAIT);
    } while (taken != before);
    assert_true(taken > 0);
    for (int i = 0; i < 100; i++) {
        uv_run(&w->c.loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(taken, before);
    assert_in_range(of_conn_backlog(w->c.conn), 1, OF_HIGH_WATER_BYTES + 512);
    of_conn_close(w->c.conn);
    run_until(&w->c.loop, &w->c.closed, 1);
    assert_int_equal(endless_failed, 1);
}

static void answer_control(struct world *w, uint16_t type)
{
    struct of_out out = {0};

    of_begin(&out, OF_VERSION_14, OF_BUNDLE_CONTROL, hear(w, OF_BUNDLE_CONTROL));
    assert_int_equal(w->control, type);
    of_put(&out, 1, 4);
    of_put(&out, (uint64_t)type + 1, 2);
    of_put(&out, 3, 2);
    of_finish(&out, 0);
    say(w, &out);
}

/* What was refused is known before the commit, which then isn't sent. */
static void bundle_with_a_refusal_is_discarded(void **state)
{
    struct of_flow_mod mods[2] = {0};
    struct changes changes = {.mods = mods, .len = 2}, later = {.mods = mods, .len = 1};
    struct world *w = *state;
    struct of_out error = {0};

    open_with(w, (struct of_conn_config){0});
    assert_int_equal(of_bundle(w->c.conn, &CHANGES, &changes), 0);
    assert_int_equal(of_bundle(w->c.conn, &CHANGES, &later), 0);
    answer_control(w, OF_BUNDLE_OPEN);
    hear(w, OF_BUNDLE_ADD);
    uint32_t xid = hear(w, OF_BUNDLE_ADD);
    of_begin(&error, OF_VERSION_14, OF_ERROR, xid);
    of_put(&error, 5, 2);
    of_put(&error, 1, 2);
    of_finish(&error, 0);
    say(w, &error);
    answer_control(w, OF_BUNDLE_CLOSE);
    answer_control(w, OF_BUNDLE_DISCARD);
    run_until(&w->c.loop, &changes.outcome.done, 1);
    assert_int_equal(changes.outcome.failed, 1);
    assert_int_equal(changes.outcome.error.status, 507);
    assert_int_equal(changes.refused_len, 1);
    assert_int_equal(changes.refused[0], 1);
    answer_control(w, OF_BUNDLE_OPEN); /* the next one */
    answer_control(w, OF_BUNDLE_CLOSE);
    answer_control(w, OF_BUNDLE_COMMIT);
    run_until(&w->c.loop, &later.outcome.done, 1);
    assert_int_equal(later.outcome.failed, 0);
}

static void bad_path_is_told(void **state)
{
    struct world *w = *state;
    char path[300];

    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    client_connect(&w->c, path, (struct of_conn_config){0});
    ends_with(w, 400, "too long");
    client_connect(&w->c, "/nowhere/br0.mgmt", (struct of_conn_config){0});
    ends_with(w, 503, "cannot connect");
}

#define in_world(test) cmocka_unit_test_setup_teardown(test, world_make, world_drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_world(asks_only_when_open),        in_world(too_many_requests_wait),
        in_world(echoes_are_answered),        in_world(quiet_switch_stays_if_it_answers),
        in_world(silent_switch_is_given_up),  in_world(broken_protocol_ends_it),
        in_world(answers_come_in_any_pieces), in_world(cut_answer_is_a_failure),
        in_world(unread_bundle_waits),        in_world(bundle_with_a_refusal_is_discarded),
        in_world(bad_path_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
