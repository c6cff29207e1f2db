/* The agent's connection against a listener of the real link, in one loop. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "agent/connection.h"
#include "core/digest.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/spawn.h"
#include "link/link.h"
#include "pki/pki.h"

enum {
    HEARD_MAX = 200,
};

struct fixture {
    char folder[64];
    uv_loop_t loop;
    struct pki *pki;
    struct link_server *server;
    struct link *peer; /* the server's end, NULL when there is none */
    json_t *heard[HEARD_MAX];
    size_t heard_len, taken;
    unsigned accepted;
    struct identity identity;
    struct connection *connection;
    struct reconcile *reconcile;
    unsigned removed;
    char detail[200];
};

static const struct backend *const NO_BACKENDS[] = {NULL};

/* --- the server's end --- */

static void on_peer_message(struct link *link, void *arg, const char *type, const json_t *message)
{
    struct fixture *f = arg;

    assert_true(f->heard_len < HEARD_MAX);
    f->heard[f->heard_len++] = json_deep_copy(message);
}

static void on_peer_closed(struct link *link, void *arg, const struct error *error)
{
    struct fixture *f = arg;

    if (f->peer == link) {
        f->peer = NULL;
    }
}

static const struct link_handler PEER = {.message = on_peer_message, .closed = on_peer_closed};

static const struct link_handler *on_accepted(void *arg, struct link *link, void **ret_arg)
{
    struct fixture *f = arg;

    f->peer = link;
    f->accepted++;
    *ret_arg = f;
    return &PEER;
}

static void listen_on(struct fixture *f, uint16_t port)
{
    static const char *const NAMES[] = {"127.0.0.1", NULL};
    char *cert, *key;

    assert_int_equal(pki_server_certificate(f->pki, NAMES, &cert, &key, NULL), 0);
    struct link_server_config config = {.address = "127.0.0.1",
                                        .port = port,
                                        .certificate_pem = cert,
                                        .key_pem = key,
                                        .client_ca_pem = pki_agent_chain_pem(f->pki),
                                        .handshakes_max = 10,
                                        .links_max = 10,
                                        .unproven_per_source_max = 10};
    struct error error = {0};
    if (link_server_new(&f->loop, &config, on_accepted, f, &f->server, &error) < 0) {
        fail_msg("%s", error.detail);
    }
    free(cert);
    free(key);
}

static void on_server_closed(void *arg)
{
    *(int *)arg = 1;
}

static void stop_listening(struct fixture *f)
{
    int done = 0;

    link_server_close(f->server, on_server_closed, &done);
    while (!done) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    f->server = NULL;
}

/* Takes the reference. */
static void say(struct fixture *f, json_t *message)
{
    assert_non_null(message);
    link_send(f->peer, message);
    json_decref(message);
}

