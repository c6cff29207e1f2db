/* agents-test.c - the server's side of the link, with real stores, certificates and connections.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/deployment-fixture.h"
#include "core/join.h"
#include "lib/hash.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "server/agents.h"

enum {
    DEADLINE_MSEC = 20000,
    PEERS_MAX = 4,
};

/* An agent as the test plays it. */
struct peer {
    struct link *link;
    int opened, closed;
    json_t *inbox; /* messages not yet looked at */
    struct error reason;
};

struct world {
    struct fixture *f;
    char *pki_folder;
    struct pki *pki;
    struct agents *agents;
    char *certificate, *key;
    char *node_key, *node_certificate; /* of Agent.1, once it has joined */
    struct peer peers[PEERS_MAX];
    uv_timer_t deadline;
};

static const char EMPTY[] = "00000000000000000000000000000000";
static const char SECRET[] = "open sesame";

/* --- the world --- */

static void on_deadline(uv_timer_t *timer)
{
    fprintf(stderr, "the deadline passed\n");
    abort(); /* the world can't be taken down in order now */
}

static void run_until(struct world *w, const int *flag)
{
    uv_timer_start(&w->deadline, on_deadline, DEADLINE_MSEC, 0);
    while (!*flag) {
        uv_run(&w->f->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&w->deadline);
}

static void put_token(struct world *w, const char *id, int uses)
{
    char hex[SHA256_HEX_SIZE];
    struct outcome o = {0};
    struct actor actor = {"tester", "-", ROLE_ADMIN};
    json_t *spec = json_pack("{s:i,s:s,s:[],s:[s],s:{},s:b,s:s,s:s}", "uses", uses, "expires",
                             "2100-01-01T00:00:00Z", "ids", "services", "toy", "labels", "hub", 0,
                             "cloud", "", "description", "");
    json_t *sealed = json_pack("{s:s,s:i}", "secretHash", hash_text_hex(SECRET, hex), "used", 0);
    struct write write = {
        .verb = WRITE_CREATE, .kind = "tokens", .id = id, .spec = spec, .sealed = sealed};

    deployment_write(w->f->d, &actor, &write, fixture_done, &o);
    run_until(w, &o.finished);
    assert_string_equal(o.error.detail, "");
    json_decref(spec);
    json_decref(sealed);
}

static void start(struct world *w)
{
    static const char *const NAMES[] = {"127.0.0.1", NULL};
    struct error error = {0};

    if (!w->certificate) {
        assert_int_equal(pki_server_certificate(w->pki, NAMES, &w->certificate, &w->key, &error),
                         0);
    }
    const struct agents_config config = {
        .address = "127.0.0.1",
        .certificate_pem = w->certificate,
        .key_pem = w->key,
        .links_max = 100,
    };
    assert_int_equal(agents_new(&w->f->loop, w->f->d, w->pki, &config, &w->agents, &error), 0);
}

static int set_up(void **state)
{
    struct world *w = xnew(struct world);
    void *fixture = NULL;

    log_set_level(LOG_ERROR);
    fixture_set_up(&fixture);
    w->f = fixture;
    w->pki_folder = xasprintf("%s/pki", w->f->folder);
    assert_int_equal(pki_open(w->pki_folder, &w->pki, NULL), 0);
    uv_timer_init(&w->f->loop, &w->deadline);
    start(w);
    put_token(w, "t1", 100);
    *state = w;
    return 0;
}

static void set_flag(void *arg)
{
    *(int *)arg = 1;
}

static void stop(struct world *w)
{
    int closed = 0;

    agents_close(TAKE(w->agents), set_flag, &closed);
    run_until(w, &closed);
}

static void drop_peer(struct world *w, struct peer *peer)
{
    if (peer->link && !peer->closed) {
        link_close(peer->link);
        run_until(w, &peer->closed);
    }
    json_decref(peer->inbox);
    *peer = (struct peer){0};
}

static int tear_down(void **state)
{
    static const char *const FILES[] = {"root", "server-ca", "agent-ca", "client-ca", "server"};
    struct world *w = *state;
    void *fixture = w->f;

    if (w->agents) {
        stop(w);
    }
    for (size_t i = 0; i < PEERS_MAX; i++) {
        drop_peer(w, &w->peers[i]);
    }
    uv_close((uv_handle_t *)&w->deadline, NULL);
    for (size_t i = 0; i < ARRAY_LEN(FILES); i++) {
        _cleanup_free_ char *cert = xasprintf("%s/%s.pem", w->pki_folder, FILES[i]);
        _cleanup_free_ char *key = xasprintf("%s/%s.key", w->pki_folder, FILES[i]);
        unlink(cert);
        unlink(key);
    }
    rmdir(w->pki_folder);
    fixture_tear_down(&fixture);
    pki_free(w->pki);
    free(w->pki_folder);
    free(w->certificate);
    free(w->key);
    free(w->node_key);
    free(w->node_certificate);
    free(w);
    return 0;
}

/* --- peers --- */

static void on_opened(struct link *link, void *arg)
{
    ((struct peer *)arg)->opened = 1;
}

static void on_message(struct link *link, void *arg, const char *type, const json_t *message)
{
    json_array_append_new(((struct peer *)arg)->inbox, json_deep_copy(message));
}

static void on_closed(struct link *link, void *arg, const struct error *error)
{
    struct peer *peer = arg;

    peer->closed = 1;
    peer->reason = *error;
}

static const struct link_handler HANDLER = {on_opened, on_message, on_closed};

static struct peer *connect_as(struct world *w, unsigned i, const char *certificate,
                               const char *key)
{
    const struct link_client_config config = {
        .address = "127.0.0.1",
        .port = agents_port(w->agents),
        .fingerprint = pki_fingerprint(w->pki),
        .certificate_pem = certificate,
        .key_pem = key,
    };
    struct peer *peer = &w->peers[i];

    drop_peer(w, peer);
    peer->inbox = json_array();
    peer->link = link_connect(&w->f->loop, &config, &HANDLER, peer);
    run_until(w, &peer->opened);
    return peer;
}

static void say(struct peer *peer, json_t *message)
{
    assert_non_null(message);
    link_send(peer->link, message);
    json_decref(message);
}

/* The next message, which must be of that type; the caller's. */
static json_t *expect(struct world *w, struct peer *peer, const char *type)
{
    uv_timer_start(&w->deadline, on_deadline, DEADLINE_MSEC, 0);
    while (json_array_size(peer->inbox) == 0) {
        if (peer->closed) {
            fail_msg("closed (%s) instead of %s", peer->reason.detail, type);
        }
        uv_run(&w->f->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&w->deadline);
    json_t *message = json_incref(json_array_get(peer->inbox, 0));
    json_array_remove(peer->inbox, 0);
    if (strcmp(json_get_string(message, "type", ""), type) != 0) {
        _cleanup_free_ char *text = json_canonical(message);
        fail_msg("%s instead of %s", text, type);
    }
    return message;
}

static void expect_only(struct world *w, struct peer *peer, const char *type)
{
    json_decref(expect(w, peer, type));
}

/* An error message with that status, then the end of the link. */
static void expect_error(struct world *w, struct peer *peer, int status, const char *pointer)
{
    json_t *message = expect(w, peer, "error");

    assert_int_equal(json_get_integer(message, "status", 0), status);
    assert_string_equal(json_get_string(message, "pointer", "-"), pointer);
    json_decref(message);
    run_until(w, &peer->closed);
}

static json_t *join_message(const char *csr, const char *id)
{
    return json_pack("{s:s,s:i,s:s,s:s,s:s,s:s,s:[s],s:[],s:s,s:s}", "type", "join", "version", 1,
                     "token", "t1", "secret", SECRET, "csr", csr, "id", id, "services", "toy",
                     "routes", "hostname", "box", "agentVersion", "0.1");
}

/* Agent.1 joins, as peer 0. */
static void join(struct world *w)
{
    struct peer *peer = connect_as(w, 0, NULL, NULL);
    char *csr = NULL;

    assert_int_equal(pki_make_csr("Agent.1", &w->node_key, &csr, NULL), 0);
    say(peer, join_message(csr, "Agent.1"));
    json_t *joined = expect(w, peer, "joined");
    assert_string_equal(json_get_string(joined, "id", ""), "Agent.1");
    assert_string_equal(json_get_string(joined, "root", ""), pki_root_pem(w->pki));
    w->node_certificate = xstrdup(json_get_string(joined, "certificate", ""));
    json_decref(joined);
    free(csr);
    run_until(w, &peer->closed);
}

static json_t *hello_message(const char *id, json_int_t revision, const char *digest,
                             json_int_t started)
{
    return json_pack("{s:s,s:i,s:s,s:I,s:s,s:s,s:I}", "type", "hello", "version", 1, "id", id,
                     "revision", revision, "digest", digest, "agentVersion", "0.1", "started",
                     started);
}

/* Agent.1 says hello as that peer and is welcome. */
static struct peer *greet(struct world *w, unsigned i, json_int_t revision, const char *digest,
                          json_int_t started)
{
    struct peer *peer = connect_as(w, i, w->node_certificate, w->node_key);

    say(peer, hello_message("Agent.1", revision, digest, started));
    json_t *welcome = expect(w, peer, "welcome");
    assert_string_equal(json_get_string(welcome, "id", ""), "Agent.1");
    assert_string_equal(json_get_string(welcome, "address", ""), "127.0.0.1");
    json_decref(welcome);
    return peer;
}

/* Reads messages up to the sync that has the present digest; returns them, without that. */
static json_t *until_synced(struct world *w, struct peer *peer, const char *node)
{
    json_t *seen = json_array();
    char hex[DIGEST_HEX_SIZE];

    for (;;) {
        uv_timer_start(&w->deadline, on_deadline, DEADLINE_MSEC, 0);
        while (json_array_size(peer->inbox) == 0) {
            assert_false(peer->closed);
            uv_run(&w->f->loop, UV_RUN_ONCE);
        }
        uv_timer_stop(&w->deadline);
        json_t *message = json_array_get(peer->inbox, 0);
        if (strcmp(json_get_string(message, "type", ""), "sync") == 0) {
            int is_last = strcmp(json_get_string(message, "digest", ""),
                                 deployment_digest(w->f->d, node, hex)) == 0;
            json_array_remove(peer->inbox, 0);
            if (is_last) {
                return seen;
            }
        } else {
            json_array_append(seen, message);
            json_array_remove(peer->inbox, 0);
        }
    }
}

/* Is there a message of that type about that key? */
static int has(const json_t *messages, const char *type, const char *key)
{
    const json_t *message;
    size_t i;

    json_array_foreach (messages, i, message) {
        if (strcmp(json_get_string(message, "type", ""), type) == 0 &&
            strcmp(json_get_string(message, "key", ""), key) == 0) {
            return 1;
        }
    }
    return 0;
}

/* --- joining --- */

static void a_machine_joins_and_is_a_node(void **state)
{
    struct world *w = *state;
    const char *key_id;

    join(w);
    key_id = deployment_node_key(w->f->d, "Agent.1");
    assert_non_null(key_id);
    const json_t *sealed =
        json_object_get(tree_value(deployment_tree(w->f->d), "object/nodes/Agent.1"), "sealed");
    assert_int_equal(strlen(json_get_string(sealed, "serial", "")), 32);

    struct peer *peer = greet(w, 1, 0, EMPTY, 1);
    json_t *seen = until_synced(w, peer, "Agent.1");
    assert_true(has(seen, "put", "toy/self/Agent.1"));
    json_decref(seen);
    assert_true(fleet_is_connected(w->f->d, "Agent.1"));
    say(peer, json_pack("{s:s,s:I,s:[]}", "type", "ack", "revision",
                        (json_int_t)deployment_revision(w->f->d), "errors"));
    say(peer, json_pack("{s:s,s:{s:{}}}", "type", "status", "status", "services"));
    say(peer, json_pack("{s:s,s:{s:s}}", "type", "facts", "facts", "toy.colour", "red"));
    json_t *put = expect(w, peer, "put"); /* of its own colour: it's on the channel too */
    assert_string_equal(json_get_string(put, "key", ""), "toy/peer/Agent.1");
    json_decref(put);
    assert_non_null(tree_value(deployment_tree(w->f->d), "fact/Agent.1/toy.colour"));
    assert_string_equal(
        json_get_string(tree_value(deployment_tree(w->f->d), "fact/Agent.1/core.seen"), "address",
                        ""),
        "127.0.0.1");
    stop(w);
    assert_false(fleet_is_connected(w->f->d, "Agent.1"));
}

static void bad_joins_are_refused(void **state)
{
    struct world *w = *state;
    char *key = NULL, *csr = NULL;
    struct peer *peer;
    json_t *message;

    assert_int_equal(pki_make_csr("x", &key, &csr, NULL), 0);
    static const struct {
        const char *member, *value;
        int status;
        const char *pointer;
    } BAD[] = {
        {"secret", "wrong", 401, ""},        {"token", "t2", 401, ""},
        {"secret", NULL, 400, "/secret"},    {"csr", "nonsense", 400, "/csr"},
        {"id", "a b", 400, "/id"},           {"hostname", "", 400, "/hostname"},
        {"endpoint", "x", 400, "/endpoint"}, {"type", "hello", 400, "/type"},
        {"type", "leave", 400, "/type"},
    };

    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        peer = connect_as(w, 0, NULL, NULL);
        message = join_message(csr, "Agent.1");
        if (BAD[i].value) {
            json_object_set_new(message, BAD[i].member, json_string(BAD[i].value));
        } else {
            json_object_del(message, BAD[i].member);
        }
        say(peer, message);
        expect_error(w, peer, BAD[i].status, BAD[i].pointer);
    }
    assert_null(deployment_node_key(w->f->d, "Agent.1"));

    peer = connect_as(w, 0, NULL, NULL); /* the overlay overlaps a route */
    message = join_message(csr, "Agent.1");
    json_object_set_new(message, "routes", json_pack("[s]", "10.0.0.0/8"));
    say(peer, message);
    expect_error(w, peer, 409, "/routes");

    peer = connect_as(w, 0, NULL, NULL); /* one join per link */
    say(peer, join_message(csr, "Agent.1"));
    say(peer, join_message(csr, "Agent.2"));
    expect_error(w, peer, 400, "/type");
    free(key);
    free(csr);
}

static void another_key_is_not_the_same_node(void **state)
{
    struct world *w = *state;
    char *key = NULL, *csr = NULL;

    join(w);
    assert_int_equal(pki_make_csr("x", &key, &csr, NULL), 0);
    struct peer *peer = connect_as(w, 0, NULL, NULL);
    say(peer, join_message(csr, "Agent.1"));
    expect_error(w, peer, 409, "/id");
    free(csr);

    assert_int_equal(pki_make_csr_for(w->node_key, "x", &csr, NULL), 0);
    peer = connect_as(w, 0, NULL, NULL);
    say(peer, join_message(csr, "Agent.1"));
    expect_only(w, peer, "joined");
    free(key);
    free(csr);
}

/* --- hello
 * -------------------------------------------------------------------------------------------------
 */

static void bad_hellos_are_refused(void **state)
{
    struct world *w = *state;
    struct peer *peer;

    join(w);
    peer = connect_as(w, 0, w->node_certificate, w->node_key);
    say(peer, hello_message("Agent.2", 0, EMPTY, 1));
    expect_error(w, peer, 400, "/id");
    peer = connect_as(w, 0, w->node_certificate, w->node_key);
    say(peer, hello_message("Agent.1", -1, EMPTY, 1));
    expect_error(w, peer, 400, "/revision");
    peer = connect_as(w, 0, w->node_certificate, w->node_key);
    say(peer, json_pack("{s:s,s:i}", "type", "ack", "revision", 1));
    expect_error(w, peer, 400, "/type");
    peer = connect_as(w, 0, w->node_certificate, w->node_key);
    say(peer, json_pack("{s:s}", "type", "join"));
    expect_error(w, peer, 400, "/type");
    assert_false(fleet_is_connected(w->f->d, "Agent.1"));
}

static void bad_messages_are_refused(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *json, *pointer;
        int status;
    } BAD[] = {
        {"{\"type\":\"hello\"}", "/type", 400},
        {"{\"type\":\"sing\"}", "/type", 400},
        {"{\"type\":\"ack\",\"revision\":9999999,\"errors\":[]}", "/revision", 400},
        {"{\"type\":\"ack\",\"revision\":\"1\",\"errors\":[]}", "/revision", 400},
        {"{\"type\":\"facts\",\"facts\":[]}", "/facts", 400},
        {"{\"type\":\"status\"}", "/status", 400},
        {"{\"type\":\"renew\",\"csr\":7}", "/csr", 400},
        {"{\"type\":\"renew\",\"csr\":\"nonsense\"}", "/csr", 400},
    };

    join(w);
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        struct peer *peer = greet(w, 0, 0, EMPTY, 1);
        json_decref(until_synced(w, peer, "Agent.1"));
        say(peer, json_loads(BAD[i].json, 0, NULL));
        expect_error(w, peer, BAD[i].status, BAD[i].pointer);
    }
}

