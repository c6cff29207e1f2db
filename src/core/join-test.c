/* join-test.c - joining, and random changes against the law of planning. */
#include "core/deployment-fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/join.h"
#include "lib/hash.h"
#include "lib/json.h"
#include "lib/mem.h"

static struct outcome do_join(struct fixture *f, struct join join)
{
    struct outcome o = {0};

    join.secret = join.secret ? join.secret : "secret";
    join.hostname = "host";
    join.source = "192.0.2.1";
    deployment_join(f->d, &join, fixture_done, &o);
    fixture_run(f, &o.finished);
    return o;
}

static void make_token(struct fixture *f, const char *id, const char *spec)
{
    char hash[SHA256_HEX_SIZE];
    json_t *sealed =
        json_pack("{s:s, s:i}", "secretHash", hash_text_hex("secret", hash), "used", 0);
    struct write write = {.verb = WRITE_CREATE, .kind = "tokens", .id = id, .sealed = sealed};

    assert_int_equal(do_write(f, write, spec).rc, 0);
    json_decref(sealed);
}

static void joining_obeys_the_token(void **state)
{
    struct fixture *f = *state;
    json_t *dns = json_pack("[s]", "dns"), *toy = json_pack("[s]", "toy");
    json_t *routes = json_pack("[s, s]", "0.0.0.0/0", "10.0.0.0/8");

    make_token(f, "t",
               "{\"uses\":2,\"expires\":\"2999-01-01T00:00:00Z\",\"ids\":[\"Agent.*\"],"
               "\"services\":[\"toy\"],\"hub\":true,\"labels\":{\"a\":\"b\"}}");
    make_token(f, "old", "{\"expires\":\"2001-01-01T00:00:00Z\"}");
    struct join join = {.token_id = "t", .id = "Agent.1", .key_id = "k1", .services = toy};

    assert_int_equal(
        do_join(f, (struct join){.token_id = "x", .id = "Agent.1", .key_id = "k"}).error.status,
        401);
    assert_int_equal(
        do_join(f,
                (struct join){.token_id = "t", .id = "Agent.1", .key_id = "k", .secret = "guess"})
            .error.status,
        401);
    assert_int_equal(
        do_join(f, (struct join){.token_id = "old", .id = "Agent.1", .key_id = "k"}).error.status,
        401);
    assert_int_equal(
        do_join(f, (struct join){.token_id = "t", .id = "Other", .key_id = "k"}).error.status,
        403);
    assert_int_equal(do_join(f, (struct join){.token_id = "t", .key_id = "k"}).error.status, 403);
    assert_int_equal(
        do_join(f, (struct join){.token_id = "t", .id = "Agent.1", .key_id = "k", .services = dns})
            .error.status,
        403);
    assert_int_equal(
        do_join(f,
                (struct join){.token_id = "t", .id = "Agent.1", .key_id = "k", .routes = routes})
            .error.status,
        409);
    assert_int_equal(do_join(f, join).rc, 0);
    const json_t *spec = tree_spec(deployment_tree(f->d), "nodes", "Agent.1");
    assert_true(json_get_bool(spec, "hub", 0));
    join.key_id = "k2";
    assert_int_equal(do_join(f, join).error.status, 409); /* the id is taken */
    join.id = "Agent.2";
    assert_int_equal(do_join(f, join).rc, 0);
    join.id = "Agent.3";
    assert_int_equal(do_join(f, join).error.status, 401); /* used up */
    join = (struct join){.token_id = "t", .id = "Agent.1", .key_id = "k1"};
    assert_int_equal(do_join(f, join).rc, 0); /* the same machine again */
    json_t *status = deployment_status(f->d, "tokens", "t");
    assert_int_equal(json_get_integer(status, "used", 0), 2);
    assert_string_equal(json_get_string(status, "state", ""), "used");
    json_decref(status);
    json_decref(dns);
    json_decref(toy);
    json_decref(routes);
}

/* Random changes: after each the incremental result must be that of a recomputation, and a node
 * that follows the deltas must have just what a snapshot gives. */
static void apply_delta(void *arg, const char *key, int64_t revision, const json_t *body)
{
    struct omap *replica = arg;

    free(body ? omap_put(replica, key, json_canonical(body)) : omap_del(replica, key));
}

static void assert_same(struct fixture *f, const char *node, struct omap *replica)
{
    struct omap snapshot = {0};

    deployment_snapshot(f->d, node, apply_delta, &snapshot);
    assert_int_equal(snapshot.len, replica->len);
    omap_foreach (e, &snapshot) {
        assert_string_equal(e->value, omap_get(replica, e->key));
    }
    omap_clear(&snapshot, free);
}

static void random_changes_keep_the_law(void **state)
{
    static const char *const SERVICE_LISTS[] = {"{\"services\":[]}", "{\"services\":[\"toy\"]}"};
    struct fixture *f = *state;
    struct omap replica = {0};
    int64_t at = 0;
    unsigned seed = 1;

    create_node(f, "N0", "{\"services\":[\"toy\"]}");
    deployment_snapshot(f->d, "N0", apply_delta, &replica);
    at = deployment_revision(f->d);
    for (int i = 0; i < 300; i++) {
        char id[8], fact[60];
        seed = seed * 1103515245u + 12345u;
        snprintf(id, sizeof id, "N%u", (seed >> 16) % 6);
        snprintf(fact, sizeof fact, "{\"toy.colour\":\"c%u\"}", (seed >> 8) % 50);
        struct write write = {.kind = "nodes", .id = id};
        switch ((seed >> 20) % 4) {
        case 0:
            write.verb = WRITE_CREATE;
            do_write(f, write, SERVICE_LISTS[seed >> 30 & 1]);
            break;
        case 1:
            write.verb = WRITE_PATCH;
            do_write(f, write, SERVICE_LISTS[seed >> 30 & 1]);
            break;
        case 2:
            write.verb = WRITE_DELETE;
            if (strcmp(id, "N0") != 0) {
                do_write(f, write, NULL);
            }
            break;
        default:
            report(f, id, fact);
        }
        assert_lawful(f);
        if (seed >> 28 & 1) { /* not after every change: deltas may span several */
            assert_int_equal(deployment_deltas(f->d, "N0", at, apply_delta, &replica), 0);
            at = deployment_revision(f->d);
            assert_same(f, "N0", &replica);
        }
    }
    omap_clear(&replica, free);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(joining_obeys_the_token),
        TEST(random_changes_keep_the_law),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