static const json_t *next_message(struct fixture *f)
{
    int64_t deadline = clock_monotonic_usec() + 20000000;

    while (f->taken == f->heard_len) {
        assert_true(clock_monotonic_usec() < deadline);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    return f->heard[f->taken++];
}

/* The next message, which must be of this type. */
static const json_t *expect(struct fixture *f, const char *type)
{
    const json_t *message = next_message(f);

    assert_string_equal(json_get_string(message, "type", ""), type);
    return message;
}

static void welcome(struct fixture *f)
{
    char now[CLOCK_TEXT_SIZE];

    say(f, json_pack("{s:s, s:i, s:s, s:s, s:s}", "type", "welcome", "version", 1, "id", "Agent.1",
                     "time", clock_format(clock_now_usec(), now), "address", "127.0.0.1"));
}

static void put(struct fixture *f, const char *key, int value)
{
    say(f, json_pack("{s:s, s:s, s:i, s:{s:i}}", "type", "put", "key", key, "revision", 1, "body",
                     "v", value));
}

/* With the digest of these keys, each {"v":1}. */
static void sync_set(struct fixture *f, int revision, const char *const *keys)
{
    json_t *body = json_pack("{s:i}", "v", 1);
    struct digest sum = {0};
    char hex[33];

    for (; *keys; keys++) {
        digest_add(&sum, digest_of(*keys, body));
    }
    json_decref(body);
    say(f, json_pack("{s:s, s:i, s:s}", "type", "sync", "revision", revision, "digest",
                     digest_format(sum, hex)));
}

#define KEYS(...) ((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/* --- the agent's end --- */

static void on_removed(void *arg, const char *detail)
{
    struct fixture *f = arg;

    f->removed++;
    snprintf(f->detail, sizeof f->detail, "%s", detail);
}

static void on_applied(void *arg, int64_t revision, const json_t *errors)
{
    struct fixture *f = arg;

    connection_applied(f->connection, revision, errors);
}

static void make_identity(struct fixture *f)
{
    char *csr, *serial;
    int64_t expires;

    f->identity.id = xstrdup("Agent.1");
    f->identity.fingerprint = xstrdup(pki_fingerprint(f->pki));
    f->identity.servers = xcalloc(3, sizeof(char *));
    f->identity.servers[0] = xstrdup("127.0.0.1:1"); /* nobody is there: it must go on */
    f->identity.servers[1] = xasprintf("127.0.0.1:%d", (int)link_server_port(f->server));
    assert_int_equal(pki_make_csr("x", &f->identity.key_pem, &csr, NULL), 0);
    assert_int_equal(
        pki_sign_node(f->pki, csr, "Agent.1", &f->identity.cert_pem, &serial, &expires, NULL), 0);
    free(csr);
    free(serial);
}

static void start_agent(struct fixture *f)
{
    struct connection_config config = {
        .state_dir = f->folder, .identity = &f->identity, .removed = on_removed, .arg = f};
    struct backend_env env = {.node = "Agent.1"};

    f->connection = connection_new(&f->loop, &config);
    assert_int_equal(
        reconcile_new(&f->loop, f->folder, NO_BACKENDS, &env, on_applied, f, &f->reconcile, NULL),
        0);
    connection_start(f->connection, f->reconcile);
}

static int set_up(void **state)
{
    struct fixture *f = xnew(struct fixture);

    snprintf(f->folder, sizeof f->folder, "/tmp/connection-test.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    _cleanup_free_ char *authority = xasprintf("%s/pki", f->folder);
    assert_int_equal(pki_open(authority, &f->pki, NULL), 0);
    uv_loop_init(&f->loop);
    listen_on(f, 0);
    make_identity(f);
    start_agent(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    const char *remove[] = {"rm", "-r", f->folder, NULL};

    reconcile_free(f->reconcile);
    connection_free(f->connection);
    if (f->server) {
        stop_listening(f);
    }
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    identity_done(&f->identity);
    pki_free(f->pki);
    for (size_t i = 0; i < f->heard_len; i++) {
        json_decref(f->heard[i]);
    }
    assert_int_equal(spawn_run(&(struct spawn){.argv = remove}), 0);
    free(f);
    return 0;
}

static void wait_removed(struct fixture *f)
{
    int64_t deadline = clock_monotonic_usec() + 20000000;

    while (!f->removed) {
        assert_true(clock_monotonic_usec() < deadline);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

/* --- tests --- */

static void it_says_who_it_is_and_applies_a_snapshot(void **state)
{
    struct fixture *f = *state;

    const json_t *hello = expect(f, "hello");
    assert_string_equal(link_peer_node(f->peer), "Agent.1");
    assert_string_equal(json_get_string(hello, "id", ""), "Agent.1");
    assert_int_equal(json_get_integer(hello, "revision", -1), 0);
    assert_string_equal(json_get_string(hello, "digest", ""), "00000000000000000000000000000000");
    welcome(f);
    say(f, json_pack("{s:s}", "type", "snapshot"));
    put(f, "x/a", 1);
    sync_set(f, 7, KEYS("x/a"));
    const json_t *ack = expect(f, "ack");
    assert_int_equal(json_get_integer(ack, "revision", -1), 7);
    const json_t *error = json_array_get(json_object_get(ack, "errors"), 0);
    assert_string_equal(json_get_string(error, "key", ""), "x/a"); /* no driver knows it */
    json_t *described = connection_describe(f->connection);
    assert_true(json_get_bool(described, "connected", 0));
    json_decref(described);
}

static void a_wrong_digest_asks_for_everything(void **state)
{
    struct fixture *f = *state;

    expect(f, "hello");
    welcome(f);
    put(f, "x/a", 1);
    sync_set(f, 3, KEYS("x/other"));
    expect(f, "resync");
    say(f, json_pack("{s:s}", "type", "snapshot"));
    sync_set(f, 3, KEYS());
    const json_t *ack = expect(f, "ack");
    assert_int_equal(json_get_integer(ack, "revision", -1), 3);
    assert_int_equal(json_array_size(json_object_get(ack, "errors")), 0);
}

/* What it knows it tells again: the server may be another one. */
static void a_reconnect_resumes(void **state)
{
    struct fixture *f = *state;

    connection_report(f->connection, "x.one", json_pack("{s:i}", "n", 1));
    connection_report(f->connection, "x.two", json_pack("{s:i}", "n", 2));
    connection_report(f->connection, "x.two", NULL);
    json_t *status = json_pack("{s:s}", "agentVersion", "1");
    connection_status(f->connection, status);
    json_decref(status);
    expect(f, "hello");
    welcome(f);
    const json_t *facts = json_object_get(expect(f, "facts"), "facts");
    assert_int_equal(json_get_integer(json_object_get(facts, "x.one"), "n", 0), 1);
    facts = json_object_get(expect(f, "facts"), "facts");
    assert_true(json_is_null(json_object_get(facts, "x.two")));
    expect(f, "status");
    put(f, "x/a", 1);
    sync_set(f, 5, KEYS("x/a"));
    expect(f, "ack");
    /* Half a change, then the server is gone, and comes back. */
    say(f, json_pack("{s:s}", "type", "snapshot"));
    put(f, "x/lost", 1);
    uint16_t port = link_server_port(f->server);
    stop_listening(f);
    listen_on(f, port);
    const json_t *hello = expect(f, "hello");
    assert_int_equal(json_get_integer(hello, "revision", -1), 5);
    welcome(f);
    expect(f, "facts");
    expect(f, "status");
    sync_set(f, 5, KEYS("x/a"));
    assert_int_equal(json_get_integer(expect(f, "ack"), "revision", -1), 5);
}

static void unchanged_reports_cost_nothing(void **state)
{
    struct fixture *f = *state;
    json_t *status = json_pack("{s:s}", "agentVersion", "1");

    expect(f, "hello");
    welcome(f);
    sync_set(f, 1, KEYS());
    expect(f, "ack");
    for (int i = 0; i < 3; i++) {
        connection_report(f->connection, "x.one", json_pack("{s:i}", "n", 1));
        connection_status(f->connection, status);
    }
    connection_report(f->connection, "x.never", NULL);
    json_decref(status);
    expect(f, "facts");
    expect(f, "status");
    connection_report(f->connection, "x.one", NULL);
    const json_t *facts = json_object_get(expect(f, "facts"), "facts");
    assert_true(json_is_null(json_object_get(facts, "x.one")));
}

static void a_removed_node_is_told_once(void **state)
{
    struct fixture *f = *state;

    expect(f, "hello");
    welcome(f);
    say(f, json_pack("{s:s, s:i, s:s, s:s}", "type", "error", "status", 410, "pointer", "",
                     "detail", "this node was deleted"));
    link_close(f->peer);
    wait_removed(f);
    assert_string_equal(f->detail, "this node was deleted");
    assert_int_equal(f->removed, 1);
}

/* A server that is only busy, or refuses something else, isn't a reason to tear down the host. */
static void other_errors_do_not_remove(void **state)
{
    struct fixture *f = *state;

    expect(f, "hello");
    say(f, json_pack("{s:s, s:i, s:s, s:s}", "type", "error", "status", 503, "pointer", "",
                     "detail", "busy"));
    link_close(f->peer);
    expect(f, "hello");
    welcome(f);
    say(f, json_pack("{s:s, s:i, s:s, s:s}", "type", "error", "status", 403, "pointer", "",
                     "detail", "not this fact"));
    link_close(f->peer);
    expect(f, "hello");
    assert_int_equal(f->removed, 0);
}

static void nonsense_ends_the_connection(void **state)
{
    struct fixture *f = *state;

    expect(f, "hello");
    welcome(f);
    say(f, json_pack("{s:s, s:s}", "type", "put", "key", "no body"));
    expect(f, "hello");
    say(f, json_pack("{s:s, s:i, s:s}", "type", "sync", "revision", 1, "digest", "00"));
    expect(f, "hello");
    welcome(f);
    for (int i = 0; i < 4; i++) {
        sync_set(f, 1, KEYS("never/there"));
        if (i < 3) {
            expect(f, "resync");
        }
    }
    const json_t *message = next_message(f);
    if (strcmp(json_get_string(message, "type", ""), "resync") == 0) {
        message = next_message(f);
    }
    assert_string_equal(json_get_string(message, "type", ""), "hello");
}

/* --- another authority --- */

static void announce(struct fixture *f, const char *authority)
{
    say(f, json_pack("{s:s, s:i, s:s, s:s}", "type", "sync", "revision", 1, "digest",
                     "00000000000000000000000000000000", "authority", authority));
}

static void answer_renewal(struct fixture *f, const json_t *renew)
{
    char *chain, *serial;
    int64_t expires;

    assert_int_equal(pki_sign_node(f->pki, json_get_string(renew, "csr", ""), "Agent.1", &chain,
                                   &serial, &expires, NULL),
                     0);
    say(f, json_pack("{s:s, s:s}", "type", "renewed", "certificate", chain));
    free(chain);
    free(serial);
}

/* The issuer of the certificate on the agent's disk. */
static void assert_renewed(struct fixture *f)
{
    int64_t deadline = clock_monotonic_usec() + 20000000;
    char id[PKI_ID_SIZE] = "";

    while (strcmp(id, pki_authority_id(f->pki, PKI_AGENT)) != 0) {
        _cleanup_free_ char *path = xasprintf("%s/cert.pem", f->folder);
        _cleanup_buf_ struct buf pem = BUF_INIT(1 << 16);
        assert_true(clock_monotonic_usec() < deadline);
        uv_run(&f->loop, UV_RUN_ONCE);
        if (file_read(path, &pem) == 0) {
            assert_int_equal(pki_issuer_id(pem.data, id), 0);
        }
    }
    assert_int_equal(pki_issuer_id(f->identity.cert_pem, id), 0);
    assert_string_equal(id, pki_authority_id(f->pki, PKI_AGENT));
}

/* It renews when the server says that another authority signs, on the link that it has. */
static void a_rollover_makes_it_renew(void **state)
{
    struct fixture *f = *state;

    expect(f, "hello");
    welcome(f); /* of an older server: nothing is said about authorities */
    announce(f, pki_authority_id(f->pki, PKI_AGENT));
    expect(f, "ack");
    unsigned accepted = f->accepted;
    assert_int_equal(pki_rollover(f->pki, PKI_AGENT, NULL), 0);
    announce(f, pki_authority_id(f->pki, PKI_AGENT));
    announce(f, pki_authority_id(f->pki, PKI_AGENT)); /* asks once */
    answer_renewal(f, expect(f, "renew"));
    assert_renewed(f);
    assert_int_equal(f->accepted, accepted);
    connection_report(f->connection, "x.one", json_pack("{s:i}", "n", 1));
    expect(f, "facts"); /* and nothing else */
}

static void welcome_with_authority(struct fixture *f)
{
    char now[CLOCK_TEXT_SIZE];

    say(f, json_pack("{s:s, s:i, s:s, s:s, s:s}", "type", "welcome", "version", 1, "id", "Agent.1",
                     "time", clock_format(clock_now_usec(), now), "authority",
                     pki_authority_id(f->pki, PKI_AGENT)));
}

/* It was away: the welcome tells. What was asked on a link that broke is asked again. */
static void one_that_was_away_renews(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(pki_rollover(f->pki, PKI_AGENT, NULL), 0);
    for (int i = 0; i < 2; i++) {
        expect(f, "hello");
        welcome_with_authority(f);
        const json_t *renew = expect(f, "renew");
        if (i == 0) {
            link_close(f->peer);
        } else {
            answer_renewal(f, renew);
        }
    }
    assert_renewed(f);
}

/* Its disk takes nothing, then it does: the certificate that came is the one that is written. */
static void one_that_cannot_be_written_is_kept(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *path = xasprintf("%s/cert.pem", f->folder);
    unsigned asked = 0;

    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(pki_rollover(f->pki, PKI_AGENT, NULL), 0);
    expect(f, "hello");
    welcome_with_authority(f);
    answer_renewal(f, expect(f, "renew"));
    link_close(f->peer);
    expect(f, "hello");
    assert_int_equal(rmdir(path), 0);
    welcome_with_authority(f);
    assert_renewed(f);
    for (size_t i = 0; i < f->heard_len; i++) {
        asked += strcmp(json_get_string(f->heard[i], "type", ""), "renew") == 0;
    }
    assert_int_equal(asked, 1);
}

#define CONNECTION_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONNECTION_TEST(it_says_who_it_is_and_applies_a_snapshot),
        CONNECTION_TEST(a_wrong_digest_asks_for_everything),
        CONNECTION_TEST(a_reconnect_resumes),
        CONNECTION_TEST(unchanged_reports_cost_nothing),
        CONNECTION_TEST(a_removed_node_is_told_once),
        CONNECTION_TEST(other_errors_do_not_remove),
        CONNECTION_TEST(nonsense_ends_the_connection),
        CONNECTION_TEST(a_rollover_makes_it_renew),
        CONNECTION_TEST(one_that_was_away_renews),
        CONNECTION_TEST(one_that_cannot_be_written_is_kept),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
