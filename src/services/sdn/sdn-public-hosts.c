#include "services/sdn/sdn-public-hosts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/ip.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "lib/buf.h"
#include "lib/file.h"
#include "lib/mem.h"
#include "lib/spawn.h"

enum {
    WORDS_MAX = 40,
    OUTPUT_MAX = 64 << 20,
    PAYLOAD_SIZE = 4,
    PACKET_MAX = 128,
};

static _Noreturn void give_up(const char *what, const char *why)
{
    fprintf(stderr, "hosts: %s: %s\n", what, why);
    exit(1);
}

char *hosts_read(const char *host, const char *command)
{
    _cleanup_free_ char *copy = xstrdup(command), *rest = copy;
    const char *argv[WORDS_MAX] = {"ip", "netns", "exec", host};
    size_t len = host ? 4 : 0;
    struct buf out = BUF_INIT(OUTPUT_MAX);
    struct error error;

    for (char *word; (word = strsep(&rest, " "));) {
        argv[len++] = word;
    }
    argv[len] = NULL;
    if (spawn_check(&(struct spawn){.argv = argv, .out = &out}, &error) < 0) {
        give_up(command, error.detail);
    }
    return out.data ? out.data : xstrdup("");
}

void hosts_do(const char *host, const char *command)
{
    free(hosts_read(host, command));
}

/* Counters for each protocol and port that the tests use: a map of what came, by port. */
static void add_probe(const char *host)
{
    hosts_do(host, "nft add table inet probe");
    hosts_do(host, "nft add set inet probe came { type inet_proto . inet_service ; flags dynamic "
                   "; counter ; size 65535 ; }");
    hosts_do(host, "nft add chain inet probe c { type filter hook prerouting priority -400 ; }");
    hosts_do(host, "nft add rule inet probe c ip frag-off & 0x1fff != 0 counter return");
    hosts_do(host, "nft add rule inet probe c meta l4proto { tcp , udp } add @came { meta l4proto "
                   ". th dport }");
    hosts_do(host, "nft add rule inet probe c meta l4proto icmp counter");
    /* Nobody answers: those packets would be counted, too. */
    hosts_do(host, "nft add chain inet probe quiet { type filter hook output priority 0 ; }");
    hosts_do(host, "nft add rule inet probe quiet ip frag-off & 0x1fff != 0 return");
    hosts_do(host, "nft add rule inet probe quiet icmp type destination-unreachable drop");
    hosts_do(host, "nft add rule inet probe quiet icmp type echo-reply drop");
    hosts_do(host, "nft add rule inet probe quiet tcp flags & rst != 0 drop");
}

void hosts_up(void)
{
    static const char *const COMMANDS[] = {
        "ip netns add nat",
        "ip netns add far",
        "ip link add eth0 type veth peer name in0 netns nat",
        "ip link add out0 netns nat type veth peer name eth0 netns far",
        "ip address add 10.0.0.5/24 dev eth0",
        "ip link set eth0 up",
        "ip -n nat address add 10.0.0.1/24 dev in0",
        "ip -n nat address add 198.51.100.1/24 dev out0",
        "ip -n nat link set in0 up",
        "ip -n nat link set out0 up",
        "ip -n far address add 198.51.100.9/24 dev eth0",
        "ip -n far link set eth0 up",
        "ip -n far route add default via 198.51.100.1",
        "ip route add default via 10.0.0.1",
        "ip netns exec nat sysctl -qw net.ipv4.ip_forward=1",
        "ip netns exec nat nft add table ip nat",
        "ip netns exec nat nft add chain ip nat pre { type nat hook prerouting priority -100 ; }",
        "ip netns exec nat nft add chain ip nat post { type nat hook postrouting priority 100 ; }",
        "ip netns exec nat nft add rule ip nat pre ip daddr 134.157.24.35 dnat to 10.0.0.5",
        "ip netns exec nat nft add rule ip nat post ip saddr 10.0.0.5 snat to 134.157.24.35",
    };

    for (size_t i = 0; i < ARRAY_LEN(COMMANDS); i++) {
        hosts_do(NULL, COMMANDS[i]);
    }
    add_probe(NULL);
    add_probe("nat");
    add_probe("far");
}

/* --- packets --- */

static uint32_t sum_of(const void *data, size_t size, uint32_t sum)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < size; i++) {
        sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
    }
    return sum;
}

static uint16_t checksum(uint32_t sum)
{
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return htons((uint16_t)~sum);
}

