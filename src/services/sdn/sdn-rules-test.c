/* sdn-rules-test.c - what filters and flows are refused for, with field and sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/sdn/sdn-kinds.h"

static json_t *parse(const char *text)
{
    json_t *value;
    struct error error;

    if (json_parse(text, strlen(text), &value, &error) < 0) {
        fail_msg("%s: %s", text, error.detail);
    }
    return value;
}

static void put(struct tree *tree, const char *key, const char *text)
{
    json_t *value = parse(text);

    tree_put(tree, key, 1, value, NULL, NULL);
    json_decref(value);
}

static void fill(struct tree *tree)
{
    put(tree, "object/nodes/A", "{\"spec\":{\"services\":[\"vpn\",\"sdn\"]}}");
    put(tree, "object/nodes/B", "{\"spec\":{\"services\":[\"vpn\"]}}");
}

struct refusal {
    const char *spec;
    int status; /* 0: it is taken */
    const char *pointer, *detail;
};

static void check(const char *kind, const struct refusal *cases, size_t len)
{
    struct tree tree = {0};
    struct view view = {.tree = &tree};

    fill(&tree);
    for (size_t i = 0; i < len; i++) {
        struct error error = {0};
        json_t *spec = parse(cases[i].spec);
        int rc = SERVICE_SDN.validate(kind, "1", spec, &view, &error);
        if ((rc < 0) != (cases[i].status != 0) || error.status != cases[i].status ||
            (rc < 0 && (strcmp(error.pointer, cases[i].pointer) != 0 ||
                        strcmp(error.detail, cases[i].detail) != 0))) {
            fail_msg("%s: %d %s %s", cases[i].spec, error.status, error.pointer, error.detail);
        }
        json_decref(spec);
    }
    tree_done(&tree);
}

#define PORT_WORDS "\"port\" must be a port from 1 to 65535, or a range such as 8000-8010"
#define SOURCE_WORDS                                                                              \
    "\"source\" must be an IPv4 address or prefix, such as 10.77.0.2 or 10.77.0.0/24"
#define TCP(port_) "{\"node\":\"A\",\"protocol\":\"tcp\",\"port\":\"" port_ "\"}"
#define FROM(source_) "{\"node\":\"A\",\"source\":\"" source_ "\"}"

static void filters_are_refused_by_field(void **state)
{
    static const struct refusal CASES[] = {
        {"{\"node\":\"A\"}", 0, "", ""},
        {"{\"selector\":{}}", 0, "", ""},
        {"{}", 400, "/node", "\"node\" or \"selector\" is required"},
        {"{\"node\":\"A\",\"selector\":{}}", 400, "/selector",
         "\"selector\" and \"node\" exclude each other: give one of them"},
        {"{\"selector\":{\"a/b\":\"c\"}}", 400, "/selector",
         "\"selector\": a label's name has letters, digits, dots, hyphens and underscores, and "
         "\"a/b\" hasn't"},
        {"{\"node\":\"X\"}", 400, "/node", "\"node\": there is no node \"X\""},
        {"{\"node\":\"B\"}", 409, "/node",
         "\"node\": B doesn't run sdn; turn it on: cnsmo node set B --services vpn,sdn"},
        {TCP("1"), 0, "", ""},
        {TCP("65535"), 0, "", ""},
        {TCP("80-80"), 0, "", ""},
        {TCP("1-65535"), 0, "", ""},
        {TCP("0"), 400, "/port", PORT_WORDS},
        {TCP("65536"), 400, "/port", PORT_WORDS},
        {TCP("080"), 400, "/port", PORT_WORDS},
        {TCP("80x"), 400, "/port", PORT_WORDS},
        {TCP("-80"), 400, "/port", PORT_WORDS},
        {TCP("80-"), 400, "/port", PORT_WORDS},
        {TCP("80-90-"), 400, "/port", PORT_WORDS},
        {TCP("80-65536"), 400, "/port", PORT_WORDS},
        {TCP("655360"), 400, "/port", PORT_WORDS},
        {TCP("90-80"), 400, "/port", "\"port\" 90-80 ends before it begins"},
        {"{\"node\":\"A\",\"port\":\"80\"}", 400, "/port",
         "\"port\" needs the protocol tcp or udp, and it is any"},
        {"{\"node\":\"A\",\"protocol\":\"icmp\",\"port\":\"80\"}", 400, "/port",
         "\"port\" needs the protocol tcp or udp, and it is icmp"},
        {FROM("10.77.0.2"), 0, "", ""},
        {FROM("10.77.0.0/16"), 0, "", ""},
        {FROM("0.0.0.0/0"), 0, "", ""},
        {FROM("10.77.0.2/16"), 400, "/source",
         "\"source\" 10.77.0.2/16 has host bits set; the prefix is 10.77.0.0/16"},
        {FROM(""), 400, "/source", SOURCE_WORDS},
        {FROM("web"), 400, "/source", SOURCE_WORDS},
        {FROM("10.77.0.256"), 400, "/source", SOURCE_WORDS},
        {FROM("10.77.0.0/33"), 400, "/source", SOURCE_WORDS},
        {FROM("10.77.0.0/"), 400, "/source", SOURCE_WORDS},
        {FROM("2001:db8::1"), 400, "/source",
         "\"source\" must be IPv4: the overlay has no IPv6 yet"},
        {"{\"node\":\"A\",\"destination\":\"fd00::/8\"}", 400, "/destination",
         "\"destination\" must be IPv4: the overlay has no IPv6 yet"},
    };

    check("sdn/filters", CASES, ARRAY_LEN(CASES));
}

