
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "services/dns/dns-query.h"

enum {
    HEADER_SIZE = 12,
    TYPE_TXT = 16,
    CLASS_CHAOS = 3,
    FLAG_REPLY = 0x80,
    NAME_SIZE_MAX = 40,
    RETRY_USEC = 3000,
};

static size_t put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return 2;
}

static unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

size_t dns_query_make(uint8_t packet[DNS_QUERY_SIZE], uint16_t number, const char *name)
{
    size_t at = HEADER_SIZE;

    memset(packet, 0, DNS_QUERY_SIZE);
    put16(packet, number);
    put16(packet + 4, 1); /* questions */
    while (*name && at + strcspn(name, ".") + 1 < HEADER_SIZE + NAME_SIZE_MAX) {
        size_t size = strcspn(name, ".");
        packet[at++] = (uint8_t)size;
        memcpy(packet + at, name, size);
        at += size;
        name += size + (name[size] == '.');
    }
    packet[at++] = 0;
    at += put16(packet + at, TYPE_TXT);
    at += put16(packet + at, CLASS_CHAOS);
    return at;
}

int dns_reply_number(const uint8_t *packet, size_t size)
{
    return size >= HEADER_SIZE && packet[2] & FLAG_REPLY ? (int)get16(packet) : -EINVAL;
}

/* Past a name at `at`, which may end in a pointer to an earlier one; 0: it isn't one. */
static size_t skip_name(const uint8_t *packet, size_t size, size_t at)
{
    while (at < size) {
        if (packet[at] == 0) {
            return at + 1;
        }
        if ((packet[at] & 0xc0) == 0xc0) {
            return at + 2 <= size ? at + 2 : 0;
        }
        if (packet[at] & 0xc0) {
            return 0;
        }
        at += (size_t)packet[at] + 1;
    }
    return 0;
}

int dns_reply_text(const uint8_t *packet, size_t size, char text[DNS_TEXT_SIZE])
{
    size_t at = HEADER_SIZE;

    if (dns_reply_number(packet, size) < 0 || get16(packet + 4) != 1) {
        return -EINVAL;
    }
    if (get16(packet + 6) == 0) {
        return -ENOENT;
    }
    at = skip_name(packet, size, at);
    if (at == 0 || at + 4 > size) {
        return -EINVAL;
    }
    at = skip_name(packet, size, at + 4);
    if (at == 0 || at + 11 > size || get16(packet + at) != TYPE_TXT) {
        return -EINVAL;
    }
    size_t data = get16(packet + at + 8), len = packet[at + 10];
    if (data < len + 1 || at + 11 + len > size) {
        return -EINVAL;
    }
    memcpy(text, packet + at + 11, len);
    text[len] = '\0';
    return 0;
}

int dns_query_socket(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(DNS_PORT)};
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    inet_pton(AF_INET, DNS_ADDRESS, &address.sin_addr);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        return -errno;
    }
    int result = fd;
    fd = -1;
    return result;
}

/* One question; a socket of its own has no late answers to earlier ones. */
static int ask_once(unsigned timeout_msec)
{
    _cleanup_close_ int fd = dns_query_socket();
    uint8_t packet[DNS_REPLY_SIZE];

    if (fd < 0) {
        return fd;
    }
    size_t size = dns_query_make(packet, 1, "hits.bind");
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (send(fd, packet, size, 0) < 0) {
        return -errno;
    }
    if (poll(&wait, 1, (int)timeout_msec) <= 0) {
        return -ETIMEDOUT;
    }
    return recv(fd, packet, sizeof packet, 0) < 0 ? -errno : 0;
}

int dns_query_barrier(unsigned timeout_msec)
{
    int64_t end = clock_monotonic_usec() + (int64_t)timeout_msec * 1000;

    for (;;) {
        int64_t left = (end - clock_monotonic_usec()) / 1000;
        int rc = left > 0 ? ask_once((unsigned)left) : -ETIMEDOUT;
        if (rc != -ECONNREFUSED || left <= 1) {
            return rc;
        }
        poll(NULL, 0, RETRY_USEC / 1000);
    }
}
