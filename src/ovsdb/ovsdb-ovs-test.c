/* ovsdb-ovs-test.c - against a real ovsdb-server and ovs-vswitchd, with ovs-vsctl as the witness.
 */
#include "ovsdb/ovsdb-fixture.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "lib/mem.h"
#include "ovs-host.h"
#include "ovsdb/vswitch.h"

static const char *const PROTOCOLS[] = {"OpenFlow13", "OpenFlow14", NULL};
static const struct vswitch_bridge_spec BRIDGE = {.name = "cnsmo0",
                                                  .mark = "sdn",
                                                  .datapath_type = "netdev",
                                                  .hardware = "02:00:00:00:00:07",
                                                  .protocols = PROTOCOLS};
static const struct vswitch_port_spec PORT = {
    .name = "up0", .mark = "sdn", .type = "internal", .number = 7};

static void open_database(struct client *c)
{
    client_init(c);
    client_open(c, OVS_DB);
}

/* What ovs-vsctl prints, without the newline. */
static char *vsctl(const char *table, const char *record, const char *column)
{
    char *text = ovs_read(ARGV("ovs-vsctl", "--if-exists", "get", table, record, column));

    text[strcspn(text, "\n")] = '\0';
    return text;
}

static void assert_vsctl(const char *table, const char *record, const char *column,
                         const char *wanted)
{
    _cleanup_free_ char *text = vsctl(table, record, column);

    assert_string_equal(text, wanted);
}

/* Sends it, and waits until the switch has carried it out. */
static void carry_out(struct client *c, json_t *ops)
{
    vswitch_ask_next(ops);
    struct outcome outcome = transact(c, ops);
    assert_string_equal(outcome.error.detail, "");
    json_int_t next = vswitch_next(outcome.results);
    assert_true(next > 0);
    json_decref(outcome.results);
    while (!vswitch_is_done(ovsdb_mirror(c->db), next)) {
        run_until(&c->loop, &c->updated, c->updated + 1);
    }
}

static void bridge_and_port_are_made(void **state)
{
    struct vswitch_bridge_state bridge;
    struct vswitch_port_state port;
    json_t *ops = json_array();
    const char *names[4];
    struct client c;

    open_database(&c);
    assert_int_equal(vswitch_put_bridge(ovsdb_mirror(c.db), &BRIDGE, ops, NULL), 1);
    assert_int_equal(vswitch_put_port(ovsdb_mirror(c.db), "cnsmo0", &PORT, ops, NULL), 1);
    carry_out(&c, ops);
    assert_vsctl("Bridge", "cnsmo0", "datapath_type", "netdev");
    assert_vsctl("Bridge", "cnsmo0", "fail_mode", "secure");
    assert_vsctl("Bridge", "cnsmo0", "protocols", "[OpenFlow13, OpenFlow14]");
    assert_vsctl("Bridge", "cnsmo0", "external_ids", "{cnsmo=sdn}");
    assert_vsctl("Interface", "cnsmo0", "mac_in_use", "\"02:00:00:00:00:07\"");
    assert_vsctl("Interface", "up0", "ofport", "7");
    assert_vsctl("Port", "up0", "external_ids", "{cnsmo=sdn}");

    assert_int_equal(vswitch_get_bridge(ovsdb_mirror(c.db), "cnsmo0", &bridge), 0);
    assert_string_equal(bridge.mark, "sdn");
    assert_string_equal(bridge.hardware, "02:00:00:00:00:07");
    _cleanup_free_ char *id = vsctl("Bridge", "cnsmo0", "datapath_id");
    assert_non_null(strstr(id, bridge.datapath_id));
    assert_int_equal(vswitch_get_port(ovsdb_mirror(c.db), "up0", &port), 0);
    assert_int_equal(port.number, 7);
    assert_int_equal(port.wanted_number, 7);
    assert_null(port.error);
    assert_int_equal(vswitch_ports(ovsdb_mirror(c.db), "cnsmo0", names, 4), 2);
    ops = json_array();
    assert_int_equal(vswitch_put_bridge(ovsdb_mirror(c.db), &BRIDGE, ops, NULL), 0);
    assert_int_equal(vswitch_put_port(ovsdb_mirror(c.db), "cnsmo0", &PORT, ops, NULL), 0);
    assert_int_equal(json_array_size(ops), 0);
    json_decref(ops);
    client_done(&c);
}

