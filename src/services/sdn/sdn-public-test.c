/* The public side with real packets: a machine behind a 1:1 NAT (sdn-public-hosts.h), on which the
 * driver runs as in an agent. Each test has a machine of its own. Needs root. */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/digest.h"
#include "core/laws-host.h"
#include "core/reconcile.h"
#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/mem.h"
#include "services/sdn/sdn-public-hosts.h"
#include "services/sdn/sdn-public.h"

enum {
    DEADLINE_MSEC = 15000,
    MANY = 10000,
};

#define SELF "'sdn/self/A':{'address':'10.77.0.5','range':'10.77.0.0/16'}"
#define FILTER(id_, body_) ",'sdn/filter/" id_ "/A':{" body_ "}"
#define TABLE "netdev cnsmo_sdn"

/* --- an agent --- */

static struct {
    uv_loop_t loop;
    struct reconcile *reconcile;
    json_t *counters; /* name -> [packets, bytes], as told */
    json_t *errors;
    int settled;
} agent;

#define demand(condition)                                                                         \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);               \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

static void on_count(void *arg, const char *name, uint64_t packets, uint64_t bytes)
{
    json_t *before = json_object_get(agent.counters, name);

    demand((uint64_t)json_integer_value(json_array_get(before, 0)) <= packets);
    json_object_set_new(agent.counters, name,
                        json_pack("[I, I]", (json_int_t)packets, (json_int_t)bytes));
}

static void on_count_gone(void *arg, const char *name)
{
    json_object_del(agent.counters, name);
}

static void on_applied(void *arg, int64_t revision, const json_t *errors)
{
    json_decref(agent.errors);
    agent.errors = json_deep_copy(errors);
    agent.settled = 1;
}

static void drop_report(void *arg, const char *name, json_t *value)
{
    json_decref(value);
}

static void start_agent(void)
{
    static const struct backend *const BACKENDS_HERE[] = {&BACKEND_SDN_PUBLIC, NULL};
    struct backend_env env = {.node = "A",
                              .state_dir = "/tmp/state",
                              .run_dir = "/run/agent",
                              .log_dir = "/tmp/log",
                              .report = drop_report,
                              .count = on_count,
                              .count_gone = on_count_gone};
    struct error error = {0};

    signal(SIGPIPE, SIG_IGN);
    file_make_folder("/tmp/state", 0700);
    file_make_folder("/run/agent", 0755);
    agent.counters = json_object();
    uv_loop_init(&agent.loop);
    demand(reconcile_new(&agent.loop, "/tmp/state", BACKENDS_HERE, &env, on_applied, NULL,
                         &agent.reconcile, &error) == 0);
    reconcile_wake_all(agent.reconcile);
}

static void stop_agent(void)
{
    reconcile_free(agent.reconcile);
    uv_run(&agent.loop, UV_RUN_DEFAULT);
    demand(uv_loop_close(&agent.loop) == 0);
    json_decref(agent.counters);
    json_decref(agent.errors);
    agent.errors = NULL;
}

