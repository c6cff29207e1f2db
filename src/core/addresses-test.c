/* addresses-test.c - who gets which part of the overlay, through the writes that take it. */
#include "core/deployment-fixture.h"

#include <stdio.h>
#include <string.h>

#include "core/join.h"
#include "lib/hash.h"
#include "lib/json.h"
#include "lib/mem.h"

static const char *member(struct fixture *f, const char *node, const char *name)
{
    return json_get_string(tree_spec(deployment_tree(f->d), "nodes", node), name, "");
}

static struct outcome patch_node(struct fixture *f, const char *id, const char *spec)
{
    return do_write(f, (struct write){.verb = WRITE_PATCH, .kind = "nodes", .id = id}, spec);
}

static void assert_refused(struct outcome o, int status, const char *pointer, const char *words)
{
    assert_true(o.rc < 0);
    assert_int_equal(o.error.status, status);
    assert_string_equal(o.error.pointer, pointer);
    if (!strstr(o.error.detail, words)) {
        fail_msg("\"%s\" doesn't say \"%s\"", o.error.detail, words);
    }
}

static void hubs_get_a_client_range_and_keep_it(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(create_node(f, "A", "{\"services\":[],\"hub\":true}").rc, 0);
    assert_int_equal(create_node(f, "B", "{\"services\":[]}").rc, 0);
    assert_string_equal(member(f, "A", "clientRange"), "10.77.248.0/21");
    assert_string_equal(member(f, "B", "clientRange"), "");
    assert_int_equal(patch_node(f, "B", "{\"hub\":true}").rc, 0);
    assert_string_equal(member(f, "B", "clientRange"), "10.77.240.0/21");
    assert_int_equal(patch_node(f, "A", "{\"cloud\":\"x\"}").rc, 0);
    assert_string_equal(member(f, "A", "clientRange"), "10.77.248.0/21");
    assert_int_equal(patch_node(f, "A", "{\"hub\":false}").rc, 0);
    assert_string_equal(member(f, "A", "clientRange"), "");
    assert_null(tree_get(deployment_tree(f->d), "claim/client-range/10.77.248.0/21"));
    assert_int_equal(create_node(f, "C", "{\"services\":[],\"hub\":true}").rc, 0);
    assert_string_equal(member(f, "C", "clientRange"), "10.77.248.0/21"); /* free again */
}

static void a_hub_too_many_has_none(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 9; i++) {
        char id[8];
        snprintf(id, sizeof id, "H%d", i);
        assert_int_equal(create_node(f, id, "{\"services\":[],\"hub\":true}").rc, 0);
    }
    assert_string_equal(member(f, "H7", "clientRange"), "10.77.192.0/21");
    assert_string_equal(member(f, "H8", "clientRange"), "");
}

static void pinned_ranges_are_checked(void **state)
{
    static const struct {
        const char *range;
        int status;
        const char *words;
    } CASES[] = {
        {"10.77.0.0/30", 400, "length of 8 to 29"},
        {"10.0.0.0/7", 400, "length of 8 to 29"},
        {"10.77.9.1/24", 400, "host bits"},
        {"10.78.0.0/24", 400, "outside the overlay 10.77.0.0/16"},
        {"10.0.0.0/8", 400, "outside the overlay 10.77.0.0/16"},
        {"10.77.248.0/24", 409, "overlaps the client range 10.77.248.0/21 of A"},
        {"10.77.248.0/21", 409, "overlaps the client range 10.77.248.0/21 of A"},
        {"10.77.192.0/18", 409, "overlaps the client range 10.77.248.0/21 of A"},
        {"10.77.0.0/24", 409, "overlaps the address 10.77.0.1 of nodes/A"},
        {"10.77.50.0/24", 409, "overlaps the address 10.77.50.1 of nodes/B"},
    };
    struct fixture *f = *state;
    char spec[120];

    create_node(f, "A", "{\"services\":[],\"hub\":true}");
    create_node(f, "B", "{\"services\":[],\"address\":\"10.77.50.1\"}");
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        snprintf(spec, sizeof spec, "{\"hub\":true,\"clientRange\":\"%s\"}", CASES[i].range);
        assert_refused(patch_node(f, "B", spec), CASES[i].status, "/spec/clientRange",
                       CASES[i].words);
    }
    assert_refused(patch_node(f, "B", "{\"clientRange\":\"10.77.60.0/24\"}"), 400,
                   "/spec/clientRange", "for hubs only");
    assert_refused(create_node(f, "C",
                               "{\"hub\":true,\"address\":\"10.77.70.5\",\"services\":[],"
                               "\"clientRange\":\"10.77.70.0/24\"}"),
                   409, "/spec/clientRange", "of nodes/C");
    assert_int_equal(patch_node(f, "B", "{\"hub\":true,\"clientRange\":\"10.77.60.0/24\"}").rc, 0);
    assert_string_equal(member(f, "B", "clientRange"), "10.77.60.0/24");
}

