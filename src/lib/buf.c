#include "lib/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/mem.h"

static int reserve(struct buf *buf, size_t more)
{
    if (more > buf->limit || buf->size > buf->limit - more) {
        return -E2BIG;
    }
    size_t need = buf->size + more + 1;
    if (need > buf->capacity) {
        size_t capacity = buf->capacity ? buf->capacity : 64;
        while (capacity < need) {
            capacity *= 2;
        }
        buf->data = xrealloc(buf->data, capacity);
        buf->capacity = capacity;
    }
    return 0;
}

int buf_append(struct buf *buf, const void *data, size_t size)
{
    int rc = reserve(buf, size);

    if (rc < 0) {
        return rc;
    }
    if (size > 0) {
        memcpy(buf->data + buf->size, data, size);
    }
    buf->size += size;
    buf->data[buf->size] = '\0';
    return 0;
}

int buf_printf(struct buf *buf, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    int len = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    if (len < 0) {
        return -EINVAL;
    }
    int rc = reserve(buf, (size_t)len);
    if (rc < 0) {
        return rc;
    }
    va_start(ap, format);
    vsnprintf(buf->data + buf->size, (size_t)len + 1, format, ap);
    va_end(ap);
    buf->size += (size_t)len;
    return 0;
}

void buf_consume(struct buf *buf, size_t size)
{
    if (size >= buf->size) {
        buf->size = 0;
    } else {
        memmove(buf->data, buf->data + size, buf->size - size);
        buf->size -= size;
    }
    if (buf->data) {
        buf->data[buf->size] = '\0';
    }
}

void buf_done(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){.limit = buf->limit};
}
