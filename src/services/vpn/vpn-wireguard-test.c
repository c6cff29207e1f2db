/* The driver on real parts: three machines as namespaces (vpn-hosts.h), wireguard-go or the
 * kernel, nft. The tests are steps of one story. argv[1] is vpn-test-agent. Needs root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/vpn/vpn-hosts.h"

static char *strangers_before;
static int broken; /* a step failed: those after it would only repeat that */

/* All that isn't ours on A: a table, a route, the other links and addresses. */
static char *strangers(void)
{
    _cleanup_free_ char *nft = NULL, *routes = NULL, *addresses = NULL;

    run(A, "nft -s list table inet foreign", &nft);
    run(A, "ip route show dev eth0", &routes);
    run(A, "ip -o addr show dev eth0", &addresses);
    return xasprintf("%s%s%s", nft, routes, addresses);
}

static int spoofed_packets_arrive(void)
{
    must(A, "nft reset counters table inet foreign");
    for (unsigned i = 0; i < 3; i++) {
        run(X, "ping -c 1 -W 1 -I 10.77.0.9 192.0.2.2", NULL);
    }
    return !says(A, "nft list counter inet foreign spoofed", "packets 0 ");
}

static void without_the_guard_spoofed_packets_arrive(void **state)
{
    must(A, "nft add table inet foreign");
    must(A, "nft add counter inet foreign spoofed");
    must(A, "nft add chain inet foreign in { type filter hook input priority 0 ; }");
    must(A, "nft add rule inet foreign in ip saddr 10.77.0.9 counter name spoofed");
    must(A, "ip route add 198.51.100.0/24 via 192.0.2.200 proto 99");
    must(X, "ip addr add 10.77.0.9/32 dev lo");
    assert_true(spoofed_packets_arrive());
    strangers_before = strangers();
}