/* --- resources
 * -----------------------------------------------------------------------------------------------
 */

static void what_is_known_is_not_sent_again(void **state)
{
    struct world *w = *state;
    char digest[DIGEST_HEX_SIZE];

    join(w);
    struct peer *peer = greet(w, 0, 0, EMPTY, 1);
    json_decref(until_synced(w, peer, "Agent.1"));
    drop_peer(w, peer);
    int64_t revision = deployment_revision(w->f->d);
    deployment_digest(w->f->d, "Agent.1", digest);

    peer = greet(w, 0, revision, digest, 2); /* nothing changed: nothing but the mark */
    expect_only(w, peer, "sync");
    drop_peer(w, peer);

    assert_int_equal(create_node(w->f, "B", "{\"services\":[\"toy\"]}").rc, 0);
    assert_int_equal(report(w->f, "B", "{\"toy.colour\":\"blue\"}").rc, 0);
    peer = greet(w, 0, revision, digest, 3); /* what was missed */
    json_t *put = expect(w, peer, "put");
    assert_string_equal(json_get_string(put, "key", ""), "toy/peer/B");
    json_decref(put);
    expect_only(w, peer, "sync");
    drop_peer(w, peer);

    peer = greet(w, 0, revision + 100000, digest, 4); /* from another history: all */
    expect_only(w, peer, "snapshot");
    json_t *seen = until_synced(w, peer, "Agent.1");
    assert_int_equal(json_array_size(seen), 2);
    json_decref(seen);
}

