/* sdn-ovs-test.c - the driver on a host with Open vSwitch, with real packets. */
#include "services/sdn/sdn-fixture.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/netlink.h"
#include "lib/spawn.h"
#include "services/overlay.h"

enum {
    MANY = 10000,
};

#define FILTER(number) "sdn/filter/" number "/" NODE
#define DROP(direction, protocol, port)                                                           \
    "{\"direction\":\"" direction "\",\"protocol\":\"" protocol                                   \
    "\",\"source\":\"0.0.0.0/0\",\"destination\":\"0.0.0.0/0\",\"port\":\"" port                  \
    "\",\"priority\":1000,\"sourceSelf\":false,\"destinationSelf\":false}"

static int is_marked(void)
{
    struct netlink_link link;
    struct netlink *nl;

    assert_int_equal(netlink_new(&nl), 0);
    int rc = netlink_link_get(nl, OVERLAY_BRIDGE, &link);
    netlink_free(nl);
    return rc == 0 && strcmp(link.alias, "cnsmo") == 0;
}

static int flows_have(struct agent *a, const void *text)
{
    _cleanup_free_ char *flows = flows_now();

    return strstr(flows, text) != NULL;
}

static int flows_are(struct agent *a, const void *wanted)
{
    _cleanup_free_ char *flows = flows_now();

    return is_marked() && strcmp(flows, wanted) == 0;
}

static void bridge_and_base_are_made(void **state)
{
    struct agent a;

    overlay_make_tunnel();
    agent_start(&a);
    agent_put(&a, SELF_KEY, SELF_BODY);
    agent_settle(&a);
    assert_true(is_marked());
    assert_true(flows_have(&a, "priority=100,ip,in_port=LOCAL,nw_src=10.77.0.5"));
    _cleanup_free_ char *port =
        ovs_read(ARGV("ovs-vsctl", "get", "interface", OVERLAY_PORT, "ofport"));
    assert_string_equal(port, "1\n");
    overlay_make_address();
    ovs_do(ARGV("ping", "-c", "2", "-i", "0.1", "-W", "5", PEER));
    agent_wait_counter(&a, "sdn/node/in", 2);
    agent_wait_counter(&a, "sdn/node/out", 2);
    agent_stop(&a);
}

/* What came before the filter isn't counted; what comes after it is in force, exactly. */
static void filter_counts_exactly(void **state)
{
    struct agent a;

    agent_start(&a);
    agent_put(&a, SELF_KEY, SELF_BODY);
    agent_settle(&a);
    send_from_peer(1919, 50);
    agent_put(&a, FILTER("7"), DROP("in", "udp", "1919"));
    agent_settle(&a);
    assert_int_equal(agent_counter(&a, "sdn/filter/7"), 0);
    send_from_peer(1919, 30);
    send_from_peer(1920, 5);
    send_to_peer(1919, 5);
    agent_wait_counter(&a, "sdn/filter/7", 30);
    agent_stop(&a);
}

/* The agent of the test before has gone; its filter stands, and its counter goes on. */
static void counters_outlive_agents(void **state)
{
    struct agent a;

    agent_start(&a);
    send_from_peer(1919, 4);
    agent_put(&a, SELF_KEY, SELF_BODY);
    agent_put(&a, FILTER("7"), DROP("in", "udp", "1919"));
    agent_settle(&a);
    agent_wait_counter(&a, "sdn/filter/7", 34);
    agent_stop(&a);
}

static void survives_a_switch_that_restarts(void **state)
{
    struct agent a;

    agent_start(&a);
    agent_put(&a, SELF_KEY, SELF_BODY);
    agent_put(&a, FILTER("7"), DROP("in", "udp", "1919"));
    agent_settle(&a);
    _cleanup_free_ char *flows = flows_now();
    ovs_kill(ovs_switch_pid());
    ovs_start_switch();
    agent_wait(&a, flows_are, flows, "repaired");
    overlay_make_address();
    send_from_peer(1919, 6);
    agent_wait_counter(&a, "sdn/filter/7", 40);
    agent_stop(&a);
}