static void devices_come_up(void **state)
{
    for (size_t i = 0; i < 3; i++) {
        char key[32];
        snprintf(key, sizeof key, "vpn/self/%s", hosts[i].name);
        give(&hosts[i], json_pack("{s:o}", key, self_resource(&hosts[i])));
        start_agent(&hosts[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        EVENTUALLY(has_fact(&hosts[i], "vpn.self") && state_is(&hosts[i], "running"));
    }
    assert_true(says(A, "ip route", "unreachable 10.77.0.0/16"));
    assert_true(says(A, "ip link show cnsmo0", "mtu 1420"));
    assert_false(spoofed_packets_arrive());
}

static void first_through_the_hub(void **state)
{
    give_all(NULL);
    EVENTUALLY(pings(A, "10.77.0.3"));
    EVENTUALLY(path_is(A, "B", "hub") && path_is(A, "Hub", "direct"));
    EVENTUALLY(has_fact(HUB, "vpn.endpoint/A") && has_fact(HUB, "vpn.endpoint/B"));
    assert_true(path_is(HUB, "A", "direct"));
    assert_false(has_fact(A, "vpn.endpoint/Hub"));
}

static void then_directly(void **state)
{
    give_all("observed");
    EVENTUALLY(path_is(A, "B", "direct") && path_is(B, "A", "direct"));
    assert_true(pings(A, "10.77.0.3"));
    assert_true(state_is(A, "running"));
}

/* A peer that nobody has the private key of. */
static void add_nobody(struct host *host)
{
    json_t *resources = read_json(host, "resources.json");

    json_object_set_new(resources, "vpn/peer/Nobody",
                        json_pack("{s:s, s:s, s:b, s:s, s:[]}", "address", "10.77.0.99",
                                  "publicKey", "XPFY39nGXxMnpBw7EB0zqfyS3CxIeW5uUFTRBpUDk1k=",
                                  "hub", 0, "cloud", "", "endpoints"));
    give(host, resources);
}

static void a_restart_of_the_agent_changes_nothing(void **state)
{
    _cleanup_free_ char *before = NULL, *after = NULL, *links = NULL, *links_after = NULL;

    stop_agent(A);
    assert_true(pings(A, "10.77.0.3"));
    run(A, "wg show cnsmo0 latest-handshakes", &before);
    run(A, "ip link show cnsmo0", &links);
    add_nobody(A); /* what is new meanwhile is done, and only that */
    start_agent(A);
    EVENTUALLY(says(A, "wg show cnsmo0 peers", "XPFY39n"));
    EVENTUALLY(path_is(A, "B", "direct") && state_is(A, "running"));
    run(A, "wg show cnsmo0 latest-handshakes", &after);
    run(A, "ip link show cnsmo0", &links_after);
    for (char *rest = before, *line; (line = strsep(&rest, "\n"));) {
        assert_non_null(strstr(after, line));
    }
    assert_string_equal(links, links_after);
    assert_true(pings(A, "10.77.0.3"));
}

static void falls_back_when_the_way_is_blocked(void **state)
{
    must(A, "nft add table ip blocked");
    must(A, "nft add chain ip blocked in { type filter hook input priority 0 ; }");
    must(A, "nft add rule ip blocked in ip saddr 192.0.2.3 drop");
    must(A, "nft add chain ip blocked out { type filter hook output priority 0 ; }");
    must(A, "nft add rule ip blocked out ip daddr 192.0.2.3 drop");
    EVENTUALLY(path_is(A, "B", "hub") && path_is(B, "A", "hub"));
    EVENTUALLY(pings(A, "10.77.0.3"));
    must(A, "nft delete table ip blocked");
    EVENTUALLY(path_is(A, "B", "direct") && path_is(B, "A", "direct"));
    EVENTUALLY(pings(A, "10.77.0.3"));
}

static void drift_is_repaired(void **state)
{
    must(A, "ip addr flush dev cnsmo0");
    EVENTUALLY(says(A, "ip addr show cnsmo0", "10.77.0.2/32"));
    must(A, "ip route flush proto 77");
    EVENTUALLY(says(A, "ip route", "unreachable 10.77.0.0/16") &&
               says(A, "ip route", "10.77.0.0/16 dev cnsmo0"));
    must(A, "nft flush chain inet cnsmo_vpn leaving");
    EVENTUALLY(says(A, "nft list table inet cnsmo_vpn", "maxseg"));
    must(A, "nft delete table inet cnsmo_vpn");
    EVENTUALLY(says(A, "nft list table inet cnsmo_vpn", "maxseg"));
    must(A, "ip link set eth0 mtu 1400");
    EVENTUALLY(says(A, "ip link show cnsmo0", "mtu 1320"));
    must(A, "ip link set eth0 mtu 1500");
    must(A, "ip link delete cnsmo0");
    EVENTUALLY(pings(A, "10.77.0.3"));
}

static void flushed_peers_are_repaired(void **state)
{
    json_t *facts = read_json(B, "facts.json");
    char command[128];

    snprintf(command, sizeof command, "wg set cnsmo0 peer %s remove",
             json_get_string(json_object_get(facts, "vpn.self"), "publicKey", ""));
    must(A, command);
    json_decref(facts);
    EVENTUALLY(says(A, "wg show cnsmo0 allowed-ips", "10.77.0.3/32"));
    EVENTUALLY(pings(A, "10.77.0.3"));
}

static void nothing_leaks(void **state)
{
    /* A more specific route past the tunnel, as an attacker on the LAN or a mistake makes it. */
    must(A, "ip route add 10.77.0.9/32 via 192.0.2.9");
    must(X, "ip addr add 10.77.0.10/32 dev lo");
    assert_false(pings(A, "10.77.0.9"));
    must(X, "nft add table inet count");
    must(X, "nft add counter inet count leaked");
    must(X, "nft add chain inet count in { type filter hook input priority 0 ; }");
    must(X, "nft add rule inet count in ip daddr 10.77.0.0/16 counter name leaked");
    assert_false(pings(A, "10.77.0.9"));
    assert_true(says(X, "nft list counter inet count leaked", "packets 0 "));
    must(A, "ip route delete 10.77.0.9/32 via 192.0.2.9");
}

static void a_peer_that_leaves_disturbs_nobody(void **state)
{
    json_t *resources = read_json(A, "resources.json");
    _cleanup_free_ char *before = NULL, *after = NULL;

    json_object_del(resources, "vpn/peer/B");
    run(A, "wg show cnsmo0 latest-handshakes", &before);
    give(A, resources);
    EVENTUALLY(!says(A, "wg show cnsmo0 allowed-ips", "10.77.0.3/32"));
    run(A, "wg show cnsmo0 latest-handshakes", &after);
    assert_true(after[0] != '\0' && strlen(after) < strlen(before));
    assert_non_null(strstr(before, strtok(after, "\n")));
}

static void leaving_leaves_nothing(void **state)
{
    char command[400];

    stop_agent(A);
    snprintf(command, sizeof command, "%s leave A %s", agent_path, A->folder);
    must(A, command);
    assert_false(says(A, "ip link", "cnsmo0"));
    assert_false(says(A, "ip route show proto 77", "10.77"));
    assert_false(says(A, "nft list tables", "cnsmo"));
    _cleanup_free_ char *now = strangers();
    assert_string_equal(now, strangers_before);
    stop_agent(HUB);
    stop_agent(B);
}

static int tear_down(void **state)
{
    free(strangers_before);
    return hosts_down(state);
}

/* The step in *state's place, unless the story is over. */
static void step(void **state, void (*run_step)(void **state))
{
    if (broken) {
        skip();
    }
    broken = 1;
    run_step(state);
    broken = 0;
}

#define STEP(name)                                                                                \
    static void step_##name(void **state)                                                         \
    {                                                                                             \
        step(state, name);                                                                        \
    }
STEP(without_the_guard_spoofed_packets_arrive)
STEP(devices_come_up)
STEP(first_through_the_hub)
STEP(then_directly)
STEP(a_restart_of_the_agent_changes_nothing)
STEP(falls_back_when_the_way_is_blocked)
STEP(drift_is_repaired)
STEP(flushed_peers_are_repaired)
STEP(nothing_leaks)
STEP(a_peer_that_leaves_disturbs_nobody)
STEP(leaving_leaves_nothing)
#undef STEP
#define STEP(name)                                                                                \
    {                                                                                             \
#name, step_##name, NULL, NULL, NULL                                                      \
    }

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STEP(without_the_guard_spoofed_packets_arrive),
        STEP(devices_come_up),
        STEP(first_through_the_hub),
        STEP(then_directly),
        STEP(a_restart_of_the_agent_changes_nothing),
        STEP(falls_back_when_the_way_is_blocked),
        STEP(drift_is_repaired),
        STEP(flushed_peers_are_repaired),
        STEP(nothing_leaks),
        STEP(a_peer_that_leaves_disturbs_nobody),
        STEP(leaving_leaves_nothing),
    };

    if (argc != 2) {
        fprintf(stderr, "usage: vpn-wireguard-test VPN-TEST-AGENT\n");
        return 2;
    }
    agent_path = realpath(argv[1], NULL);
    if (!agent_path) {
        perror(argv[1]);
        return 2;
    }
    return cmocka_run_group_tests(tests, hosts_up, tear_down);
}
