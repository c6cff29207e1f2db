#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "services/fw/fw-kinds.h"

/* A node with two addresses, whose link comes from the first of them, as far as anybody knows. */
static const char *const TREE[][2] = {
    {"object/nodes/A", "{\"spec\":{\"services\":[\"vpn\",\"fw\"]}}"},
    {"fact/A/vpn.self", "{\"addresses\":[\"192.0.2.1\",\"198.51.100.1\"]}"},
    {"fact/A/core.seen", "{\"address\":\"192.0.2.1\",\"server\":\"203.0.113.9:8444\"}"},
};

static void put(struct tree *tree, const char *key, const char *text)
{
    json_t *value = json_loads(text, 0, NULL);

    assert_non_null(value);
    tree_put(tree, key, 1, value, NULL, NULL);
    json_decref(value);
}

static void make_tree(struct tree *tree)
{
    for (size_t i = 0; i < sizeof TREE / sizeof *TREE; i++) {
        put(tree, TREE[i][0], TREE[i][1]);
    }
}

static int check(struct tree *tree, const char *rule)
{
    struct view view = {.tree = tree};
    json_t *spec = json_loads(rule, 0, NULL);
    struct fw_change change = {"fw/rules", "9", spec};
    struct error error = {0};

    assert_non_null(spec);
    int rc = fw_lockout_check(&change, &view, &error);
    json_decref(spec);
    assert_true(rc == 0 || error.status == 409);
    return rc;
}

#define OUT_FROM(source_)                                                                         \
    "{\"node\":\"A\",\"direction\":\"out\",\"action\":\"drop\",\"protocol\":\"tcp\",\"source\":"  \
    "\"" source_ "\"}"

static void the_way_to_the_server(void **state)
{
    struct tree tree = {0};

    make_tree(&tree);
    assert_true(check(&tree, OUT_FROM("192.0.2.1")) < 0);
    assert_int_equal(check(&tree, OUT_FROM("192.0.2.2")), 0);
    tree_done(&tree);
}

/* What was cut by force at one address is no reason to let the others be cut. */
static void one_address_is_cut_already(void **state)
{
    struct tree tree = {0};

    make_tree(&tree);
    put(&tree, "object/fw/rules/1", "{\"spec\":" OUT_FROM("198.51.100.1") "}");
    assert_true(check(&tree, OUT_FROM("192.0.2.1")) < 0);
    assert_int_equal(check(&tree, OUT_FROM("198.51.100.0/24")), 0);
    tree_done(&tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_way_to_the_server),
        cmocka_unit_test(one_address_is_cut_already),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
