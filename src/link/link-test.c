/* Both ends of the link in one process and one loop, over loopback. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "link/link-test-pki.h"
#include "link/link.h"

enum {
    DEADLINE_MSEC = 20000,
    ENDS_MAX = 8,
};

/* What one end of a link went through. */
struct end {
    struct link *link;
    int opened, closed;
    unsigned messages;
    size_t bytes; /* of "data" */
    char type[32], detail[512];
    int status;
    int closes_on_message, echoes;
    struct error reason;
};

struct world {
    uv_loop_t loop;
    struct test_cert root, server_ca, agent_ca, client_ca, server_cert;
    char *server_chain, *server_key, *agents_chain, *fingerprint;
    struct link_limits limits;
    struct link_server *server;
    struct end ends[ENDS_MAX]; /* the server's, in the order of acceptance */
    unsigned accepted;
    int server_closed;
    uv_timer_t deadline;
};

/* --- the world --- */

static char *join_pems(const struct test_cert *a, const struct test_cert *b,
                       const struct test_cert *c)
{
    _cleanup_free_ char *one = test_cert_pem(a);
    _cleanup_free_ char *two = test_cert_pem(b);
    _cleanup_free_ char *three = c ? test_cert_pem(c) : xstrdup("");

    return xasprintf("%s%s%s", one, two, three);
}

static int make_world(void **state)
{
    static const struct test_leaf SERVER = {"cnsmo:server", 1, -48, 24};
    struct world *w = xnew(struct world);

    uv_loop_init(&w->loop);
    uv_timer_init(&w->loop, &w->deadline);
    w->root = test_cert_new(NULL, "root", NULL);
    w->server_ca = test_cert_new(&w->root, "servers", NULL);
    w->agent_ca = test_cert_new(&w->root, "agents", NULL);
    w->client_ca = test_cert_new(&w->root, "clients", NULL);
    w->server_cert = test_cert_new(&w->server_ca, "cnsmod", &SERVER);
    w->server_chain = join_pems(&w->server_cert, &w->server_ca, &w->root);
    w->server_key = test_key_pem(&w->server_cert);
    w->agents_chain = join_pems(&w->agent_ca, &w->root, NULL);
    w->fingerprint = test_fingerprint(&w->root);
    w->limits = (struct link_limits){
        .handshake_msec = 10000, .ping_msec = 10000, .silent_msec = 30000, .queue_max = 64 << 20};
    *state = w;
    return 0;
}

