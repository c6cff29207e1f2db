/* openflow-switch-test.c - a real ovs-vswitchd: its ports, and its troubles. */
#include "openflow/openflow-fixture.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "lib/mem.h"
#include "openflow/ofctl.h"
#include "ovs-host.h"

static const char *bridge; /* of the present round */
static const char *mgmt;

static void ports_are_named_and_announced(void **state)
{
    struct outcome outcome = {0};
    struct client c;

    client_init(&c);
    client_open(&c, mgmt);
    assert_int_equal(of_ask_ports(c.conn, note_port, note_done, &outcome), 0);
    run_until(&c.loop, &outcome.done, 1);
    assert_int_equal(outcome.len, 2);
    int local = outcome.ports[0].number == OF_PORT_LOCAL ? 0 : 1;
    assert_true(outcome.ports[local].number == OF_PORT_LOCAL);
    assert_string_equal(outcome.ports[local].name, bridge);
    assert_int_equal(outcome.ports[1 - local].number, 5);
    assert_true(outcome.ports[1 - local].config & OF_PORT_IS_DOWN);
    _cleanup_free_ char *port = xasprintf("x-%s", bridge);
    ovs_do(ARGV("ovs-vsctl", "add-port", bridge, port, "--", "set", "interface", port,
                "type=internal", "ofport_request=9"));
    ovs_do(ARGV("ovs-vsctl", "del-port", bridge, port));
    run_until(&c.loop, &c.changes_len, 2);
    assert_int_equal(c.changes[0], OF_PORT_ADDED);
    assert_int_equal(c.changed[0].number, 9);
    assert_string_equal(c.changed[0].name, port);
    while (c.changes[c.changes_len - 1] != OF_PORT_DELETED) {
        run_until(&c.loop, &c.changes_len, c.changes_len + 1);
    }
    assert_int_equal(c.changed[c.changes_len - 1].number, 9);
    client_done(&c);
}

static void features_are_told(void **state)
{
    struct client c;

    client_init(&c);
    client_open(&c, mgmt);
    _cleanup_free_ char *id =
        xasprintf("dpid:%016llx", (unsigned long long)c.features.datapath_id);
    _cleanup_free_ char *show = ofctl_read("show", bridge);
    assert_non_null(strstr(show, id));
    assert_int_equal(c.features.tables_len, 254);
    client_done(&c);
}

/* --- a switch in trouble --- */

static void hung_switch_is_given_up(void **state)
{
    struct outcome outcome = {0};
    pid_t pid = ovs_switch_pid();
    struct client c;

    client_init(&c);
    client_connect(&c, mgmt, (struct of_conn_config){.echo_msec = 50, .silent_msec = 50});
    run_until(&c.loop, &c.opened, 1);
    kill(pid, SIGSTOP);
    assert_int_equal(of_barrier(c.conn, note_done, &outcome), 0);
    run_until(&c.loop, &c.closed, 1);
    assert_int_equal(outcome.failed, 1);
    assert_non_null(strstr(outcome.error.detail, "hung"));
    assert_int_equal(c.reason.status, 408);
    client_connect(&c, mgmt, (struct of_conn_config){.connect_msec = 50});
    run_until(&c.loop, &c.closed, 1);
    assert_int_equal(c.opened, 0);
    assert_int_equal(c.reason.status, 408);
    kill(pid, SIGCONT);
    client_open(&c, mgmt);
    client_done(&c);
}

static void killed_switch_closes(void **state)
{
    struct client c;

    client_init(&c);
    client_open(&c, mgmt);
    ovs_kill(ovs_switch_pid());
    run_until(&c.loop, &c.closed, 1);
    assert_int_equal(c.reason.status, 503);
    client_connect(&c, mgmt, (struct of_conn_config){0});
    run_until(&c.loop, &c.closed, 1);
    assert_non_null(strstr(c.reason.detail, "cannot connect"));
    ovs_start_switch();
    client_open(&c, mgmt);
    client_done(&c);
}

static void old_switch_is_refused(void **state)
{
    struct client c;

    client_init(&c);
    client_connect(&c, OVS_RUN "/br1.mgmt", (struct of_conn_config){0});
    run_until(&c.loop, &c.closed, 1);
    assert_int_equal(c.opened, 0);
    assert_non_null(strstr(c.reason.detail, "OpenFlow14"));
    client_done(&c);
}

static int run_round(const char *name, const char *path)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(features_are_told),       cmocka_unit_test(ports_are_named_and_announced),
        cmocka_unit_test(hung_switch_is_given_up), cmocka_unit_test(killed_switch_closes),
        cmocka_unit_test(old_switch_is_refused),
    };

    bridge = name;
    mgmt = path;
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

static int tests(void)
{
    ofctl_add_bridges();
    return run_round("br0", OVS_RUN "/br0.mgmt") + run_round("br3", OVS_RUN "/br3.mgmt");
}

int main(void)
{
    return ovs_host_main(tests);
}