static void changes_come_as_they_are_made(void **state)
{
    struct world *w = *state;

    join(w);
    struct peer *peer = greet(w, 0, 0, EMPTY, 1);
    json_decref(until_synced(w, peer, "Agent.1"));
    assert_int_equal(create_node(w->f, "B", "{\"services\":[\"toy\"]}").rc, 0);
    assert_int_equal(report(w->f, "B", "{\"toy.colour\":\"blue\"}").rc, 0);
    json_t *seen = until_synced(w, peer, "Agent.1");
    assert_true(has(seen, "put", "toy/peer/B"));
    json_decref(seen);
    struct write delete = {.verb = WRITE_DELETE, .kind = "nodes", .id = "B"};
    assert_int_equal(do_write(w->f, delete, NULL).rc, 0);
    seen = until_synced(w, peer, "Agent.1");
    assert_true(has(seen, "delete", "toy/peer/B"));
    json_decref(seen);
}

static void a_lost_replica_gets_a_snapshot_but_not_for_ever(void **state)
{
    struct world *w = *state;

    join(w);
    struct peer *peer = greet(w, 0, 0, EMPTY, 1);
    json_decref(until_synced(w, peer, "Agent.1"));
    for (int i = 0; i < 8; i++) {
        say(peer, json_pack("{s:s}", "type", "resync"));
        json_t *seen = until_synced(w, peer, "Agent.1");
        assert_string_equal(json_get_string(json_array_get(seen, 0), "type", ""), "snapshot");
        assert_true(has(seen, "put", "toy/self/Agent.1"));
        json_decref(seen);
    }
    say(peer, json_pack("{s:s}", "type", "resync"));
    expect_error(w, peer, 429, "");
}

