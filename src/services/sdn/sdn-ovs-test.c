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

static void bridge_and_base_are_made(void **state)
{
    struct agent a;

    agent_start(&a);
    agent_put(&a, SELF_KEY, SELF_BODY);
    agent_settle(&a);
    assert_true(is_marked());
    _cleanup_free_ char *flows = flows_now();
    printf("%s\n", flows);
    agent_stop(&a);
}

int sdn_tests(void);
int sdn_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bridge_and_base_are_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return ovs_host_main(sdn_tests);
}
