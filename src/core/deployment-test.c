/* deployment-test.c - objects, facts, waiting, status. */
#include "core/deployment-fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"

static void objects_become_resources(void **state)
{
    struct fixture *f = *state;
    struct outcome o = create_node(f, "A", "{\"services\":[\"toy\"]}");

    assert_int_equal(o.rc, 0);
    assert_collected(deployment_snapshot(f->d, "A", collect_resource, &seen_),
                     "toy/self/A {\"address\":\"10.77.0.1\"};");
    int64_t before = deployment_revision(f->d);
    assert_int_equal(create_node(f, "B", "{\"services\":[\"toy\"]}").rc, 0);
    assert_int_equal(report(f, "B", "{\"toy.colour\":\"red\"}").rc, 0);
    assert_collected(deployment_deltas(f->d, "A", before, collect_resource, &seen_),
                     "toy/peer/B {\"colour\":\"red\"};");
    before = deployment_revision(f->d);
    assert_int_equal(report(f, "B", "{\"toy.colour\":\"red\"}").rc, 0);
    assert_int_equal(deployment_revision(f->d), before); /* nothing new costs nothing */
    assert_int_equal(
        do_write(f, (struct write){.verb = WRITE_DELETE, .kind = "nodes", .id = "B"}, NULL).rc, 0);
    assert_collected(deployment_deltas(f->d, "A", before, collect_resource, &seen_),
                     "toy/peer/B -;");
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
    toy_plans_made = 0;
    assert_int_equal(report(f, "N7", "{\"toy.colour\":\"blue\"}").rc, 0);
    assert_int_equal(toy_plans_made, 1);
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
    assert_collected(deployment_deltas(f->d, "A", before, collect_resource, &seen_),
                     "toy/peer/B -;toy/self/A -;");
    assert_collected(deployment_snapshot(f->d, "A", collect_resource, &seen_), "");
    assert_lawful(f);
}

