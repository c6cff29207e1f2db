/* sse.h - server-sent events, taken apart as they come (WHATWG HTML section 9.2.6).
 *
 * Bytes go in by sse_feed() in pieces of any size; `each` is called for every event that is
 * complete. Only what our server sends is understood: lines end with LF or CRLF; "event", "id" and
 * "data" fields; comments and other fields are skipped. A line or event past SSE_EVENT_MAX is an
 * error, -E2BIG, after which the parser is of no use. */
#pragma once

#include <stddef.h>

#include "lib/buf.h"

enum {
    SSE_EVENT_MAX = 4 << 20,
};

/* Not 0 stops; sse_feed() returns it. Strings are valid in the call only. `event` is "message"
 * when none was named. */
typedef int sse_event_fn(void *arg, const char *event, const char *data);

struct sse {
    struct buf line, event, data;
    sse_event_fn *each;
    void *arg;
};

#define SSE_INIT(each_, arg_)                                                                     \
    {                                                                                             \
        .line = BUF_INIT(SSE_EVENT_MAX), .event = BUF_INIT(256), .data = BUF_INIT(SSE_EVENT_MAX), \
        .each = (each_), .arg = (arg_)                                                            \
    }

int sse_feed(struct sse *sse, const char *bytes, size_t size);
void sse_done(struct sse *sse);
