#include <stdint.h>
#include <stdlib.h>

#include "ovsdb/split.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    LIMIT = 64,
};

struct seen {
    size_t objects, bytes;
};

static int note(void *arg, const char *text, size_t size)
{
    struct seen *seen = arg;

    if (size < 2 || size > LIMIT || text[0] != '{') {
        abort();
    }
    seen->objects++;
    seen->bytes += size;
    return 0;
}

static int feed(const uint8_t *data, size_t size, size_t piece, struct seen *seen)
{
    struct split split = {.begun.limit = LIMIT};
    int rc = 0;

    for (size_t at = 0; rc == 0 && at < size; at += piece) {
        size_t len = size - at < piece ? size - at : piece;
        rc = split_push(&split, (const char *)data + at, len, note, seen);
    }
    split_done(&split);
    return rc;
}

/* In whatever pieces the bytes come, the objects are the same. One that is too long and breaks
 * off is noticed sooner or later, so only what was whole counts. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen whole = {0}, pieces = {0};
    size_t piece = size > 0 ? data[0] % 16 + 1 : 1;
    int whole_rc = feed(data, size, size + 1, &whole);
    int pieces_rc = feed(data, size, piece, &pieces);

    if (whole.objects != pieces.objects || whole.bytes != pieces.bytes ||
        (whole_rc == 0) != (pieces_rc == 0)) {
        abort();
    }
    return 0;
}
