#include "ovsdb/split.h"

#include <errno.h>
#include <string.h>

/* One byte; 1 if it ends an object, 0 if not, -EBADMSG if it can't be here. */
static int step(struct split *split, char c)
{
    if (split->in_string) {
        if (split->after_backslash) {
            split->after_backslash = 0;
        } else if (c == '\\') {
            split->after_backslash = 1;
        } else if (c == '"') {
            split->in_string = 0;
        }
        return 0;
    }
    if (split->depth == 0 && c != '{') {
        return c && strchr(" \t\r\n", c) ? 0 : -EBADMSG;
    }
    if (c == '"') {
        split->in_string = 1;
    } else if (c == '{' || c == '[') {
        split->depth++;
    } else if (c == '}' || c == ']') {
        return --split->depth == 0;
    }
    return 0;
}

/* The object that ends with these bytes. */
static int hand_over(struct split *split, const char *data, size_t size, split_object_fn *object,
                     void *arg)
{
    struct buf whole = split->begun;

    if (whole.size == 0) { /* it came in one piece */
        return size > whole.limit ? -E2BIG : object(arg, data, size);
    }
    int rc = buf_append(&whole, data, size);
    split->begun = (struct buf){.limit = whole.limit};
    if (rc == 0) {
        rc = object(arg, whole.data, whole.size);
    }
    buf_done(&whole);
    return rc;
}

int split_push(struct split *split, const char *data, size_t size, split_object_fn *object,
               void *arg)
{
    size_t start = 0;

    for (size_t i = 0; i < size; i++) {
        int rc = step(split, data[i]);
        if (rc < 0) {
            return rc;
        }
        if (rc > 0) {
            rc = hand_over(split, data + start, i + 1 - start, object, arg);
            if (rc != 0) {
                return rc;
            }
            start = i + 1;
        } else if (split->depth == 0) {
            start = i + 1; /* a blank between objects */
        }
    }
    return buf_append(&split->begun, data + start, size - start);
}

void split_done(struct split *split)
{
    buf_done(&split->begun);
    *split = (struct split){.begun.limit = split->begun.limit};
}
