/* What the kernel does to real packets is what fw_verdict() says: random rules and packets, both
 * ways, new and established, through the public side and the overlay's device.
 *
 *     here (the test)                    "far"
 *     eth0    10.9.0.1, .7 ───────────── far0  10.9.0.2 … .5
 *     cnsmo0  10.8.0.1 ───────────────── far1  10.8.0.2 … .5
 *
 * A raw socket gets what has passed the firewall. Needs root. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "core/laws-host.h"
#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/spawn.h"
#include "services/fw/fw-compile.h"
#include "services/sdn/sdn-public-hosts.h"

enum {
    ROUNDS = 60,
    PACKETS = 60,
    RULES_MAX = 30,
    DEADLINE_USEC = 3000000,
};

#define demand(condition)                                                                         \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition,           \
                    strerror(errno));                                                             \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

static unsigned seed = 20261125;

static unsigned pick(unsigned n)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 16) % n;
}

/* --- sockets --- */

static const int PROTOCOLS[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP};

struct end {
    int send;
    int receive[3]; /* by protocol */
};

static int raw(int protocol)
{
    int fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    int size = 4 << 20;

    demand(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    return fd;
}

static struct end end_open(const char *netns)
{
    struct end end;
    int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int other = netns ? open(netns, O_RDONLY | O_CLOEXEC) : own;

    demand(own >= 0 && other >= 0 && setns(other, CLONE_NEWNET) == 0);
    end.send = raw(IPPROTO_RAW);
    for (int i = 0; i < 3; i++) {
        end.receive[i] = raw(PROTOCOLS[i]);
    }
    demand(setns(own, CLONE_NEWNET) == 0);
    return end;
}

static uint16_t checksum(const void *data, size_t size, uint32_t sum)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < size; i += 2) {
        sum += (uint32_t)(bytes[i] << 8 | (i + 1 < size ? bytes[i + 1] : 0));
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return htons((uint16_t)~sum);
}

/* An ICMP echo has its number where the others have their source port. */
struct probe {
    struct fw_packet packet;
    int arrived;
    int is_lost; /* never sent: what it answers never came */
};

static size_t write_payload(const struct fw_packet *p, uint8_t *data)
{
    uint32_t pseudo = (p->source >> 16) + (p->source & 0xffff) + (p->destination >> 16) +
                      (p->destination & 0xffff);

    if (p->protocol == FW_ICMP) {
        struct icmphdr icmp = {.type = ICMP_ECHO, .un.echo.id = htons(p->source_port.from)};
        icmp.checksum = checksum(&icmp, sizeof icmp, 0);
        memcpy(data, &icmp, sizeof icmp);
        return sizeof icmp;
    }
    if (p->protocol == FW_UDP) {
        struct udphdr udp = {.source = htons(p->source_port.from),
                             .dest = htons(p->port.from),
                             .len = htons(sizeof udp)};
        udp.check = checksum(&udp, sizeof udp, pseudo + IPPROTO_UDP + sizeof udp);
        memcpy(data, &udp, sizeof udp);
        return sizeof udp;
    }
    struct tcphdr tcp = {.source = htons(p->source_port.from),
                         .dest = htons(p->port.from),
                         .doff = 5,
                         .syn = 1,
                         .window = htons(1000)};
    tcp.check = checksum(&tcp, sizeof tcp, pseudo + IPPROTO_TCP + sizeof tcp);
    memcpy(data, &tcp, sizeof tcp);
    return sizeof tcp;
}

