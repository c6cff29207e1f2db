#include "lib/ip.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Reads a decimal number up to `max` without leading zeros; returns what follows, or NULL. */
static const char *number(const char *s, unsigned max, unsigned *ret_value)
{
    unsigned value = 0;
    const char *start = s;

    while (*s >= '0' && *s <= '9') {
        value = value * 10 + (unsigned)(*s++ - '0');
        if (value > max) {
            return NULL;
        }
    }
    if (s == start || (*start == '0' && s - start > 1)) {
        return NULL;
    }
    *ret_value = value;
    return s;
}

static const char *address(const char *s, uint32_t *ret_address)
{
    uint32_t result = 0;

    for (int i = 0; i < 4; i++) {
        unsigned part;
        if (i > 0 && *s++ != '.') {
            return NULL;
        }
        s = number(s, 255, &part);
        if (!s) {
            return NULL;
        }
        result = result << 8 | part;
    }
    *ret_address = result;
    return s;
}

int ip4_parse(const char *text, uint32_t *ret_address)
{
    uint32_t parsed;
    const char *end = address(text, &parsed);

    if (!end || *end) {
        return -EINVAL;
    }
    *ret_address = parsed;
    return 0;
}

static int with_number(const char *text, char separator, unsigned max, uint32_t *ret_address,
                       unsigned *ret_number)
{
    const char *end = address(text, ret_address);

    if (!end || *end != separator) {
        return -EINVAL;
    }
    end = number(end + 1, max, ret_number);
    return end && !*end ? 0 : -EINVAL;
}

int ip4_prefix_parse(const char *text, struct ip4_prefix *ret_prefix)
{
    uint32_t parsed;
    unsigned len;

    if (with_number(text, '/', 32, &parsed, &len) < 0) {
        return -EINVAL;
    }
    *ret_prefix = (struct ip4_prefix){.address = parsed, .len = (uint8_t)len};
    return 0;
}

int ip4_endpoint_parse(const char *text, struct ip4_endpoint *ret_endpoint)
{
    uint32_t parsed;
    unsigned port;

    if (with_number(text, ':', 65535, &parsed, &port) < 0 || port == 0) {
        return -EINVAL;
    }
    *ret_endpoint = (struct ip4_endpoint){.address = parsed, .port = (uint16_t)port};
    return 0;
}

static const char *port(const char *text, uint16_t *ret_port)
{
    unsigned value;
    const char *end = number(text, 65535, &value);

    if (!end || value == 0) {
        return NULL;
    }
    *ret_port = (uint16_t)value;
    return end;
}

const char *ip_ports_read(const char *text, uint16_t *ret_from, uint16_t *ret_to)
{
    const char *end = port(text, ret_from);

    if (!end) {
        return NULL;
    }
    *ret_to = *ret_from;
    return *end == '-' ? port(end + 1, ret_to) : end;
}

const char *ip4_format(uint32_t a, char text[IP4_TEXT_SIZE])
{
    snprintf(text, IP4_TEXT_SIZE, "%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
    return text;
}

const char *ip4_prefix_format(struct ip4_prefix prefix, char text[IP4_PREFIX_TEXT_SIZE])
{
    char address_text[IP4_TEXT_SIZE];

    snprintf(text, IP4_PREFIX_TEXT_SIZE, "%s/%hhu", ip4_format(prefix.address, address_text),
             prefix.len);
    return text;
}

uint32_t ip4_mask(uint8_t len)
{
    return len == 0 ? 0 : UINT32_MAX << (32 - len);
}

int ip4_contains(struct ip4_prefix prefix, uint32_t a)
{
    return ((prefix.address ^ a) & ip4_mask(prefix.len)) == 0;
}

int ip4_overlaps(struct ip4_prefix a, struct ip4_prefix b)
{
    return a.len < b.len ? ip4_contains(a, b.address) : ip4_contains(b, a.address);
}
