/* der.h - writing DER (X.690), as much of it as a revocation list needs. Private to src/pki.
 *
 * Values are put together from the inside out: each function appends one value to `out`. GnuTLS
 * could make the lists, too, but takes a time that grows with the square of their length. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "lib/buf.h"

enum {
    DER_INTEGER = 0x02,
    DER_BIT_STRING = 0x03,
    DER_OCTET_STRING = 0x04,
    DER_OID = 0x06,
    DER_SEQUENCE = 0x30,
    DER_EXPLICIT_0 = 0xa0,  /* [0], constructed */
    DER_IMPLICIT_0 = 0x80,  /* [0], primitive */
    DER_SIZE_MAX = 8 << 20, /* of a buffer for them: some 200,000 entries */
};

#define DER_BUF BUF_INIT(DER_SIZE_MAX)

/* Tag, length, contents. */
void der_put(struct buf *out, uint8_t tag, const void *data, size_t size);
/* The same with what was built in `inner`, which is emptied. */
void der_wrap(struct buf *out, uint8_t tag, struct buf *inner);
/* A whole positive number, big endian. */
void der_integer(struct buf *out, const uint8_t *number, size_t size);
/* UTCTime until 2049, then GeneralizedTime (RFC 5280 section 5.1.2.4). */
void der_time(struct buf *out, time_t time);