static void dry_runs_tell_what_a_new_node_gets(void **state)
{
    struct fixture *f = *state;
    struct write create = {.verb = WRITE_CREATE, .kind = "nodes", .id = "B", .dry_run = 1};

    create_node(f, "A", "{\"services\":[\"toy\"]}");
    report(f, "A", "{\"toy.colour\":\"red\"}");
    struct outcome o = do_write(f, create, "{\"services\":[\"toy\"]}");
    _cleanup_free_ char *deltas = json_canonical(o.deltas);
    assert_string_equal(deltas, "[{\"action\":\"put\",\"body\":{\"address\":\"10.77.0.2\"},"
                                "\"key\":\"toy/self/B\",\"node\":\"B\"},"
                                "{\"action\":\"put\",\"body\":{\"colour\":\"red\"},"
                                "\"key\":\"toy/peer/A\",\"node\":\"B\"}]");
    json_decref(o.deltas);
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

static void only_admins_choose_hubs(void **state)
{
    struct fixture *f = *state;
    struct actor clerk = {.name = "op", .source = "-", .role = ROLE_OPERATOR};
    json_t *hub = json_pack("{s:b}", "hub", 1), *cloud = json_pack("{s:s}", "cloud", "x");
    struct write patch = {.verb = WRITE_PATCH, .kind = "nodes", .id = "A", .spec = hub};
    struct outcome refused = {0}, taken = {0};

    create_node(f, "A", "{\"services\":[]}");
    deployment_write(f->d, &clerk, &patch, fixture_done, &refused);
    fixture_run(f, &refused.finished);
    assert_int_equal(refused.error.status, 403);
    assert_string_equal(refused.error.pointer, "/spec/hub");
    patch.spec = cloud;
    deployment_write(f->d, &clerk, &patch, fixture_done, &taken);
    fixture_run(f, &taken.finished);
    assert_int_equal(taken.rc, 0);
    json_decref(hub);
    json_decref(cloud);
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

static void counted_ids_are_given_once(void **state)
{
    struct fixture *f = *state;
    struct outcome outcomes[20] = {0};

    /* All read the same last number, and all but one lose that race. */
    for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
        begin_write(f, (struct write){.verb = WRITE_CREATE, .kind = "toy/marks"}, "{}",
                    &outcomes[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
        fixture_run(f, &outcomes[i].finished);
        assert_int_equal(outcomes[i].rc, 0);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(outcomes[i].id, outcomes[j].id);
        }
    }
}

static struct outcome create_list(struct fixture *f, const char *text)
{
    static const struct actor ADMIN = {.name = "admin", .source = "-", .role = ROLE_ADMIN};
    struct write common = {.verb = WRITE_CREATE, .kind = "nodes"};
    struct outcome o = {0};
    json_t *list;

    assert_int_equal(json_parse(text, strlen(text), &list, NULL), 0);
    deployment_create_list(f->d, &ADMIN, &common, list, fixture_done, &o);
    json_decref(list);
    fixture_run(f, &o.finished);
    return o;
}

static void lists_are_made_whole_or_not_at_all(void **state)
{
    struct fixture *f = *state;
    int64_t before = deployment_revision(f->d);

    struct outcome o = create_list(f, "[{\"id\":\"A\",\"spec\":{\"services\":[\"toy\"]}},"
                                      "{\"id\":\"B\",\"spec\":{\"services\":[\"toy\"],"
                                      "\"address\":\"10.77.0.1\"}}]");
    assert_int_equal(o.error.status, 409); /* the address that A was given just before */
    assert_string_equal(o.error.pointer, "/1/spec/address");
    assert_int_equal(deployment_revision(f->d), before);
    assert_null(tree_get(deployment_tree(f->d), "object/nodes/A"));
    assert_null(tree_get(deployment_tree(f->d), "index/service/toy/A"));
    assert_null(tree_get(deployment_tree(f->d), "claim/address/10.77.0.1"));
    assert_lawful(f);

    o = create_list(f, "[{\"id\":\"A\",\"spec\":{\"services\":[\"toy\"]}},"
                       "{\"id\":\"B\",\"spec\":{\"services\":[\"toy\"]}}]");
    assert_int_equal(o.rc, 0);
    assert_int_equal(o.revision, before + 1);
    assert_int_equal(deployment_revision(f->d), before + 1);
    assert_collected(deployment_snapshot(f->d, "B", collect_resource, &seen_),
                     "toy/self/B {\"address\":\"10.77.0.3\"};");
    assert_lawful(f);
}

static void a_list_that_loses_its_race_is_made_again(void **state)
{
    static const struct actor ADMIN = {.name = "admin", .source = "-", .role = ROLE_ADMIN};
    struct fixture *f = *state;
    struct write common = {.verb = WRITE_CREATE, .kind = "toy/marks"};
    struct outcome o = {0}, other = {0};
    json_t *list = json_pack("[{s:{}}, {s:{}}]", "spec", "spec");

    begin_write(f, (struct write){.verb = WRITE_CREATE, .kind = "toy/marks"}, "{}", &other);
    deployment_create_list(f->d, &ADMIN, &common, list, fixture_done, &o);
    json_decref(list);
    fixture_run(f, &other.finished);
    fixture_run(f, &o.finished);
    assert_int_equal(o.rc, 0);
    assert_string_equal(other.id, "1"); /* both had read that none was counted */
    assert_non_null(tree_get(deployment_tree(f->d), "object/toy/marks/2"));
    assert_non_null(tree_get(deployment_tree(f->d), "object/toy/marks/3"));
    assert_null(tree_get(deployment_tree(f->d), "object/toy/marks/4"));
    assert_lawful(f);
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

/* "applied of nodes" of a node's own status, and the reason for `pending` (NULL: nobody pends). */
static void assert_in_force(struct fixture *f, const char *node, int applied, int nodes,
                            const char *pending, const char *reason)
{
    json_t *status = deployment_status(f->d, "nodes", node);
    const json_t *in_force = json_object_get(status, "inForce");
    const json_t *first = json_array_get(json_object_get(in_force, "pending"), 0);

    assert_int_equal(json_get_integer(in_force, "applied", -1), applied);
    assert_int_equal(json_get_integer(in_force, "nodes", -1), nodes);
    assert_int_equal(json_array_size(json_object_get(in_force, "pending")), nodes - applied);
    assert_string_equal(json_get_string(first, "node", "-"), pending ? pending : "-");
    assert_string_equal(json_get_string(first, "reason", "-"), reason ? reason : "-");
    json_decref(status);
}

static void in_force_follows_every_ack(void **state)
{
    struct fixture *f = *state;
    json_t *errors = json_pack("[{s:s, s:s}]", "key", "toy/peer/A", "message", "no paint");

    create_node(f, "A", "{\"services\":[\"toy\"]}");
    create_node(f, "B", "{\"services\":[\"toy\"]}");
    create_node(f, "C", "{\"services\":[]}");
    fleet_connected(f->d, "A", "192.0.2.1");
    fleet_connected(f->d, "B", "192.0.2.2");
    int64_t red = report(f, "A", "{\"toy.colour\":\"red\"}").revision;
    fleet_acked(f->d, "B", red, NULL);
    assert_in_force(f, "A", 1, 2, "A", "hasn't applied it yet");
    fleet_acked(f->d, "A", red, NULL);
    assert_in_force(f, "A", 2, 2, NULL, NULL);
    fleet_acked(f->d, "B", red, errors);
    assert_in_force(f, "A", 1, 2, "B", "no paint");
    fleet_acked(f->d, "B", red, NULL);
    assert_in_force(f, "A", 2, 2, NULL, NULL);
    /* What others report later concerns A and B too, but A's own resources stay in force. */
    int64_t blue = report(f, "B", "{\"toy.colour\":\"blue\"}").revision;
    assert_in_force(f, "A", 2, 2, NULL, NULL);
    assert_in_force(f, "B", 0, 2, "A", "hasn't applied it yet");
    fleet_disconnected(f->d, "A", "gone");
    fleet_acked(f->d, "B", blue, NULL);
    assert_in_force(f, "B", 1, 2, "A", "is away");
    do_write(f, (struct write){.verb = WRITE_DELETE, .kind = "nodes", .id = "A"}, NULL);
    assert_in_force(f, "B", 1, 1, NULL, NULL);
    fixture_close(f);
    fixture_open(f);
    assert_in_force(f, "B", 0, 1, "B", "is away"); /* it hasn't told this server anything */
    json_decref(errors);
}

static void the_generation_follows_what_is_seen(void **state)
{
    struct fixture *f = *state;
    uint64_t seen = deployment_generation(f->d);
    json_t *status = json_pack("{s:s}", "agentVersion", "1");

#define ASSERT_ANOTHER(call)                                                                      \
    do {                                                                                          \
        call;                                                                                     \
        assert_true(deployment_generation(f->d) != seen);                                         \
        seen = deployment_generation(f->d);                                                       \
    } while (0)

    ASSERT_ANOTHER(create_node(f, "A", "{\"services\":[\"toy\"]}"));
    ASSERT_ANOTHER(report(f, "A", "{\"toy.colour\":\"red\"}"));
    ASSERT_ANOTHER(fleet_connected(f->d, "A", "192.0.2.1"));
    ASSERT_ANOTHER(fleet_acked(f->d, "A", deployment_revision(f->d), NULL));
    ASSERT_ANOTHER(fleet_status(f->d, "A", status));
    ASSERT_ANOTHER(fleet_disconnected(f->d, "A", "gone"));
    json_decref(deployment_status(f->d, "nodes", "A"));
    assert_true(deployment_generation(f->d) == seen);
    json_decref(status);
}

/* Every transaction here concerns all nodes; how many are remembered is bounded, but what was just
 * written can always be waited for. */
static void count(struct fixture *f, const char *node, const char *name)
{
    json_t *values = json_pack("{s:[i, i]}", name, 1, 1);

    fleet_counters(f->d, node, values);
    json_decref(values);
}

/* A counter is of a resource that the node has, and goes with it. */
static void counters_live_with_their_resources(void **state)
{
    struct fixture *f = *state;
    const struct counters *counters = deployment_counters(f->d);
    static const char *const NODES[] = {"A", "B", "Other"};

    create_node(f, "A", "{\"services\":[\"toy\"]}");
    create_node(f, "B", "{\"services\":[\"toy\"]}");
    create_node(f, "Other", "{}");
    report(f, "A", "{\"toy.colour\":\"red\"}");
    for (size_t i = 0; i < ARRAY_LEN(NODES); i++) {
        count(f, NODES[i], "toy/peer/A"); /* on the service's channel */
        count(f, NODES[i], "toy/self");   /* on each one's own */
        count(f, NODES[i], "toy/peer/B");
        count(f, NODES[i], "toy/node/in");
        count(f, NODES[i], "to/node/in");
    }
    assert_int_equal(counters_each(counters, "toy/peer/A", NULL, NULL).packets, 2);
    assert_int_equal(counters_each(counters, "toy/self", NULL, NULL).packets, 2);
    assert_int_equal(counters_each(counters, "toy/peer/B", NULL, NULL).packets, 0);
    assert_int_equal(counters_each(counters, "toy/node/in", NULL, NULL).packets, 2);
    assert_int_equal(counters_each(counters, "to/node/in", NULL, NULL).packets, 0);
    report(f, "A", "{\"toy.colour\":null}");
    assert_int_equal(counters_each(counters, "toy/peer/A", NULL, NULL).packets, 0);
    assert_int_equal(counters_each(counters, "toy/self", NULL, NULL).packets, 2);
    do_write(f, (struct write){.verb = WRITE_PATCH, .kind = "nodes", .id = "B"},
             "{\"services\":[]}");
    assert_int_equal(counters_each(counters, "toy/self", NULL, NULL).packets, 1);
}

static void the_newest_write_can_be_waited_for(void **state)
{
    enum {
        NODES = 60,
        WRITES = 400, /* NODES * WRITES is more than is remembered */
    };
    struct fixture *f = *state;
    char text[48];

    for (int i = 0; i < NODES; i++) {
        snprintf(text, sizeof text, "N%d", i);
        create_node(f, text, "{\"services\":[\"toy\"]}");
    }
    for (int i = 0; i < WRITES; i++) {
        snprintf(text, sizeof text, "{\"toy.colour\":\"c%d\"}", i);
        int64_t revision = report(f, "N0", text).revision;
        struct outcome o = {0};
        deployment_wait(f->d, revision, 60000, on_applied, &o);
        assert_true(o.finished); /* nobody is connected */
        assert_int_equal(json_get_integer(o.deltas, "nodes", 0), NODES);
        json_decref(o.deltas);
    }
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
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(deployment_revision(f->d), revision);
    assert_string_equal(deployment_digest(f->d, "A", after), before);
    struct buf seen = BUF_INIT(100);
    assert_int_equal(deployment_deltas(f->d, "A", revision - 1, collect_resource, &seen), -ESTALE);
    assert_int_equal(deployment_deltas(f->d, "A", revision, collect_resource, &seen), 0);
    assert_int_equal(seen.size, 0);
    buf_done(&seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(objects_become_resources),
        TEST(a_change_plans_only_what_it_concerns),
        TEST(leaving_a_service_takes_its_resources),
        TEST(dry_runs_tell_what_a_new_node_gets),
        TEST(bad_writes_change_nothing),
        TEST(revisions_guard_writes),
        TEST(only_admins_choose_hubs),
        TEST(settings_exist_and_are_guarded),
        TEST(facts_are_checked_and_claimed),
        TEST(waiting_ends_with_the_last_ack),
        TEST(counted_ids_are_given_once),
        TEST(lists_are_made_whole_or_not_at_all),
        TEST(a_list_that_loses_its_race_is_made_again),
        TEST(waiting_names_who_is_away_or_failed),
        TEST(in_force_follows_every_ack),
        TEST(the_generation_follows_what_is_seen),
        TEST(counters_live_with_their_resources),
        TEST(the_newest_write_can_be_waited_for),
        TEST(addresses_of_deleted_nodes_rest),
        TEST(everything_is_there_after_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
