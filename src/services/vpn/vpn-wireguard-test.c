/* The driver on real parts: three machines as namespaces, wireguard-go or the kernel, nft.
 *
 *        Hub 192.0.2.1      A 192.0.2.2      B 192.0.2.3      X 192.0.2.9 (a stranger)
 *           └────────────────┴─── bridge ─────┴────────────────┘
 *
 * Each machine has its own network, mount and PID namespace with a private /run, and runs
 * vpn-test-agent (argv[1]) there. The tests are steps of one story. Needs root. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "lib/spawn.h"

enum {
    HOSTS = 4,
    WORDS_MAX = 48,
    DEADLINE_SEC = 45,
};

struct host {
    const char *name;
    int number; /* 192.0.2.N outside, 10.77.0.N inside */
    pid_t init;
    pid_t agent; /* of nsenter around it; 0: doesn't run */
    char *folder;
};

static struct host hosts[HOSTS] = {{.name = "Hub", .number = 1},
                                   {.name = "A", .number = 2},
                                   {.name = "B", .number = 3},
                                   {.name = "X", .number = 9}};
static struct host *const HUB = &hosts[0], *const A = &hosts[1], *const B = &hosts[2],
                          *const X = &hosts[3];
static char *agent_path;
static char *root;

/* --- running things ---------------------------------------------------------------------------
 */

/* A command as one text, words separated by blanks, in the host or (NULL) in the middle. Its exit
 * status; its output in *ret_output (NULL: dropped), which the caller frees. */
static int run(const struct host *host, const char *command, char **ret_output)
{
    _cleanup_free_ char *copy = xstrdup(command), *rest = copy;
    const char *argv[WORDS_MAX] = {NULL};
    struct buf out = BUF_INIT(1 << 20);
    char target[16];
    size_t len = 0;

    if (host) {
        snprintf(target, sizeof target, "%d", host->init);
        argv[len++] = "nsenter";
        argv[len++] = "-t";
        argv[len++] = target;
        argv[len++] = "-n";
        argv[len++] = "-m";
        argv[len++] = "-p";
        argv[len++] = "--";
    }
    for (char *word; (word = strsep(&rest, " "));) {
        assert_true(len < WORDS_MAX - 1);
        argv[len++] = word;
    }
    struct spawn spawn = {.argv = argv, .out = &out, .timeout_msec = 10000};
    int rc = spawn_run(&spawn);
    if (ret_output) {
        *ret_output = out.data ? out.data : xstrdup("");
    } else {
        buf_done(&out);
    }
    return rc;
}

static void must(const struct host *host, const char *command)
{
    int rc = run(host, command, NULL);

    if (rc != 0) {
        fail_msg("%s: %s: status %d", host ? host->name : "-", command, rc);
    }
}

static int says(const struct host *host, const char *command, const char *text)
{
    _cleanup_free_ char *out = NULL;

    return run(host, command, &out) == 0 && strstr(out, text) != NULL;
}

/* Until `condition` holds, or the deadline has passed. */
#define EVENTUALLY(condition)                                                                     \
    do {                                                                                          \
        int64_t end_ = clock_monotonic_usec() + DEADLINE_SEC * 1000000LL;                         \
        while (!(condition)) {                                                                    \
            if (clock_monotonic_usec() > end_) {                                                  \
                dump_all();                                                                       \
                fail_msg("not in time: %s", #condition);                                          \
            }                                                                                     \
            usleep(100000);                                                                       \
        }                                                                                         \
    } while (0)

static void dump_all(void)
{
    static const char *const COMMANDS[] = {"wg show", "ip route", "ip addr show cnsmo0"};

    for (size_t i = 0; i < HOSTS; i++) {
        for (size_t k = 0; k < ARRAY_LEN(COMMANDS); k++) {
            _cleanup_free_ char *out = NULL;
            run(&hosts[i], COMMANDS[k], &out);
            print_message("%s$ %s\n%s\n", hosts[i].name, COMMANDS[k], out);
        }
    }
}

static json_t *read_json(const struct host *host, const char *name)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", host->folder, name);
    _cleanup_buf_ struct buf buf = BUF_INIT(1 << 20);
    json_t *json = NULL;

    if (file_read(path, &buf) == 0 && buf.data) {
        json_parse(buf.data, buf.size, &json, NULL);
    }
    return json;
}