static void facts_that_are_not_taken_are_named(void **state)
{
    struct world *w = *state;

    join(w);
    struct peer *peer = greet(w, 0, 0, EMPTY, 1);
    json_decref(until_synced(w, peer, "Agent.1"));
    assert_int_equal(create_node(w->f, "B", "{\"services\":[]}").rc, 0);
    assert_int_equal(report(w->f, "B", "{\"toy.colour\":\"blue\"}").rc, 0);
    json_array_clear(peer->inbox);

    static const char *const BAD[] = {"{\"toy.colour\":\"blue\"}", "{\"toy.colour\":7}",
                                      "{\"core.seen\":{\"address\":\"192.0.2.1\"}}"};
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        json_t *facts = json_loads(BAD[i], 0, NULL);
        const char *name = json_object_iter_key(json_object_iter(facts));
        say(peer, json_pack("{s:s,s:O}", "type", "facts", "facts", facts));
        json_t *refused = NULL;
        while (!refused) {
            uv_run(&w->f->loop, UV_RUN_ONCE);
            if (json_array_size(peer->inbox) > 0) {
                json_t *first = json_incref(json_array_get(peer->inbox, 0));
                json_array_remove(peer->inbox, 0);
                if (strcmp(json_get_string(first, "type", ""), "refused") == 0) {
                    refused = first;
                } else {
                    json_decref(first);
                }
            }
        }
        assert_true(json_array_has(json_object_get(refused, "facts"), name));
        assert_int_not_equal(strlen(json_get_string(refused, "detail", "")), 0);
        json_decref(refused);
        json_decref(facts);
    }
    assert_false(peer->closed);
}