static void start_with_filter(struct agent *a)
{
    agent_start(a);
    agent_put(a, SELF_KEY, SELF_BODY);
    agent_put(a, FILTER("7"), DROP("in", "udp", "1919"));
    agent_settle(a);
}

#define OFCTL(...) ovs_do(ARGV("ovs-ofctl", "-O", "OpenFlow14", __VA_ARGS__))

static void drift_is_repaired(void **state)
{
    struct agent a;

    start_with_filter(&a);
    _cleanup_free_ char *flows = flows_now();
    send_from_peer(1919, 5);
    agent_wait_counter(&a, "sdn/filter/7", 45);
    OFCTL("del-flows", OVERLAY_BRIDGE);
    agent_wait(&a, flows_are, flows, "repaired after all flows were deleted");
    send_from_peer(1919, 5);
    agent_wait_counter(&a, "sdn/filter/7", 50);
    OFCTL("del-flows", OVERLAY_BRIDGE, "table=1,udp");
    agent_wait(&a, flows_are, flows, "repaired after the filter was deleted");
    OFCTL("mod-flows", OVERLAY_BRIDGE, "table=1,udp,actions=goto_table:2");
    agent_wait(&a, flows_are, flows, "repaired after the filter was changed");
    OFCTL("add-flow", OVERLAY_BRIDGE, "table=0,priority=65000,actions=NORMAL");
    OFCTL("add-flow", OVERLAY_BRIDGE, "table=9,ipv6,cookie=5,actions=drop");
    agent_wait(&a, flows_are, flows, "repaired after flows were added");
    OFCTL("add-flow", OVERLAY_BRIDGE, "table=3,priority=0,in_port=1,cookie=5,actions=drop");
    agent_wait(&a, flows_are, flows, "repaired after a flow was replaced");
    agent_stop(&a);
}

static int has_port(struct agent *a, const void *arg)
{
    _cleanup_free_ char *port =
        ovs_read(ARGV("ovs-vsctl", "--if-exists", "get", "interface", OVERLAY_PORT, "ofport"));

    return strcmp(port, arg) == 0;
}

static void bridge_and_port_come_back(void **state)
{
    struct agent a;

    start_with_filter(&a);
    _cleanup_free_ char *flows = flows_now();
    ovs_do(ARGV("ovs-vsctl", "del-port", OVERLAY_BRIDGE, OVERLAY_PORT));
    agent_wait(&a, has_port, "1\n", "repaired after the port was removed");
    ovs_do(ARGV("ovs-vsctl", "del-br", OVERLAY_BRIDGE));
    agent_wait(&a, flows_are, flows, "repaired after the bridge was removed");
    agent_wait(&a, has_port, "1\n", "repaired after the bridge was removed");
    ovs_do(ARGV("ovs-vsctl", "set", "bridge", OVERLAY_BRIDGE, "fail_mode=standalone"));
    ovs_kill(ovs_server_pid());
    ovs_start_server();
    agent_wait(&a, flows_are, flows, "repaired after the database's server was restarted");
    overlay_make_address();
    ovs_do(ARGV("ping", "-c", "1", "-W", "5", PEER));
    agent_stop(&a);
}

static int answers_pings(struct agent *a, const void *arg)
{
    static const char *const PING[] = {"ping", "-c", "1", "-W", "0.1", PEER, NULL};
    struct error error;

    return spawn_check(&(struct spawn){.argv = PING}, &error) == 0;
}

/* vpn makes it again after it has gone. */
static void port_follows_the_link(void **state)
{
    struct agent a;

    start_with_filter(&a);
    ovs_do(ARGV("ip", "link", "delete", OVERLAY_PORT));
    agent_wait(&a, has_port, "", "without its port");
    ovs_do(ARGV("ip", "netns", "delete", OVERLAY_NAMESPACE));
    overlay_make_tunnel();
    agent_wait(&a, has_port, "1\n", "with its port again");
    ovs_do(ARGV("ping", "-c", "1", "-W", "5", PEER));
    /* Again, and so fast that the switch doesn't notice. */
    ovs_do(ARGV("ip", "link", "delete", OVERLAY_PORT));
    ovs_do(ARGV("ip", "netns", "delete", OVERLAY_NAMESPACE));
    overlay_make_tunnel();
    agent_wait(&a, answers_pings, NULL, "through the new link");
    agent_stop(&a);
}

