#include "services/sdn/sdn-public-rules.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"

#define COMMENT "filter "

static const char *const SIDES[] = {"arriving", "leaving"};

/* --- a filter, from its resource --- */

static int parse_prefix(const json_t *spec, const char *member, struct ip4_prefix *ret_prefix,
                        struct error *error)
{
    const char *text = json_get_string(spec, member, "0.0.0.0/0");

    if (ip4_prefix_parse(text, ret_prefix) < 0) {
        if (ip4_parse(text, &ret_prefix->address) < 0) {
            return error_set(error, 400, NULL, "%s \"%s\" is no IPv4 prefix", member, text);
        }
        ret_prefix->len = 32;
    }
    ret_prefix->address &= ip4_mask(ret_prefix->len);
    return 0;
}

static int parse_ports(const json_t *spec, struct public_filter *filter, struct error *error)
{
    const char *text = json_get_string(spec, "port", "");

    if (*text == '\0') {
        return 0;
    }
    const char *end = ip_ports_read(text, &filter->port_first, &filter->port_last);
    if (!end || *end || filter->port_last < filter->port_first) {
        return error_set(error, 400, NULL, "\"%s\" is neither a port nor a range of ports", text);
    }
    if (filter->protocol != IPPROTO_TCP && filter->protocol != IPPROTO_UDP) {
        return error_set(error, 400, NULL, "a port needs the protocol tcp or udp");
    }
    return 0;
}

