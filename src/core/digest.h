/* digest.h - one number for a set of resources, kept up by addition.
 *
 * The digest of a set is the sum modulo 2^128 of SHA-256(key NUL canonical-body) cut to 128 bits,
 * read big-endian as two 64-bit halves that are summed separately. Adding or removing one
 * resource costs one hash, and both ends of the link compute it alike. */
#pragma once

#include <jansson.h>
#include <stdint.h>

struct digest {
    uint64_t high, low;
};

struct digest digest_of(const char *key, const json_t *body);
/* The same of a body that is canonical text already (lib/json.h). */
struct digest digest_of_text(const char *key, const char *text);

static inline void digest_add(struct digest *sum, struct digest d)
{
    sum->high += d.high;
    sum->low += d.low;
}

static inline void digest_remove(struct digest *sum, struct digest d)
{
    sum->high -= d.high;
    sum->low -= d.low;
}

/* 32 lower-case hex digits. */
const char *digest_format(struct digest d, char hex[33]);
