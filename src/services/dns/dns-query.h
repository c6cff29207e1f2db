/* dns-query.h - just enough of DNS to ask our dnsmasq how it is: a TXT question of class CHAOS,
 * and its answer. Source: RFC 1035 section 4; dnsmasq(8) on "hits.bind" and the like. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Where it answers this machine's own programs, whether there is an overlay or not. */
#define DNS_ADDRESS "127.0.77.53"

enum {
    DNS_PORT = 53,
    DNS_QUERY_SIZE = 64,
    DNS_REPLY_SIZE = 512,
    DNS_TEXT_SIZE = 256,
};

/* "hits.bind", at most 40 characters. The size of the packet. */
size_t dns_query_make(uint8_t packet[DNS_QUERY_SIZE], uint16_t number, const char *name);

/* The number that a reply has; -EINVAL if it is none. */
int dns_reply_number(const uint8_t *packet, size_t size);

/* The first text of its first answer: 0, or -EINVAL: it isn't one; -ENOENT: it has no answer. */
int dns_reply_text(const uint8_t *packet, size_t size, char text[DNS_TEXT_SIZE]);

/* Asks 127.0.77.53 and waits: 0; -ETIMEDOUT; -ECONNREFUSED: nobody is there. What was put into the
 * host files before is known to dnsmasq when it answers: it reads them first. */
int dns_query_barrier(unsigned timeout_msec);

/* A socket that talks to it and doesn't block, or a negative errno. */
int dns_query_socket(void);
