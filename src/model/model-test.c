#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core-schemas.h"
#include "lib/buf.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "model/plan.h"
#include "model/schema.h"

static json_t *parse(const char *text)
{
    json_t *json = NULL;
    assert_int_equal(json_parse(text, strlen(text), &json, NULL), 0);
    return json;
}

static void core_schemas_are_in_the_subset(void **state)
{
    const char *const texts[] = {SCHEMA_NODES, SCHEMA_TOKENS, SCHEMA_USERS, SCHEMA_OVERLAY,
                                 SCHEMA_EVENTS};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct error error = {0};
        json_t *schema = parse(texts[i]);
        assert_int_equal(schema_check(schema, &error), 0);
        json_decref(schema);
    }
}

static void check_refuses(void **state)
{
    static const char *const BAD[] = {"{\"type\":\"thing\"}",
                                      "{\"type\":\"string\",\"oneOf\":[]}",
                                      "[]",
                                      "{\"type\":\"string\",\"format\":\"colour\"}",
                                      "{\"type\":\"string\",\"pattern\":\"[\"}",
                                      "{\"type\":\"integer\",\"maximum\":3,\"default\":4}",
                                      "{\"type\":\"object\"}",
                                      "{\"type\":\"array\",\"items\":{\"type\":1}}"};
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        json_t *schema = parse(BAD[i]);
        assert_int_equal(schema_check(schema, NULL), -EINVAL);
        json_decref(schema);
    }
}

/* value, pointer, sentence */
static const char *const NODE_CASES[][3] = {
    {"[]", "", "\"value\" must be an object"},
    {"{\"adress\":1}", "/adress", "\"adress\" is not allowed"},
    {"{\"a/b~\":1}", "/a~1b~0", "\"a/b~\" is not allowed"},
    {"{\"address\":7}", "/address", "\"address\" must be a string"},
    {"{\"address\":\"10.77.0.256\"}", "/address",
     "\"address\" must be an IPv4 address such as 10.77.0.5"},
    {"{\"services\":[\"vpn\",\"vpn\"]}", "/services", "\"services\" has the same item twice"},
    {"{\"services\":[\"V\"]}", "/services/0", "\"0\" must match ^[a-z][a-z0-9-]*$"},
    {"{\"hub\":\"yes\"}", "/hub", "\"hub\" must be a boolean"},
    {"{\"labels\":{\"a\":\"b c\"}}", "/labels/a", "\"a\" must match ^[A-Za-z0-9._-]*$"},
    {"{\"labels\":{\"\":\"b\"}}", "/labels",
     "\"labels\" has a member whose name isn't 1 to 63 bytes long"},
};

static void validation_names_the_field(void **state)
{
    json_t *schema = parse(SCHEMA_NODES);

    for (size_t i = 0; i < ARRAY_LEN(NODE_CASES); i++) {
        struct error error = {0};
        json_t *value = parse(NODE_CASES[i][0]);
        assert_int_equal(schema_validate(schema, value, &error), -EINVAL);
        assert_int_equal(error.status, 400);
        assert_string_equal(error.pointer, NODE_CASES[i][1]);
        assert_string_equal(error.detail, NODE_CASES[i][2]);
        json_decref(value);
    }
    json_decref(schema);
}

static void defaults_are_filled(void **state)
{
    json_t *schema = parse(SCHEMA_NODES), *value = parse("{\"cloud\":\"c1\"}");
    json_t *filled = schema_fill(schema, value);
    _cleanup_free_ char *text = json_canonical(filled);

    assert_string_equal(text, "{\"cloud\":\"c1\",\"endpoint\":\"\",\"hub\":false,"
                              "\"keyGeneration\":0,\"labels\":{},\"services\":[\"vpn\"]}");
    json_decref(filled);
    json_decref(value);
    json_decref(schema);
}

static void node_ids(void **state)
{
    char longest[65];
    memset(longest, 'a', sizeof longest);
    longest[64] = '\0';
    static const char *const BAD[] = {"", ".a", "a.", "a b", "a/b", "-a", "a\n", "\xc3\xa9"};

    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        assert_false(node_id_is_valid(BAD[i]));
    }
    assert_false(node_id_is_valid(longest));
    assert_true(node_id_is_valid(longest + 1));
    assert_true(node_id_is_valid("Agent.1"));
}

static void collect(void *arg, const char *key)
{
    buf_printf(arg, "%s ", key);
}

