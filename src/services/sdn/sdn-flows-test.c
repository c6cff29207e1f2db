/* sdn-flows-test.c - resources in, flows out, as text; and what a person reads of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/buf.h"
#include "lib/mem.h"
#include "services/sdn/sdn-explain.h"
#include "services/sdn/sdn-flows.h"

enum {
    TEXT_MAX = 1 << 20,
};

/* "table priority {match} [actions]" */
static void print_flow(struct buf *text, const struct of_flow *flow)
{
    json_t *json = sdn_explain(&(struct of_flow_stats){.flow = *flow});
    char *match = json_dumps(json_object_get(json, "match"), JSON_COMPACT);
    char *actions = json_dumps(json_object_get(json, "actions"), JSON_COMPACT);

    buf_printf(text, "%u %u %s %s\n", flow->table, flow->priority, match, actions);
    free(match);
    free(actions);
    json_decref(json);
    assert_true(of_match_has(&flow->match, OF_IN_PORT));
    assert_int_equal(of_match_check(&flow->match, NULL), 0);
}

typedef int parse_fn(const json_t *spec, struct sdn_rule *ret_rule, struct error *error);

static int parse(parse_fn *parse_spec, const char *spec, struct sdn_rule *ret_rule,
                 struct error *error)
{
    json_t *json = json_loads(spec, 0, NULL);

    assert_non_null(json);
    int rc = parse_spec(json, ret_rule, error);
    json_decref(json);
    return rc;
}

static void assert_flows(parse_fn *parse_spec, const char *spec, const char *wanted)
{
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_MAX);
    struct error error = {0};
    struct sdn_rule rule;
    struct of_flow flow;

    int rc = parse(parse_spec, spec, &rule, &error);
    assert_string_equal(error.detail, "");
    assert_int_equal(rc, 0);
    for (size_t i = 0; sdn_rule_flow(&rule, 7, i, &flow); i++) {
        assert_int_equal(flow.cookie, sdn_cookie((enum sdn_kind)rule.kind, 7));
        print_flow(&text, &flow);
    }
    assert_string_equal(text.data, wanted);
}

static void assert_refused(parse_fn *parse_spec, const char *spec, const char *pointer)
{
    struct error error = {0};
    struct sdn_rule rule;

    assert_true(parse(parse_spec, spec, &rule, &error) < 0);
    assert_string_equal(error.pointer, pointer);
}

/* --- the base --- */

static void assert_base(const char *spec, const char *wanted)
{
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_MAX);
    json_t *json = json_loads(spec, 0, NULL);
    struct sdn_self self;
    struct of_flow flow;

    assert_int_equal(sdn_self_parse(json, &self, NULL), 0);
    for (unsigned number = 0; number < SDN_BASE_LEN; number++) {
        for (size_t i = 0; sdn_base_flow(&self, number, i, &flow); i++) {
            assert_int_equal(flow.cookie, sdn_cookie(SDN_BASE, number));
            print_flow(&text, &flow);
        }
    }
    assert_string_equal(text.data, wanted);
    json_decref(json);
}

#define IP "\"eth_type\":\"0x0800\""
#define REST                                                                                      \
    "1 0 {\"in_port\":\"tunnel\"} [\"goto_table:2\"]\n"                                           \
    "1 0 {\"in_port\":\"local\"} [\"goto_table:2\"]\n"                                            \
    "2 0 {\"in_port\":\"tunnel\"} [\"goto_table:3\"]\n"                                           \
    "2 0 {\"in_port\":\"local\"} [\"goto_table:3\"]\n"                                            \
    "3 0 {\"in_port\":\"tunnel\"} [\"output:local\"]\n"                                           \
    "3 0 {\"in_port\":\"local\"} [\"output:tunnel\"]\n"