static void write_text(const struct host *host, const char *name, const char *text)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", host->folder, name);

    assert_int_equal(file_write_atomic(path, text, strlen(text), 0644), 0);
}

/* --- machines -----------------------------------------------------------------------------------
 */

static _Noreturn void be_init(int ready)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0 ||
        mount("proc", "/proc", "proc", 0, NULL) < 0 || write(ready, "r", 1) != 1) {
        _exit(1);
    }
    for (;;) {
        if (wait(NULL) < 0) {
            sleep(1);
        }
    }
}

/* Stays, so that the first process in the namespaces ends when the test ends. */
static _Noreturn void be_parent(int ready)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID) < 0) {
        _exit(1);
    }
    int inner[2];
    char byte;
    if (pipe(inner) < 0) {
        _exit(1);
    }
    pid_t init = fork();
    if (init == 0) {
        be_init(inner[1]);
    }
    if (read(inner[0], &byte, 1) != 1 || write(ready, &init, sizeof init) != sizeof init) {
        _exit(1);
    }
    waitpid(init, NULL, 0);
    _exit(0);
}

/* The first process of new namespaces; its end ends everything in there. */
static pid_t start_init(void)
{
    int channel[2];
    pid_t init = 0;

    assert_int_equal(pipe(channel), 0);
    if (fork() == 0) {
        be_parent(channel[1]);
    }
    close(channel[1]);
    assert_int_equal(read(channel[0], &init, sizeof init), sizeof init);
    close(channel[0]);
    return init;
}

static void start_host(struct host *host)
{
    char command[200];

    host->folder = xasprintf("%s/%s", root, host->name);
    assert_int_equal(mkdir(host->folder, 0700), 0);
    host->init = start_init();
    snprintf(command, sizeof command, "ip link add p%d type veth peer name eth0 netns %d",
             host->number, host->init);
    must(NULL, command);
    snprintf(command, sizeof command, "ip link set p%d master sw0 up", host->number);
    must(NULL, command);
    must(host, "ip link set lo up");
    must(host, "ip link set eth0 up");
    snprintf(command, sizeof command, "ip addr add 192.0.2.%d/24 dev eth0", host->number);
    must(host, command);
    must(host, "ip route add default via 192.0.2.254");
}

static void start_agent(struct host *host)
{
    char target[16];

    snprintf(target, sizeof target, "%d", host->init);
    host->agent = fork();
    if (host->agent == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("nsenter", "nsenter", "-t", target, "-n", "-m", "-p", "--", agent_path, "run",
               host->name, host->folder, (char *)NULL);
        _exit(127);
    }
}

static void stop_agent(struct host *host)
{
    int status;

    write_text(host, "stop", "");
    assert_int_equal(waitpid(host->agent, &status, 0), host->agent);
    assert_int_equal(status, 0); /* the sanitizers have nothing to say either */
    host->agent = 0;
}

/* --- resources
 * ------------------------------------------------------------------------------------ */

static json_t *self_resource(const struct host *host)
{
    return json_pack("{s:s+, s:s, s:i, s:i, s:b, s:s, s:s, s:b}", "address", "10.77.0.",
                     host == HUB ? "1"
                     : host == A ? "2"
                                 : "3",
                     "range", "10.77.0.0/16", "port", 51820, "mtu", 0, "hub", host == HUB,
                     "fabric", "wireguard", "cloud", "", "public", host == HUB);
}

