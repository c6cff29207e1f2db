/* ip.h - IPv4 addresses, prefixes and endpoints as text and as numbers (host byte order).
 *
 * Parsing is strict: four decimal numbers without leading zeros, nothing before or after. */
#pragma once

#include <stdint.h>

enum {
    IP4_TEXT_SIZE = 16,        /* "255.255.255.255" and NUL */
    IP4_PREFIX_TEXT_SIZE = 19, /* "255.255.255.255/32" and NUL */
    IP4_ENDPOINT_TEXT_SIZE = 22,
};

struct ip4_prefix {
    uint32_t address; /* host bits may be set; see ip4_prefix_parse */
    uint8_t len;      /* bits, 0 to 32 */
};

struct ip4_endpoint {
    uint32_t address;
    uint16_t port;
};

/* Each returns 0, or -EINVAL and leaves the output alone. */
int ip4_parse(const char *text, uint32_t *ret_address);
int ip4_prefix_parse(const char *text, struct ip4_prefix *ret_prefix); /* "a.b.c.d/len" only */
int ip4_endpoint_parse(const char *text, struct ip4_endpoint *ret_endpoint); /* "a.b.c.d:port" */

/* A port, "80", or a range of ports, "80-90", at the beginning of a text: what follows it, or
 * NULL. For one port both are the same. Whether a range is reversed is the caller's to say. */
const char *ip_ports_read(const char *text, uint16_t *ret_from, uint16_t *ret_to);

const char *ip4_format(uint32_t address, char text[IP4_TEXT_SIZE]);
const char *ip4_prefix_format(struct ip4_prefix prefix, char text[IP4_PREFIX_TEXT_SIZE]);

uint32_t ip4_mask(uint8_t len);
int ip4_contains(struct ip4_prefix prefix, uint32_t address);
int ip4_overlaps(struct ip4_prefix a, struct ip4_prefix b);