static void base_of_a_node(void **state)
{
    assert_base("{\"address\":\"10.77.0.5\",\"range\":\"10.77.0.0/16\",\"clientRange\":\"\"}",
                "0 200 {\"in_port\":\"tunnel\"," IP ",\"ipv4_src\":\"10.77.0.5\"} [\"drop\"]\n"
                "0 100 {\"in_port\":\"tunnel\"," IP
                ",\"ipv4_src\":\"10.77.0.0/16\",\"ipv4_dst\":\"10.77.0.5\"} [\"goto_table:1\"]\n"
                "0 100 {\"in_port\":\"local\"," IP
                ",\"ipv4_src\":\"10.77.0.5\"} [\"goto_table:1\"]\n" REST);
}

/* Clients with a device on the hub have the lower half of its range. */
static void base_of_a_hub(void **state)
{
    assert_base(
        "{\"address\":\"10.77.0.5\",\"range\":\"10.77.0.0/16\",\"clientRange\":\"10.77.248.0/"
        "21\"}",
        "0 200 {\"in_port\":\"tunnel\"," IP ",\"ipv4_src\":\"10.77.0.5\"} [\"drop\"]\n"
        "0 100 {\"in_port\":\"tunnel\"," IP
        ",\"ipv4_src\":\"10.77.0.0/16\",\"ipv4_dst\":\"10.77.0.5\"} [\"goto_table:1\"]\n"
        "0 100 {\"in_port\":\"local\"," IP ",\"ipv4_src\":\"10.77.0.5\"} [\"goto_table:1\"]\n"
        "0 200 {\"in_port\":\"tunnel\"," IP ",\"ipv4_src\":\"10.77.248.0/22\"} [\"drop\"]\n"
        "0 100 {\"in_port\":\"tunnel\"," IP
        ",\"ipv4_src\":\"10.77.0.0/16\",\"ipv4_dst\":\"10.77.248.0/21\"} [\"goto_table:1\"]\n"
        "0 100 {\"in_port\":\"local\"," IP
        ",\"ipv4_src\":\"10.77.248.0/22\"} [\"goto_table:1\"]\n" REST);
}

/* --- filters --- */

#define FILTER(direction, protocol, source, destination, port)                                    \
    "{\"direction\":\"" direction "\",\"protocol\":\"" protocol "\",\"source\":\"" source         \
    "\",\"destination\":\"" destination "\",\"port\":\"" port "\",\"priority\":1000}"
#define ANY "0.0.0.0/0"

static void filters_become_flows(void **state)
{
    assert_flows(sdn_filter_parse, FILTER("in", "any", ANY, ANY, ""),
                 "1 1000 {\"in_port\":\"tunnel\"," IP "} [\"drop\"]\n");
    assert_flows(sdn_filter_parse, FILTER("both", "icmp", "10.77.1.0/24", "10.77.0.5", ""),
                 "1 1000 {\"in_port\":\"tunnel\"," IP
                 ",\"ipv4_src\":\"10.77.1.0/24\",\"ipv4_dst\":"
                 "\"10.77.0.5\",\"ip_proto\":1} [\"drop\"]\n"
                 "1 1000 {\"in_port\":\"local\"," IP ",\"ipv4_src\":\"10.77.1.0/24\",\"ipv4_dst\":"
                 "\"10.77.0.5\",\"ip_proto\":1} [\"drop\"]\n");
    assert_flows(sdn_filter_parse, FILTER("out", "tcp", ANY, "10.77.0.9/32", "1919"),
                 "1 1000 {\"in_port\":\"local\"," IP ",\"ipv4_dst\":\"10.77.0.9\",\"ip_proto\":6,"
                 "\"tcp_dst\":1919} [\"drop\"]\n");
    assert_flows(
        sdn_filter_parse, FILTER("both", "udp", ANY, ANY, "8000-8010"),
        "1 1000 {\"in_port\":\"tunnel\"," IP
        ",\"ip_proto\":17,\"udp_dst\":\"0x1f40/0xfff8\"} [\"drop\"]\n"
        "1 1000 {\"in_port\":\"tunnel\"," IP
        ",\"ip_proto\":17,\"udp_dst\":\"0x1f48/0xfffe\"} [\"drop\"]\n"
        "1 1000 {\"in_port\":\"tunnel\"," IP ",\"ip_proto\":17,\"udp_dst\":8010} [\"drop\"]\n"
        "1 1000 {\"in_port\":\"local\"," IP
        ",\"ip_proto\":17,\"udp_dst\":\"0x1f40/0xfff8\"} [\"drop\"]\n"
        "1 1000 {\"in_port\":\"local\"," IP
        ",\"ip_proto\":17,\"udp_dst\":\"0x1f48/0xfffe\"} [\"drop\"]\n"
        "1 1000 {\"in_port\":\"local\"," IP ",\"ip_proto\":17,\"udp_dst\":8010} [\"drop\"]\n");
}

