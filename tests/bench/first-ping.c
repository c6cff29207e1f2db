/* first-ping.c ADDRESS COMMAND… - starts a program when told so, and says when it was of use.
 *
 * Reads one byte from stdin, so that many of these begin at once without the cost of starting
 * them. Then it runs COMMAND in a session of its own and asks ADDRESS by ICMP every few
 * milliseconds. The line {"began":t,"answered":t} has CLOCK_MONOTONIC in µs of the command's start
 * and of the first answer; without one for a minute it ends with 1. COMMAND goes on. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"

enum {
    INTERVAL_MSEC = 5,
    DEADLINE_USEC = 60 * 1000000,
};

static uint16_t checksum(const void *data, size_t size)
{
    const uint16_t *words = data;
    uint32_t sum = 0;

    for (size_t i = 0; i < size / 2; i++) {
        sum += words[i];
    }
    sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t) ~(sum + (sum >> 16));
}

/* There may be no route yet: then nothing is sent. */
static void ask(int fd, const struct sockaddr_in *to, uint16_t number)
{
    struct icmphdr echo = {.type = ICMP_ECHO};

    echo.un.echo.id = htons((uint16_t)getpid());
    echo.un.echo.sequence = htons(number);
    echo.checksum = checksum(&echo, sizeof echo);
    if (sendto(fd, &echo, sizeof echo, 0, (const struct sockaddr *)to, sizeof *to) < 0) {
        return;
    }
}

static int is_answer(int fd, const struct sockaddr_in *from)
{
    unsigned char packet[1500];
    ssize_t size = recv(fd, packet, sizeof packet, MSG_DONTWAIT);
    const struct iphdr *ip = (const struct iphdr *)packet;
    const struct icmphdr *icmp = (const struct icmphdr *)(packet + (size_t)ip->ihl * 4);

    return size >= (ssize_t)((size_t)ip->ihl * 4 + sizeof *icmp) &&
           ip->saddr == from->sin_addr.s_addr && icmp->type == ICMP_ECHOREPLY &&
           icmp->un.echo.id == htons((uint16_t)getpid());
}

static int64_t first_answer(int fd, const struct sockaddr_in *to)
{
    int64_t began = clock_monotonic_usec(), now = began, asked = 0;
    uint16_t number = 0;

    for (; now - began < DEADLINE_USEC; now = clock_monotonic_usec()) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        if (now - asked >= INTERVAL_MSEC * 1000) {
            ask(fd, to, ++number);
            asked = now;
        }
        if (poll(&readable, 1, INTERVAL_MSEC) > 0 && is_answer(fd, to)) {
            return clock_monotonic_usec();
        }
    }
    return 0;
}

static void start(char **argv)
{
    if (fork() == 0) {
        setsid();
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execvp(argv[0], argv);
        _exit(127);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
    char byte;

    if (argc < 3 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || fd < 0) {
        fprintf(stderr, "first-ping ADDRESS COMMAND…, as root\n");
        return 2;
    }
    puts("ready");
    fflush(stdout);
    if (read(STDIN_FILENO, &byte, 1) != 1) {
        return 2;
    }
    int64_t began = clock_monotonic_usec();
    start(argv + 2);
    int64_t answered = first_answer(fd, &to);
    if (answered == 0) {
        return 1;
    }
    printf("{\"began\":%lld,\"answered\":%lld}\n", (long long)began, (long long)answered);
    return 0;
}
