/* fw-commands.c - from one table to the next, in one transaction. */
#include <string.h>

#include "services/fw/fw-compile.h"

static void begin(struct buf *commands, const char *verb, const struct fw_set *set, size_t *count)
{
    if ((*count)++ == 0) {
        buf_printf(commands, "%s element inet " FW_TABLE " %s {\n", verb, set->name);
    } else {
        buf_printf(commands, ",\n");
    }
}

static void end(struct buf *commands, size_t count)
{
    if (count > 0) {
        buf_printf(commands, "\n}\n");
    }
}

static int same_element(const struct fw_element *a, const struct fw_element *b)
{
    return strcmp(a->key, b->key) == 0 && strcmp(a->mark, b->mark) == 0;
}

/* What is in `set` and not just so in `other`, which may be NULL; both are sorted. */
static void differing(struct buf *commands, const char *verb, const struct fw_set *set,
                      const struct fw_set *other, int with_mark)
{
    size_t count = 0, at = 0;

    for (size_t i = 0; i < set->len; i++) {
        const struct fw_element *element = &set->elements[i];
        while (other && at < other->len && strcmp(other->elements[at].key, element->key) < 0) {
            at++;
        }
        if (other && at < other->len && same_element(&other->elements[at], element)) {
            continue;
        }
        begin(commands, verb, set, &count);
        buf_printf(commands, "%s", element->key);
        if (with_mark) {
            buf_printf(commands, " comment \"%s\"", element->mark);
        }
    }
    end(commands, count);
}

void fw_commands_remove(struct buf *commands)
{
    /* Adding it first makes that deleting it never fails. */
    buf_printf(commands, "add table inet " FW_TABLE "\ndelete table inet " FW_TABLE "\n");
}

int fw_commands(const struct fw_document *before, const struct fw_document *after,
                struct buf *commands)
{
    if (before && strcmp(before->frame, after->frame) == 0) {
        for (size_t i = 0; i < after->len; i++) {
            differing(commands, "delete", &before->sets[i], &after->sets[i], 0);
        }
        for (size_t i = 0; i < after->len; i++) {
            differing(commands, "add", &after->sets[i], &before->sets[i], 1);
        }
        return 1;
    }
    fw_commands_remove(commands);
    buf_printf(commands, "%s", after->frame);
    for (size_t i = 0; i < after->len; i++) {
        differing(commands, "add", &after->sets[i], NULL, 1);
    }
    return 0;
}
