/* Unit tests of the server's brain, on a real store in a temporary folder and with a small service
 * of their own: "toy" plans nodes that run it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/deployment.h"
#include "core/join.h"
#include "lib/buf.h"
#include "lib/hash.h"
#include "lib/json.h"
#include "lib/mem.h"

/* --- the toy service: everybody knows the "colour" that each node reports ----------------------
 */

static unsigned plans_made;

static void toy_plan(const char *kind, const char *id, const json_t *spec, struct view *view,
                     struct plan *plan)
{
    plans_made++;
    if (!json_array_has(json_object_get(spec, "services"), "toy")) {
        return;
    }
    _cleanup_free_ char *fact = xasprintf("fact/%s/toy.colour", id);
    _cleanup_free_ char *self = xasprintf("toy/self/%s", id);
    _cleanup_free_ char *peer = xasprintf("toy/peer/%s", id);
    _cleanup_free_ char *channel = xasprintf("node/%s", id);
    const json_t *colour = view_get(view, fact);
    plan_put(plan, channel, self, json_pack("{s:O}", "address", json_object_get(spec, "address")));
    if (colour) {
        plan_put(plan, "service/toy", peer, json_pack("{s:O}", "colour", colour));
    }
}

static void toy_claims(const char *key, const json_t *value,
                       void (*claim)(void *arg, const char *name, const char *pointer), void *arg)
{
    if (strstr(key, "/toy.colour")) {
        _cleanup_free_ char *name = xasprintf("colour/%s", json_string_value(value));
        claim(arg, name, "");
    }
}

static const struct fact_type TOY_FACTS[] = {
    {.name = "toy.colour", .schema_text = "{\"type\":\"string\",\"maxLength\":20}"},
    {.name = NULL},
};
static const char *const TOY_PLANS[] = {"nodes", NULL};
static const struct service SERVICE_TOY = {
    .name = "toy",
    .facts = TOY_FACTS,
    .plans = TOY_PLANS,
    .claims = toy_claims,
    .plan = toy_plan,
};

const struct service *const SERVICES[] = {&SERVICE_CORE, &SERVICE_TOY, NULL};

/* --- fixture
 * ------------------------------------------------------------------------------------- */

struct fixture {
    char folder[40];
    uv_loop_t loop;
    struct store *store;
    struct deployment *d;
};

static void open_it(struct fixture *f)
{
    struct error error = {0};
    _cleanup_free_ char *path = xasprintf("%s/db", f->folder);

    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(store_open(&f->loop, path, &f->store, &error), 0);
    assert_int_equal(deployment_open(&f->loop, f->store, SERVICES, &f->d, &error), 0);
}

