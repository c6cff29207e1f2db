#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "link/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    LIMIT = 256,
};

struct seen {
    size_t lines, bytes;
};

static int line(void *arg, const char *text, size_t size)
{
    struct seen *seen = arg;
    json_t *message;
    const char *type;

    if (size > LIMIT || memchr(text, '\n', size)) {
        abort();
    }
    if (frame_parse(text, size, &message, &type, NULL) == 0) {
        if (strlen(type) == 0) {
            abort();
        }
        json_decref(message);
    }
    seen->lines++;
    seen->bytes += size;
    return 0;
}

static int feed(const uint8_t *data, size_t size, size_t piece, struct seen *seen)
{
    struct frame frame = {.limit = LIMIT};
    int rc = 0;

    for (size_t at = 0; rc == 0 && at < size; at += piece) {
        size_t len = size - at < piece ? size - at : piece;
        rc = frame_push(&frame, (const char *)data + at, len, line, seen);
    }
    frame_done(&frame);
    return rc;
}

/* In whatever pieces the bytes come, the lines are the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen whole = {0}, pieces = {0};
    size_t piece = size > 0 ? data[0] % 16 + 1 : 1;
    int rc = feed(data, size, size + 1, &whole);

    if (feed(data, size, piece, &pieces) != rc || whole.lines != pieces.lines ||
        whole.bytes != pieces.bytes) {
        abort();
    }
    return 0;
}
