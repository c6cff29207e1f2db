/* link-test.c - who is let in, and what may be said. */
#include "link/link-fixture.h"

#include <errno.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"

/* --- opening --- */

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
    refused(w, &w->client_ca, &CLIENT, "unknown"); /* an outside client's, as it is */
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

/* --- bad input --- */

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

/* --- the server's certificate --- */

static void servers_certificate_can_be_replaced(void **state)
{
    static const struct test_leaf SERVER = {"cnsmo:server", 1, -48, 24};
    struct world *w = *state;
    struct end before = {0}, after = {0};
    struct error error = {0};

    serve(w);
    w->ends[0].echoes = 1;
    enter(w, &before, &w->agent_ca, &NODE);
    run_until(w, &before.opened, 1);

    struct test_cert cert = test_cert_new(&w->server_ca, "cnsmod", &SERVER);
    _cleanup_free_ char *leaf = test_cert_pem(&cert);
    _cleanup_free_ char *ca = test_cert_pem(&w->server_ca);
    _cleanup_free_ char *root = test_cert_pem(&w->root);
    _cleanup_free_ char *chain = xasprintf("%s%s%s", leaf, ca, root);
    _cleanup_free_ char *key = test_key_pem(&cert);
    test_cert_done(&cert);
    assert_true(link_server_renew(w->server, chain, "nonsense", w->agents_chain, &error) < 0);
    assert_int_equal(link_server_renew(w->server, chain, key, w->agents_chain, &error), 0);

    enter(w, &after, &w->agent_ca, &NODE);
    run_until(w, &after.opened, 1);
    assert_string_not_equal(link_peer_serial(before.link), link_peer_serial(after.link));
    say(before.link, "hello", 10); /* goes on */
    run_until(w, (int *)&before.messages, 1);
    stop(w);
    run_until(w, &before.closed, 1);
    run_until(w, &after.closed, 1);
}

/* Tries to get in with a node's certificate of that issuer, while others are connected. */
static int gets_in(struct world *w, const struct test_cert *issuer)
{
    struct end client = {0};
    unsigned accepted = w->accepted;

    enter(w, &client, issuer, &NODE);
    while (!client.closed && w->accepted == accepted) {
        uv_run(&w->loop, UV_RUN_ONCE);
    }
    int is_in = w->accepted > accepted;
    if (!client.closed) {
        link_close(client.link);
        run_until(w, &client.closed, 1);
    }
    return is_in;
}

/* Two generations of agents' certificates, then only the newer one. */
static void trusted_intermediates_can_be_replaced(void **state)
{
    struct world *w = *state;
    struct test_cert next = test_cert_new(&w->root, "agents 2", NULL);
    _cleanup_free_ char *both = join_pems(&next, &w->agent_ca, &w->root);
    _cleanup_free_ char *newer = join_pems(&next, &w->root, NULL);
    struct end before = {0};

    serve(w);
    w->ends[0].echoes = 1;
    enter(w, &before, &w->agent_ca, &NODE);
    run_until(w, (int *)&w->accepted, 1);
    assert_false(gets_in(w, &next));
    assert_int_equal(link_server_renew(w->server, w->server_chain, w->server_key, both, NULL), 0);
    assert_true(gets_in(w, &next));
    assert_true(gets_in(w, &w->agent_ca));
    assert_int_equal(link_server_renew(w->server, w->server_chain, w->server_key, newer, NULL), 0);
    assert_true(gets_in(w, &next));
    assert_false(gets_in(w, &w->agent_ca));
    assert_false(gets_in(w, &w->client_ca));
    say(before.link, "hello", 10); /* who is in stays */
    run_until(w, (int *)&before.messages, 1);
    stop(w);
    run_until(w, &before.closed, 1);
    test_cert_done(&next);
}

/* There is no bound on how often an authority may be rolled over while certificates last. */
static void many_intermediates_can_be_trusted(void **state)
{
    enum { MANY = 12 };
    struct world *w = *state;
    struct test_cert generations[MANY];
    char *chain = xstrdup(w->agents_chain);

    serve(w);
    for (int i = 0; i < MANY; i++) {
        _cleanup_free_ char *name = xasprintf("agents %d", i + 2);
        generations[i] = test_cert_new(&w->root, name, NULL);
        _cleanup_free_ char *before = chain;
        _cleanup_free_ char *pem = test_cert_pem(&generations[i]);
        chain = xasprintf("%s%s", before, pem);
    }
    assert_int_equal(link_server_renew(w->server, w->server_chain, w->server_key, chain, NULL), 0);
    assert_true(gets_in(w, &generations[0]));
    assert_true(gets_in(w, &generations[MANY - 1]));
    stop(w);
    for (int i = 0; i < MANY; i++) {
        test_cert_done(&generations[i]);
    }
    free(chain);
}

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
        in_world(servers_certificate_can_be_replaced),
        in_world(trusted_intermediates_can_be_replaced),
        in_world(many_intermediates_can_be_trusted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