/* What the firewall here refuses of our own can't be sent, and that is no failure. */
static void send_packet(const struct end *from, const struct fw_packet *p)
{
    uint8_t data[128];
    size_t size = write_payload(p, data + sizeof(struct iphdr));
    struct iphdr ip = {.version = 4,
                       .ihl = 5,
                       .ttl = 64,
                       .protocol = (uint8_t)PROTOCOLS[p->protocol - 1],
                       .saddr = htonl(p->source),
                       .daddr = htonl(p->destination),
                       .tot_len = htons((uint16_t)(sizeof ip + size))};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = ip.daddr};

    memcpy(data, &ip, sizeof ip);
    ssize_t sent =
        sendto(from->send, data, sizeof ip + size, 0, (struct sockaddr *)&to, sizeof to);
    demand(sent > 0 || errno == EPERM || errno == EACCES || errno == ECONNREFUSED ||
           errno == EHOSTUNREACH);
}

/* --- receiving --- */

static int is_probe(const struct probe *probe, const struct iphdr *ip, const uint8_t *data)
{
    const struct fw_packet *p = &probe->packet;
    uint16_t ports[2], id;

    memcpy(ports, data, sizeof ports);
    memcpy(&id, data + 4, sizeof id);
    if (ip->saddr != htonl(p->source) || ip->daddr != htonl(p->destination) ||
        ip->protocol != PROTOCOLS[p->protocol - 1]) {
        return 0;
    }
    return p->protocol == FW_ICMP
               ? data[0] == ICMP_ECHO && id == htons(p->source_port.from)
               : ports[0] == htons(p->source_port.from) && ports[1] == htons(p->port.from);
}

static void receive(const struct end *end, struct probe *probes, size_t len)
{
    uint8_t data[2048];
    ssize_t size;

    for (int i = 0; i < 3; i++) {
        while ((size = recv(end->receive[i], data, sizeof data, 0)) >= 28) {
            const struct iphdr *ip = (const struct iphdr *)data;
            for (size_t k = 0; k < len; k++) {
                if (is_probe(&probes[k], ip, data + (size_t)ip->ihl * 4)) {
                    probes[k].arrived = 1;
                }
            }
        }
    }
}

/* --- rules and packets by chance --- */

static struct ip4_prefix some_prefix(int is_here)
{
    static const uint8_t LENGTHS[] = {32, 32, 31, 30, 24, 16, 8, 1};
    struct ip4_prefix prefix = {.address = (pick(2) ? 0x0a090000u : 0x0a080000u) +
                                           (is_here ? (pick(2) ? 7 : 1) : 2 + pick(4)),
                                .len = LENGTHS[pick(sizeof LENGTHS)]};

    prefix.address &= ip4_mask(prefix.len);
    return prefix;
}

static json_t *some_addresses(int is_here)
{
    unsigned len = pick(3) ? pick(2) : pick(4);
    json_t *list = json_array();
    char text[IP4_PREFIX_TEXT_SIZE];

    for (unsigned i = 0; i < len; i++) {
        json_array_append_new(list, json_string(ip4_prefix_format(some_prefix(is_here), text)));
    }
    return list;
}

static void some_rule(unsigned id, struct fw_rule *rule)
{
    static const char *const DIRECTIONS[] = {"in", "out"},
                             *const SIDES[] = {"any", "any", "overlay", "public"},
                             *const WORDS[] = {"any", "tcp", "udp", "icmp"},
                             *const STATES[] = {"any", "any", "new", "established"},
                             *const ACTIONS[] = {"accept", "drop",   "accept",
                                                 "drop",   "reject", "log"},
                             *const PORTS[] = {"",        "",        "100",  "101",
                                               "100-101", "101,103", "1-102"};
    int direction = (int)pick(2), protocol = (int)pick(4);
    int has_ports = protocol == FW_TCP || protocol == FW_UDP;
    char text[FW_ID_SIZE];
    struct error error;

    snprintf(text, sizeof text, "%u", id);
    json_t *body = json_pack("{s:I, s:s, s:s, s:s, s:o, s:o, s:s, s:s, s:s, s:s}", "order",
                             (json_int_t)(1 + pick(8)), "direction", DIRECTIONS[direction], "side",
                             SIDES[pick(4)], "protocol", WORDS[protocol], "source",
                             some_addresses(direction), "destination", some_addresses(!direction),
                             "port", has_ports ? PORTS[pick(7)] : "", "sourcePort",
                             has_ports && pick(6) == 0 ? "2000-30000" : "", "state",
                             STATES[pick(4)], "action", ACTIONS[pick(6)]);
    demand(fw_rule_parse(text, body, rule, &error) == 0);
    json_decref(body);
}

