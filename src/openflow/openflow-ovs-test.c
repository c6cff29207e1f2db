/* openflow-ovs-test.c - against a real ovs-vswitchd, with ovs-ofctl as the witness.
 *
 *     br0 (1.4), br3 (1.3): what we install, and what ovs-ofctl installs in the other's stead
 *     br1: speaks only OpenFlow 1.0
 */
#include "openflow/openflow-fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "openflow/ofctl.h"
#include "ovs-host.h"

enum {
    ETH_IP = 0x0800,
    ETH_ARP = 0x0806,
    MANY = 10000,
};

#define COOKIE 0x636e736d6f000001

static const char *bridge; /* of the present round */
static const char *mgmt;

static void open_bridge(struct client *c)
{
    client_init(c);
    client_open(c, mgmt);
}

static void clear(struct client *c)
{
    struct of_flow_mod mod = {.command = OF_DELETE, .flow.table = OF_TABLE_ALL};
    struct outcome outcome = {0};

    assert_int_equal(of_change(c->conn, &mod, note_done, &outcome), 0);
    run_until(&c->loop, &outcome.done, 1);
    assert_int_equal(outcome.failed, 0);
}

/* --- what we install is what ovs-ofctl would --- */

static struct of_flow_mod mods[8];

/* The flows of ofctl's text below, by hand. */
static const char *const TEXTS[] = {
    "table=3,priority=100,cookie=0x1122334455667788,in_port=1,eth_src=02:00:00:00:00:01,"
    "eth_dst=02:00:00:00:00:02/ff:ff:ff:00:00:00,tcp,nw_src=10.77.0.0/16,nw_dst=10.77.0.3,"
    "tcp_src=1000,tcp_dst=0x400/0xfc00,nw_frag=no,ip_dscp=10,nw_ecn=1,nw_ttl=64,metadata=0x5/0xf,"
    "reg0=7,reg3=0x10/0xf0,idle_timeout=600,hard_timeout=1200,importance=7,send_flow_rem "
    "actions=set_field:5->metadata,output:2,goto_table:7",
    "table=3,priority=99,udp,in_port=LOCAL,udp_dst=53,nw_frag=not_later actions=drop",
    "table=3,priority=98,icmp,icmp_type=8,icmp_code=0 "
    "actions=write_metadata:0x1/0xff,goto_table:4",
    "table=3,priority=97,arp,arp_op=1,arp_spa=10.77.0.1,arp_tpa=10.77.0.0/24,"
    "arp_sha=02:00:00:00:00:01,arp_tha=00:00:00:00:00:00 "
    "actions=set_field:10->reg0,set_field:02:00:00:00:00:09->eth_dst,LOCAL",
    "table=3,priority=96,dl_vlan=10,dl_vlan_pcp=3 actions=IN_PORT,NORMAL",
    "table=3,priority=95,ip,nw_frag=later actions=CONTROLLER:65535",
    "table=3,priority=94,udp,udp_src=1024/0xfc00 actions=output:1",
    "table=3,priority=93,dl_type=0x0800,nw_proto=47 actions=drop",
};

static void make_tcp(struct of_flow *flow)
{
    *flow = (struct of_flow){.table = 3,
                             .priority = 100,
                             .cookie = 0x1122334455667788,
                             .idle_sec = 600,
                             .hard_sec = 1200,
                             .importance = 7,
                             .flags = OF_FLOW_SEND_REMOVED,
                             .goto_table = 7};
    of_match_set(&flow->match, OF_IN_PORT, 1);
    of_match_set(&flow->match, OF_ETH_SRC, 0x020000000001);
    of_match_set_masked(&flow->match, OF_ETH_DST, 0x020000000002, 0xffffff000000);
    of_match_set(&flow->match, OF_ETH_TYPE, ETH_IP);
    of_match_set(&flow->match, OF_IP_PROTO, 6);
    of_match_set_masked(&flow->match, OF_IPV4_SRC, 0x0a4d0000, 0xffff0000);
    of_match_set(&flow->match, OF_IPV4_DST, 0x0a4d0003);
    of_match_set(&flow->match, OF_TCP_SRC, 1000);
    of_match_set_masked(&flow->match, OF_TCP_DST, 0x400, 0xfc00);
    of_match_set(&flow->match, OF_IP_FRAG, 0);
    of_match_set(&flow->match, OF_IP_DSCP, 10);
    of_match_set(&flow->match, OF_IP_ECN, 1);
    of_match_set(&flow->match, OF_IP_TTL, 64);
    of_match_set_masked(&flow->match, OF_METADATA, 5, 15);
    of_match_set(&flow->match, OF_REG0, 7);
    of_match_set_masked(&flow->match, OF_REG3, 0x10, 0xf0);
    of_flow_set_field(flow, OF_METADATA, 5);
    of_flow_output(flow, 2);
}