/* Until the condition holds, with the agent's loop running. */
#define EVENTUALLY(condition)                                                                     \
    do {                                                                                          \
        int64_t end_ = clock_monotonic_usec() + DEADLINE_MSEC * 1000LL;                           \
        while (!(condition)) {                                                                    \
            if (clock_monotonic_usec() > end_) {                                                  \
                fprintf(stderr, "%s:%d: not in time: %s\n", __FILE__, __LINE__, #condition);      \
                exit(1);                                                                          \
            }                                                                                     \
            uv_run(&agent.loop, UV_RUN_NOWAIT);                                                   \
            poll(NULL, 0, 5);                                                                     \
        }                                                                                         \
    } while (0)

/* Gives the agent these resources, with ' for ", and waits until they are in force. */
static void give(const char *text)
{
    _cleanup_free_ char *copy = xstrdup(text);
    struct digest sum = {0};
    const char *key;
    json_t *body;
    char hex[33];

    for (char *at = copy; *at; at++) {
        *at = *at == '\'' ? '"' : *at;
    }
    json_t *all = json_loads(copy, JSON_REJECT_DUPLICATES, NULL);
    demand(json_is_object(all));
    int64_t revision = reconcile_revision(agent.reconcile) + 1;
    reconcile_begin_snapshot(agent.reconcile);
    json_object_foreach (all, key, body) {
        reconcile_put(agent.reconcile, key, revision, body);
        digest_add(&sum, digest_of(key, body));
    }
    demand(reconcile_sync(agent.reconcile, revision, digest_format(sum, hex)) == 0);
    json_decref(all);
    agent.settled = 0;
    EVENTUALLY(agent.settled);
    demand(json_array_size(agent.errors) == 0);
}

static json_int_t counted(const char *id, int bytes)
{
    _cleanup_free_ char *name = xasprintf("sdn/filter/%s/public", id);

    return json_integer_value(
        json_array_get(json_object_get(agent.counters, name), (size_t)bytes));
}

#define EVENTUALLY_COUNTED(id, packets) EVENTUALLY(counted(id, 0) == (packets))

static int shown(const char *text)
{
    _cleanup_free_ char *out = hosts_read(NULL, "nft list ruleset");

    return strstr(out, text) != NULL;
}

/* Five of these; the test's own machine is the other end. */
static void five(const char *from, const char *source, const char *destination, uint8_t protocol,
                 uint16_t port)
{
    hosts_send(&(struct packets){.from = from,
                                 .source = source,
                                 .destination = destination,
                                 .protocol = protocol,
                                 .port = port,
                                 .count = 5});
}

/* --- the tests, each in namespaces of its own --- */

static int arriving(const void *arg)
{
    give("{" SELF FILTER("1", "'direction':'in','protocol':'udp','port':'1919'")
             FILTER("2", "'direction':'in','protocol':'tcp','source':'198.51.100.0/24',"
                         "'port':'1919'")
                 FILTER("3", "'direction':'in','protocol':'icmp','destination':'10.0.0.5/32'")
                     FILTER("4", "'direction':'in','source':'10.77.0.0/16'") "}");
    five("far", FAR, HERE, IPPROTO_UDP, 1919);
    five("far", FAR, HERE, IPPROTO_UDP, 1920);
    five("far", FAR, HERE, IPPROTO_TCP, 1919);
    five("far", FAR, HERE, IPPROTO_TCP, 1920);
    five("nat", NAT, HERE, IPPROTO_TCP, 1919);
    five("far", FAR, HERE, IPPROTO_ICMP, 0);
    EVENTUALLY_COUNTED("1", 5);
    EVENTUALLY_COUNTED("2", 5);
    EVENTUALLY_COUNTED("3", 5);
    demand(counted("1", 1) == 5LL * (20 + 8 + 4));
    demand(counted("2", 1) == 5LL * (20 + 20 + 4));
    demand(hosts_arrived(NULL, IPPROTO_UDP, 1919) == 0);
    demand(hosts_arrived(NULL, IPPROTO_UDP, 1920) == 5);
    demand(hosts_arrived(NULL, IPPROTO_TCP, 1919) == 5); /* the NAT's own */
    demand(hosts_arrived(NULL, IPPROTO_TCP, 1920) == 5);
    demand(hosts_arrived(NULL, IPPROTO_ICMP, 0) == 0);
    /* IPv4 options put the ports elsewhere. */
    hosts_send(&(struct packets){.from = "nat",
                                 .source = NAT,
                                 .destination = HERE,
                                 .protocol = IPPROTO_UDP,
                                 .port = 1919,
                                 .count = 3,
                                 .with_options = 1});
    EVENTUALLY_COUNTED("1", 8);
    give("{}");
    five("far", FAR, HERE, IPPROTO_UDP, 1919);
    demand(hosts_arrived(NULL, IPPROTO_UDP, 1919) == 5);
    demand(json_object_size(agent.counters) == 0);
    demand(!shown("cnsmo_sdn"));
    return 0;
}

static int leaving(const void *arg)
{
    give("{" SELF FILTER("1", "'direction':'out','protocol':'udp','port':'53'")
             FILTER("2", "'direction':'out','protocol':'tcp','destination':'198.51.100.9'")
                 FILTER("3", "'direction':'both','protocol':'icmp'") "}");
    five(NULL, HERE, FAR, IPPROTO_UDP, 53);
    five(NULL, HERE, FAR, IPPROTO_UDP, 54);
    five(NULL, HERE, FAR, IPPROTO_TCP, 80);
    five(NULL, HERE, NAT, IPPROTO_TCP, 80);
    five(NULL, HERE, FAR, IPPROTO_ICMP, 0);
    five("nat", NAT, HERE, IPPROTO_ICMP, 0);
    five("nat", NAT, HERE, IPPROTO_UDP, 53);
    EVENTUALLY_COUNTED("1", 5);
    EVENTUALLY_COUNTED("2", 5);
    EVENTUALLY_COUNTED("3", 10);
    demand(hosts_arrived("nat", IPPROTO_UDP, 53) == 0);
    demand(hosts_arrived("nat", IPPROTO_UDP, 54) == 5);
    demand(hosts_arrived("nat", IPPROTO_TCP, 80) == 5);
    demand(hosts_arrived("nat", IPPROTO_ICMP, 0) == 0);
    demand(hosts_arrived(NULL, IPPROTO_ICMP, 0) == 0);
    demand(hosts_arrived(NULL, IPPROTO_UDP, 53) == 5);
    return 0;
}

/* The filter names the public prefix, which never stands in a packet on the NIC. */
static int behind_nat(const void *arg)
{
    give("{" SELF FILTER("1", "'direction':'in','protocol':'tcp','port':'1919',"
                              "'destination':'134.157.0.0/16','destinationSelf':true")
             FILTER("2", "'direction':'out','protocol':'udp','source':'134.157.0.0/16',"
                         "'sourceSelf':true")
                 FILTER("3", "'direction':'in','protocol':'udp','port':'1919',"
                             "'destination':'134.157.0.0/16','destinationSelf':false") "}");
    five("far", FAR, PUBLIC, IPPROTO_TCP, 1919);
    five("far", FAR, PUBLIC, IPPROTO_TCP, 1920);
    five("far", FAR, PUBLIC, IPPROTO_UDP, 1919);
    five(NULL, HERE, FAR, IPPROTO_UDP, 7);
    EVENTUALLY_COUNTED("1", 5);
    EVENTUALLY_COUNTED("2", 5);
    demand(counted("3", 0) == 0);
    demand(hosts_arrived(NULL, IPPROTO_TCP, 1919) == 0);
    demand(hosts_arrived(NULL, IPPROTO_TCP, 1920) == 5);
    demand(hosts_arrived(NULL, IPPROTO_UDP, 1919) == 5);
    demand(hosts_arrived("far", IPPROTO_UDP, 7) == 0);
    /* An address that comes later is our own, too; one that goes isn't any more. */
    hosts_do(NULL, "ip address add 10.0.0.6/24 dev eth0");
    EVENTUALLY(shown("elements = { 10.0.0.5, 10.0.0.6 }") ||
               shown("elements = { 10.0.0.6, 10.0.0.5 }"));
    five("nat", NAT, "10.0.0.6", IPPROTO_TCP, 1919);
    EVENTUALLY_COUNTED("1", 10);
    hosts_do(NULL, "ip address del 10.0.0.6/24 dev eth0");
    EVENTUALLY(shown("elements = { 10.0.0.5 }"));
    return 0;
}

static void udp_to(unsigned first, unsigned last)
{
    for (unsigned port = first; port <= last; port++) {
        hosts_send(&(struct packets){.from = "nat",
                                     .source = NAT,
                                     .destination = HERE,
                                     .protocol = IPPROTO_UDP,
                                     .port = (uint16_t)port,
                                     .count = 1});
    }
}

static int ranges(const void *arg)
{
#define NEWER FILTER("2", "'direction':'in','protocol':'udp','port':'8008-8010'")
    give("{" SELF FILTER("1", "'direction':'in','protocol':'udp','port':'8000-8010'") NEWER "}");
    udp_to(7999, 8011);
    /* What both want is counted by one of them. */
    EVENTUALLY_COUNTED("1", 11);
    demand(counted("2", 0) == 0);
    demand(hosts_arrived(NULL, IPPROTO_UDP, 7999) == 1);
    demand(hosts_arrived(NULL, IPPROTO_UDP, 8000) == 0);
    demand(hosts_arrived(NULL, IPPROTO_UDP, 8011) == 1);
    /* The other goes on with it. */
    give("{" SELF NEWER "}");
    udp_to(7999, 8011);
    EVENTUALLY_COUNTED("2", 3);
    demand(hosts_arrived(NULL, IPPROTO_UDP, 8000) == 1);
    demand(hosts_arrived(NULL, IPPROTO_UDP, 8008) == 0);
#undef NEWER
    return 0;
}

static int priorities(const void *arg)
{
#define WIDE FILTER("1", "'direction':'in','protocol':'udp','priority':100")
    give("{" SELF WIDE FILTER("2",
                              "'direction':'in','protocol':'udp','port':'9','priority':200") "}");
    five("far", FAR, HERE, IPPROTO_UDP, 9);
    EVENTUALLY_COUNTED("2", 5);
    demand(counted("1", 0) == 0);
    /* A filter that is changed keeps what it has counted. */
    give("{" SELF WIDE FILTER("2", "'direction':'in','protocol':'udp','port':'9','priority':50")
             FILTER("3", "'direction':'in','protocol':'tcp'") "}");
    five("far", FAR, HERE, IPPROTO_UDP, 9);
    EVENTUALLY_COUNTED("1", 5);
    demand(counted("2", 0) == 5);
    give("{" SELF FILTER("2", "'direction':'in','protocol':'udp','port':'9','priority':50") "}");
    five("far", FAR, HERE, IPPROTO_UDP, 9);
    EVENTUALLY_COUNTED("2", 10);
#undef WIDE
    return 0;
}

/* Only the first fragment has a port. */
static int fragments(const void *arg)
{
    struct packets packets = {.from = "nat",
                              .source = NAT,
                              .destination = HERE,
                              .protocol = IPPROTO_UDP,
                              .port = 1919,
                              .count = 4,
                              .is_fragment = 1};

    give("{" SELF FILTER("1", "'direction':'in','protocol':'udp','port':'1919'")
             FILTER("2", "'direction':'in','protocol':'icmp'") "}");
    hosts_send(&packets);
    packets.fragment = 8;
    packets.is_last = 1;
    hosts_send(&packets);
    EVENTUALLY_COUNTED("1", 4);
    demand(hosts_arrived(NULL, IPPROTO_UDP, 1919) == 0);
    demand(hosts_arrived(NULL, IPPROTO_UDP, 0) == 4);
    /* Without a port all of them. */
    packets.protocol = IPPROTO_ICMP;
    hosts_send(&packets);
    EVENTUALLY_COUNTED("2", 4);
    return 0;
}

/* --- faults --- */

#define TWO                                                                                       \
    "{" SELF FILTER("1", "'direction':'in','protocol':'udp','port':'1919'")                       \
        FILTER("2", "'direction':'in','source':'198.51.100.0/24','destination':'10.0.0.5'") "}"

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Our table, in an order that doesn't depend on how it came about. The caller frees it. */
static char *our_table(void)
{
    json_t *look = host_look(), *item;
    struct buf text = BUF_INIT(1 << 20);
    char *lines[100];
    size_t i, len = 0;

    json_array_foreach (json_object_get(look, "nft"), i, item) {
        char *line = json_dumps(item, JSON_COMPACT | JSON_SORT_KEYS);
        if (strstr(line, "cnsmo_sdn") && len < ARRAY_LEN(lines)) {
            lines[len++] = line;
        } else {
            free(line);
        }
    }
    qsort(lines, len, sizeof *lines, compare_lines);
    for (i = 0; i < len; i++) {
        buf_printf(&text, "%s\n", lines[i]);
        free(lines[i]);
    }
    json_decref(look);
    return text.data ? text.data : xstrdup("");
}

static int is_listed(const char *right)
{
    _cleanup_free_ char *now = our_table();

    return strcmp(now, right) == 0;
}

/* Whatever others do to the table, it is put back, and totals go on. */
static int repairs(const void *arg)
{
    static const char *const DAMAGE[] = {
        "nft delete table " TABLE,
        "nft flush table " TABLE,
        "nft flush set " TABLE " arriving_1000_proto_port16",
        "nft flush set " TABLE " own",
        "nft insert rule " TABLE " arriving accept",
        "nft add element " TABLE " arriving_1000_proto_port16 { tcp . 1 }",
        "nft add set " TABLE " theirs { type ipv4_addr ; }",
        "nft flush ruleset",
    };
    json_int_t total = 0;

    give(TWO);
    _cleanup_free_ char *right = our_table();
    for (size_t i = 0; i < ARRAY_LEN(DAMAGE); i++) {
        five("nat", NAT, HERE, IPPROTO_UDP, 1919);
        total += 5;
        EVENTUALLY_COUNTED("1", total);
        hosts_do(NULL, DAMAGE[i]);
        EVENTUALLY(is_listed(right));
    }
    five("nat", NAT, HERE, IPPROTO_UDP, 1919);
    EVENTUALLY_COUNTED("1", total + 5);
    return 0;
}

/* An agent that comes back finds everything right, and its counters where they were. */
static int restarts(const void *arg)
{
    give(TWO);
    five("nat", NAT, HERE, IPPROTO_UDP, 1919);
    EVENTUALLY_COUNTED("1", 5);
    stop_agent();
    five("nat", NAT, HERE, IPPROTO_UDP, 1919);
    _cleanup_free_ char *before = hosts_read(NULL, "nft -a list table " TABLE);
    start_agent();
    EVENTUALLY_COUNTED("1", 10);
    _cleanup_free_ char *after = hosts_read(NULL, "nft -a list table " TABLE);
    demand(strcmp(before, after) == 0);
    /* After a reboot there is no table: the file knows. */
    stop_agent();
    hosts_do(NULL, "nft delete table " TABLE);
    start_agent();
    EVENTUALLY_COUNTED("1", 10);
    EVENTUALLY(shown("cnsmo_sdn"));
    five("nat", NAT, HERE, IPPROTO_UDP, 1919);
    EVENTUALLY_COUNTED("1", 15);
    return 0;
}

static int nics_come_and_go(const void *arg)
{
    give(TWO);
    hosts_do(NULL, "ip link add eth1 type veth peer name in1 netns nat");
    hosts_do(NULL, "ip link set eth1 up");
    hosts_do("nat", "ip link set in1 up");
    hosts_do("nat", "ip address add 10.1.0.1/24 dev in1");
    hosts_do(NULL, "ip address add 10.1.0.5/24 dev eth1");
    EVENTUALLY(shown("device \"eth1\""));
    five("nat", "10.1.0.1", "10.1.0.5", IPPROTO_UDP, 1919);
    EVENTUALLY_COUNTED("1", 5);
    five("nat", NAT, HERE, IPPROTO_UDP, 1919);
    EVENTUALLY_COUNTED("1", 10);
    hosts_do(NULL, "ip link del eth1");
    EVENTUALLY(!shown("device \"eth1\"") && !shown("10.1.0.5"));
    five("nat", NAT, HERE, IPPROTO_UDP, 1919);
    EVENTUALLY_COUNTED("1", 15);
    /* Ours and containers' aren't NICs. */
    hosts_do(NULL, "ip link add docker0 type bridge");
    hosts_do(NULL, "ip link add x0 type bridge");
    hosts_do(NULL, "ip link set x0 alias cnsmo");
    hosts_do(NULL, "ip link add eth2 type bridge");
    hosts_do(NULL, "ip address add 172.17.0.1/16 dev docker0");
    hosts_do(NULL, "ip address add 10.77.0.5/32 dev x0");
    hosts_do(NULL, "ip address add 10.2.0.5/24 dev eth2");
    EVENTUALLY(shown("device \"eth2\""));
    demand(!shown("device \"docker0\"") && !shown("device \"x0\""));
    return 0;
}

/* --- many --- */

static void many(struct buf *text, unsigned len)
{
    buf_printf(text, "{" SELF);
    for (unsigned i = 0; i < len; i++) {
        buf_printf(text,
                   ",'sdn/filter/%u/A':{'direction':'both','protocol':'tcp','destination':"
                   "'192.0.%u.%u/32','port':'%u'}",
                   i + 1, 2 + i / 250, i % 250, 1000 + i);
    }
    buf_printf(text, "}");
}

/* One more or less among ten thousand leaves the others' counters alone, and is exact. */
static int ten_thousand(const void *arg)
{
    struct buf all = BUF_INIT(64 << 20), more = BUF_INIT(64 << 20);

    many(&all, MANY);
    many(&more, MANY + 1);
    give(all.data);
    five(NULL, HERE, "192.0.2.7", IPPROTO_TCP, 1007);
    EVENTUALLY_COUNTED("8", 5);
    give(more.data);
    five(NULL, HERE, "192.0.42.0", IPPROTO_TCP, 1000 + MANY);
    five(NULL, HERE, "192.0.2.7", IPPROTO_TCP, 1007);
    EVENTUALLY_COUNTED("10001", 5);
    EVENTUALLY_COUNTED("8", 10);
    give(all.data);
    five(NULL, HERE, "192.0.42.0", IPPROTO_TCP, 1000 + MANY);
    demand(hosts_arrived("nat", IPPROTO_TCP, 1000 + MANY) == 5);
    give("{}");
    demand(!shown("cnsmo_sdn"));
    buf_done(&all);
    buf_done(&more);
    return 0;
}

/* --- as cmocka tests --- */

struct test {
    int (*run)(const void *arg);
};

static int in_its_host(const void *arg)
{
    const struct test *test = arg;

    hosts_up();
    start_agent();
    int rc = test->run(NULL);
    stop_agent();
    return rc;
}

static void run_in_host(void **state)
{
    assert_int_equal(host_run(in_its_host, *state), 0);
}

#define TEST(name_)                                                                               \
    {                                                                                             \
        .name = #name_, .test_func = run_in_host, .initial_state = &(struct test){name_},         \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(arriving),   TEST(leaving),      TEST(behind_nat), TEST(ranges),
        TEST(priorities), TEST(repairs),      TEST(restarts),   TEST(nics_come_and_go),
        TEST(fragments),  TEST(ten_thousand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
