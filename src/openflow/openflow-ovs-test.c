/* openflow-ovs-test.c - flows in a real ovs-vswitchd, with ovs-ofctl as the witness. */
#include "openflow/openflow-fixture.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "openflow/ofctl.h"
#include "openflow/openflow-samples.h"
#include "ovs-host.h"

enum {
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

static void installs_what_ofctl_installs(void **state)
{
    struct changes changes = {.mods = sample_mods, .len = SAMPLES};
    struct client c;

    ofctl_add(bridge, SAMPLE_TEXTS, SAMPLES);
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
    struct changes changes = {.mods = sample_mods, .len = SAMPLES};
    struct recorded theirs, ours;
    struct client c;

    client_init(&c);
    recorder_start(&c.loop, mgmt, &theirs);
    ofctl_add_through(&c.loop, bridge, SAMPLE_TEXTS, SAMPLES);
    recorder_stop(&c.loop, &theirs);
    recorder_start(&c.loop, mgmt, &ours);
    client_open(&c, RECORDER_PATH);
    commit(&c, &changes);
    assert_int_equal(changes.outcome.failed, 0);
    clear(&c);
    of_conn_close(c.conn);
    run_until(&c.loop, &c.closed, 1);
    recorder_stop(&c.loop, &ours);
    assert_int_equal(recorded_adds(&theirs), SAMPLES);
    assert_int_equal(recorded_adds(&ours), SAMPLES);
    for (size_t i = 0; i < SAMPLES; i++) {
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

    ofctl_add(bridge, SAMPLE_TEXTS, SAMPLES);
    open_bridge(&c);
    ask_flows(&c, (struct of_flow_filter){.table = OF_TABLE_ALL}, &outcome);
    assert_int_equal(outcome.len, SAMPLES);
    for (size_t i = 0; i < SAMPLES; i++) {
        struct of_flow wanted = sample_mods[i].flow;
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
    ask_flows(&c, (struct of_flow_filter){.table = 3, .match = &sample_mods[3].flow.match},
              &outcome);
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
    struct of_flow_mod strict = {.command = OF_DELETE_STRICT, .flow = sample_mods[1].flow};
    struct of_flow_mod modify = {.command = OF_MODIFY_STRICT, .flow = sample_mods[6].flow};
    struct changes add = {.mods = sample_mods, .len = SAMPLES};
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
    assert_int_equal(outcome.len, SAMPLES - 2);
    assert_int_equal(find(&outcome, 94)->actions[0].port, 4);
    run_until(&c.loop, &c.removed_len, 1); /* the first one has SEND_REMOVED */
    assert_int_equal(c.removed.reason, OF_REMOVED_DELETE);
    assert_true(c.removed.flow.cookie == 0x1122334455667788);
    assert_true(of_match_equal(&c.removed.flow.match, &sample_mods[0].flow.match));
    assert_int_equal(c.removed.flow.priority, 100);
    clear(&c);
    client_done(&c);
}

static void refused_bundle_does_nothing(void **state)
{
    struct of_flow_mod bad[5] = {sample_mods[1], sample_mods[2], sample_mods[3], sample_mods[4],
                                 sample_mods[5]};
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
    struct of_flow_mod two[3] = {sample_mods[1], sample_mods[2], sample_mods[2]};
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
    struct changes changes = {.mods = sample_mods, .len = SAMPLES, .fails_at = 3};
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
    struct of_flow_mod wrong = sample_mods[2];
    struct client c;

    of_match_set(&wrong.flow.match, OF_ETH_TYPE, ETH_ARP);
    open_bridge(&c);
    assert_int_equal(of_change(c.conn, &sample_mods[0], note_done, &good), 0);
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

static int run_round(const char *name, const char *path)
{
    const struct CMUnitTest tests[] = {
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
    };

    bridge = name;
    mgmt = path;
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

static int tests(void)
{
    ofctl_add_bridges();
    samples_make();
    return run_round("br0", OVS_RUN "/br0.mgmt") + run_round("br3", OVS_RUN "/br3.mgmt");
}

int main(void)
{
    return ovs_host_main(tests);
}