#define MATCH(members_) "{\"node\":\"A\",\"actions\":[\"drop\"],\"match\":{" members_ "}}"

static void flows_are_refused_by_field(void **state)
{
    static const struct refusal CASES[] = {
        {MATCH(""), 0, "", ""},
        {MATCH("\"tcp_dst\":80,\"tcp_src\":1"), 0, "", ""},
        {MATCH("\"ip_proto\":17,\"udp_dst\":53"), 0, "", ""},
        {MATCH("\"ip_proto\":17,\"tcp_dst\":53"), 400, "/match/tcp_dst",
         "\"tcp_dst\" needs ip_proto 6, and \"ip_proto\" makes it 17"},
        {MATCH("\"tcp_src\":1,\"udp_src\":1"), 400, "/match/udp_src",
         "\"udp_src\" needs ip_proto 17, and \"tcp_src\" makes it 6"},
        {MATCH("\"udp_src\":1,\"icmpv4_code\":1"), 400, "/match/icmpv4_code",
         "\"icmpv4_code\" needs ip_proto 1, and \"udp_src\" makes it 17"},
        {MATCH("\"ipv4_src\":\"10.0.0.1/8\""), 400, "/match/ipv4_src",
         "\"ipv4_src\" 10.0.0.1/8 has host bits set; the prefix is 10.0.0.0/8"},
        {MATCH("\"ipv4_dst\":\"::1\""), 400, "/match/ipv4_dst",
         "\"ipv4_dst\" must be IPv4: the overlay has no IPv6 yet"},
        {"{\"node\":\"X\",\"actions\":[\"drop\"]}", 400, "/node",
         "\"node\": there is no node \"X\""},
        {"{\"node\":\"B\",\"actions\":[\"drop\"]}", 409, "/node",
         "\"node\": B doesn't run sdn; turn it on: cnsmo node set B --services vpn,sdn"},
    };

    check("sdn/flows", CASES, ARRAY_LEN(CASES));
}

#define CUT_WORDS "it would cut A off from this server, which it reaches at 203.0.113.5:8444"