static void close_it(struct fixture *f)
{
    store_close(f->store);
    deployment_close(f->d);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

static int set_up(void **state)
{
    struct fixture *f = xnew(struct fixture);

    strcpy(f->folder, "/tmp/cnsmo-deployment-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    open_it(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const NAMES[] = {"db", "db-wal", "db-shm", "db.lock"};
    struct fixture *f = *state;

    close_it(f);
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", f->folder, NAMES[i]);
        unlink(path);
    }
    rmdir(f->folder);
    free(f);
    return 0;
}

struct outcome {
    int finished, rc;
    struct error error;
    int64_t revision;
    char id[64];
    json_t *deltas;
};

static void on_done(void *arg, int rc, const struct write_result *result,
                    const struct error *error)
{
    struct outcome *o = arg;

    assert_false(o->finished); /* exactly once */
    o->finished = 1;
    o->rc = rc;
    if (rc < 0) {
        o->error = *error;
        return;
    }
    o->revision = result->revision;
    snprintf(o->id, sizeof o->id, "%s", result->id);
    o->deltas = json_deep_copy(result->deltas);
}

static void run_until(struct fixture *f, const int *finished)
{
    while (!*finished) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static const struct actor TESTER = {.name = "tester", .source = "127.0.0.1", .role = ROLE_ADMIN};

static struct outcome do_write(struct fixture *f, struct write write, const char *spec)
{
    struct outcome o = {0};
    json_t *json = NULL;

    if (spec) {
        assert_int_equal(json_parse(spec, strlen(spec), &json, NULL), 0);
    }
    write.spec = json;
    deployment_write(f->d, &TESTER, &write, on_done, &o);
    json_decref(json);
    run_until(f, &o.finished);
    return o;
}

static struct outcome create_node(struct fixture *f, const char *id, const char *spec)
{
    return do_write(f, (struct write){.verb = WRITE_CREATE, .kind = "nodes", .id = id}, spec);
}

static struct outcome report(struct fixture *f, const char *node, const char *facts)
{
    struct outcome o = {0};
    json_t *json;

    assert_int_equal(json_parse(facts, strlen(facts), &json, NULL), 0);
    deployment_report(f->d, node, json, 0, on_done, &o);
    json_decref(json);
    run_until(f, &o.finished);
    return o;
}

static void collect(void *arg, const char *key, int64_t revision, const json_t *body)
{
    _cleanup_free_ char *text = body ? json_canonical(body) : xstrdup("-");
    buf_printf(arg, "%s %s;", key, text);
}

#define assert_collected(call, expected)                                                          \
    do {                                                                                          \
        struct buf seen_ = BUF_INIT(10000);                                                       \
        call;                                                                                     \
        assert_string_equal(seen_.data ? seen_.data : "", expected);                              \
        buf_done(&seen_);                                                                         \
    } while (0)

static void assert_lawful(struct fixture *f)
{
    struct error error = {0};

    if (deployment_recompute(f->d, &error) < 0) {
        fail_msg("%s", error.detail);
    }
}

/* --- tests
 * ---------------------------------------------------------------------------------------- */

static void objects_become_resources(void **state)
{
    struct fixture *f = *state;
    struct outcome o = create_node(f, "A", "{\"services\":[\"toy\"]}");

    assert_int_equal(o.rc, 0);
    assert_collected(deployment_snapshot(f->d, "A", collect, &seen_),
                     "toy/self/A {\"address\":\"10.77.0.1\"};");
    int64_t before = deployment_revision(f->d);
    assert_int_equal(create_node(f, "B", "{\"services\":[\"toy\"]}").rc, 0);
    assert_int_equal(report(f, "B", "{\"toy.colour\":\"red\"}").rc, 0);
    assert_collected(deployment_deltas(f->d, "A", before, collect, &seen_),
                     "toy/peer/B {\"colour\":\"red\"};");
    before = deployment_revision(f->d);
    assert_int_equal(report(f, "B", "{\"toy.colour\":\"red\"}").rc, 0);
    assert_int_equal(deployment_revision(f->d), before); /* nothing new costs nothing */
    assert_int_equal(
        do_write(f, (struct write){.verb = WRITE_DELETE, .kind = "nodes", .id = "B"}, NULL).rc, 0);
    assert_collected(deployment_deltas(f->d, "A", before, collect, &seen_), "toy/peer/B -;");
    assert_lawful(f);
}

static void a_change_plans_only_what_it_concerns(void **state)
{
    struct fixture *f = *state;
    char id[16];

    for (int i = 0; i < 50; i++) {
        snprintf(id, sizeof id, "N%d", i);
        assert_int_equal(create_node(f, id, "{\"services\":[\"toy\"]}").rc, 0);
    }
    plans_made = 0;
    assert_int_equal(report(f, "N7", "{\"toy.colour\":\"blue\"}").rc, 0);
    assert_int_equal(plans_made, 1);
    assert_lawful(f);
}

static void leaving_a_service_takes_its_resources(void **state)
{
    struct fixture *f = *state;

    create_node(f, "A", "{\"services\":[\"toy\"]}");
    create_node(f, "B", "{\"services\":[\"toy\"]}");
    report(f, "B", "{\"toy.colour\":\"red\"}");
    int64_t before = deployment_revision(f->d);
    struct write patch = {.verb = WRITE_PATCH, .kind = "nodes", .id = "A", .dry_run = 1};
    struct outcome o = do_write(f, patch, "{\"services\":[]}");
    _cleanup_free_ char *deltas = json_canonical(o.deltas);
    assert_string_equal(deltas, "[{\"action\":\"delete\",\"key\":\"toy/self/A\",\"node\":\"A\"},"
                                "{\"action\":\"delete\",\"key\":\"toy/peer/B\",\"node\":\"A\"}]");
    json_decref(o.deltas);
    assert_int_equal(deployment_revision(f->d), before);
    assert_lawful(f);
    patch.dry_run = 0;
    assert_int_equal(do_write(f, patch, "{\"services\":[]}").rc, 0);
    assert_collected(deployment_deltas(f->d, "A", before, collect, &seen_),
                     "toy/peer/B -;toy/self/A -;");
    assert_collected(deployment_snapshot(f->d, "A", collect, &seen_), "");
    assert_lawful(f);
}

static void bad_writes_change_nothing(void **state)
{
    static const struct {
        const char *id, *spec;
        int status;
        const char *pointer;
    } CASES[] = {
        {"C", "{\"address\":\"10.78.0.1\"}", 400, "/spec/address"},
        {"C", "{\"address\":\"10.77.0.0\"}", 400, "/spec/address"},
        {"C", "{\"services\":[],\"address\":\"10.77.0.9\"}", 409, "/spec/address"},
        {"C", "{\"services\":[\"nonsense\"]}", 400, "/spec/services/0"},
        {"C", "{\"services\":[],\"labels\":{\"a=b\":\"c\"}}", 400, "/spec/labels"},
        {"C", "{\"services\":[],\"endpoint\":\"300.1.1.1\"}", 400, "/spec/endpoint"},
        {"C", "{\"colour\":1}", 400, "/spec/colour"},
        {"C/D", "{}", 400, "/id"},
        {NULL, "{}", 400, "/id"},
        {"A", "{}", 409, "/id"},
        {"C", NULL, 400, "/spec"},
    };
    struct fixture *f = *state;

    assert_int_equal(create_node(f, "A", "{\"services\":[],\"address\":\"10.77.0.9\"}").rc, 0);
    int64_t before = deployment_revision(f->d);
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        struct outcome o = create_node(f, CASES[i].id, CASES[i].spec);
        assert_true(o.rc < 0);
        assert_int_equal(o.error.status, CASES[i].status);
        assert_string_equal(o.error.pointer, CASES[i].pointer);
    }
    assert_int_equal(deployment_revision(f->d), before);
}

static void revisions_guard_writes(void **state)
{
    struct fixture *f = *state;
    int64_t first = create_node(f, "A", "{\"services\":[]}").revision;
    struct write patch = {.verb = WRITE_PATCH, .kind = "nodes", .id = "A", .if_match = first};

    assert_int_equal(do_write(f, patch, "{\"cloud\":\"x\"}").rc, 0);
    struct outcome o = do_write(f, patch, "{\"cloud\":\"y\"}");
    assert_int_equal(o.error.status, 412);
    assert_string_equal(
        json_get_string(tree_spec(deployment_tree(f->d), "nodes", "A"), "cloud", ""), "x");
    assert_string_equal(
        json_get_string(tree_spec(deployment_tree(f->d), "nodes", "A"), "address", ""),
        "10.77.0.1");
}

static void settings_exist_and_are_guarded(void **state)
{
    struct fixture *f = *state;
    struct write patch = {.verb = WRITE_PATCH, .kind = "settings", .id = "overlay"};

    assert_int_equal(do_write(f, patch, "{\"range\":\"10.9.0.1/16\"}").error.status, 400);
    assert_int_equal(do_write(f, patch, "{\"range\":\"127.0.0.0/16\"}").error.status, 400);
    assert_int_equal(do_write(f, patch, "{\"range\":\"10.9.0.0/16\"}").rc, 0);
    create_node(f, "A", "{\"services\":[]}");
    assert_string_equal(
        json_get_string(tree_spec(deployment_tree(f->d), "nodes", "A"), "address", ""),
        "10.9.0.1");
    assert_int_equal(do_write(f, patch, "{\"range\":\"10.8.0.0/16\"}").error.status, 409);
    patch.verb = WRITE_DELETE;
    assert_int_equal(do_write(f, patch, NULL).error.status, 409);
    patch = (struct write){.verb = WRITE_REPLACE, .kind = "settings", .id = "nothing"};
    assert_int_equal(do_write(f, patch, "{}").error.status, 404);
}

static void facts_are_checked_and_claimed(void **state)
{
    struct fixture *f = *state;

    create_node(f, "A", "{\"services\":[\"toy\"]}");
    create_node(f, "B", "{\"services\":[\"toy\"]}");
    assert_int_equal(report(f, "A", "{\"toy.size\":1}").error.status, 400);
    assert_int_equal(report(f, "A", "{\"toy.colour\":1}").error.status, 400);
    assert_int_equal(report(f, "A", "{\"core.seen\":{\"address\":\"1.2.3.4\"}}").error.status,
                     400);
    assert_int_equal(report(f, "C", "{\"toy.colour\":\"red\"}").error.status, 404);
    assert_int_equal(report(f, "A", "{\"toy.colour\":\"red\"}").rc, 0);
    struct outcome o = report(f, "B", "{\"toy.colour\":\"red\"}");
    assert_int_equal(o.error.status, 409);
    assert_string_equal(o.error.detail, "\"red\" is taken by A/toy.colour");
    assert_int_equal(report(f, "A", "{\"toy.colour\":null}").rc, 0);
    assert_int_equal(report(f, "B", "{\"toy.colour\":\"red\"}").rc, 0);
    assert_lawful(f);
}

static void on_applied(void *arg, int rc, const json_t *report_json)
{
    struct outcome *o = arg;

    o->finished = 1;
    o->rc = rc;
    o->deltas = json_deep_copy(report_json);
}

static void waiting_ends_with_the_last_ack(void **state)
{
    struct fixture *f = *state;
    struct outcome o = {0};

    create_node(f, "A", "{\"services\":[\"toy\"]}");
    create_node(f, "B", "{\"services\":[\"toy\"]}");
    create_node(f, "C", "{\"services\":[]}");
    fleet_connected(f->d, "A", "192.0.2.1");
    fleet_connected(f->d, "B", "192.0.2.2");
    int64_t revision = report(f, "A", "{\"toy.colour\":\"red\"}").revision;
    deployment_wait(f->d, revision, 60000, on_applied, &o);
    fleet_acked(f->d, "A", revision, NULL);
    assert_false(o.finished);
    fleet_acked(f->d, "B", revision, NULL);
    assert_true(o.finished);
    assert_int_equal(o.rc, 0);
    assert_int_equal(json_get_integer(o.deltas, "nodes", 0), 2);
    json_decref(o.deltas);
}

static void waiting_names_who_is_away_or_failed(void **state)
{
    struct fixture *f = *state;
    struct outcome o = {0};

    create_node(f, "A", "{\"services\":[\"toy\"]}");
    create_node(f, "B", "{\"services\":[\"toy\"]}");
    fleet_connected(f->d, "A", "192.0.2.1");
    int64_t revision = report(f, "A", "{\"toy.colour\":\"red\"}").revision;
    json_t *errors = json_pack("[{s:s, s:s}]", "key", "toy/peer/A", "message", "no paint");
    fleet_acked(f->d, "A", revision, errors);
    json_decref(errors);
    deployment_wait(f->d, revision, 60000, on_applied, &o);
    assert_true(o.finished); /* B is away: at once */
    _cleanup_free_ char *text = json_canonical(o.deltas);
    assert_string_equal(text, "{\"applied\":0,\"errors\":[{\"key\":\"toy/peer/A\",\"message\":"
                              "\"no paint\",\"node\":\"A\"}],\"nodes\":2,\"pending\":[{\"node\":"
                              "\"B\",\"reason\":\"is away\"}]}");
    json_decref(o.deltas);
    json_t *status = deployment_status(f->d, "nodes", "A");
    assert_int_equal(json_get_integer(json_object_get(status, "inForce"), "nodes", 0), 2);
    assert_int_equal(json_get_integer(json_object_get(status, "inForce"), "applied", 9), 0);
    json_decref(status);
}

static void addresses_of_deleted_nodes_rest(void **state)
{
    struct fixture *f = *state;
    struct write delete = {.verb = WRITE_DELETE, .kind = "nodes", .id = "B"};

    create_node(f, "A", "{\"services\":[\"toy\"]}");
    create_node(f, "B", "{\"services\":[\"toy\"],\"address\":\"10.77.0.50\"}");
    report(f, "B", "{\"toy.colour\":\"red\"}");
    int64_t revision = do_write(f, delete, NULL).revision;
    const char *spec = "{\"services\":[],\"address\":\"10.77.0.50\"}";
    assert_int_equal(create_node(f, "C", spec).error.status, 409);
    fleet_acked(f->d, "A", revision - 1, NULL);
    assert_int_equal(create_node(f, "C", spec).error.status, 409);
    fleet_acked(f->d, "A", revision, NULL);
    while (tree_get(deployment_tree(f->d), "claim/address/10.77.0.50")) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(create_node(f, "C", spec).rc, 0);
}

static void everything_is_there_after_a_restart(void **state)
{
    struct fixture *f = *state;
    char before[DIGEST_HEX_SIZE], after[DIGEST_HEX_SIZE];

    create_node(f, "A", "{\"services\":[\"toy\"]}");
    create_node(f, "B", "{\"services\":[\"toy\"]}");
    report(f, "B", "{\"toy.colour\":\"red\"}");
    deployment_digest(f->d, "A", before);
    int64_t revision = deployment_revision(f->d);
    close_it(f);
    open_it(f);
    assert_int_equal(deployment_revision(f->d), revision);
    assert_string_equal(deployment_digest(f->d, "A", after), before);
    struct buf seen = BUF_INIT(100);
    assert_int_equal(deployment_deltas(f->d, "A", revision - 1, collect, &seen), -ESTALE);
    assert_int_equal(deployment_deltas(f->d, "A", revision, collect, &seen), 0);
    assert_int_equal(seen.size, 0);
    buf_done(&seen);
}

/* --- joining
 * ---------------------------------------------------------------------------------------- */

static struct outcome do_join(struct fixture *f, struct join join)
{
    struct outcome o = {0};

    join.secret = join.secret ? join.secret : "secret";
    join.hostname = "host";
    join.source = "192.0.2.1";
    deployment_join(f->d, &join, on_done, &o);
    run_until(f, &o.finished);
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
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(objects_become_resources),
        TEST(a_change_plans_only_what_it_concerns),
        TEST(leaving_a_service_takes_its_resources),
        TEST(bad_writes_change_nothing),
        TEST(revisions_guard_writes),
        TEST(settings_exist_and_are_guarded),
        TEST(facts_are_checked_and_claimed),
        TEST(waiting_ends_with_the_last_ack),
        TEST(waiting_names_who_is_away_or_failed),
        TEST(addresses_of_deleted_nodes_rest),
        TEST(everything_is_there_after_a_restart),
        TEST(joining_obeys_the_token),
        TEST(random_changes_keep_the_law),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