static int status_says(struct agent *a, const void *text)
{
    json_t *status = reconcile_status(a->reconcile);
    _cleanup_free_ char *found = json_dumps(status, 0);

    json_decref(status);
    return strstr(found, text) != NULL;
}

static int errors_say(struct agent *a, const void *text)
{
    return strstr(a->errors, text) != NULL;
}

static char *cached_flows(void)
{
    return ovs_read(ARGV("ovs-appctl", "dpctl/dump-flows"));
}

/* Open vSwitch's own datapath may keep to a cached flow that a change has made wrong. */
static void nothing_stays_cached_over_a_change(void **state)
{
    struct agent a;

    start_with_filter(&a);
    send_from_peer(9999, 3);
    _cleanup_free_ char *before = cached_flows();
    assert_non_null(strstr(before, "in_port"));
    agent_put(&a, FILTER("8"), DROP("in", "udp", "1920"));
    agent_settle(&a);
    _cleanup_free_ char *after = cached_flows();
    assert_null(strstr(after, "in_port"));
    agent_put(&a, FILTER("8"), NULL);
    agent_settle(&a);
    agent_stop(&a);
}

static void note_answer(void *arg, const json_t *body, const struct error *error)
{
    char **answer = arg;

    *answer = body ? json_dumps(body, JSON_SORT_KEYS) : xstrdup(error->detail);
}

static int is_answered(struct agent *a, const void *arg)
{
    return *(char *const *)arg != NULL;
}

static char *ask(struct agent *a)
{
    char *answer = NULL;

    assert_int_equal(reconcile_ask(a->reconcile, "sdn/flows", note_answer, &answer), 0);
    agent_wait(a, is_answered, &answer, "answered");
    return answer;
}

static void hung_switch_is_told(void **state)
{
    struct agent a;

    start_with_filter(&a);
    assert_true(status_says(&a, "\"state\": \"running\""));
    pid_t pid = ovs_switch_pid();
    kill(pid, SIGSTOP);
    agent_put(&a, FILTER("8"), DROP("in", "udp", "1920"));
    agent_send(&a);
    agent_wait(&a, errors_say, "Open vSwitch doesn't work", "told");
    assert_true(status_says(&a, "\"state\": \"failed\""));
    kill(pid, SIGCONT);
    agent_wait(&a, flows_have, "tp_dst=1920", "in force");
    agent_put(&a, FILTER("8"), NULL);
    agent_settle(&a);
    agent_stop(&a);
}

static void answers_what_is_in_the_switch(void **state)
{
    struct agent a;

    start_with_filter(&a);
    _cleanup_free_ char *answer = ask(&a);
    assert_non_null(strstr(answer, "UDP from anywhere to anywhere port 1919, coming from the "
                                   "tunnel, is dropped."));
    assert_non_null(strstr(answer, "\"owner\": \"filter/7\""));
    assert_non_null(strstr(answer, "\"datapathId\": \"00000a636e736d01\""));
    agent_stop(&a);
}

/* What isn't marked isn't touched, whatever its name. */
static void stranger_is_left_alone(void **state)
{
    struct agent a;

    ovs_do(ARGV("ovs-vsctl", "del-br", OVERLAY_BRIDGE));
    ovs_do(ARGV("ovs-vsctl", "add-br", OVERLAY_BRIDGE, "--", "set", "bridge", OVERLAY_BRIDGE,
                "datapath_type=netdev"));
    agent_start(&a);
    agent_put(&a, SELF_KEY, SELF_BODY);
    agent_send(&a);
    agent_wait(&a, errors_say, "that isn't ours", "told");
    assert_true(flows_have(&a, "actions=NORMAL"));
    assert_false(is_marked());
    ovs_do(ARGV("ovs-vsctl", "del-br", OVERLAY_BRIDGE));
    agent_wait(&a, flows_have, "nw_src=10.77.0.5", "made once the name was free");
    agent_stop(&a);
}

static int count_flows(struct agent *a, const void *wanted)
{
    _cleanup_free_ char *flows = flows_now();
    int len = 0;

    for (const char *at = flows; (at = strchr(at, '\n')); at++) {
        len++;
    }
    return len == *(const int *)wanted;
}