static void who_would_be_cut_off_is_told(void **state)
{
    static const struct {
        const char *members;
        int cuts;
    } CASES[] = {
        {"", 1},
        {"\"direction\":\"out\"", 1},
        {"\"direction\":\"in\"", 1},
        {"\"protocol\":\"udp\"", 0},
        {"\"protocol\":\"icmp\"", 0},
        {"\"protocol\":\"tcp\",\"port\":\"8444\"", 1},
        {"\"protocol\":\"tcp\",\"port\":\"8000-9000\"", 1},
        {"\"protocol\":\"tcp\",\"port\":\"8443\"", 0},
        {"\"protocol\":\"tcp\",\"port\":\"8444\",\"direction\":\"in\"", 0},
        {"\"destination\":\"203.0.113.0/24\"", 1},
        {"\"destination\":\"203.0.113.0/24\",\"direction\":\"in\"", 0},
        {"\"destination\":\"203.0.113.6\"", 0},
        {"\"source\":\"203.0.113.5\",\"direction\":\"in\"", 1},
        {"\"source\":\"203.0.113.5\",\"direction\":\"out\"", 0},
        /* Only what can be the node's own packets: its link's address, and its devices'. */
        {"\"source\":\"198.51.100.0/24\",\"direction\":\"out\"", 1},
        {"\"source\":\"192.168.7.2\",\"direction\":\"out\"", 1},
        {"\"source\":\"192.168.7.3\",\"direction\":\"out\"", 0},
        {"\"destination\":\"192.168.7.2\",\"direction\":\"in\"", 1},
        /* Within the overlay, where the server isn't. */
        {"\"source\":\"10.77.0.0/16\"", 0},
        {"\"destination\":\"10.77.0.2\"", 0},
    };
    static const char *const WHERE[] = {"\"node\":\"A\"", "\"selector\":{}"};
    struct tree tree = {0};
    struct view view = {.tree = &tree};

    fill(&tree);
    put(&tree, "index/service/sdn/A", "true");
    put(&tree, "object/settings/overlay", "{\"spec\":{\"range\":\"10.77.0.0/16\"}}");
    put(&tree, "fact/A/core.seen",
        "{\"address\":\"198.51.100.9\",\"server\":\"203.0.113.5:8444\"}");
    put(&tree, "fact/A/vpn.self", "{\"addresses\":[\"192.168.7.2\"]}");
    for (size_t i = 0; i < 2 * ARRAY_LEN(CASES); i++) {
        const char *members = CASES[i / 2].members;
        _cleanup_free_ char *text =
            xasprintf("{%s%s%s}", WHERE[i % 2], *members ? "," : "", members);
        json_t *spec = parse(text);
        struct error error = {0};
        int rc = SERVICE_SDN.validate("sdn/filters", "1", spec, &view, &error);
        if ((rc < 0) != CASES[i / 2].cuts ||
            (rc < 0 && (error.status != 409 || strcmp(error.detail, CUT_WORDS) != 0))) {
            fail_msg("%s: %d %s", text, error.status, error.detail);
        }
        json_decref(spec);
    }
    tree_done(&tree);
}

/* Over loopback, or not known: nothing is cut. */
static void who_cannot_be_cut_off_is_not(void **state)
{
    static const char *const SEEN[] = {
        "{\"address\":\"127.0.0.1\",\"server\":\"127.0.0.1:8444\"}",
        "{\"address\":\"127.0.0.9\",\"server\":\"127.0.0.1:8444\"}",
        "{\"address\":\"203.0.113.5\",\"server\":\"203.0.113.5:8444\"}",
        "{\"address\":\"198.51.100.9\"}",
    };
    struct error error = {0};
    json_t *spec = parse("{\"node\":\"A\"}");

    for (size_t i = 0; i < ARRAY_LEN(SEEN); i++) {
        struct tree tree = {0};
        struct view view = {.tree = &tree};
        fill(&tree);
        put(&tree, "fact/A/core.seen", SEEN[i]);
        assert_int_equal(SERVICE_SDN.validate("sdn/filters", "1", spec, &view, &error), 0);
        tree_done(&tree);
    }
    json_decref(spec);
}

/* What was there before may be given another comment. */
static void what_cuts_already_can_be_edited(void **state)
{
    struct tree tree = {0};
    struct view view = {.tree = &tree};
    struct error error = {0};
    json_t *same = parse("{\"node\":\"A\",\"comment\":\"x\"}");
    json_t *other = parse("{\"node\":\"A\",\"direction\":\"out\"}");

    fill(&tree);
    put(&tree, "object/sdn/filters/1", "{\"spec\":{\"node\":\"A\"}}");
    put(&tree, "fact/A/core.seen",
        "{\"address\":\"198.51.100.9\",\"server\":\"203.0.113.5:8444\"}");
    assert_int_equal(SERVICE_SDN.validate("sdn/filters", "1", same, &view, &error), 0);
    assert_true(SERVICE_SDN.validate("sdn/filters", "1", other, &view, &error) < 0);
    assert_string_equal(error.detail, CUT_WORDS);
    json_decref(same);
    json_decref(other);
    tree_done(&tree);
}

/* What else changes of a node wakes none of the filters that it has, be they ten thousand. */
static void plans_read_of_a_node_what_matters(void **state)
{
    static const struct {
        const char *spec;
        int reads_node;
    } CASES[] = {
        {"{\"node\":\"A\"}", 0},
        {"{\"node\":\"A\",\"destination\":\"10.77.0.2/32\"}", 0},
        {"{\"selector\":{\"tier\":\"web\",\"zone\":\"1\"}}", 0},
        {"{\"node\":\"A\",\"destination\":\"203.0.113.0/24\"}", 1}, /* its endpoint */
    };

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        struct tree tree = {0};
        struct omap reads = {0};
        struct view view = {.tree = &tree, .reads = &reads};
        struct plan plan = {0};
        json_t *spec = parse(CASES[i].spec);
        put(&tree, "object/settings/overlay", "{\"spec\":{\"range\":\"10.77.0.0/16\"}}");
        put(&tree, "object/nodes/A",
            "{\"spec\":{\"services\":[\"vpn\",\"sdn\"],\"labels\":{\"tier\":\"web\","
            "\"zone\":\"1\"}}}");
        sdn_plan("sdn/filters", "1", spec, &view, &plan);
        assert_non_null(omap_get(&plan.resources, "sdn/filter/1/A"));
        assert_int_equal(omap_get(&reads, "object/nodes/A") != NULL, CASES[i].reads_node);
        plan_done(&plan);
        omap_clear(&reads, NULL);
        json_decref(spec);
        tree_done(&tree);
    }
}

