/* buf.h - a byte buffer that grows, up to a limit given where it is made.
 *
 * Every buffer that is filled from outside has a limit. An append past it fails with -E2BIG and
 * changes nothing. The bytes are always followed by a NUL that isn't counted, so that `data` of
 * text can be used as a string; `data` is NULL only while nothing was ever appended. */
#pragma once

#include <stddef.h>

struct buf {
    char *data;
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated, the closing NUL included */
    size_t limit;    /* size never exceeds it */
};

#define BUF_INIT(limit_)                                                                          \
    {                                                                                             \
        .limit = (limit_)                                                                         \
    }

int buf_append(struct buf *buf, const void *data, size_t size);
int buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Drops the first `size` bytes and moves the rest to the front. */
void buf_consume(struct buf *buf, size_t size);

/* Frees the memory; the buffer is empty and usable again. */
void buf_done(struct buf *buf);

#define _cleanup_buf_ __attribute__((cleanup(buf_done)))