static void addresses_stay_out_of_client_ranges(void **state)
{
    struct fixture *f = *state;

    create_node(f, "A", "{\"services\":[],\"hub\":true}");
    create_node(f, "B", "{\"services\":[],\"hub\":true,\"clientRange\":\"10.77.0.8/29\"}");
    assert_refused(create_node(f, "C", "{\"services\":[],\"address\":\"10.77.250.1\"}"), 409,
                   "/spec/address", "the client range 10.77.248.0/21 of A");
    assert_int_equal(create_node(f, "C", "{\"services\":[],\"address\":\"10.77.193.1\"}").rc, 0);
    for (int i = 0; i < 6; i++) {
        char id[8];
        snprintf(id, sizeof id, "N%d", i);
        assert_int_equal(create_node(f, id, "{\"services\":[]}").rc, 0);
    }
    assert_string_equal(member(f, "N4", "address"), "10.77.0.7");
    assert_string_equal(member(f, "N5", "address"), "10.77.0.16"); /* past B's range */
}

/* The overlay is small: 23 addresses are below its last quarter. */
static void chosen_addresses_are_below_the_last_quarter(void **state)
{
    struct fixture *f = *state;
    struct write patch = {.verb = WRITE_PATCH, .kind = "settings", .id = "overlay"};

    assert_int_equal(do_write(f, patch, "{\"range\":\"10.9.0.0/27\"}").rc, 0);
    for (int i = 0; i < 23; i++) {
        char id[8];
        snprintf(id, sizeof id, "N%d", i);
        assert_int_equal(create_node(f, id, "{\"services\":[]}").rc, 0);
    }
    assert_string_equal(member(f, "N22", "address"), "10.9.0.23");
    assert_refused(create_node(f, "N23", "{\"services\":[]}"), 409, "/spec/address", "no free");
    assert_int_equal(create_node(f, "N23", "{\"services\":[],\"address\":\"10.9.0.24\"}").rc, 0);
    /* The only /29 of the last quarter isn't free any more. */
    assert_int_equal(patch_node(f, "N0", "{\"hub\":true}").rc, 0);
    assert_string_equal(member(f, "N0", "clientRange"), "");
}

/* A range without room for a client is none: who asks for a client is told the right thing. */
static void a_tiny_overlay_has_no_client_ranges(void **state)
{
    struct fixture *f = *state;
    struct write patch = {.verb = WRITE_PATCH, .kind = "settings", .id = "overlay"};

    assert_int_equal(do_write(f, patch, "{\"range\":\"10.9.0.0/28\"}").rc, 0);
    assert_int_equal(create_node(f, "A", "{\"services\":[],\"hub\":true}").rc, 0);
    assert_string_equal(member(f, "A", "clientRange"), "");
}