/* A node that gets a label, or sdn, comes under filters that are there already. */
static void who_changes_is_not_cut_off(void **state)
{
#define NODE(services_, labels_) "{\"services\":[" services_ "],\"labels\":{" labels_ "}}"
#define WEB "\"tier\":\"web\""
    static const struct {
        const char *before, *after;
        int filter; /* that stands in the way; 0: none */
    } CASES[] = {
        {NODE("\"vpn\"", WEB), NODE("\"vpn\",\"sdn\"", WEB), 2},
        {NODE("\"vpn\"", ""), NODE("\"vpn\",\"sdn\"", ""), 0},
        {NODE("\"vpn\",\"sdn\"", ""), NODE("\"vpn\",\"sdn\"", WEB), 2},
        {NODE("\"vpn\",\"sdn\"", WEB), NODE("\"vpn\",\"sdn\"", WEB ",\"a\":\"b\""), 0},
        {NODE("\"vpn\",\"sdn\"", WEB), NODE("\"vpn\"", WEB), 0},
        {NODE("\"vpn\"", ""), NODE("\"vpn\"", WEB), 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        struct tree tree = {0};
        struct view view = {.tree = &tree};
        struct error error = {0};
        json_t *after = parse(CASES[i].after);
        _cleanup_free_ char *before = xasprintf("{\"spec\":%s}", CASES[i].before);
        put(&tree, "object/nodes/A", before);
        put(&tree, "object/sdn/filters/1", "{\"spec\":{\"node\":\"A\"}}");
        put(&tree, "object/sdn/filters/2", "{\"spec\":{\"selector\":{" WEB "}}}");
        put(&tree, "object/sdn/filters/3",
            "{\"spec\":{\"selector\":{},\"destination\":\"203.0.113.6\"}}");
        put(&tree, "fact/A/core.seen",
            "{\"address\":\"198.51.100.9\",\"server\":\"203.0.113.5:8444\"}");
        int rc = SERVICE_SDN.validate("nodes", "A", after, &view, &error);
        if ((rc < 0) != (CASES[i].filter != 0)) {
            fail_msg("%zu: %d %s", i, error.status, error.detail);
        }
        if (rc < 0) {
            assert_int_equal(error.status, 409);
            assert_string_equal(error.detail, "sdn filter 2 would hold on it, and " CUT_WORDS
                                              "; delete or change the filter first");
        }
        assert_int_equal(SERVICE_SDN.validate("nodes", "New", after, &view, &error), 0);
        json_decref(after);
        tree_done(&tree);
    }
}

static void sdn_needs_vpn(void **state)
{
    static const struct refusal CASES[] = {
        {"{\"services\":[\"vpn\",\"sdn\"]}", 0, "", ""},
        {"{\"services\":[]}", 0, "", ""},
        {"{\"services\":[\"sdn\"]}", 400, "/services", "\"services\": sdn needs vpn beside it"},
    };

    check("nodes", CASES, ARRAY_LEN(CASES));
}

/* A filter can be edited after its node was deleted; another such node can't be chosen. */
static void the_node_it_has_may_be_gone(void **state)
{
    static const struct refusal CASES[] = {
        {"{\"node\":\"Gone\",\"comment\":\"x\"}", 0, "", ""},
        {"{\"node\":\"Gone2\"}", 400, "/node", "\"node\": there is no node \"Gone2\""},
    };
    struct tree tree = {0};
    struct view view = {.tree = &tree};

    put(&tree, "object/sdn/filters/1", "{\"spec\":{\"node\":\"Gone\"}}");
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        struct error error = {0};
        json_t *spec = parse(CASES[i].spec);
        SERVICE_SDN.validate("sdn/filters", "1", spec, &view, &error);
        assert_int_equal(error.status, CASES[i].status);
        assert_string_equal(error.pointer, CASES[i].pointer);
        json_decref(spec);
    }
    tree_done(&tree);
}

