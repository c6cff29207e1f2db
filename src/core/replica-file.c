/* replica-file.c - the replica's file: one line with everything, then a line per change. */
#include <errno.h>
#include <string.h>

#include "core/replica.h"
#include "lib/buf.h"
#include "lib/fault.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    CHANGES_BYTES_MIN = 256 << 10, /* so many may always follow the first line */
};

/* --- reading --- */

static int take_line(struct replica *replica, const json_t *line, const char *member,
                     struct error *error)
{
    const json_t *bodies = json_object_get(line, member);
    const char *key;
    json_t *body;
    char hex[33];

    if (!json_is_object(bodies)) {
        return error_set(error, 400, NULL, "a line of the file has no %s", member);
    }
    json_object_foreach ((json_t *)bodies, key, body) {
        char *text = json_is_null(body) ? NULL : json_canonical(body);
        _cleanup_free_ char *old =
            text ? omap_put(&replica->resources, key, text) : omap_del(&replica->resources, key);
        if (old) {
            digest_remove(&replica->digest, digest_of_text(key, old));
        }
        if (text) {
            digest_add(&replica->digest, digest_of_text(key, text));
        }
    }
    if (strcmp(digest_format(replica->digest, hex), json_get_string(line, "digest", "")) != 0) {
        return error_set(error, 400, "/digest", "the digest doesn't match the resources");
    }
    replica->revision = json_get_integer(line, "revision", 0);
    return 0;
}

static int parse_change(struct replica *replica, const char *line, size_t size,
                        struct error *error)
{
    json_t *change;

    int rc = json_parse(line, size, &change, error);
    if (rc < 0) {
        return rc;
    }
    rc = take_line(replica, change, "changes", error);
    json_decref(change);
    return rc;
}

/* A crash leaves the last line without its end, or with zeros where a block never came to the
 * disk. */
static int is_cut_short(const char *line, size_t size, const char *end)
{
    return !end || (end == line + size - 1 && memchr(line, '\0', size));
}

static int parse_changes(struct replica *replica, const char *text, size_t size,
                         struct error *error)
{
    while (replica->size < size) {
        const char *line = text + replica->size;
        size_t left = size - replica->size;
        const char *end = memchr(line, '\n', left);
        if (is_cut_short(line, left, end)) {
            replica->size = 0; /* nothing is added to that: the next save writes all */
            return 0;
        }
        int rc = parse_change(replica, line, (size_t)(end - line), error);
        if (rc < 0) {
            return rc;
        }
        replica->size += (size_t)(end - line) + 1;
    }
    return 0;
}

static int parse(struct replica *replica, const char *text, size_t size, struct error *error)
{
    const char *end = memchr(text, '\n', size);
    size_t len = end ? (size_t)(end - text) : size;
    json_t *whole;

    int rc = json_parse(text, len, &whole, error);
    if (rc < 0) {
        return rc;
    }
    rc = take_line(replica, whole, "resources", error);
    json_decref(whole);
    if (rc < 0 || !end) {
        return rc;
    }
    replica->size = replica->whole_size = len + 1;
    return parse_changes(replica, text, size, error);
}

int replica_parse(struct replica *replica, const char *text, size_t size, struct error *error)
{
    int rc = parse(replica, text, size, error);

    if (rc < 0) {
        replica_done(replica);
    }
    return rc;
}

int replica_load(struct replica *replica, const char *path, struct error *error)
{
    _cleanup_buf_ struct buf text = BUF_INIT(REPLICA_SIZE_MAX);

    int rc = file_read(path, &text);
    if (rc == -ENOENT) {
        return rc;
    }
    if (rc < 0) {
        return error_set(error, 400, NULL, "cannot read %s: %s", path, strerror(-rc));
    }
    return replica_parse(replica, text.data ? text.data : "", text.size, error);
}

/* --- writing --- */

/* One after the other, as text: a tree of all of it would take many times as much. */
struct line {
    struct buf text;
    int len;
    int rc; /* of the first that didn't fit */
};

static void begin_line(struct line *line, const struct replica *replica, const char *member)
{
    char hex[33];

    *line = (struct line){.text = BUF_INIT(REPLICA_SIZE_MAX)};
    buf_printf(&line->text, "{\"digest\":\"%s\",\"revision\":%lld,\"%s\":{",
               digest_format(replica->digest, hex), (long long)replica->revision, member);
}

static void add_body(struct line *line, const char *key, const char *text)
{
    json_t *name = json_string(key);
    _cleanup_free_ char *quoted = json_canonical(name);

    json_decref(name);
    int rc = buf_printf(&line->text, "%s%s:%s", line->len++ > 0 ? "," : "", quoted, text);
    line->rc = line->rc < 0 ? line->rc : rc;
}

/* -E2BIG if it has become too long. */
static int end_line(struct line *line)
{
    return line->rc < 0 ? line->rc : buf_printf(&line->text, "}}\n");
}

static int write_whole(struct replica *replica, const char *path)
{
    struct line line;

    begin_line(&line, replica, "resources");
    omap_foreach (entry, &replica->resources) {
        add_body(&line, entry->key, entry->value);
    }
    int rc = end_line(&line);
    rc = rc < 0 ? rc : file_write_atomic(path, line.text.data, line.text.size, 0600);
    replica->size = replica->whole_size = rc < 0 ? 0 : line.text.size;
    buf_done(&line.text);
    return rc;
}

static int append(struct replica *replica, const char *path)
{
    struct line line;

    begin_line(&line, replica, "changes");
    omap_foreach (entry, &replica->unsaved) {
        const char *text = omap_get(&replica->resources, entry->key);
        add_body(&line, entry->key, text ? text : "null");
    }
    int rc = end_line(&line);
    rc = rc < 0 ? rc : file_append(path, replica->size, line.text.data, line.text.size);
    /* After a failed sync nobody knows what the disk has; only of a full one we do. */
    replica->size = rc == 0 ? replica->size + line.text.size : rc == -ENOSPC ? replica->size : 0;
    buf_done(&line.text);
    return rc;
}

static int is_long(const struct replica *replica)
{
    size_t changes = replica->size - replica->whole_size;

    return changes > replica->whole_size && changes > CHANGES_BYTES_MIN;
}

int replica_save(struct replica *replica, const char *path)
{
    int rc = fault_point();

    if (rc < 0) {
        return rc;
    }
    rc = replica->size == 0 || is_long(replica) ? -ESTALE : append(replica, path);
    if (rc == -ESTALE || rc == -ENOENT) {
        rc = write_whole(replica, path);
    }
    if (rc == 0) {
        omap_clear(&replica->unsaved, NULL);
    }
    return rc;
}