static int parse_protocol(const json_t *spec, struct public_filter *filter, struct error *error)
{
    static const struct {
        const char *name;
        uint8_t number;
    } KNOWN[] = {{"any", 0}, {"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP}, {"icmp", IPPROTO_ICMP}};
    const char *name = json_get_string(spec, "protocol", "any");

    for (size_t i = 0; i < ARRAY_LEN(KNOWN); i++) {
        if (strcmp(name, KNOWN[i].name) == 0) {
            filter->protocol = KNOWN[i].number;
            return 0;
        }
    }
    return error_set(error, 400, NULL, "unknown protocol \"%s\"", name);
}

static int parse_direction(const json_t *spec, struct public_filter *filter, struct error *error)
{
    const char *direction = json_get_string(spec, "direction", "both");
    int both = strcmp(direction, "both") == 0;

    filter->arriving = both || strcmp(direction, "in") == 0;
    filter->leaving = both || strcmp(direction, "out") == 0;
    if (!filter->arriving && !filter->leaving) {
        return error_set(error, 400, NULL, "unknown direction \"%s\"", direction);
    }
    return 0;
}

int public_filter_parse(const json_t *spec, struct public_filter *ret_filter, struct error *error)
{
    json_int_t priority = json_get_integer(spec, "priority", 1000);
    struct public_filter filter = {
        .priority = (uint16_t)priority,
        .source_self = json_get_bool(spec, "sourceSelf", 0),
        .destination_self = json_get_bool(spec, "destinationSelf", 0),
    };

    if (priority < 0 || priority > 65535) {
        return error_set(error, 400, NULL, "the priority is not between 0 and 65535");
    }
    int rc = parse_direction(spec, &filter, error);
    if (rc == 0) {
        rc = parse_protocol(spec, &filter, error);
    }
    if (rc == 0) {
        rc = parse_prefix(spec, "source", &filter.source, error);
    }
    if (rc == 0) {
        rc = parse_prefix(spec, "destination", &filter.destination, error);
    }
    if (rc == 0) {
        rc = parse_ports(spec, &filter, error);
    }
    if (rc == 0) {
        *ret_filter = filter;
    }
    return rc;
}

static int same_prefix(struct ip4_prefix a, struct ip4_prefix b)
{
    return a.address == b.address && a.len == b.len;
}

int public_filter_equal(const struct public_filter *a, const struct public_filter *b)
{
    return a->arriving == b->arriving && a->leaving == b->leaving && a->protocol == b->protocol &&
           a->port_first == b->port_first && a->port_last == b->port_last &&
           a->priority == b->priority && same_prefix(a->source, b->source) &&
           same_prefix(a->destination, b->destination) && a->source_self == b->source_self &&
           a->destination_self == b->destination_self;
}

static int is_within(struct ip4_prefix inner, struct ip4_prefix outer)
{
    return inner.len >= outer.len && ip4_contains(outer, inner.address);
}

int public_filter_is_inside(const struct public_filter *filter, struct ip4_prefix overlay)
{
    return is_within(filter->source, overlay) || is_within(filter->destination, overlay);
}

/* --- its parts --- */

struct parts {
    struct public_part *parts;
    size_t len;
};

/* Fields of a set with several are padded to 4 bytes each; a set of one has it as it is. */
static void key_add(struct public_part *part, const void *field, uint8_t size)
{
    memcpy(part->key + part->key_size, field, size);
    part->key_size = (uint8_t)(part->key_size + 4);
}

static uint32_t masked(struct ip4_prefix prefix)
{
    return htonl(prefix.address & ip4_mask(prefix.len));
}

static void make_key(const struct public_filter *filter, struct public_part *part, unsigned port)
{
    const uint32_t source = masked(filter->source), destination = masked(filter->destination);
    const uint16_t ports = htons((uint16_t)port), ipv4 = htons(0x0800);
    const struct public_shape *shape = &part->shape;
    unsigned fields = 0, size = 0;

    if (shape->has_protocol) {
        key_add(part, &filter->protocol, sizeof filter->protocol);
        fields++, size = sizeof filter->protocol;
    }
    if (shape->source_bits > 0 && shape->source_bits <= 32) {
        key_add(part, &source, sizeof source);
        fields++, size = sizeof source;
    }
    if (shape->destination_bits > 0 && shape->destination_bits <= 32) {
        key_add(part, &destination, sizeof destination);
        fields++, size = sizeof destination;
    }
    if (shape->port_bits > 0) {
        key_add(part, &ports, sizeof ports);
        fields++, size = sizeof ports;
    }
    if (fields == 0) { /* everything: a set must have some field */
        key_add(part, &ipv4, sizeof ipv4);
        fields++, size = sizeof ipv4;
    }
    if (fields == 1) {
        part->key_size = (uint8_t)size;
    }
}

static void add_part(const struct public_filter *filter, struct public_shape shape, unsigned port,
                     struct parts *parts)
{
    struct public_part *part = &parts->parts[parts->len++];

    *part = (struct public_part){.shape = shape};
    make_key(filter, part, port);
}

/* The fewest blocks of 2^n ports, aligned to their size, that make up the range. */
static void add_ports(const struct public_filter *filter, struct public_shape shape,
                      struct parts *parts)
{
    unsigned port = filter->port_first;

    if (port == 0) {
        add_part(filter, shape, 0, parts);
        return;
    }
    while (port <= filter->port_last) {
        unsigned free_bits = 0;
        while (free_bits < 15 && port % (2U << free_bits) == 0 &&
               port + (2U << free_bits) - 1 <= filter->port_last) {
            free_bits++;
        }
        shape.port_bits = (uint8_t)(16 - free_bits);
        add_part(filter, shape, port, parts);
        port += 1U << free_bits;
    }
}

static void add_direction(const struct public_filter *filter, int leaving, struct parts *parts)
{
    struct public_shape shape = {
        .leaving = (uint8_t)leaving,
        .has_protocol = filter->protocol != 0,
        .source_bits = filter->source.len,
        .destination_bits = filter->destination.len,
        .priority = filter->priority,
    };
    uint8_t *own = leaving ? &shape.source_bits : &shape.destination_bits;

    add_ports(filter, shape, parts);
    if ((leaving ? filter->source_self : filter->destination_self) && *own > 0) {
        *own = PUBLIC_SELF;
        add_ports(filter, shape, parts);
    }
}

size_t public_filter_parts(const struct public_filter *filter,
                           struct public_part parts[PUBLIC_PARTS_MAX])
{
    struct parts all = {.parts = parts};

    if (filter->arriving) {
        add_direction(filter, 0, &all);
    }
    if (filter->leaving) {
        add_direction(filter, 1, &all);
    }
    return all.len;
}

/* --- names --- */

static void append(char *name, const char *what, unsigned bits)
{
    size_t size = strlen(name);

    if (bits == PUBLIC_SELF) {
        snprintf(name + size, PUBLIC_NAME_SIZE - size, "_%sself", what);
    } else if (bits > 0) {
        snprintf(name + size, PUBLIC_NAME_SIZE - size, "_%s%u", what, bits);
    }
}

const char *public_shape_name(const struct public_shape *shape, char name[PUBLIC_NAME_SIZE])
{
    snprintf(name, PUBLIC_NAME_SIZE, "%s_%u%s", SIDES[shape->leaving], shape->priority,
             shape->has_protocol ? "_proto" : "");
    append(name, "s", shape->source_bits);
    append(name, "d", shape->destination_bits);
    append(name, "port", shape->port_bits);
    return name;
}

/* Moves *at behind "_<what><number>" and gives the number, or 0 if something else is there. */
static unsigned take(const char **at, const char *what, unsigned max)
{
    char word[12];
    char *end;

    int size = snprintf(word, sizeof word, "_%s", what);
    if (strncmp(*at, word, (size_t)size) != 0) {
        return 0;
    }
    if (strncmp(*at + size, "self", 4) == 0) {
        *at += size + 4;
        return PUBLIC_SELF;
    }
    unsigned long number = strtoul(*at + size, &end, 10);
    *at = end;
    return number <= max ? (unsigned)number : 0;
}

int public_shape_parse(const char *name, struct public_shape *ret_shape)
{
    struct public_shape shape = {0};
    char again[PUBLIC_NAME_SIZE];

    shape.leaving = strncmp(name, SIDES[1], strlen(SIDES[1])) == 0;
    if (strncmp(name, SIDES[shape.leaving], strlen(SIDES[shape.leaving])) != 0) {
        return -EINVAL;
    }
    const char *at = name + strlen(SIDES[shape.leaving]);
    shape.priority = (uint16_t)take(&at, "", 65535);
    if (strncmp(at, "_proto", 6) == 0) {
        shape.has_protocol = 1;
        at += 6;
    }
    shape.source_bits = (uint8_t)take(&at, "s", 32);
    shape.destination_bits = (uint8_t)take(&at, "d", 32);
    shape.port_bits = (uint8_t)take(&at, "port", 16);
    if (strcmp(public_shape_name(&shape, again), name) != 0) {
        return -EINVAL; /* nobody but us names them so */
    }
    *ret_shape = shape;
    return 0;
}

int public_shape_compare(const struct public_shape *a, const struct public_shape *b)
{
    char name_a[PUBLIC_NAME_SIZE], name_b[PUBLIC_NAME_SIZE];

    if (a->leaving != b->leaving || a->priority == b->priority) {
        return strcmp(public_shape_name(a, name_a), public_shape_name(b, name_b));
    }
    return b->priority - a->priority;
}

int public_hook_parse(const char *name, int *ret_leaving, int *ret_index)
{
    for (int leaving = 0; leaving < 2; leaving++) {
        size_t size = strlen(SIDES[leaving]);
        if (strncmp(name, SIDES[leaving], size) == 0 && name[size] == '_') {
            char *end;
            long index = strtol(name + size + 1, &end, 10);
            if (index > 0 && index <= INT32_MAX && *end == '\0') {
                *ret_leaving = leaving;
                *ret_index = (int)index;
                return 0;
            }
        }
    }
    return -EINVAL;
}

const char *public_comment_id(const char *comment)
{
    return strncmp(comment, COMMENT, strlen(COMMENT)) == 0 ? comment + strlen(COMMENT) : NULL;
}
