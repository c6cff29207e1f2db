/* frame.h - bytes into lines, lines into messages. Private to src/link.
 *
 * A line is what stands before a newline. It is handed over where it lies when it came in one
 * piece, else it is gathered, up to the limit; nothing is kept while no line is begun. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "lib/buf.h"
#include "lib/error.h"

struct frame {
    struct buf begun;
    size_t limit; /* bytes of a line, without the newline; may be changed at any time */
};

/* One line, without its newline, not NUL-terminated. Not 0: stop, frame_push() returns it. */
typedef int frame_line_fn(void *arg, const char *line, size_t size);

/* -E2BIG when a line is longer than the limit; after that or a stop the frame is of no use. */
int frame_push(struct frame *frame, const char *data, size_t size, frame_line_fn *line, void *arg);

void frame_done(struct frame *frame);

/* One message: a JSON object whose "type" is a word. `ret_type` points into it. */
int frame_parse(const char *line, size_t size, json_t **ret_message, const char **ret_type,
                struct error *error);