/* All that a user may set, and what the switch made of it; without uuids and counters. */
static char *look(void)
{
    _cleanup_free_ char *bridge = ovs_read(ARGV(
        "ovs-vsctl",
        "--columns=name,datapath_type,fail_mode,protocols,other_config,external_ids,controller,"
        "flow_tables,mirrors,stp_enable,rstp_enable,mcast_snooping_enable,netflow,sflow,datapath_"
        "id",
        "list", "Bridge", "cnsmo0"));
    _cleanup_free_ char *ports = ovs_read(
        ARGV("ovs-vsctl",
             "--columns=name,external_ids,other_config,tag,trunks,vlan_mode,qos,bond_mode,lacp",
             "list", "Port", "cnsmo0", "up0"));
    _cleanup_free_ char *interfaces =
        ovs_read(ARGV("ovs-vsctl",
                      "--columns=name,type,options,ofport,ofport_request,external_ids,"
                      "other_config,mac,error",
                      "list", "Interface", "cnsmo0", "up0"));

    return xasprintf("%s\n%s\n%s", bridge, ports, interfaces);
}

/* Row by row what ovs-vsctl makes of the same wish. */
static void makes_what_vsctl_makes(void **state)
{
    _cleanup_free_ char *ours = look();
    ovs_do(ARGV("ovs-vsctl", "del-br", "cnsmo0"));
    ovs_do(ARGV("ovs-vsctl", "add-br", "cnsmo0", "--", "set", "bridge", "cnsmo0",
                "datapath_type=netdev", "fail_mode=secure", "protocols=OpenFlow13,OpenFlow14",
                "other_config:hwaddr=02:00:00:00:00:07", "external_ids:cnsmo=sdn", "--", "set",
                "port", "cnsmo0", "external_ids:cnsmo=sdn", "--", "add-port", "cnsmo0", "up0",
                "--", "set", "interface", "up0", "type=internal", "ofport_request=7", "--", "set",
                "port", "up0", "external_ids:cnsmo=sdn"));
    _cleanup_free_ char *theirs = look();
    assert_string_equal(ours, theirs);
    assert_non_null(strstr(ours, "0000020000000007")); /* the datapath's id follows hwaddr */
}

/* Drift is repaired, and what others keep in our rows stays. */
static void drift_is_put_back(void **state)
{
    struct vswitch_port_spec moved = PORT;
    json_t *ops = json_array();
    struct client c;

    ovs_do(ARGV("ovs-vsctl", "set", "bridge", "cnsmo0", "protocols=OpenFlow10",
                "other_config:hwaddr=02:00:00:00:00:99", "other_config:theirs=1",
                "external_ids:theirs=2", "fail_mode=standalone"));
    open_database(&c);
    moved.number = 8;
    assert_int_equal(vswitch_put_bridge(ovsdb_mirror(c.db), &BRIDGE, ops, NULL), 1);
    assert_int_equal(vswitch_put_port(ovsdb_mirror(c.db), "cnsmo0", &moved, ops, NULL), 1);
    carry_out(&c, ops);
    assert_vsctl("Bridge", "cnsmo0", "protocols", "[OpenFlow13, OpenFlow14]");
    assert_vsctl("Bridge", "cnsmo0", "fail_mode", "secure");
    assert_vsctl("Bridge", "cnsmo0", "other_config",
                 "{hwaddr=\"02:00:00:00:00:07\", theirs=\"1\"}");
    assert_vsctl("Bridge", "cnsmo0", "external_ids", "{cnsmo=sdn, theirs=\"2\"}");
    assert_vsctl("Interface", "up0", "ofport_request", "8");
    assert_vsctl("Interface", "up0", "ofport", "8");
    client_done(&c);
}