static void nodes_are_indexed(void **state)
{
    struct tree tree = {0};
    _cleanup_buf_ struct buf changed = BUF_INIT(1000);
    json_t *a = parse("{\"spec\":{\"labels\":{\"t\":\"w\"},\"services\":[\"vpn\"],\"hub\":true}}");
    json_t *b = parse("{\"spec\":{\"labels\":{\"t\":\"db\"},\"services\":[\"vpn\",\"dns\"]}}");

    tree_put(&tree, "object/nodes/A", 1, a, collect, &changed);
    assert_string_equal(changed.data, "object/nodes/A index/label/t=w/A index/service/vpn/A "
                                      "index/hub/A ");
    buf_consume(&changed, changed.size);
    tree_put(&tree, "object/nodes/A", 2, b, collect, &changed);
    assert_string_equal(changed.data, "object/nodes/A index/label/t=w/A index/hub/A "
                                      "index/label/t=db/A index/service/dns/A ");
    assert_null(tree_get(&tree, "index/hub/A"));
    assert_int_equal(tree_get(&tree, "object/nodes/A")->revision, 2);
    tree_put(&tree, "object/nodes/A", 3, NULL, NULL, NULL);
    assert_int_equal(tree.entries.len, 0);
    tree_done(&tree);
    json_decref(a);
    json_decref(b);
}

static void put_nodes(struct tree *tree, int from, int to, json_t *value, struct buf *changed)
{
    for (int i = from; i < to; i++) {
        char key[40];
        snprintf(key, sizeof key, "object/nodes/N%d", i);
        tree_put(tree, key, 1, value, collect, changed);
    }
}

static void many_nodes_are_noticed(void **state)
{
    struct tree tree = {0};
    _cleanup_buf_ struct buf changed = BUF_INIT(1 << 20);
    json_t *node = parse("{\"spec\":{\"services\":[\"vpn\"]}}");
    json_t *other = parse("{\"spec\":{\"services\":[\"dns\"]}}");

    put_nodes(&tree, 0, TREE_LARGE, node, &changed);
    put_nodes(&tree, 0, TREE_LARGE, node, &changed); /* the same again isn't more */
    assert_null(tree_get(&tree, "index/large/vpn"));
    put_nodes(&tree, TREE_LARGE, TREE_LARGE + 1, node, &changed);
    assert_non_null(tree_get(&tree, "index/large/vpn"));
    assert_non_null(strstr(changed.data, "index/large/vpn "));
    buf_consume(&changed, changed.size);
    put_nodes(&tree, 7, 8, other, &changed);
    assert_null(tree_get(&tree, "index/large/vpn"));
    assert_non_null(strstr(changed.data, "index/large/vpn "));
    put_nodes(&tree, 0, TREE_LARGE + 1, NULL, &changed);
    assert_int_equal(tree.entries.len, 0);
    tree_done(&tree);
    json_decref(node);
    json_decref(other);
}

static void count(void *arg, const char *rest, const json_t *value)
{
    buf_printf(arg, "%s ", rest);
}

static void view_remembers_reads(void **state)
{
    struct tree tree = {0};
    struct omap reads = {0};
    struct view view = {.tree = &tree, .reads = &reads};
    _cleanup_buf_ struct buf seen = BUF_INIT(100);

    tree_put(&tree, "index/hub/B", 1, json_true(), NULL, NULL);
    tree_put(&tree, "index/hub/A", 1, json_true(), NULL, NULL);
    tree_put(&tree, "index/hubris", 1, json_true(), NULL, NULL);
    assert_null(view_spec(&view, "settings", "overlay"));
    view_each(&view, "index/hub/", count, &seen);
    assert_string_equal(seen.data, "A B ");
    assert_non_null(omap_get(&reads, "index/hub/"));
    assert_non_null(omap_get(&reads, "object/settings/overlay"));
    assert_int_equal(reads.len, 2);
    omap_clear(&reads, NULL);
    tree_done(&tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(core_schemas_are_in_the_subset),
        cmocka_unit_test(check_refuses),
        cmocka_unit_test(validation_names_the_field),
        cmocka_unit_test(defaults_are_filled),
        cmocka_unit_test(node_ids),
        cmocka_unit_test(nodes_are_indexed),
        cmocka_unit_test(many_nodes_are_noticed),
        cmocka_unit_test(view_remembers_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
