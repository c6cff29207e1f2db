/* sdn-ovs-test.c - the driver on a host with Open vSwitch, with real packets. */
#include "services/sdn/sdn-fixture.h"

#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/netlink.h"
#include "services/overlay.h"

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
    _cleanup_free_ char *port = ovs_read(ARGV("ovs-vsctl", "get", "interface", OVERLAY_PORT,
                                              "ofport"));
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

int sdn_tests(void);
int sdn_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bridge_and_base_are_made),
        cmocka_unit_test(filter_counts_exactly),
        cmocka_unit_test(counters_outlive_agents),
        cmocka_unit_test(survives_a_switch_that_restarts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return ovs_host_main(sdn_tests);
}