static int drop_world(void **state)
{
    struct world *w = *state;

    if (w->server) {
        return -1; /* the test failed half way: what it left can't be waited for */
    }
    uv_close((uv_handle_t *)&w->deadline, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    test_cert_done(&w->root);
    test_cert_done(&w->server_ca);
    test_cert_done(&w->agent_ca);
    test_cert_done(&w->client_ca);
    test_cert_done(&w->server_cert);
    free(w->server_chain);
    free(w->server_key);
    free(w->agents_chain);
    free(w->fingerprint);
    free(w);
    return 0;
}

static void too_late(uv_timer_t *timer)
{
    /* the world can't be taken down in order now, so not fail() */
    fprintf(stderr, "the deadline passed\n");
    abort();
}

/* Runs the loop until the int is at least `wanted`. */
static void run_until(struct world *w, const int *value, int wanted)
{
    uv_timer_start(&w->deadline, too_late, DEADLINE_MSEC, 0);
    while (*value < wanted) {
        uv_run(&w->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&w->deadline);
}

/* --- the ends
 * ------------------------------------------------------------------------------------ */

static void on_opened(struct link *link, void *arg)
{
    struct end *end = arg;

    end->opened = 1;
}

static void on_message(struct link *link, void *arg, const char *type, const json_t *message)
{
    struct end *end = arg;

    end->messages++;
    snprintf(end->type, sizeof end->type, "%s", type);
    snprintf(end->detail, sizeof end->detail, "%s", json_get_string(message, "detail", ""));
    end->status = (int)json_get_integer(message, "status", 0);
    end->bytes += strlen(json_get_string(message, "data", ""));
    if (end->echoes) {
        link_send(link, message);
    }
    if (end->closes_on_message) {
        link_close(link);
    }
}

static void on_closed(struct link *link, void *arg, const struct error *error)
{
    struct end *end = arg;

    assert_false(end->closed);
    end->closed = 1;
    end->reason = *error;
    end->link = NULL;
}

static const struct link_handler HANDLER = {on_opened, on_message, on_closed};

static const struct link_handler *on_accepted(void *arg, struct link *link, void **ret_arg)
{
    struct world *w = arg;
    struct end *end = &w->ends[w->accepted++];

    assert_true(w->accepted <= ENDS_MAX);
    end->link = link;
    *ret_arg = end;
    return &HANDLER;
}

static void serve_with(struct world *w, unsigned handshakes, unsigned links, unsigned unproven)
{
    const struct link_server_config config = {
        .address = "127.0.0.1",
        .certificate_pem = w->server_chain,
        .key_pem = w->server_key,
        .client_ca_pem = w->agents_chain,
        .handshakes_max = handshakes,
        .links_max = links,
        .unproven_per_source_max = unproven,
        .limits = &w->limits,
    };

    assert_int_equal(link_server_new(&w->loop, &config, on_accepted, w, &w->server, NULL), 0);
}

static void serve(struct world *w)
{
    serve_with(w, 16, 16, 16);
}

static void on_server_closed(void *arg)
{
    *(int *)arg = 1;
}

static void stop(struct world *w)
{
    link_server_close(w->server, on_server_closed, &w->server_closed);
    run_until(w, &w->server_closed, 1);
    w->server_closed = 0;
    w->server = NULL;
}

static struct link_client_config client_config(struct world *w)
{
    return (struct link_client_config){
        .address = "127.0.0.1",
        .port = link_server_port(w->server),
        .fingerprint = w->fingerprint,
        .limits = &w->limits,
    };
}

static void join(struct world *w, struct end *end)
{
    struct link_client_config config = client_config(w);

    end->link = link_connect(&w->loop, &config, &HANDLER, end);
}

/* Connects with a leaf of that issuer; the client copies what it needs at once. */
static void enter(struct world *w, struct end *end, const struct test_cert *issuer,
                  const struct test_leaf *leaf)
{
    struct link_client_config config = client_config(w);
    struct test_cert cert = test_cert_new(issuer, "x", leaf);
    _cleanup_free_ char *chain = join_pems(&cert, issuer, NULL);
    _cleanup_free_ char *key = test_key_pem(&cert);

    config.certificate_pem = chain;
    config.key_pem = key;
    end->link = link_connect(&w->loop, &config, &HANDLER, end);
    test_cert_done(&cert);
}

static const struct test_leaf NODE = {"cnsmo:node:Agent.1", 0, -48, 24};

static void say(struct link *link, const char *type, size_t data_size)
{
    _cleanup_free_ char *data = xcalloc(data_size + 1, 1);

    memset(data, 'x', data_size);
    json_t *message = json_pack("{s:s,s:s}", "type", type, "data", data);
    link_send(link, message);
    json_decref(message);
}

/* --- opening
 * ------------------------------------------------------------------------------------- */

static void joins_without_certificate(void **state)
{
    struct world *w = *state;
    struct end client = {0};

    serve(w);
    w->ends[0].echoes = 1;
    join(w, &client);
    run_until(w, &client.opened, 1);
    say(client.link, "join", 8000);
    run_until(w, (int *)&client.messages, 1);
    assert_string_equal(client.type, "join");
    assert_int_equal(client.bytes, 8000);
    assert_null(link_peer_node(w->ends[0].link));
    assert_null(link_peer_serial(w->ends[0].link));
    assert_null(link_peer_key_id(w->ends[0].link));
    assert_string_equal(link_peer_address(w->ends[0].link), "127.0.0.1");
    assert_string_equal(link_local_address(client.link), "127.0.0.1");
    link_close(client.link);
    run_until(w, &client.closed, 1);
    run_until(w, &w->ends[0].closed, 1);
    assert_int_equal(client.reason.status, 0);
    assert_non_null(strstr(w->ends[0].reason.detail, "peer closed"));
    stop(w);
}

static void node_is_known_by_its_certificate(void **state)
{
    struct world *w = *state;
    struct end client = {0};

    serve(w);
    w->ends[0].echoes = 1;
    enter(w, &client, &w->agent_ca, &NODE);
    run_until(w, &client.opened, 1);
    say(client.link, "hello", 900000); /* more than a stranger may send */
    run_until(w, (int *)&client.messages, 1);
    assert_int_equal(client.bytes, 900000);
    assert_string_equal(link_peer_node(w->ends[0].link), "Agent.1");
    assert_int_equal(strlen(link_peer_serial(w->ends[0].link)), 32);
    assert_memory_equal(link_peer_serial(w->ends[0].link), "42", 2);
    assert_int_equal(strlen(link_peer_key_id(w->ends[0].link)), 64);
    assert_int_equal(strlen(link_peer_serial(client.link)), 32);
    stop(w);
    run_until(w, &client.closed, 1);
}

/* The client is refused; the server hands nothing to its owner. */
static void refused(struct world *w, const struct test_cert *issuer, const struct test_leaf *leaf,
                    const char *alert)
{
    struct end client = {0};

    serve(w);
    enter(w, &client, issuer, leaf);
    run_until(w, &client.closed, 1);
    assert_int_equal(w->accepted, 0);
    assert_int_equal(client.messages, 0);
    if (!strstr(client.reason.detail, alert)) {
        fail_msg("\"%s\" isn't in \"%s\"", alert, client.reason.detail);
    }
    stop(w);
}

static void wrong_certificates_are_refused(void **state)
{
    static const struct test_leaf EXPIRED = {"cnsmo:node:Agent.1", 0, -48, -1};
    static const struct test_leaf FUTURE = {"cnsmo:node:Agent.1", 0, 24, 48};
    static const struct test_leaf CLIENT = {"cnsmo:client:laptop", 0, -48, 24};
    static const struct test_leaf SERVER = {"cnsmo:node:Agent.1", 1, -48, 24};
    static const struct test_leaf BAD_ID = {"cnsmo:node:../x", 0, -48, 24};
    struct world *w = *state;
    struct test_cert root = test_cert_new(NULL, "root", NULL);
    struct test_cert agents = test_cert_new(&root, "agents", NULL);

    refused(w, &agents, &NODE, "unknown");
    refused(w, &w->client_ca, &NODE, "unknown");
    refused(w, &w->server_ca, &NODE, "unknown");
    refused(w, &w->root, &NODE, "unknown");
    refused(w, &w->agent_ca, &EXPIRED, "expired");
    refused(w, &w->agent_ca, &FUTURE, "bad");
    refused(w, &w->agent_ca, &CLIENT, "bad");
    refused(w, &w->agent_ca, &SERVER, "bad");
    refused(w, &w->agent_ca, &BAD_ID, "bad");
    test_cert_done(&root);
    test_cert_done(&agents);
}

static void wrong_servers_are_refused(void **state)
{
    static const struct test_leaf NOT_SERVER = {"cnsmo:node:Agent.1", 1, -48, 24};
    static const struct test_leaf EXPIRED = {"cnsmo:server", 1, -48, -1};
    static const struct test_leaf CLIENT = {"cnsmo:server", 0, -48, 24};
    static const struct {
        const struct test_leaf *leaf;
        const char *detail;
    } WRONG[] = {
        {&NOT_SERVER, "isn't a server's"}, {&EXPIRED, "expired"}, {&CLIENT, "isn't valid"}};
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_LEN(WRONG); i++) {
        struct end client = {0};
        test_cert_done(&w->server_cert);
        free(w->server_chain);
        free(w->server_key);
        w->server_cert = test_cert_new(&w->server_ca, "x", WRONG[i].leaf);
        w->server_chain = join_pems(&w->server_cert, &w->server_ca, &w->root);
        w->server_key = test_key_pem(&w->server_cert);
        serve(w);
        join(w, &client);
        run_until(w, &client.closed, 1);
        assert_false(client.opened);
        assert_int_equal(client.reason.status, 401);
        assert_non_null(strstr(client.reason.detail, WRONG[i].detail));
        stop(w);
    }
}

static void wrong_fingerprint_is_refused(void **state)
{
    struct world *w = *state;
    struct end client = {0};

    serve(w);
    w->fingerprint[10] = w->fingerprint[10] == '0' ? '1' : '0';
    join(w, &client);
    run_until(w, &client.closed, 1);
    assert_false(client.opened);
    assert_int_equal(client.reason.status, 401);
    assert_non_null(strstr(client.reason.detail, "another deployment"));
    assert_int_equal(w->accepted, 0);
    stop(w);
}

static void unreachable_server_is_told(void **state)
{
    struct world *w = *state;
    struct end client[3] = {0};
    struct link_client_config config;

    serve(w);
    config = client_config(w);
    stop(w);
    link_connect(&w->loop, &config, &HANDLER, &client[0]);
    config.address = "no-such-host.invalid";
    link_connect(&w->loop, &config, &HANDLER, &client[1]);
    struct link *link = link_connect(&w->loop, &config, &HANDLER, &client[2]);
    link_close(link); /* while its address is being looked up */
    for (int i = 0; i < 3; i++) {
        run_until(w, &client[i].closed, 1);
    }
    assert_non_null(strstr(client[0].reason.detail, "cannot connect"));
    assert_int_equal(client[0].reason.status, 503);
    assert_non_null(strstr(client[1].reason.detail, "cannot find"));
    assert_int_equal(client[2].reason.status, 0);
}

static void broken_own_certificate_is_told(void **state)
{
    struct world *w = *state;
    struct end client = {0};

    serve(w);
    struct link_client_config config = client_config(w);
    config.certificate_pem = "nonsense";
    config.key_pem = w->server_key;
    link_connect(&w->loop, &config, &HANDLER, &client);
    assert_false(client.closed); /* never from inside */
    run_until(w, &client.closed, 1);
    assert_non_null(strstr(client.reason.detail, "certificate"));
    stop(w);
}

static void server_refuses_what_it_cannot_use(void **state)
{
    struct world *w = *state;
    struct link_server *server = NULL;
    struct error error = {0};
    struct link_server_config config = {
        .address = "nowhere",
        .certificate_pem = w->server_chain,
        .key_pem = w->server_key,
        .client_ca_pem = w->agents_chain,
    };

    assert_int_equal(link_server_new(&w->loop, &config, on_accepted, w, &server, &error), -EINVAL);
    assert_non_null(strstr(error.detail, "nowhere"));
    config.address = "192.0.2.77"; /* not ours */
    assert_true(link_server_new(&w->loop, &config, on_accepted, w, &server, &error) < 0);
    assert_non_null(strstr(error.detail, "cannot listen"));
    config.key_pem = "nonsense";
    assert_true(link_server_new(&w->loop, &config, on_accepted, w, &server, &error) < 0);
    assert_non_null(strstr(error.detail, "certificate"));
    assert_null(server);
}

/* --- bad input
 * ------------------------------------------------------------------------------------- */

static void long_lines_are_refused(void **state)
{
    struct world *w = *state;
    struct end stranger = {0}, node = {0};

    serve(w);
    join(w, &stranger);
    run_until(w, &stranger.opened, 1);
    say(stranger.link, "join", 500000);
    run_until(w, &stranger.closed, 1);
    assert_string_equal(stranger.type, "error");
    assert_int_equal(stranger.status, 413);
    assert_int_equal(w->ends[0].messages, 0);
    run_until(w, &w->ends[0].closed, 1);
    assert_int_equal(w->ends[0].reason.status, 413);

    enter(w, &node, &w->agent_ca, &NODE);
    run_until(w, &node.opened, 1);
    say(node.link, "facts", LINK_LINE_MAX - 64);
    run_until(w, (int *)&w->ends[1].messages, 1);
    say(node.link, "facts", LINK_LINE_MAX); /* our own end refuses to send it */
    run_until(w, &node.closed, 1);
    assert_non_null(strstr(node.reason.detail, "too long"));
    stop(w);
}

/* Text that isn't JSON at all is the frame's test. */
static void malformed_messages_are_refused(void **state)
{
    static const char *const BAD[] = {"{}", "{\"type\":7}", "{\"type\":\"\"}",
                                      "{\"type\":\"UPPER\"}", "[]"};
    struct world *w = *state;

    serve(w);
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        struct end client = {0};
        join(w, &client);
        run_until(w, &client.opened, 1);
        json_t *message = json_loads(BAD[i], 0, NULL);
        link_send(client.link, message);
        json_decref(message);
        run_until(w, &client.closed, 1);
        assert_string_equal(client.type, "error");
        assert_int_equal(client.status, 400);
        assert_int_equal(w->ends[i].messages, 0);
    }
    stop(w);
}

/* --- time
 * -------------------------------------------------------------------------------------------- */

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

/* --- limits
 * -------------------------------------------------------------------------------------------- */

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

#define in_world(test) cmocka_unit_test_setup_teardown(test, make_world, drop_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_world(joins_without_certificate),
        in_world(node_is_known_by_its_certificate),
        in_world(wrong_certificates_are_refused),
        in_world(wrong_servers_are_refused),
        in_world(wrong_fingerprint_is_refused),
        in_world(unreachable_server_is_told),
        in_world(broken_own_certificate_is_told),
        in_world(server_refuses_what_it_cannot_use),
        in_world(long_lines_are_refused),
        in_world(malformed_messages_are_refused),
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
