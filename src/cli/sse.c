#include "cli/sse.h"

#include <string.h>

/* The value of a field's line: one blank after the colon belongs to the syntax. */
static const char *value_of(const char *line, const char *field)
{
    size_t size = strlen(field);

    if (strncmp(line, field, size) != 0 || (line[size] != ':' && line[size] != '\0')) {
        return NULL;
    }
    line += size + (line[size] == ':');
    return *line == ' ' ? line + 1 : line;
}

static int dispatch(struct sse *sse)
{
    int rc = 0;

    if (sse->data.size > 0) {
        sse->data.data[sse->data.size - 1] = '\0'; /* the last line's newline isn't part of it */
        rc = sse->each(sse->arg, sse->event.size ? sse->event.data : "message", sse->data.data);
    }
    buf_consume(&sse->data, sse->data.size);
    buf_consume(&sse->event, sse->event.size);
    return rc;
}

static int take_line(struct sse *sse)
{
    const char *line = sse->line.data, *value;

    if (!line || !line[0]) {
        return dispatch(sse);
    }
    if ((value = value_of(line, "event"))) {
        buf_consume(&sse->event, sse->event.size);
        return buf_printf(&sse->event, "%s", value);
    }
    if ((value = value_of(line, "data"))) {
        return buf_printf(&sse->data, "%s\n", value);
    }
    return 0;
}

int sse_feed(struct sse *sse, const char *bytes, size_t size)
{
    while (size > 0) {
        const char *newline = memchr(bytes, '\n', size);
        size_t part = newline ? (size_t)(newline - bytes) : size;
        int rc = buf_append(&sse->line, bytes, part);
        if (rc < 0) {
            return rc;
        }
        bytes += part + (newline != NULL);
        size -= part + (newline != NULL);
        if (!newline) {
            return 0;
        }
        if (sse->line.size > 0 && sse->line.data[sse->line.size - 1] == '\r') {
            sse->line.data[--sse->line.size] = '\0';
        }
        rc = take_line(sse);
        if (rc != 0) {
            return rc;
        }
        buf_consume(&sse->line, sse->line.size);
    }
    return 0;
}

void sse_done(struct sse *sse)
{
    buf_done(&sse->line);
    buf_done(&sse->event);
    buf_done(&sse->data);
}