/* --- two of one, and none --- */

static int count_events(struct world *w, const char *reason)
{
    const struct tree *tree = deployment_tree(w->f->d);
    int count = 0;

    for (struct omap_entry *e = tree_first(tree, "object/events/"); e;
         e = tree_next(tree, e, "object/events/")) {
        const json_t *spec = json_object_get(((const struct tree_entry *)e->value)->value, "spec");
        count += strcmp(json_get_string(spec, "reason", ""), reason) == 0;
    }
    return count;
}

static void a_second_agent_is_refused(void **state)
{
    struct world *w = *state;

    join(w);
    struct peer *first = greet(w, 0, 0, EMPTY, 1);
    json_decref(until_synced(w, first, "Agent.1"));
    struct peer *second = connect_as(w, 1, w->node_certificate, w->node_key);
    say(second, hello_message("Agent.1", 0, EMPTY, 2));
    expect_error(w, second, 409, "");
    assert_false(first->closed);
    assert_true(fleet_is_connected(w->f->d, "Agent.1"));
    while (count_events(w, "duplicate-agent") == 0) {
        uv_run(&w->f->loop, UV_RUN_ONCE);
    }
    second = connect_as(w, 1, w->node_certificate, w->node_key);
    say(second, hello_message("Agent.1", 0, EMPTY, 2));
    expect_error(w, second, 409, "");

    drop_peer(w, first); /* when it has gone there is room */
    while (fleet_is_connected(w->f->d, "Agent.1")) {
        uv_run(&w->f->loop, UV_RUN_ONCE);
    }
    greet(w, 1, 0, EMPTY, 2);
    assert_int_equal(count_events(w, "duplicate-agent"), 1);
}