static void strangers_are_left_alone(void **state)
{
    struct vswitch_bridge_spec bridge = BRIDGE;
    struct vswitch_port_spec port = PORT;
    struct error error;
    json_t *ops = json_array();
    struct client c;

    ovs_do(ARGV("ovs-vsctl", "add-br", "theirs", "--", "set", "bridge", "theirs",
                "datapath_type=netdev", "--", "add-port", "theirs", "their0", "--", "set",
                "interface", "their0", "type=internal"));
    open_database(&c);
    bridge.name = "theirs";
    assert_int_equal(vswitch_put_bridge(ovsdb_mirror(c.db), &bridge, ops, &error), -EEXIST);
    assert_string_equal(error.detail, "there is a bridge \"theirs\" that isn't ours");
    assert_int_equal(vswitch_delete_bridge(ovsdb_mirror(c.db), "theirs", ops, &error), -EEXIST);
    assert_int_equal(vswitch_put_port(ovsdb_mirror(c.db), "theirs", &PORT, ops, &error), -EEXIST);
    port.name = "their0";
    assert_int_equal(vswitch_put_port(ovsdb_mirror(c.db), "cnsmo0", &port, ops, &error), -EEXIST);
    assert_int_equal(vswitch_delete_port(ovsdb_mirror(c.db), "their0", ops, &error), -EEXIST);
    assert_int_equal(json_array_size(ops), 0);
    json_decref(ops);
    client_done(&c);
}

/* Others' changes show up by themselves. */
static void mirror_follows(void **state)
{
    struct vswitch_port_state port;
    struct client c;

    open_database(&c);
    ovs_do(ARGV("ovs-vsctl", "add-port", "theirs", "gone0"));
    while (vswitch_get_port(ovsdb_mirror(c.db), "gone0", &port) < 0 || port.number == 0) {
        run_until(&c.loop, &c.updated, c.updated + 1);
    }
    assert_int_equal(port.number, -1); /* there is no such device */
    assert_non_null(strstr(port.error, "No such device"));
    assert_null(port.mark);
    ovs_do(ARGV("ovs-vsctl", "del-port", "theirs", "gone0"));
    while (vswitch_get_port(ovsdb_mirror(c.db), "gone0", &port) == 0) {
        run_until(&c.loop, &c.updated, c.updated + 1);
    }
    client_done(&c);
}

static void refusals_are_sentences(void **state)
{
    struct client c;

    open_database(&c);
    struct outcome outcome =
        transact(&c, json_pack("[{s:s, s:s, s:{s:s}}]", "op", "insert", "table", "Bridge", "row",
                               "fail_mode", "sometimes"));
    assert_null(outcome.results);
    assert_int_equal(outcome.error.status, 409);
    assert_non_null(strstr(outcome.error.detail, "refused operation 0 (insert Bridge)"));
    assert_non_null(strstr(outcome.error.detail, "sometimes"));
    outcome = transact(&c, json_pack("[{s:s, s:s, s:{s:s}}, {s:s, s:[]}]", "op", "insert", "table",
                                     "Interface", "row", "name", "x0", "op", "juggle", "where"));
    assert_null(outcome.results);
    assert_non_null(strstr(outcome.error.detail, "operation 1 (juggle"));
    /* Only the end of the transaction can find this. */
    outcome =
        transact(&c, json_pack("[{s:s, s:s, s:[], s:[[s, s, [s, [[s, s]]]]]}]", "op", "mutate",
                               "table", "Open_vSwitch", "where", "mutations", "bridges", "insert",
                               "set", "uuid", "11111111-2222-3333-4444-555555555555"));
    assert_null(outcome.results);
    assert_int_equal(outcome.error.status, 409);
    assert_non_null(strstr(outcome.error.detail, "the transaction"));
    client_done(&c);
}

struct early {
    struct client *c;
    int done, seen;
};

static void look_early(void *arg, const json_t *results, const struct error *error)
{
    struct early *early = arg;
    struct vswitch_bridge_state bridge;

    early->done = 1;
    early->seen = !error && vswitch_get_bridge(ovsdb_mirror(early->c->db), "early0", &bridge) == 0;
}

static void own_change_is_seen_at_once(void **state)
{
    struct vswitch_bridge_spec spec = BRIDGE;
    json_t *ops = json_array();
    struct client c;

    open_database(&c);
    struct early early = {.c = &c};
    spec.name = "early0";
    vswitch_put_bridge(ovsdb_mirror(c.db), &spec, ops, NULL);
    assert_int_equal(ovsdb_transact(c.db, ops, look_early, &early), 0);
    json_decref(ops);
    run_until(&c.loop, &early.done, 1);
    assert_true(early.seen);
    ops = json_array();
    assert_int_equal(vswitch_delete_bridge(ovsdb_mirror(c.db), "early0", ops, NULL), 1);
    carry_out(&c, ops);
    client_done(&c);
}