static void make_udp(struct of_flow *flow)
{
    *flow = (struct of_flow){.table = 3, .priority = 99};
    of_match_set(&flow->match, OF_IN_PORT, OF_PORT_LOCAL);
    of_match_set(&flow->match, OF_ETH_TYPE, ETH_IP);
    of_match_set(&flow->match, OF_IP_PROTO, 17);
    of_match_set(&flow->match, OF_UDP_DST, 53);
    of_match_set_masked(&flow->match, OF_IP_FRAG, 0, OF_FRAG_LATER);
}

static void make_icmp(struct of_flow *flow)
{
    *flow = (struct of_flow){
        .table = 3, .priority = 98, .metadata = 1, .metadata_mask = 0xff, .goto_table = 4};
    of_match_set(&flow->match, OF_ETH_TYPE, ETH_IP);
    of_match_set(&flow->match, OF_IP_PROTO, 1);
    of_match_set(&flow->match, OF_ICMPV4_TYPE, 8);
    of_match_set(&flow->match, OF_ICMPV4_CODE, 0);
}

static void make_arp(struct of_flow *flow)
{
    *flow = (struct of_flow){.table = 3, .priority = 97};
    of_match_set(&flow->match, OF_ETH_TYPE, ETH_ARP);
    of_match_set(&flow->match, OF_ARP_OP, 1);
    of_match_set(&flow->match, OF_ARP_SPA, 0x0a4d0001);
    of_match_set_masked(&flow->match, OF_ARP_TPA, 0x0a4d0000, 0xffffff00);
    of_match_set(&flow->match, OF_ARP_SHA, 0x020000000001);
    of_match_set(&flow->match, OF_ARP_THA, 0);
    of_flow_set_field(flow, OF_REG0, 10);
    of_flow_set_field(flow, OF_ETH_DST, 0x020000000009);
    of_flow_output(flow, OF_PORT_LOCAL);
}

static void make_others(void)
{
    mods[4].flow = (struct of_flow){.table = 3, .priority = 96};
    of_match_set(&mods[4].flow.match, OF_VLAN_VID, OF_VLAN_PRESENT | 10);
    of_match_set(&mods[4].flow.match, OF_VLAN_PCP, 3);
    of_flow_output(&mods[4].flow, OF_PORT_IN_PORT);
    of_flow_output(&mods[4].flow, OF_PORT_NORMAL);
    mods[5].flow = (struct of_flow){.table = 3, .priority = 95};
    of_match_set(&mods[5].flow.match, OF_ETH_TYPE, ETH_IP);
    of_match_set(&mods[5].flow.match, OF_IP_FRAG, OF_FRAG_LATER | OF_FRAG_ANY);
    of_flow_output(&mods[5].flow, OF_PORT_CONTROLLER);
    mods[6].flow = (struct of_flow){.table = 3, .priority = 94};
    of_match_set(&mods[6].flow.match, OF_ETH_TYPE, ETH_IP);
    of_match_set(&mods[6].flow.match, OF_IP_PROTO, 17);
    of_match_set_masked(&mods[6].flow.match, OF_UDP_SRC, 1024, 0xfc00);
    of_flow_output(&mods[6].flow, 1);
    mods[7].flow = (struct of_flow){.table = 3, .priority = 93};
    of_match_set(&mods[7].flow.match, OF_ETH_TYPE, ETH_IP);
    of_match_set(&mods[7].flow.match, OF_IP_PROTO, 47);
}

static void make_mods(void)
{
    make_tcp(&mods[0].flow);
    make_udp(&mods[1].flow);
    make_icmp(&mods[2].flow);
    make_arp(&mods[3].flow);
    make_others();
    for (size_t i = 0; i < ARRAY_LEN(mods); i++) {
        assert_int_equal(of_match_check(&mods[i].flow.match, NULL), 0);
    }
}