static void note_claim(void *arg, const char *name, const char *pointer)
{
    free(*(char **)arg);
    *(char **)arg = xstrdup(name);
}

static char *claim_of(const char *key, const char *text)
{
    char *claim = NULL;
    json_t *spec = parse(text);

    SERVICE_SDN.claims(key, spec, note_claim, &claim);
    json_decref(spec);
    return claim;
}

/* Each row: two specs, and whether they are the same one. */
static void the_same_is_seen_however_it_is_written(void **state)
{
    static const struct {
        const char *key, *a, *b;
        int same;
    } CASES[] = {
        {"object/sdn/filters/1", FROM("10.0.0.1"), FROM("10.0.0.1/32"), 1},
        {"object/sdn/filters/1", FROM("0.0.0.0/0"), "{\"node\":\"A\"}", 1},
        {"object/sdn/filters/1", TCP("80"), TCP("80-80"), 1},
        {"object/sdn/filters/1", TCP("80"), TCP("80-81"), 0},
        {"object/sdn/filters/1", "{\"node\":\"A\",\"comment\":\"x\",\"priority\":7}",
         "{\"node\":\"A\"}", 1},
        {"object/sdn/filters/1", "{\"node\":\"A\"}", "{\"node\":\"B\"}", 0},
        {"object/sdn/filters/1", "{\"selector\":{\"a\":\"1\",\"b\":\"2\"}}",
         "{\"selector\":{\"b\":\"2\",\"a\":\"1\"}}", 1},
        {"object/sdn/filters/1", "{\"selector\":{}}", "{\"selector\":{\"a\":\"\"}}", 0},
        {"object/sdn/filters/1", "{\"node\":\"A\",\"direction\":\"in\"}", "{\"node\":\"A\"}", 0},
        {"object/sdn/flows/1", MATCH("\"tcp_dst\":1"), MATCH("\"tcp_dst\":1,\"ip_proto\":6"), 1},
        {"object/sdn/flows/1", MATCH("\"ipv4_src\":\"0.0.0.0/0\""), MATCH(""), 1},
        {"object/sdn/flows/1", MATCH("\"tcp_dst\":1"), MATCH("\"tcp_dst\":2"), 0},
        {"object/sdn/flows/1", "{\"node\":\"A\",\"priority\":1,\"actions\":[\"drop\"]}",
         "{\"node\":\"A\",\"priority\":1,\"actions\":[\"pass\"]}", 1},
        {"object/sdn/flows/1", "{\"node\":\"A\",\"priority\":1,\"actions\":[\"drop\"]}",
         "{\"node\":\"A\",\"priority\":2,\"actions\":[\"drop\"]}", 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        _cleanup_free_ char *a = claim_of(CASES[i].key, CASES[i].a);
        _cleanup_free_ char *b = claim_of(CASES[i].key, CASES[i].b);
        if ((strcmp(a, b) == 0) != CASES[i].same) {
            fail_msg("%s and %s", CASES[i].a, CASES[i].b);
        }
    }
}

static void the_same_again_names_the_first(void **state)
{
    struct tree tree = {0};
    struct view view = {.tree = &tree};
    struct error error = {0};
    json_t *spec = parse(TCP("1919"));
    _cleanup_free_ char *claim = claim_of("object/sdn/filters/7", TCP("1919"));
    _cleanup_free_ char *key = xasprintf("claim/%s", claim);

    fill(&tree);
    put(&tree, key, "{\"owner\":\"object/sdn/filters/7\"}");
    assert_true(SERVICE_SDN.validate("sdn/filters", "8", spec, &view, &error) < 0);
    assert_int_equal(error.status, 409);
    assert_string_equal(error.detail, "sdn filter 7 is the same");
    assert_int_equal(SERVICE_SDN.validate("sdn/filters", "7", spec, &view, &error), 0);
    json_decref(spec);
    tree_done(&tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_are_refused_by_field),
        cmocka_unit_test(flows_are_refused_by_field),
        cmocka_unit_test(who_would_be_cut_off_is_told),
        cmocka_unit_test(who_cannot_be_cut_off_is_not),
        cmocka_unit_test(what_cuts_already_can_be_edited),
        cmocka_unit_test(who_changes_is_not_cut_off),
        cmocka_unit_test(plans_read_of_a_node_what_matters),
        cmocka_unit_test(sdn_needs_vpn),
        cmocka_unit_test(the_node_it_has_may_be_gone),
        cmocka_unit_test(the_same_is_seen_however_it_is_written),
        cmocka_unit_test(the_same_again_names_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