static void wrong_filters_are_refused(void **state)
{
    assert_refused(sdn_filter_parse, FILTER("up", "any", ANY, ANY, ""), "/direction");
    assert_refused(sdn_filter_parse, FILTER("in", "sctp", ANY, ANY, ""), "/protocol");
    assert_refused(sdn_filter_parse, FILTER("in", "any", "10.0.0.1/8", ANY, ""), "/source");
    assert_refused(sdn_filter_parse, FILTER("in", "any", ANY, "fe80::1", ""), "/destination");
    assert_refused(sdn_filter_parse, FILTER("in", "any", ANY, ANY, "80"), "/port");
    assert_refused(sdn_filter_parse, FILTER("in", "tcp", ANY, ANY, "90-80"), "/port");
    assert_refused(sdn_filter_parse, FILTER("in", "tcp", ANY, ANY, "0"), "/port");
    assert_refused(sdn_filter_parse, FILTER("in", "tcp", ANY, ANY, "65536"), "/port");
    assert_refused(sdn_filter_parse, FILTER("in", "tcp", ANY, ANY, "80-"), "/port");
    assert_refused(sdn_filter_parse, "{}", "/direction");
}

/* --- flows of operators --- */

#define FLOW(match, action) "{\"priority\":9,\"match\":{" match "},\"actions\":[\"" action "\"]}"

static void raw_flows_become_flows(void **state)
{
    assert_flows(sdn_flow_parse, FLOW("", "pass"),
                 "2 9 {\"in_port\":\"tunnel\"," IP "} [\"goto_table:3\"]\n"
                 "2 9 {\"in_port\":\"local\"," IP "} [\"goto_table:3\"]\n");
    assert_flows(sdn_flow_parse,
                 FLOW("\"in_port\":\"local\",\"ipv4_src\":\"10.77.0.0/16\",\"ip_dscp\":46,"
                      "\"ip_ecn\":3,\"tcp_src\":22,\"tcp_dst\":0",
                      "drop"),
                 "2 9 {\"in_port\":\"local\"," IP ",\"ipv4_src\":\"10.77.0.0/16\",\"ip_dscp\":46,"
                 "\"ip_ecn\":3,\"ip_proto\":6,\"tcp_src\":22,\"tcp_dst\":0} [\"drop\"]\n");
    assert_flows(
        sdn_flow_parse,
        FLOW("\"in_port\":\"tunnel\",\"ip_proto\":1,\"icmpv4_type\":8,\"icmpv4_code\":0", "drop"),
        "2 9 {\"in_port\":\"tunnel\"," IP
        ",\"ip_proto\":1,\"icmpv4_type\":8,\"icmpv4_code\":0} [\"drop\"]\n");
}