static void installs_what_ofctl_installs(void **state)
{
    struct changes changes = {.mods = mods, .len = ARRAY_LEN(mods)};
    struct client c;

    ofctl_add(bridge, TEXTS, ARRAY_LEN(TEXTS));
    _cleanup_free_ char *theirs = ofctl_dump(bridge);
    open_bridge(&c);
    clear(&c);
    commit(&c, &changes);
    assert_string_equal(changes.outcome.error.detail, "");
    _cleanup_free_ char *ours = ofctl_dump(bridge);
    assert_string_equal(ours, theirs);
    assert_non_null(strstr(ours, "tp_dst=0x400/0xfc00"));
    clear(&c);
    client_done(&c);
}

/* The very bytes, but for the numbers of the messages. */
static void sends_what_ofctl_sends(void **state)
{
    struct changes changes = {.mods = mods, .len = ARRAY_LEN(mods)};
    struct recorded theirs, ours;
    struct client c;

    client_init(&c);
    recorder_start(&c.loop, mgmt, &theirs);
    ofctl_add_through(&c.loop, bridge, TEXTS, ARRAY_LEN(TEXTS));
    recorder_stop(&c.loop, &theirs);
    recorder_start(&c.loop, mgmt, &ours);
    client_open(&c, RECORDER_PATH);
    commit(&c, &changes);
    assert_int_equal(changes.outcome.failed, 0);
    clear(&c);
    of_conn_close(c.conn);
    run_until(&c.loop, &c.closed, 1);
    recorder_stop(&c.loop, &ours);
    assert_int_equal(recorded_adds(&theirs), ARRAY_LEN(mods));
    assert_int_equal(recorded_adds(&ours), ARRAY_LEN(mods));
    for (size_t i = 0; i < ARRAY_LEN(mods); i++) {
        recorded_assert_same_add(&ours, &theirs, i);
    }
    recorded_done(&ours);
    recorded_done(&theirs);
    client_done(&c);
}

/* --- what ovs-ofctl installs is what we read --- */

static const struct of_flow *find(const struct outcome *outcome, uint16_t priority)
{
    for (int i = 0; i < outcome->len; i++) {
        if (outcome->flows[i].flow.priority == priority) {
            return &outcome->flows[i].flow;
        }
    }
    fail_msg("no flow with priority %u", priority);
    return NULL;
}

static void ask_flows(struct client *c, struct of_flow_filter filter, struct outcome *outcome)
{
    *outcome = (struct outcome){0};
    assert_int_equal(of_ask_flows(c->conn, &filter, note_flow, note_done, outcome), 0);
    run_until(&c->loop, &outcome->done, 1);
    assert_int_equal(outcome->failed, 0);
}

static void reads_what_ofctl_installs(void **state)
{
    struct outcome outcome;
    struct client c;

    ofctl_add(bridge, TEXTS, ARRAY_LEN(TEXTS));
    open_bridge(&c);
    ask_flows(&c, (struct of_flow_filter){.table = OF_TABLE_ALL}, &outcome);
    assert_int_equal(outcome.len, ARRAY_LEN(TEXTS));
    for (size_t i = 0; i < ARRAY_LEN(mods); i++) {
        struct of_flow wanted = mods[i].flow;
        const struct of_flow *found = find(&outcome, wanted.priority);
        if (of_conn_version(c.conn) == OF_VERSION_13) {
            wanted.importance = 0;
        }
        assert_true(of_flow_equal(&wanted, found));
    }
    ask_flows(&c,
              (struct of_flow_filter){
                  .table = 3, .cookie = 0x1122334455667788, .cookie_mask = ~(uint64_t)0},
              &outcome);
    assert_int_equal(outcome.len, 1);
    ask_flows(&c, (struct of_flow_filter){.table = 3, .match = &mods[3].flow.match}, &outcome);
    assert_int_equal(outcome.len, 1);
    assert_int_equal(outcome.flows[0].flow.priority, 97);
    clear(&c);
    client_done(&c);
}

static void skips_what_it_does_not_know(void **state)
{
    static const char *const STRANGE[] = {
        "priority=5,ipv6,ipv6_src=fe80::1,tcp6,tcp_dst=80 actions=drop",
        "priority=4,ip,ct_state=+trk actions=ct(commit),resubmit(,9)",
        "priority=3,in_port=1 "
        "actions=set_field:0x1/0xff->reg0,output:1,output:2,output:3,output:4,"
        "output:5,output:6,output:7,output:8,output:9"};
    struct outcome outcome;
    struct client c;

    ofctl_add(bridge, STRANGE, ARRAY_LEN(STRANGE));
    open_bridge(&c);
    ask_flows(&c, (struct of_flow_filter){.table = OF_TABLE_ALL}, &outcome);
    assert_int_equal(outcome.len, 3);
    assert_int_equal(find(&outcome, 5)->match.unknown_len, 1);
    assert_int_equal(find(&outcome, 4)->match.unknown_len, 1);
    assert_int_equal(find(&outcome, 4)->unknown_len, 2);
    assert_int_equal(find(&outcome, 3)->unknown_len, 2);
    assert_int_equal(find(&outcome, 3)->actions_len, OF_ACTIONS_MAX);
    assert_false(of_flow_equal(find(&outcome, 5), find(&outcome, 5)));
    clear(&c);
    client_done(&c);
}

