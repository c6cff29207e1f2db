/* agents-sync-test.c - nodes get what they must have, and only one agent of each. */
#include "server/agents-fixture.h"

#include <errno.h>
#include <string.h>

#include "core/join.h"
#include "lib/json.h"
#include "lib/mem.h"

/* --- resources --- */

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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