/* Every flow is a new one. */
static void some_packet(struct fw_packet *p)
{
    static uint16_t next = 1024;
    int is_in = (int)pick(2);
    uint32_t net = pick(2) ? 0x0a090000u : 0x0a080000u;
    uint32_t here = net + (net == 0x0a090000u && pick(2) ? 7 : 1), there = net + 2 + pick(4);
    uint16_t port = (uint16_t)(100 + pick(4));

    next = next > 60000 ? 1024 : (uint16_t)(next + 7);
    *p = (struct fw_packet){.direction = is_in ? FW_IN : FW_OUT,
                            .side = net == 0x0a080000u ? FW_OVERLAY : FW_PUBLIC,
                            .protocol = (enum fw_protocol)(FW_TCP + pick(3)),
                            .state = FW_NEW,
                            .has_source = 1,
                            .has_destination = 1,
                            .source = is_in ? there : here,
                            .destination = is_in ? here : there,
                            .port = {port, port},
                            .source_port = {next, next}};
}

/* --- one round --- */

struct round {
    struct fw_rule rules[RULES_MAX];
    struct fw_marked marked[RULES_MAX];
    const struct fw_rule *sorted[RULES_MAX];
    size_t len;
    struct fw_policy policy;
};

static void load(struct round *round)
{
    static const char *const MARKS[] = {"s.1", NULL};
    _cleanup_buf_ struct buf commands = BUF_INIT(1 << 20);
    const char *const argv[] = {"nft", "-f", "-", NULL};
    struct error error = {0};

    for (size_t i = 0; i < round->len; i++) {
        round->marked[i] = (struct fw_marked){&round->rules[i], i};
    }
    struct fw_document *document = fw_compile(round->marked, round->len, &round->policy, MARKS);
    fw_commands(NULL, document, &commands);
    fw_document_free(document);
    struct spawn spawn = {.argv = argv, .input = commands.data, .input_size = commands.size};
    if (spawn_check(&spawn, &error) < 0) {
        fprintf(stderr, "%s\n%s\n", error.detail, commands.data);
        exit(1);
    }
    for (size_t i = 0; i < round->len; i++) {
        round->sorted[i] = round->marked[i].rule;
    }
}

static int should_arrive(const struct round *round, const struct probe *probe)
{
    return !probe->is_lost &&
           fw_verdict(round->sorted, round->len, &round->policy, &probe->packet) == FW_ACCEPT;
}

/* Until all that should have come; then nothing else may have. */
static void check(const struct round *round, const struct end *here, const struct end *far,
                  struct probe *probes, int number)
{
    int64_t deadline = clock_monotonic_usec() + DEADLINE_USEC;
    size_t missing;

    do {
        receive(here, probes, PACKETS);
        receive(far, probes, PACKETS);
        missing = 0;
        for (size_t i = 0; i < PACKETS; i++) {
            missing += should_arrive(round, &probes[i]) && !probes[i].arrived;
        }
    } while (missing > 0 && clock_monotonic_usec() < deadline && poll(NULL, 0, 1) == 0);
    for (size_t i = 0; i < PACKETS; i++) {
        const struct fw_packet *p = &probes[i].packet;
        if (should_arrive(round, &probes[i]) != probes[i].arrived) {
            fprintf(stderr, "round %d: %s %08x:%u > %08x:%u protocol %d state %d arrived: %d\n",
                    number, p->direction == FW_IN ? "in" : "out", p->source, p->source_port.from,
                    p->destination, p->port.from, p->protocol, p->state, probes[i].arrived);
            hosts_do(NULL, "nft list table inet cnsmo_fw");
            fputs(hosts_read(NULL, "nft list table inet cnsmo_fw"), stderr);
            exit(1);
        }
    }
}