/* --- changing and deleting --- */

static void deletes_by_cookie_and_strictly(void **state)
{
    struct of_flow_mod delete = {
        .command = OF_DELETE, .cookie_mask = ~(uint64_t)0, .flow = {.table = OF_TABLE_ALL}};
    struct of_flow_mod strict = {.command = OF_DELETE_STRICT, .flow = mods[1].flow};
    struct of_flow_mod modify = {.command = OF_MODIFY_STRICT, .flow = mods[6].flow};
    struct changes add = {.mods = mods, .len = ARRAY_LEN(mods)};
    struct of_flow_mod orders[3];
    struct outcome outcome;
    struct client c;

    open_bridge(&c);
    commit(&c, &add);
    delete.flow.cookie = 0x1122334455667788;
    modify.flow.actions_len = 0;
    of_flow_output(&modify.flow, 4);
    memcpy(orders, (struct of_flow_mod[]){delete, strict, modify}, sizeof orders);
    struct changes changes = {.mods = orders, .len = 3};
    commit(&c, &changes);
    assert_int_equal(changes.outcome.failed, 0);
    ask_flows(&c, (struct of_flow_filter){.table = OF_TABLE_ALL}, &outcome);
    assert_int_equal(outcome.len, ARRAY_LEN(mods) - 2);
    assert_int_equal(find(&outcome, 94)->actions[0].port, 4);
    run_until(&c.loop, &c.removed_len, 1); /* the first one has SEND_REMOVED */
    assert_int_equal(c.removed.reason, OF_REMOVED_DELETE);
    assert_true(c.removed.flow.cookie == 0x1122334455667788);
    assert_true(of_match_equal(&c.removed.flow.match, &mods[0].flow.match));
    assert_int_equal(c.removed.flow.priority, 100);
    clear(&c);
    client_done(&c);
}

static void refused_bundle_does_nothing(void **state)
{
    struct of_flow_mod bad[5] = {mods[1], mods[2], mods[3], mods[4], mods[5]};
    struct changes changes = {.mods = bad, .len = 5};
    struct outcome outcome;
    struct client c;

    of_match_set(&bad[1].flow.match, OF_IP_PROTO, 2); /* ICMP's fields without ICMP */
    bad[3].flow.goto_table = 2;                       /* back */
    open_bridge(&c);
    commit(&c, &changes);
    assert_int_equal(changes.outcome.failed, 1);
    assert_int_equal(changes.refused_len, 2);
    assert_int_equal(changes.refused[0], 1);
    assert_int_equal(changes.refused[1], 3);
    assert_non_null(strstr(changes.refusals[0].detail, "refused to add a flow"));
    assert_non_null(strstr(changes.refusals[0].detail, "OFPBMC_BAD_PREREQ"));
    assert_non_null(strstr(changes.refusals[1].detail, "later table"));
    assert_string_equal(changes.outcome.error.detail, changes.refusals[0].detail);
    ask_flows(&c, (struct of_flow_filter){.table = OF_TABLE_ALL}, &outcome);
    assert_int_equal(outcome.len, 0);
    client_done(&c);
}

/* What only the commit can find out. */
static void commit_is_atomic(void **state)
{
    struct of_flow_mod two[3] = {mods[1], mods[2], mods[2]};
    struct changes changes = {.mods = two, .len = 3}, good = {.mods = two, .len = 2};
    struct outcome outcome;
    struct client c;

    two[2].flow.flags = OF_FLOW_CHECK_OVERLAP;
    of_match_set_masked(&two[2].flow.match, OF_ICMPV4_CODE, 0, 0);
    open_bridge(&c);
    commit(&c, &changes);
    assert_int_equal(changes.outcome.failed, 1);
    assert_int_equal(changes.refused_len, 1);
    assert_int_equal(changes.refused[0], 2);
    assert_int_equal(changes.outcome.error.status, 409);
    assert_non_null(strstr(changes.outcome.error.detail, "OVERLAP"));
    ask_flows(&c, (struct of_flow_filter){.table = OF_TABLE_ALL}, &outcome);
    assert_int_equal(outcome.len, 0);
    commit(&c, &good); /* and the connection is as good as before */
    assert_int_equal(good.outcome.failed, 0);
    ask_flows(&c, (struct of_flow_filter){.table = OF_TABLE_ALL}, &outcome);
    assert_int_equal(outcome.len, 2);
    clear(&c);
    client_done(&c);
}

