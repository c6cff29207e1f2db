#include "pki/der.h"

#include <stdlib.h>

enum {
    UTC_TIME = 0x17,
    GENERALIZED_TIME = 0x18,
};

/* The limit is known to suffice: what is put in is counted before (crl.c). */
static void append(struct buf *out, const void *data, size_t size)
{
    if (buf_append(out, data, size) < 0) {
        abort();
    }
}

static void header(struct buf *out, uint8_t tag, size_t size)
{
    uint8_t bytes[6] = {tag};
    unsigned len = 0;

    if (size < 0x80) {
        bytes[1] = (uint8_t)size;
        append(out, bytes, 2);
        return;
    }
    for (size_t rest = size; rest > 0; rest >>= 8) {
        len++;
    }
    bytes[1] = (uint8_t)(0x80 | len);
    for (unsigned i = 0; i < len; i++) {
        bytes[2 + i] = (uint8_t)(size >> (8 * (len - 1 - i)));
    }
    append(out, bytes, 2 + len);
}

void der_put(struct buf *out, uint8_t tag, const void *data, size_t size)
{
    header(out, tag, size);
    if (size > 0) {
        append(out, data, size);
    }
}

void der_wrap(struct buf *out, uint8_t tag, struct buf *inner)
{
    der_put(out, tag, inner->data, inner->size);
    buf_done(inner);
}

void der_integer(struct buf *out, const uint8_t *number, size_t size)
{
    static const uint8_t ZERO = 0;

    while (size > 1 && number[0] == 0) {
        number++;
        size--;
    }
    int needs_zero = size == 0 || number[0] & 0x80; /* else it would be negative */
    header(out, DER_INTEGER, size + (size_t)needs_zero);
    if (needs_zero) {
        append(out, &ZERO, 1);
    }
    if (size > 0) {
        append(out, number, size);
    }
}

void der_time(struct buf *out, time_t time)
{
    char text[24];
    struct tm tm;

    gmtime_r(&time, &tm);
    int is_utc = tm.tm_year >= 50 && tm.tm_year < 150;
    size_t size = strftime(text, sizeof text, is_utc ? "%y%m%d%H%M%SZ" : "%Y%m%d%H%M%SZ", &tm);
    der_put(out, is_utc ? UTC_TIME : GENERALIZED_TIME, text, size);
}
