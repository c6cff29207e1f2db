/* split.h - JSON objects out of a stream that has nothing between them. Private to src/ovsdb.
 *
 * RFC 7047 section 4 sends JSON-RPC messages one after the other, without lengths or newlines: an
 * object ends where its last brace closes. Bytes may come in any pieces; an object is handed over
 * whole, as text, and is not checked beyond its braces and strings. */
#pragma once

#include <stddef.h>

#include "lib/buf.h"

struct split {
    struct buf begun; /* the present object, so far; its limit is set by the owner */
    unsigned depth;
    int in_string, after_backslash;
};

/* Not 0: stop, split_push() returns it. */
typedef int split_object_fn(void *arg, const char *text, size_t size);

/* -E2BIG when an object is longer than the limit, -EBADMSG when something else than blanks
 * stands before an object. After that or a stop the splitter is of no use. */
int split_push(struct split *split, const char *data, size_t size, split_object_fn *object,
               void *arg);

void split_done(struct split *split);