static void source_gives_up(void **state)
{
    struct changes changes = {.mods = mods, .len = ARRAY_LEN(mods), .fails_at = 3};
    struct outcome outcome;
    struct client c;

    open_bridge(&c);
    commit(&c, &changes);
    assert_int_equal(changes.outcome.failed, 1);
    assert_int_equal(changes.outcome.error.status, 400);
    ask_flows(&c, (struct of_flow_filter){.table = OF_TABLE_ALL}, &outcome);
    assert_int_equal(outcome.len, 0);
    client_done(&c);
}

static void single_change_is_answered(void **state)
{
    struct outcome good = {0}, bad = {0};
    struct of_flow_mod wrong = mods[2];
    struct client c;

    of_match_set(&wrong.flow.match, OF_ETH_TYPE, ETH_ARP);
    open_bridge(&c);
    assert_int_equal(of_change(c.conn, &mods[0], note_done, &good), 0);
    assert_int_equal(of_change(c.conn, &wrong, note_done, &bad), 0);
    run_until(&c.loop, &good.done, 1);
    run_until(&c.loop, &bad.done, 1);
    assert_int_equal(good.failed, 0);
    assert_int_equal(bad.failed, 1);
    assert_non_null(strstr(bad.error.detail, "BAD_PREREQ"));
    clear(&c);
    client_done(&c);
}

/* --- many --- */

struct stream {
    struct of_conn *conn;
    size_t backlog_max;
    struct outcome outcome;
};

static int next_of_many(void *arg, size_t index, struct of_flow_mod *ret_mod)
{
    struct stream *stream = arg;
    size_t backlog = of_conn_backlog(stream->conn);

    stream->backlog_max = backlog > stream->backlog_max ? backlog : stream->backlog_max;
    if (index == MANY) {
        return 0;
    }
    *ret_mod = (struct of_flow_mod){.flow = {.table = 1, .priority = 10, .cookie = COOKIE}};
    of_match_set(&ret_mod->flow.match, OF_IN_PORT, 1);
    of_match_set(&ret_mod->flow.match, OF_ETH_TYPE, ETH_IP);
    of_match_set(&ret_mod->flow.match, OF_IP_PROTO, 6);
    of_match_set(&ret_mod->flow.match, OF_IPV4_DST, 0x0a4d0000 + index);
    of_match_set(&ret_mod->flow.match, OF_TCP_DST, 1919);
    return 1;
}

static void on_many(void *arg, const struct error *error)
{
    note_done(&((struct stream *)arg)->outcome, error);
}

static void many_in_one_bundle(void **state)
{
    static const struct of_bundle_source SOURCE = {.next = next_of_many, .done = on_many};
    struct outcome tables = {0};
    struct outcome flows;
    struct client c;

    open_bridge(&c);
    struct stream stream = {.conn = c.conn};
    int64_t start = clock_monotonic_usec();
    assert_int_equal(of_bundle(c.conn, &SOURCE, &stream), 0);
    run_until(&c.loop, &stream.outcome.done, 1);
    int64_t installed = clock_monotonic_usec();
    assert_int_equal(stream.outcome.failed, 0);
    ask_flows(&c, (struct of_flow_filter){.table = OF_TABLE_ALL}, &flows);
    int64_t read = clock_monotonic_usec();
    assert_int_equal(flows.len, MANY);
    assert_int_equal(of_ask_tables(c.conn, note_table, note_done, &tables), 0);
    run_until(&c.loop, &tables.done, 1);
    assert_int_equal(tables.tables[1].flows_len, MANY);
    assert_int_equal(tables.tables[1].table, 1);
    assert_in_range(stream.backlog_max, 1, OF_HIGH_WATER_BYTES + 512);
    print_message("%d flows: installed in %lld us, read in %lld us, backlog %zu bytes\n", MANY,
                  (long long)(installed - start), (long long)(read - installed),
                  stream.backlog_max);
    clear(&c);
    client_done(&c);
}