/* The answers to those that came: established, the other way. ICMP's the kernel gives itself. */
static void turn_round(struct probe *probes)
{
    for (size_t i = 0; i < PACKETS; i++) {
        struct fw_packet *p = &probes[i].packet;
        struct fw_packet answer = *p;
        probes[i].is_lost = !probes[i].arrived || p->protocol != FW_UDP;
        probes[i].arrived = 0;
        answer.direction = p->direction == FW_IN ? FW_OUT : FW_IN;
        answer.state = FW_ESTABLISHED;
        answer.source = p->destination;
        answer.destination = p->source;
        answer.port = p->source_port;
        answer.source_port = p->port;
        *p = answer;
    }
}

static void send_all(const struct end *here, const struct end *far, const struct probe *probes)
{
    for (size_t i = 0; i < PACKETS; i++) {
        if (!probes[i].is_lost) {
            send_packet(probes[i].packet.direction == FW_IN ? far : here, &probes[i].packet);
        }
    }
}

static void run_round(const struct end *here, const struct end *far, int number)
{
    static const enum fw_action DEFAULTS[] = {FW_ACCEPT, FW_DROP, FW_REJECT};
    struct round round = {.len = pick(RULES_MAX + 1),
                          .policy = {.in = DEFAULTS[pick(3)],
                                     .out = DEFAULTS[pick(3)],
                                     .vpn_ports = {103},
                                     .vpn_ports_len = 1}};
    struct probe probes[PACKETS] = {0};

    for (size_t i = 0; i < round.len; i++) {
        some_rule((unsigned)i + 1, &round.rules[i]);
    }
    load(&round);
    for (size_t i = 0; i < PACKETS; i++) {
        some_packet(&probes[i].packet);
    }
    send_all(here, far, probes);
    check(&round, here, far, probes, number);
    turn_round(probes);
    send_all(here, far, probes);
    check(&round, here, far, probes, number);
    for (size_t i = 0; i < round.len; i++) {
        fw_rule_done(&round.rules[i]);
    }
}

static void connect_hosts(void)
{
    static const char *const COMMANDS[] = {"ip netns add far",
                                           "ip link add eth0 type veth peer name far0 netns far",
                                           "ip link add cnsmo0 type veth peer name far1 netns far",
                                           "ip address add 10.9.0.1/24 dev eth0",
                                           "ip address add 10.9.0.7/24 dev eth0",
                                           "ip address add 10.8.0.1/24 dev cnsmo0",
                                           "ip link set eth0 up",
                                           "ip link set cnsmo0 up",
                                           NULL};

    for (size_t i = 0; COMMANDS[i]; i++) {
        hosts_do(NULL, COMMANDS[i]);
    }
    for (int i = 0; i < 4; i++) {
        _cleanup_free_ char *one = xasprintf("ip address add 10.9.0.%d/24 dev far0", 2 + i);
        _cleanup_free_ char *other = xasprintf("ip address add 10.8.0.%d/24 dev far1", 2 + i);
        hosts_do("far", one);
        hosts_do("far", other);
    }
    hosts_do("far", "ip link set far0 up");
    hosts_do("far", "ip link set far1 up");
}

static int verdicts(const void *arg)
{
    connect_hosts();
    struct end here = end_open(NULL), far = end_open("/run/netns/far");

    for (int number = 0; number < ROUNDS; number++) {
        run_round(&here, &far, number);
    }
    return 0;
}

static void test_verdicts(void **state)
{
    assert_int_equal(host_run(verdicts, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_verdicts)};

    return cmocka_run_group_tests_name("what the kernel does to real packets", tests, NULL, NULL);
}
