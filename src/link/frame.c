#include "link/frame.h"

#include <errno.h>
#include <string.h>

#include "lib/json.h"

enum {
    TYPE_MAX = 32,
};

static int end_line(struct frame *frame, const char *data, size_t size, frame_line_fn *line,
                    void *arg)
{
    if (frame->begun.size + size > frame->limit) {
        return -E2BIG;
    }
    if (frame->begun.size == 0) {
        return line(arg, data, size);
    }
    int rc = buf_append(&frame->begun, data, size);
    if (rc == 0) {
        struct buf whole = frame->begun;
        frame->begun = (struct buf){0};
        rc = line(arg, whole.data, whole.size);
        buf_done(&whole);
    }
    return rc;
}

int frame_push(struct frame *frame, const char *data, size_t size, frame_line_fn *line, void *arg)
{
    frame->begun.limit = frame->limit;
    while (size > 0) {
        const char *newline = memchr(data, '\n', size);
        if (!newline) {
            return buf_append(&frame->begun, data, size);
        }
        size_t len = (size_t)(newline - data);
        int rc = end_line(frame, data, len, line, arg);
        if (rc != 0) {
            return rc;
        }
        frame->begun.limit = frame->limit;
        data += len + 1;
        size -= len + 1;
    }
    return 0;
}

void frame_done(struct frame *frame)
{
    buf_done(&frame->begun);
}

static int is_word(const char *text)
{
    size_t len = strlen(text);

    return len > 0 && len <= TYPE_MAX && strspn(text, "abcdefghijklmnopqrstuvwxyz-") == len;
}

int frame_parse(const char *line, size_t size, json_t **ret_message, const char **ret_type,
                struct error *error)
{
    json_t *message;
    int rc = json_parse(line, size, &message, error);

    if (rc < 0) {
        return rc;
    }
    const char *type = json_is_object(message) ? json_get_string(message, "type", NULL) : NULL;
    if (!type || !is_word(type)) {
        rc = json_is_object(message)
                 ? error_set(error, 400, "/type", "\"type\" must be a word of at most %d letters",
                             TYPE_MAX)
                 : error_set(error, 400, NULL, "a message must be an object");
        json_decref(message);
        return rc;
    }
    *ret_message = message;
    *ret_type = type;
    return 0;
}
