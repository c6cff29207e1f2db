#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "services/sdn/sdn-counters.h"

enum {
    LINE_MAX_BYTES = 160,
};

#define HEAD "cnsmo-sdn-counters 1\n"

static const char *const KINDS[] = {"base", "filter", "flow"};

/* FNV-1a. It is against torn and edited files, not against people. */
static uint64_t sum_of(const char *text, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325;

    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ (uint8_t)text[i]) * 0x100000001b3;
    }
    return hash;
}

int sdn_counters_format(const struct sdn_objects *objects, struct buf *buf)
{
    size_t start = buf->size, len = 0;

    int rc = buf_printf(buf, HEAD);
    sdn_objects_foreach (object, objects) {
        int counts = object->is_wanted ? sdn_is_in_force(object) || object->is_known
                                       : object->found_len > 0;
        if (!counts) {
            continue; /* not yet, or nothing any more */
        }
        if (rc == 0) {
            rc =
                buf_printf(buf, "%s %" PRIu64 " %" PRId64 " %" PRId64 " %" PRIu64 " %" PRIu64 "\n",
                           KINDS[object->kind], object->number, object->base.packets,
                           object->base.bytes, object->packets, object->bytes);
        }
        len++;
    }
    if (rc == 0) {
        rc = buf_printf(buf, "end %zu %016" PRIx64 "\n", len,
                        sum_of(buf->data + start, buf->size - start));
    }
    return rc;
}

/* --- reading --- */

struct line {
    enum sdn_kind kind;
    uint64_t number;
    struct sdn_counts base;
    uint64_t packets, bytes;
};

/* So that sums of them stay within 64 bits. */
static int is_sane(const struct line *line)
{
    const int64_t max = (int64_t)1 << 61;

    return line->number <= SDN_NUMBER_MAX && line->packets <= (uint64_t)max &&
           line->bytes <= (uint64_t)max && line->base.packets <= max &&
           line->base.packets >= -max && line->base.bytes <= max && line->base.bytes >= -max;
}

/* `text` ends with NUL instead of the newline. */
static int parse_line(const char *text, struct line *line)
{
    char kind[8];
    int end = 0;

    int len = sscanf(text, "%7[a-z] %" SCNu64 " %" SCNd64 " %" SCNd64 " %" SCNu64 " %" SCNu64 "%n",
                     kind, &line->number, &line->base.packets, &line->base.bytes, &line->packets,
                     &line->bytes, &end);
    if (len != 6 || text[end] || !is_sane(line)) {
        return -EBADMSG;
    }
    for (size_t i = 0; i < ARRAY_LEN(KINDS); i++) {
        if (strcmp(kind, KINDS[i]) == 0) {
            line->kind = (enum sdn_kind)i;
            return 0;
        }
    }
    return -EBADMSG;
}

/* Copies the line without its newline, so that it ends with NUL; NULL: there is none. */
static const char *take_line(const char *at, const char *end, char line[LINE_MAX_BYTES])
{
    const char *newline = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;

    if (!newline || newline - at >= LINE_MAX_BYTES || memchr(at, '\0', (size_t)(newline - at))) {
        return NULL;
    }
    memcpy(line, at, (size_t)(newline - at));
    line[newline - at] = '\0';
    return newline + 1;
}

static int is_whole(const char *text, size_t size, const char *last, size_t len)
{
    char line[LINE_MAX_BYTES], wanted[LINE_MAX_BYTES];

    snprintf(wanted, sizeof wanted, "end %zu %016" PRIx64, len,
             sum_of(text, (size_t)(last - text)));
    return take_line(last, text + size, line) == text + size && strcmp(line, wanted) == 0;
}

static void make(struct sdn_objects *objects, const struct line *line)
{
    struct sdn_object *object = sdn_object_make(objects, line->kind, line->number);

    object->base = line->base;
    object->packets = line->packets;
    object->bytes = line->bytes;
    object->is_known = 1;
}

/* All lines up to the last, or only a check of them if `objects` is NULL. */
static int each_line(struct sdn_objects *objects, const char *at, const char *end,
                     const char **ret_last, size_t *ret_len)
{
    char text[LINE_MAX_BYTES];
    struct line line;

    *ret_len = 0;
    for (const char *next; (next = take_line(at, end, text)); at = next) {
        if (strncmp(text, "end ", 4) == 0) {
            *ret_last = at;
            return 0;
        }
        if (parse_line(text, &line) < 0) {
            return -EBADMSG;
        }
        if (objects) {
            make(objects, &line);
        }
        ++*ret_len;
    }
    return -EBADMSG;
}

int sdn_counters_parse(struct sdn_objects *objects, const char *text, size_t size)
{
    const char *last;
    size_t len;

    if (size < strlen(HEAD) || memcmp(text, HEAD, strlen(HEAD)) != 0) {
        return -EBADMSG;
    }
    int rc = each_line(NULL, text + strlen(HEAD), text + size, &last, &len);
    if (rc < 0 || !is_whole(text, size, last, len)) {
        return -EBADMSG;
    }
    return each_line(objects, text + strlen(HEAD), text + size, &last, &len);
}