static void put_many(struct agent *a, int len, int is_there)
{
    for (int i = 0; i < len; i++) {
        _cleanup_free_ char *key = xasprintf("sdn/filter/%d/" NODE, 1000 + i);
        _cleanup_free_ char *body =
            xasprintf("{\"direction\":\"both\",\"protocol\":\"tcp\",\"source\":\"0.0.0.0/0\","
                      "\"destination\":\"10.1.%d.%d\",\"port\":\"80\",\"priority\":1000}",
                      i / 256, i % 256);
        agent_put(a, key, is_there ? body : NULL);
    }
}

/* Ten thousand at once, one more, and all away. */
static void takes_many(void **state)
{
    int base = 9, all = base + 2 * MANY, more = all + 1;
    struct agent a;

    agent_start(&a);
    agent_put(&a, SELF_KEY, SELF_BODY);
    agent_settle(&a);
    agent_wait(&a, count_flows, &base, "only the base");
    put_many(&a, MANY, 1);
    int64_t began = clock_monotonic_usec();
    agent_settle(&a);
    int64_t after_all = clock_monotonic_usec();
    assert_true(count_flows(&a, &all));
    agent_put(&a, FILTER("7"), DROP("in", "udp", "1919"));
    int64_t began_one = clock_monotonic_usec();
    agent_settle(&a);
    int64_t after_one = clock_monotonic_usec();
    assert_true(count_flows(&a, &more));
    printf("%d filters in %lld ms, one more in %lld ms\n", MANY,
           (long long)(after_all - began) / 1000, (long long)(after_one - began_one) / 1000);
    put_many(&a, MANY, 0);
    agent_put(&a, FILTER("7"), NULL);
    agent_settle(&a);
    assert_true(count_flows(&a, &base));
    agent_stop(&a);
}

static void leaving_takes_the_bridge_away(void **state)
{
    struct error error;
    struct agent a;

    start_with_filter(&a);
    assert_int_equal(access("/tmp/state/sdn-counters", F_OK), 0);
    assert_int_equal(reconcile_leave(a.reconcile, &error), 0);
    _cleanup_free_ char *bridges = ovs_read(ARGV("ovs-vsctl", "list-br"));
    assert_string_equal(bridges, "");
    assert_int_equal(access("/tmp/state/sdn-counters", F_OK), -1);
    agent_stop(&a);
}

/* Whoever doesn't want sdn isn't told of Open vSwitch; whoever does is, and gets it later. */
static void no_open_vswitch_is_told(void **state)
{
    struct agent a;

    ovs_kill(ovs_switch_pid());
    ovs_kill(ovs_server_pid());
    agent_start(&a);
    agent_settle(&a);
    assert_string_equal(a.errors, "[]");
    assert_false(status_says(&a, "sdn"));
    agent_put(&a, SELF_KEY, SELF_BODY);
    agent_send(&a);
    agent_wait(&a, errors_say, "Open vSwitch isn't running", "told");
    assert_true(status_says(&a, "\"state\": \"failed\""));
    ovs_start_server();
    ovs_start_switch();
    agent_wait(&a, flows_have, "nw_src=10.77.0.5", "made once Open vSwitch ran");
    agent_stop(&a);
}

int sdn_tests(void);
int sdn_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bridge_and_base_are_made),
        cmocka_unit_test(filter_counts_exactly),
        cmocka_unit_test(counters_outlive_agents),
        cmocka_unit_test(survives_a_switch_that_restarts),
        cmocka_unit_test(drift_is_repaired),
        cmocka_unit_test(bridge_and_port_come_back),
        cmocka_unit_test(port_follows_the_link),
        cmocka_unit_test(hung_switch_is_told),
        cmocka_unit_test(answers_what_is_in_the_switch),
        cmocka_unit_test(stranger_is_left_alone),
        cmocka_unit_test(nothing_stays_cached_over_a_change),
        cmocka_unit_test(takes_many),
        cmocka_unit_test(leaving_takes_the_bridge_away),
        cmocka_unit_test(no_open_vswitch_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return ovs_host_main(sdn_tests);
}
