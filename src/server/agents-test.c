/* agents-test.c - machines join and say hello; what is malformed is refused. */
#include "server/agents-fixture.h"

#include <errno.h>
#include <string.h>

#include "core/join.h"
#include "lib/json.h"
#include "lib/mem.h"

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

    /* Later ones need not have been sent: that its address was seen is a transaction, too. */
    int64_t revision = deployment_revision(w->f->d);
    struct peer *peer = greet(w, 1, 0, EMPTY, 1);
    json_t *seen = until_synced(w, peer, "Agent.1");
    assert_true(has(seen, "put", "toy/self/Agent.1"));
    json_decref(seen);
    assert_true(fleet_is_connected(w->f->d, "Agent.1"));
    say(peer,
        json_pack("{s:s,s:I,s:[]}", "type", "ack", "revision", (json_int_t)revision, "errors"));
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

/* --- hello --- */

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD(a_machine_joins_and_is_a_node),    WORLD(bad_joins_are_refused),
        WORLD(another_key_is_not_the_same_node), WORLD(bad_hellos_are_refused),
        WORLD(bad_messages_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