static uint32_t pseudo_header(const struct iphdr *ip, size_t size)
{
    uint32_t sum = sum_of(&ip->saddr, sizeof ip->saddr, 0);

    return sum_of(&ip->daddr, sizeof ip->daddr, sum) + ip->protocol + (uint32_t)size;
}

static void put16(uint8_t *at, uint16_t value)
{
    value = htons(value);
    memcpy(at, &value, sizeof value);
}

/* TCP: a SYN. UDP: without a checksum. ICMP: an echo request. Returns its size. */
static size_t make_payload(const struct packets *packets, const struct iphdr *ip, unsigned number,
                           uint8_t *at)
{
    size_t size = PAYLOAD_SIZE + (packets->protocol == IPPROTO_TCP ? 20 : 8);
    uint16_t sum;

    memset(at, 0, size);
    if (packets->is_fragment && packets->fragment > 0) {
        for (size_t i = 0; i + 2 <= size; i += 2) {
            put16(at + i, packets->port); /* no header, but looks like one */
        }
        return size;
    }
    if (packets->protocol == IPPROTO_ICMP) {
        at[0] = 8;
        put16(at + 6, (uint16_t)number);
        sum = checksum(sum_of(at, size, 0));
        memcpy(at + 2, &sum, sizeof sum);
        return size;
    }
    put16(at, (uint16_t)(20000 + number));
    put16(at + 2, packets->port);
    if (packets->protocol == IPPROTO_UDP) {
        put16(at + 4, (uint16_t)size);
        return size;
    }
    at[12] = 5 << 4;
    at[13] = 2;
    sum = checksum(sum_of(at, size, pseudo_header(ip, size)));
    memcpy(at + 16, &sum, sizeof sum);
    return size;
}

static size_t make_packet(const struct packets *packets, unsigned number, uint8_t *data)
{
    size_t header = sizeof(struct iphdr) + (packets->with_options ? 4 : 0);
    struct iphdr ip = {.version = 4, .ihl = (uint8_t)(header / 4) & 15, .ttl = 64};

    memset(data, 0, header);
    ip.protocol = packets->protocol;
    ip.id = htons((uint16_t)(number + 1));
    ip.saddr = inet_addr(packets->source);
    ip.daddr = inet_addr(packets->destination);
    if (packets->is_fragment) {
        ip.frag_off = htons((uint16_t)(packets->fragment / 8 | (packets->is_last ? 0 : 0x2000)));
    }
    memcpy(data, &ip, sizeof ip);
    memset(data + sizeof ip, 1, header - sizeof ip); /* "no operation" */
    return header + make_payload(packets, &ip, number, data + header);
}

static void send_all(const struct packets *packets)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = inet_addr(packets->destination)};
    _cleanup_close_ int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    uint8_t data[PACKET_MAX];
    int yes = 1;

    /* The NAT's connection tracking would put fragments together. */
    setsockopt(fd, IPPROTO_IP, IP_NODEFRAG, &yes, sizeof yes);
    for (unsigned i = 0; i < packets->count; i++) {
        size_t size = make_packet(packets, i, data);
        ssize_t rc = sendto(fd, data, size, 0, (struct sockaddr *)&to, sizeof to);
        /* What the egress hook drops is told to the sender so. */
        if (rc < 0 && errno != EPERM && errno != ENOBUFS) {
            give_up("sendto", strerror(errno));
        }
    }
}

void hosts_send(const struct packets *packets)
{
    int status = -1;

    pid_t child = fork();
    if (child == 0) {
        if (packets->from) {
            _cleanup_free_ char *path = xasprintf("/run/netns/%s", packets->from);
            _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
            if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) {
                give_up(path, strerror(errno));
            }
        }
        send_all(packets);
        _exit(0);
    }
    waitpid(child, &status, 0);
    if (status != 0) {
        give_up("packets", "not sent");
    }
}

unsigned hosts_arrived(const char *host, uint8_t protocol, uint16_t port)
{
    _cleanup_free_ char *out = hosts_read(host, "nft list table inet probe");
    _cleanup_free_ char *what =
        protocol == IPPROTO_ICMP
            ? xstrdup("l4proto icmp counter packets ")
            : xasprintf("%s . %u counter packets ", protocol == IPPROTO_TCP ? "tcp" : "udp", port);
    if (port == 0 && protocol != IPPROTO_ICMP) {
        free(what);
        what = xstrdup("8191 != 0 counter packets ");
    }
    const char *found = strstr(out, what);

    return found ? (unsigned)strtoul(found + strlen(what), NULL, 10) : 0;
}