static json_t *peer_resource(const struct host *host, const char *via)
{
    json_t *facts = read_json(host, "facts.json");
    const char *key =
        json_get_string(json_object_get(facts, "vpn.self"), "publicKey", "no fact came");
    char address[32], endpoint[32];

    snprintf(address, sizeof address, "10.77.0.%d", host->number);
    snprintf(endpoint, sizeof endpoint, "192.0.2.%d:51820", host->number);
    json_t *peer = json_pack("{s:s, s:s, s:b, s:s, s:[]}", "address", address, "publicKey", key,
                             "hub", host == HUB, "cloud", "", "endpoints");
    if (via) {
        json_array_append_new(json_object_get(peer, "endpoints"),
                              json_pack("{s:s, s:s}", "endpoint", endpoint, "via", via));
    }
    json_decref(facts);
    return peer;
}

static void give(struct host *host, json_t *resources)
{
    _cleanup_free_ char *text = json_canonical(resources);

    write_text(host, "resources.json", text);
    json_decref(resources);
}

/* Everybody gets everybody, as the server would do it; the nodes' endpoints only if asked for. */
static void give_all(const char *via)
{
    for (size_t i = 0; i < 3; i++) {
        char key[32];
        json_t *resources = json_object();
        snprintf(key, sizeof key, "vpn/self/%s", hosts[i].name);
        json_object_set_new(resources, key, self_resource(&hosts[i]));
        for (size_t k = 0; k < 3; k++) {
            snprintf(key, sizeof key, "vpn/peer/%s", hosts[k].name);
            json_object_set_new(resources, key,
                                peer_resource(&hosts[k], &hosts[k] == HUB ? "declared" : via));
        }
        give(&hosts[i], resources);
    }
}

/* How `host` says it reaches `node`: "direct", "hub", "none", or "?" if it doesn't say. */
static int path_is(const struct host *host, const char *node, const char *path)
{
    json_t *status = read_json(host, "status.json"), *peer;
    int found = 0;
    size_t i;

    json_array_foreach (json_object_get(json_object_get(status, "vpn"), "peers"), i, peer) {
        found |= strcmp(json_get_string(peer, "node", ""), node) == 0 &&
                 strcmp(json_get_string(peer, "path", "?"), path) == 0;
    }
    json_decref(status);
    return found;
}

static int state_is(const struct host *host, const char *state)
{
    json_t *status = read_json(host, "status.json");
    int found = strcmp(json_get_string(json_object_get(status, "vpn"), "state", "?"), state) == 0;

    json_decref(status);
    return found;
}

static int has_fact(const struct host *host, const char *name)
{
    json_t *facts = read_json(host, "facts.json");
    int found = json_is_object(json_object_get(facts, name));

    json_decref(facts);
    return found;
}

static int pings(const struct host *host, const char *address)
{
    char command[64];

    snprintf(command, sizeof command, "ping -c 1 -W 1 %s", address);
    return run(host, command, NULL) == 0;
}

/* --- the story
 * -------------------------------------------------------------------------------------- */

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

static int setup(void **state)
{
    char folder[] = "/tmp/vpn-test-XXXXXX";

    assert_non_null(mkdtemp(folder));
    root = xstrdup(folder);
    if (unshare(CLONE_NEWNET) < 0) {
        return -1;
    }
    must(NULL, "ip link add sw0 type bridge");
    must(NULL, "ip link set sw0 up");
    for (size_t i = 0; i < HOSTS; i++) {
        start_host(&hosts[i]);
    }
    return 0;
}

static int teardown(void **state)
{
    for (size_t i = 0; i < HOSTS; i++) {
        if (hosts[i].init > 0) {
            kill(hosts[i].init, SIGKILL);
        }
        free(hosts[i].folder);
    }
    free(strangers_before);
    const char *const argv[] = {"rm", "-rf", root, NULL};
    struct spawn spawn = {.argv = argv};
    spawn_run(&spawn);
    free(root);
    free(agent_path);
    return 0;
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
    return cmocka_run_group_tests(tests, setup, teardown);
}