/* All look at a tree without the others: those that come later must see the first. */
static void assert_first_only(struct fixture *f, const char *const *specs, size_t len)
{
    static const struct actor ADMIN = {.name = "a", .source = "-", .role = ROLE_ADMIN};
    struct outcome outcomes[3] = {0};

    for (size_t i = 0; i < len; i++) {
        char id[8];
        json_t *spec;
        snprintf(id, sizeof id, "R%zu", i);
        assert_int_equal(json_parse(specs[i], strlen(specs[i]), &spec, NULL), 0);
        struct write write = {.verb = WRITE_CREATE, .kind = "nodes", .id = id, .spec = spec};
        deployment_write(f->d, &ADMIN, &write, fixture_done, &outcomes[i]);
        json_decref(spec);
    }
    for (size_t i = 0; i < len; i++) {
        fixture_run(f, &outcomes[i].finished);
        assert_int_equal(outcomes[i].rc < 0 ? outcomes[i].error.status : 0, i > 0 ? 409 : 0);
    }
}

static void ranges_that_overlap_are_not_taken_at_once(void **state)
{
    static const char *const SPECS[] = {
        "{\"hub\":true,\"services\":[],\"clientRange\":\"10.77.224.0/20\"}",
        "{\"hub\":true,\"services\":[],\"clientRange\":\"10.77.224.0/24\"}",
        "{\"services\":[],\"address\":\"10.77.224.9\"}",
    };

    assert_first_only(*state, SPECS, ARRAY_LEN(SPECS));
}

/* A range may be pinned where nodes have their addresses. */
static void a_pinned_range_and_an_address_are_not_taken_at_once(void **state)
{
    static const char *const RANGE_FIRST[] = {
        "{\"hub\":true,\"services\":[],\"clientRange\":\"10.77.9.0/24\"}",
        "{\"services\":[],\"address\":\"10.77.9.1\"}",
    };

    assert_first_only(*state, RANGE_FIRST, ARRAY_LEN(RANGE_FIRST));
}

static void an_address_and_a_pinned_range_are_not_taken_at_once(void **state)
{
    static const char *const ADDRESS_FIRST[] = {
        "{\"services\":[],\"address\":\"10.77.9.1\"}",
        "{\"hub\":true,\"services\":[],\"clientRange\":\"10.77.9.0/24\"}",
    };

    assert_first_only(*state, ADDRESS_FIRST, ARRAY_LEN(ADDRESS_FIRST));
}

static void machines_that_join_as_hubs_get_one(void **state)
{
    struct fixture *f = *state;
    char hash[SHA256_HEX_SIZE];
    json_t *sealed =
        json_pack("{s:s, s:i}", "secretHash", hash_text_hex("secret", hash), "used", 0);
    struct write write = {.verb = WRITE_CREATE, .kind = "tokens", .id = "t", .sealed = sealed};
    struct join join = {.token_id = "t",
                        .secret = "secret",
                        .id = "Hub",
                        .hostname = "host",
                        .key_id = "k",
                        .source = "192.0.2.1"};
    struct outcome o = {0};

    do_write(f, write, "{\"hub\":true,\"expires\":\"2999-01-01T00:00:00Z\"}");
    json_decref(sealed);
    json_t *toy = json_pack("[s]", "toy");
    join.services = toy;
    deployment_join(f->d, &join, fixture_done, &o);
    fixture_run(f, &o.finished);
    json_decref(toy);
    assert_int_equal(o.rc, 0);
    assert_string_equal(member(f, "Hub", "clientRange"), "10.77.248.0/21");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hubs_get_a_client_range_and_keep_it),
        TEST(a_hub_too_many_has_none),
        TEST(pinned_ranges_are_checked),
        TEST(addresses_stay_out_of_client_ranges),
        TEST(chosen_addresses_are_below_the_last_quarter),
        TEST(a_tiny_overlay_has_no_client_ranges),
        TEST(ranges_that_overlap_are_not_taken_at_once),
        TEST(a_pinned_range_and_an_address_are_not_taken_at_once),
        TEST(an_address_and_a_pinned_range_are_not_taken_at_once),
        TEST(machines_that_join_as_hubs_get_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