static void the_same_agent_takes_its_own_place(void **state)
{
    struct world *w = *state;

    join(w);
    struct peer *first = greet(w, 0, 0, EMPTY, 7);
    json_decref(until_synced(w, first, "Agent.1"));
    struct peer *second = greet(w, 1, 0, EMPTY, 7);
    run_until(w, &first->closed);
    json_decref(until_synced(w, second, "Agent.1"));
    assert_true(fleet_is_connected(w->f->d, "Agent.1"));
    assert_int_equal(create_node(w->f, "B", "{\"services\":[\"toy\"]}").rc, 0);
    assert_int_equal(report(w->f, "B", "{\"toy.colour\":\"blue\"}").rc, 0);
    json_t *seen = until_synced(w, second, "Agent.1");
    assert_true(has(seen, "put", "toy/peer/B"));
    json_decref(seen);
}

static void a_deleted_node_is_cut_off(void **state)
{
    struct world *w = *state;
    struct write delete = {.verb = WRITE_DELETE, .kind = "nodes", .id = "Agent.1"};

    join(w);
    struct peer *peer = greet(w, 0, 0, EMPTY, 1);
    json_decref(until_synced(w, peer, "Agent.1"));
    json_array_clear(peer->inbox);
    assert_int_equal(do_write(w->f, delete, NULL).rc, 0);
    while (json_array_size(peer->inbox) > 0 &&
           strcmp(json_get_string(json_array_get(peer->inbox, 0), "type", ""), "error") != 0) {
        json_array_remove(peer->inbox, 0);
    }
    expect_error(w, peer, 410, "");

    peer = connect_as(w, 0, w->node_certificate, w->node_key);
    say(peer, hello_message("Agent.1", 0, EMPTY, 1));
    expect_error(w, peer, 410, "");
}

