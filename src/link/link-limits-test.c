/* link-limits-test.c - deadlines, queues and numbers of links. */
#include "link/link-fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/mem.h"

/* --- time --- */

static int raw_connect(struct world *w)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(link_server_port(w->server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* Waits until the server has closed that socket. */
static void run_until_eof(struct world *w, int fd)
{
    char byte;

    uv_timer_start(&w->deadline, too_late, DEADLINE_MSEC, 0);
    for (;;) {
        ssize_t size = recv(fd, &byte, 1, MSG_DONTWAIT);
        if (size == 0 || (size < 0 && errno != EAGAIN)) {
            break;
        }
        uv_run(&w->loop, UV_RUN_NOWAIT);
    }
    uv_timer_stop(&w->deadline);
}

static void silent_and_foolish_clients_are_cut(void **state)
{
    static const char HTTP[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    struct world *w = *state;
    struct end client = {0};

    w->limits.handshake_msec = 100;
    serve(w);
    int silent = raw_connect(w), http = raw_connect(w);
    assert_int_equal(send(http, HTTP, sizeof HTTP - 1, MSG_NOSIGNAL), sizeof HTTP - 1);
    run_until_eof(w, silent);
    run_until_eof(w, http);
    close(silent);
    close(http);
    assert_int_equal(w->accepted, 0);

    join(w, &client); /* shakes hands, then says nothing */
    run_until(w, &w->ends[0].closed, 1);
    assert_int_equal(w->ends[0].reason.status, 408);
    run_until(w, &client.closed, 1);
    stop(w);
}

static void pings_keep_a_link(void **state)
{
    struct world *w = *state;
    struct end client = {0};
    uint64_t begin;

    w->limits.ping_msec = 50;
    w->limits.silent_msec = 400;
    serve(w);
    enter(w, &client, &w->agent_ca, &NODE);
    run_until(w, &client.opened, 1);
    say(client.link, "hello", 1);
    begin = uv_now(&w->loop);
    while (uv_now(&w->loop) - begin < 1200) { /* thrice the limit */
        uv_run(&w->loop, UV_RUN_ONCE);
    }
    assert_false(client.closed);
    assert_false(w->ends[0].closed);
    assert_int_equal(w->ends[0].messages, 1); /* pings aren't handed over */
    assert_int_equal(client.messages, 0);
    link_close(client.link);
    run_until(w, &client.closed, 1);
    stop(w);
}

static void silence_ends_a_link(void **state)
{
    struct world *w = *state;
    struct end client = {0};

    w->limits.ping_msec = 100000; /* an agent that hangs */
    w->limits.silent_msec = 200;
    serve(w);
    enter(w, &client, &w->agent_ca, &NODE);
    run_until(w, &client.opened, 1);
    say(client.link, "hello", 1);
    run_until(w, &w->ends[0].closed, 1);
    run_until(w, &client.closed, 1);
    assert_true(w->ends[0].reason.status == 408 || client.reason.status == 408);
    stop(w);
}

/* --- limits --- */

static void slow_reader_is_cut(void **state)
{
    struct world *w = *state;
    struct end client = {0};

    w->limits.queue_max = 1 << 20;
    serve(w);
    enter(w, &client, &w->agent_ca, &NODE);
    run_until(w, &client.opened, 1);
    say(client.link, "hello", 1);
    run_until(w, (int *)&w->ends[0].messages, 1);
    struct link *link = w->ends[0].link;
    for (int i = 0; i < 5; i++) {
        say(link, "put", 300000);
    }
    assert_false(w->ends[0].closed); /* never from inside link_send() */
    run_until(w, &w->ends[0].closed, 1);
    assert_non_null(strstr(w->ends[0].reason.detail, "too slowly"));
    run_until(w, &client.closed, 1);
    stop(w);
}

static void much_gets_through_before_the_end(void **state)
{
    struct world *w = *state;
    struct end client = {0};

    serve(w);
    enter(w, &client, &w->agent_ca, &NODE);
    run_until(w, &client.opened, 1);
    say(client.link, "hello", 1);
    run_until(w, (int *)&w->ends[0].messages, 1);
    for (int i = 0; i < 60; i++) {
        say(w->ends[0].link, "put", 500000);
    }
    link_close(w->ends[0].link);
    run_until(w, &client.closed, 1);
    assert_int_equal(client.messages, 60);
    assert_int_equal(client.bytes, 60 * 500000);
    stop(w);
}

static void handshakes_wait_their_turn(void **state)
{
    struct world *w = *state;
    struct end client[3] = {0};

    serve_with(w, 1, 16, 16);
    for (int i = 0; i < 3; i++) {
        join(w, &client[i]);
    }
    for (int i = 0; i < 3; i++) {
        run_until(w, &client[i].opened, 1);
        link_close(client[i].link);
    }
    for (int i = 0; i < 3; i++) {
        run_until(w, &client[i].closed, 1);
    }
    assert_int_equal(w->accepted, 3);
    stop(w);
}

static void strangers_of_one_address_are_few(void **state)
{
    struct world *w = *state;
    struct end strangers[3] = {0}, node = {0};

    serve_with(w, 16, 16, 2);
    for (int i = 0; i < 3; i++) {
        join(w, &strangers[i]);
        if (i < 2) {
            run_until(w, &strangers[i].opened, 1);
        }
    }
    run_until(w, &strangers[2].closed, 1);
    assert_false(strangers[2].opened);
    link_close(strangers[0].link);
    run_until(w, &w->ends[0].closed, 1);
    enter(w, &node, &w->agent_ca, &NODE); /* has its place while it isn't proven */
    run_until(w, &node.opened, 1);
    say(node.link, "hello", 1);
    run_until(w, (int *)&w->ends[2].messages, 1);
    struct end late = {0};
    join(w, &late); /* and gave it back */
    run_until(w, &late.opened, 1);
    stop(w);
    run_until(w, &node.closed, 1);
    run_until(w, &strangers[1].closed, 1);
    run_until(w, &late.closed, 1);
}

static void links_are_limited(void **state)
{
    struct world *w = *state;
    struct end client[2] = {0};

    serve_with(w, 16, 1, 16);
    join(w, &client[0]);
    run_until(w, &client[0].opened, 1);
    join(w, &client[1]);
    run_until(w, &client[1].closed, 1);
    assert_false(client[0].closed);
    stop(w);
    run_until(w, &client[0].closed, 1);
}

static void link_is_closed_from_its_own_message(void **state)
{
    struct world *w = *state;
    struct end client = {0};

    serve(w);
    w->ends[0].closes_on_message = w->ends[0].echoes = 1;
    join(w, &client);
    run_until(w, &client.opened, 1);
    for (int i = 0; i < 5; i++) {
        say(client.link, "join", 100);
    }
    run_until(w, &client.closed, 1);
    run_until(w, &w->ends[0].closed, 1);
    assert_int_equal(client.messages, 1);
    assert_int_equal(w->ends[0].messages, 1);
    stop(w);
}

static void server_closes_with_links_open(void **state)
{
    struct world *w = *state;
    struct end client[2] = {0};

    serve(w);
    int silent = raw_connect(w);
    join(w, &client[0]);
    enter(w, &client[1], &w->agent_ca, &NODE);
    run_until(w, &client[0].opened, 1);
    run_until(w, &client[1].opened, 1);
    stop(w);
    run_until(w, &client[0].closed, 1);
    run_until(w, &client[1].closed, 1);
    close(silent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_world(silent_and_foolish_clients_are_cut),
        in_world(pings_keep_a_link),
        in_world(silence_ends_a_link),
        in_world(slow_reader_is_cut),
        in_world(much_gets_through_before_the_end),
        in_world(handshakes_wait_their_turn),
        in_world(strangers_of_one_address_are_few),
        in_world(links_are_limited),
        in_world(link_is_closed_from_its_own_message),
        in_world(server_closes_with_links_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