/* --- counters and ports --- */

static void send_packets(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        ofctl_packet_out(bridge, "in_port=LOCAL packet=020000000001020000000002080045000020000000"
                                 "004011b6470a4d00020a4d0001030903090000c0de0000000000000000 "
                                 "actions=TABLE");
    }
}

static void counts_are_the_switchs(void **state)
{
    struct of_flow_mod mod = {.flow = {.priority = 7, .cookie = COOKIE}};
    struct outcome outcome = {0}, stats = {0};
    struct client c;

    of_match_set(&mod.flow.match, OF_ETH_TYPE, ETH_IP);
    of_match_set(&mod.flow.match, OF_IP_PROTO, 17);
    of_match_set(&mod.flow.match, OF_UDP_DST, 777);
    of_flow_output(&mod.flow, 5);
    struct changes changes = {.mods = &mod, .len = 1};
    open_bridge(&c);
    commit(&c, &changes);
    send_packets(3);
    do {
        ask_flows(&c, (struct of_flow_filter){.cookie = COOKIE, .cookie_mask = ~(uint64_t)0},
                  &outcome);
        assert_int_equal(outcome.len, 1);
        assert_in_range(outcome.flows[0].packets, 0, 3);
    } while (outcome.flows[0].packets < 3);
    _cleanup_free_ char *dump = ofctl_dump_stats(bridge);
    _cleanup_free_ char *bytes =
        xasprintf("n_packets=3, n_bytes=%llu", (unsigned long long)outcome.flows[0].bytes);
    assert_non_null(strstr(dump, bytes));
    assert_int_equal(of_ask_port_stats(c.conn, note_port_stats, note_done, &stats), 0);
    run_until(&c.loop, &stats.done, 1);
    assert_int_equal(stats.len, 2);
    _cleanup_free_ char *ports = ofctl_read("dump-ports", bridge);
    for (int i = 0; i < stats.len; i++) {
        _cleanup_free_ char *line = xasprintf("tx pkts=%llu, bytes=%llu",
                                              (unsigned long long)stats.port_stats[i].tx_packets,
                                              (unsigned long long)stats.port_stats[i].tx_bytes);
        assert_non_null(strstr(ports, line));
    }
    clear(&c);
    client_done(&c);
}

static void ports_are_named_and_announced(void **state)
{
    struct outcome outcome = {0};
    struct client c;

    open_bridge(&c);
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

    open_bridge(&c);
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

    open_bridge(&c);
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

static void add_bridge(const char *name, const char *port, const char *protocols)
{
    _cleanup_free_ char *set = xasprintf("protocols=%s", protocols);

    ovs_do(ARGV("ovs-vsctl", "add-br", name, "--", "set", "bridge", name, "datapath_type=netdev",
                "fail-mode=secure", set, "--", "add-port", name, port, "--", "set", "interface",
                port, "type=internal", "ofport_request=5"));
}

static int run_round(const char *name, const char *path)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(features_are_told),
        cmocka_unit_test(installs_what_ofctl_installs),
        cmocka_unit_test(sends_what_ofctl_sends),
        cmocka_unit_test(reads_what_ofctl_installs),
        cmocka_unit_test(skips_what_it_does_not_know),
        cmocka_unit_test(deletes_by_cookie_and_strictly),
        cmocka_unit_test(refused_bundle_does_nothing),
        cmocka_unit_test(commit_is_atomic),
        cmocka_unit_test(source_gives_up),
        cmocka_unit_test(single_change_is_answered),
        cmocka_unit_test(many_in_one_bundle),
        cmocka_unit_test(counts_are_the_switchs),
        cmocka_unit_test(ports_are_named_and_announced),
        cmocka_unit_test(hung_switch_is_given_up),
        cmocka_unit_test(killed_switch_closes),
        cmocka_unit_test(old_switch_is_refused),
    };

    bridge = name;
    mgmt = path;
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

static int tests(void)
{
    add_bridge("br0", "p0", "OpenFlow14");
    add_bridge("br3", "p3", "OpenFlow13");
    add_bridge("br1", "p1", "OpenFlow10");
    make_mods();
    return run_round("br0", OVS_RUN "/br0.mgmt") + run_round("br3", OVS_RUN "/br3.mgmt");
}

int main(void)
{
    return ovs_host_main(tests);
}