static void a_node_leaves(void **state)
{
    struct world *w = *state;

    join(w);
    struct peer *peer = greet(w, 0, 0, EMPTY, 1);
    json_decref(until_synced(w, peer, "Agent.1"));
    json_array_clear(peer->inbox);
    say(peer, json_pack("{s:s}", "type", "leave"));
    run_until(w, &peer->closed);
    json_t *last = json_array_get(peer->inbox, json_array_size(peer->inbox) - 1);
    assert_string_equal(json_get_string(last, "type", ""), "left");
    assert_null(deployment_node_key(w->f->d, "Agent.1"));
    assert_false(fleet_is_connected(w->f->d, "Agent.1"));
}

static void a_certificate_is_renewed(void **state)
{
    struct world *w = *state;
    char *key = NULL, *csr = NULL;

    join(w);
    struct peer *peer = greet(w, 0, 0, EMPTY, 1);
    json_decref(until_synced(w, peer, "Agent.1"));
    json_array_clear(peer->inbox);
    assert_int_equal(pki_make_csr("x", &key, &csr, NULL), 0); /* with a new key */
    say(peer, json_pack("{s:s,s:s}", "type", "renew", "csr", csr));
    json_t *message = NULL;
    for (;;) {
        while (json_array_size(peer->inbox) == 0) {
            uv_run(&w->f->loop, UV_RUN_ONCE);
        }
        message = json_incref(json_array_get(peer->inbox, 0));
        json_array_remove(peer->inbox, 0);
        if (strcmp(json_get_string(message, "type", ""), "renewed") == 0) {
            break;
        }
        json_decref(message);
    }
    char *old_key = w->node_key, *old_certificate = w->node_certificate;
    w->node_key = key;
    w->node_certificate = xstrdup(json_get_string(message, "certificate", ""));
    json_decref(message);
    drop_peer(w, peer);
    while (fleet_is_connected(w->f->d, "Agent.1")) {
        uv_run(&w->f->loop, UV_RUN_ONCE);
    }
    drop_peer(w, greet(w, 1, 0, EMPTY, 2));

    peer = connect_as(w, 0, old_certificate, old_key); /* the old key is nobody's now */
    say(peer, hello_message("Agent.1", 0, EMPTY, 3));
    expect_error(w, peer, 410, "");
    free(old_key);
    free(old_certificate);
    free(csr);
}

static void closing_with_writes_under_way(void **state)
{
    struct world *w = *state;
    char *key = NULL, *csr = NULL;

    join(w);
    struct peer *node = greet(w, 0, 0, EMPTY, 1);
    struct peer *stranger = connect_as(w, 1, NULL, NULL);
    assert_int_equal(pki_make_csr("x", &key, &csr, NULL), 0);
    say(stranger, join_message(csr, "Agent.2"));
    say(node, json_pack("{s:s,s:{s:s}}", "type", "facts", "facts", "toy.colour", "red"));
    say(node, json_pack("{s:s}", "type", "leave"));
    for (int i = 0; i < 4; i++) {
        uv_run(&w->f->loop, UV_RUN_NOWAIT);
    }
    if (!node->closed) {
        link_close(node->link); /* the answers find nobody */
    }
    stop(w);
    free(key);
    free(csr);
}

#define WORLD(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD(a_machine_joins_and_is_a_node),
        WORLD(bad_joins_are_refused),
        WORLD(another_key_is_not_the_same_node),
        WORLD(bad_hellos_are_refused),
        WORLD(bad_messages_are_refused),
        WORLD(what_is_known_is_not_sent_again),
        WORLD(changes_come_as_they_are_made),
        WORLD(a_lost_replica_gets_a_snapshot_but_not_for_ever),
        WORLD(facts_that_are_not_taken_are_named),
        WORLD(a_second_agent_is_refused),
        WORLD(the_same_agent_takes_its_own_place),
        WORLD(a_deleted_node_is_cut_off),
        WORLD(a_node_leaves),
        WORLD(a_certificate_is_renewed),
        WORLD(closing_with_writes_under_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
