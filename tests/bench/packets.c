/* packets.c - a steady stream of small UDP packets, to see to the packet when it is blocked.
 *
 *     packets send ADDRESS PORT INTERVAL_USEC
 *     packets receive PORT
 *
 * The sender numbers its packets and remembers when each left (CLOCK_MONOTONIC in µs, which all
 * machines of a lab share); the receiver looks which numbers don't come. So it doesn't matter how
 * long a packet is on its way, or whether somebody sleeps. Both are asked by lines on stdin, and
 * answer each with one line of JSON:
 *
 *     sender    go            sends from now on                          {"ok":true}
 *               stop          sends nothing more                         {"ok":true}
 *               sent N        when did packet N leave? 0: not known      {"sent":t}
 *     receiver  next          once one more has come; 0: not within 10 s {"last":N}
 *               gap           the longest run of numbers since the last  {"first":N,"len":n}
 *                             "gap" that are missing */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"

enum {
    REMEMBERED = 1 << 18, /* packets: some 50 s at one every 200 µs */
    GIVE_UP_MSEC = 10000,
    ROOM_BYTES = 4 << 20, /* for what comes while the receiver doesn't run */
    LINE_SIZE = 64,
};

/* --- commands --- */

/* Reads one line, which whoever asks writes at once. Ends the program with its stdin. */
static void read_line(char line[LINE_SIZE])
{
    ssize_t size = read(STDIN_FILENO, line, LINE_SIZE - 1);

    if (size <= 0) {
        exit(0);
    }
    line[size] = '\0';
    line[strcspn(line, "\n")] = '\0';
}

static void answer(const char *name, int64_t value)
{
    printf("{\"%s\":%lld}\n", name, (long long)value);
    fflush(stdout);
}

/* Waits until stdin or `fd` (-1: none) is readable, or until the time `until`; is it stdin? */
static int wait_line(int fd, int64_t until)
{
    struct pollfd ready[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    int64_t left = until - clock_monotonic_usec();

    left = left < 0 ? 0 : left;
    struct timespec timeout = {.tv_sec = left / 1000000, .tv_nsec = left % 1000000 * 1000};
    return ppoll(ready, 2, &timeout, NULL) > 0 && ready[0].revents != 0;
}

/* --- the sender --- */

struct sender {
    int fd;
    struct sockaddr_in to;
    int64_t interval;
    int64_t next; /* when the next one leaves; INT64_MAX: never */
    uint64_t number;
    int64_t sent[REMEMBERED]; /* of packet n at n % REMEMBERED */
};

/* Counts as sent whatever comes of it. */
static void send_one(struct sender *sender, int64_t now)
{
    uint64_t number = ++sender->number;

    sender->sent[number % REMEMBERED] = now;
    if (sendto(sender->fd, &number, sizeof number, 0, (const struct sockaddr *)&sender->to,
               sizeof sender->to) < 0) {
        return;
    }
}

static int64_t sent_at(const struct sender *sender, uint64_t number)
{
    int is_known = number <= sender->number && sender->number - number < REMEMBERED;

    return is_known ? sender->sent[number % REMEMBERED] : 0;
}

static void obey_sender(struct sender *sender)
{
    char line[LINE_SIZE];

    read_line(line);
    if (strncmp(line, "sent ", 5) == 0) {
        answer("sent", sent_at(sender, strtoull(line + 5, NULL, 10)));
        return;
    }
    sender->next = strcmp(line, "go") == 0 ? clock_monotonic_usec() : INT64_MAX;
    puts("{\"ok\":true}");
    fflush(stdout);
}

static int run_sender(const char *address, const char *port, const char *interval)
{
    static struct sender sender = {.next = INT64_MAX};

    sender.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sender.interval = atoll(interval);
    sender.to =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    if (sender.fd < 0 || sender.interval <= 0 ||
        inet_pton(AF_INET, address, &sender.to.sin_addr) != 1) {
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1); /* else each pause is 50 µs too long */
    for (;;) {
        int64_t now = clock_monotonic_usec();
        if (now >= sender.next) {
            send_one(&sender, now);
            /* Late ones aren't made up for: a burst would say nothing more. */
            sender.next = now + sender.interval;
        } else if (wait_line(-1, sender.next)) {
            obey_sender(&sender);
        }
    }
}

/* --- the receiver --- */

struct receiver {
    int fd;
    uint64_t last;
    uint64_t gap_first, gap_len;
};

static void note(struct receiver *receiver, uint64_t number)
{
    uint64_t missing = number - receiver->last - 1;

    if (number <= receiver->last) {
        return;
    }
    if (receiver->last > 0 && missing > receiver->gap_len) {
        receiver->gap_first = receiver->last + 1;
        receiver->gap_len = missing;
    }
    receiver->last = number;
}

static int take(struct receiver *receiver)
{
    uint64_t number;
    int has_come = 0;

    while (recv(receiver->fd, &number, sizeof number, MSG_DONTWAIT) == sizeof number) {
        note(receiver, number);
        has_come = 1;
    }
    return has_come;
}

static int wait_packet(struct receiver *receiver, int msec)
{
    struct pollfd ready = {.fd = receiver->fd, .events = POLLIN};

    return poll(&ready, 1, msec) > 0 && take(receiver);
}

static void obey_receiver(struct receiver *receiver)
{
    char line[LINE_SIZE];

    read_line(line);
    take(receiver);
    if (strcmp(line, "next") == 0) {
        int has_come = wait_packet(receiver, GIVE_UP_MSEC);
        answer("last", has_come ? (int64_t)receiver->last : 0);
        return;
    }
    printf("{\"first\":%llu,\"len\":%llu}\n", (unsigned long long)receiver->gap_first,
           (unsigned long long)receiver->gap_len);
    fflush(stdout);
    receiver->gap_first = receiver->gap_len = 0;
}

static int run_receiver(const char *port)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    struct receiver receiver = {.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};

    int room = ROOM_BYTES;

    if (receiver.fd < 0 ||
        setsockopt(receiver.fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0 ||
        bind(receiver.fd, (struct sockaddr *)&here, sizeof here) < 0) {
        return 2;
    }
    for (;;) {
        if (wait_line(receiver.fd, INT64_MAX)) {
            obey_receiver(&receiver);
        } else {
            take(&receiver);
        }
    }
}

int main(int argc, char **argv)
{
    int rc = 2;

    if (argc == 5 && strcmp(argv[1], "send") == 0) {
        rc = run_sender(argv[2], argv[3], argv[4]);
    } else if (argc == 3 && strcmp(argv[1], "receive") == 0) {
        rc = run_receiver(argv[2]);
    }
    fprintf(stderr, "packets send ADDRESS PORT INTERVAL_USEC | packets receive PORT\n");
    return rc;
}