static void wrong_flows_are_refused(void **state)
{
    assert_refused(sdn_flow_parse, FLOW("\"ip_proto\":17,\"tcp_dst\":80", "drop"),
                   "/match/tcp_dst");
    assert_refused(sdn_flow_parse, FLOW("\"tcp_dst\":80,\"ip_proto\":17", "drop"),
                   "/match/ip_proto");
    assert_refused(sdn_flow_parse, FLOW("\"ipv6_src\":\"::1\"", "drop"), "/match/ipv6_src");
    assert_refused(sdn_flow_parse, FLOW("\"in_port\":7", "drop"), "/match/in_port");
    assert_refused(sdn_flow_parse, FLOW("\"ip_dscp\":64", "drop"), "/match/ip_dscp");
    assert_refused(sdn_flow_parse, FLOW("\"tcp_dst\":-1", "drop"), "/match/tcp_dst");
    assert_refused(sdn_flow_parse, FLOW("", "normal"), "/actions");
    assert_refused(sdn_flow_parse, "{\"priority\":0,\"match\":{},\"actions\":[\"drop\"]}",
                   "/priority");
    assert_refused(sdn_flow_parse, "{\"priority\":1,\"actions\":[\"drop\"]}", "/match");
}

/* --- comparing and explaining --- */

static void digests_tell_flows_apart(void **state)
{
    struct sdn_rule rule;
    struct of_flow a, b;

    parse(sdn_filter_parse, FILTER("in", "tcp", ANY, ANY, "80"), &rule, NULL);
    sdn_rule_flow(&rule, 7, 0, &a);
    sdn_rule_flow(&rule, 8, 0, &b);
    assert_int_equal(sdn_flow_key(&a), sdn_flow_key(&b)); /* a switch has only one of them */
    assert_int_not_equal(sdn_flow_digest(&a), sdn_flow_digest(&b));
    b = a;
    assert_int_equal(sdn_flow_digest(&a), sdn_flow_digest(&b));
    b.goto_table = 2;
    assert_int_not_equal(sdn_flow_digest(&a), sdn_flow_digest(&b));
    b = a;
    of_flow_output(&b, OF_PORT_LOCAL);
    assert_int_not_equal(sdn_flow_digest(&a), sdn_flow_digest(&b));
    b = a;
    b.priority++;
    assert_int_not_equal(sdn_flow_key(&a), sdn_flow_key(&b));
}

static void assert_text(parse_fn *parse_spec, const char *spec, const char *owner,
                        const char *wanted)
{
    struct of_flow_stats stats = {.packets = 3, .bytes = 300};
    struct sdn_rule rule;

    assert_int_equal(parse(parse_spec, spec, &rule, NULL), 0);
    sdn_rule_flow(&rule, 7, 0, &stats.flow);
    json_t *json = sdn_explain(&stats);
    assert_string_equal(json_string_value(json_object_get(json, "text")), wanted);
    assert_string_equal(json_string_value(json_object_get(json, "owner")), owner);
    assert_int_equal(json_integer_value(json_object_get(json, "packets")), 3);
    json_decref(json);
}

static void flows_have_words(void **state)
{
    assert_text(sdn_filter_parse, FILTER("in", "tcp", ANY, "10.77.0.2", "1919"), "filter/7",
                "TCP from anywhere to 10.77.0.2 port 1919, coming from the tunnel, is dropped.");
    assert_text(sdn_filter_parse, FILTER("out", "udp", "10.77.0.0/16", ANY, "8000-8007"),
                "filter/7",
                "UDP from 10.77.0.0/16 to anywhere ports 8000-8007, coming from the node, is "
                "dropped.");
    assert_text(sdn_flow_parse, FLOW("\"in_port\":\"tunnel\",\"icmpv4_type\":8", "pass"), "flow/7",
                "ICMP from anywhere to anywhere, type 8, coming from the tunnel, goes on to "
                "forwarding.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base_of_a_node),           cmocka_unit_test(base_of_a_hub),
        cmocka_unit_test(filters_become_flows),     cmocka_unit_test(wrong_filters_are_refused),
        cmocka_unit_test(raw_flows_become_flows),   cmocka_unit_test(wrong_flows_are_refused),
        cmocka_unit_test(digests_tell_flows_apart), cmocka_unit_test(flows_have_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