static void unknown_database_closes(void **state)
{
    struct client c;

    client_init(&c);
    client_connect(&c, (struct ovsdb_config){.path = OVS_DB, .database = "Closed_vSwitch"});
    run_until(&c.loop, &c.closed, 1);
    assert_int_equal(c.opened, 0);
    assert_non_null(strstr(c.reason.detail, "Closed_vSwitch"));
    client_done(&c);
}

static void deletion_leaves_nothing(void **state)
{
    struct vswitch_port_state port;
    json_t *ops = json_array();
    struct client c;

    open_database(&c);
    assert_int_equal(vswitch_delete_port(ovsdb_mirror(c.db), "up0", ops, NULL), 1);
    carry_out(&c, ops);
    assert_int_equal(vswitch_get_port(ovsdb_mirror(c.db), "up0", &port), -ENOENT);
    ops = json_array();
    assert_int_equal(vswitch_delete_bridge(ovsdb_mirror(c.db), "cnsmo0", ops, NULL), 1);
    carry_out(&c, ops);
    ops = json_array();
    assert_int_equal(vswitch_delete_bridge(ovsdb_mirror(c.db), "cnsmo0", ops, NULL), 0);
    json_decref(ops);
    _cleanup_free_ char *bridges = ovs_read(ARGV("ovs-vsctl", "list-br"));
    assert_string_equal(bridges, "theirs\n");
    _cleanup_free_ char *ports =
        ovs_read(ARGV("ovs-vsctl", "--bare", "--columns=name", "list", "interface"));
    assert_null(strstr(ports, "cnsmo0"));
    assert_null(strstr(ports, "up0"));
    client_done(&c);
}

static void hung_server_is_given_up(void **state)
{
    struct outcome outcome = {0};
    pid_t pid = ovs_server_pid();
    json_t *ops = json_array();
    struct client c;

    client_init(&c);
    client_connect(&c, (struct ovsdb_config){.path = OVS_DB, .echo_msec = 50, .silent_msec = 50});
    run_until(&c.loop, &c.opened, 1);
    kill(pid, SIGSTOP);
    assert_int_equal(ovsdb_transact(c.db, ops, note_done, &outcome), 0);
    run_until(&c.loop, &c.closed, 1);
    assert_int_equal(outcome.done, 1);
    assert_non_null(strstr(outcome.error.detail, "hung"));
    client_connect(&c, (struct ovsdb_config){.path = OVS_DB, .connect_msec = 50});
    run_until(&c.loop, &c.closed, 1);
    assert_int_equal(c.opened, 0);
    assert_int_equal(c.reason.status, 408);
    kill(pid, SIGCONT);
    json_decref(ops);
    client_done(&c);
}

static void killed_server_closes(void **state)
{
    struct client c;

    open_database(&c);
    ovs_kill(ovs_server_pid());
    run_until(&c.loop, &c.closed, 1);
    assert_int_equal(c.reason.status, 503);
    client_connect(&c, (struct ovsdb_config){.path = OVS_DB});
    run_until(&c.loop, &c.closed, 1);
    assert_non_null(strstr(c.reason.detail, "cannot connect"));
    ovs_start_server();
    client_open(&c, OVS_DB);
    assert_non_null(ovsdb_find(ovsdb_mirror(c.db), "Bridge", "name", "theirs", NULL));
    client_done(&c);
}

static int tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bridge_and_port_are_made),
        cmocka_unit_test(makes_what_vsctl_makes),
        cmocka_unit_test(drift_is_put_back),
        cmocka_unit_test(strangers_are_left_alone),
        cmocka_unit_test(mirror_follows),
        cmocka_unit_test(refusals_are_sentences),
        cmocka_unit_test(own_change_is_seen_at_once),
        cmocka_unit_test(unknown_database_closes),
        cmocka_unit_test(deletion_leaves_nothing),
        cmocka_unit_test(hung_server_is_given_up),
        cmocka_unit_test(killed_server_closes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return ovs_host_main(tests);
}
