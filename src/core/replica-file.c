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
        int is_gone = json_is_null(body);
        json_t *old = is_gone ? omap_del(&replica->resources, key)
                              : omap_put(&replica->resources, key, json_incref(body));
        if (old) {
            digest_remove(&replica->digest, digest_of(key, old));
        }
        if (!is_gone) {
            digest_add(&replica->digest, digest_of(key, body));
        }
        json_decref(old);
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

/* Takes the reference `bodies`. */
static char *make_line(const struct replica *replica, const char *member, json_t *bodies,
                       size_t *ret_size)
{
    char hex[33];
    json_t *line = json_pack("{s:I, s:s, s:o}", "revision", (json_int_t)replica->revision,
                             "digest", digest_format(replica->digest, hex), member, bodies);
    char *text = json_dumps(line, JSON_COMPACT | JSON_SORT_KEYS);
    size_t size = strlen(text);

    text = xrealloc(text, size + 1);
    text[size] = '\n';
    json_decref(line);
    *ret_size = size + 1;
    return text;
}

static int write_whole(struct replica *replica, const char *path)
{
    json_t *resources = json_object();
    size_t size;

    omap_foreach (entry, &replica->resources) {
        json_object_set(resources, entry->key, entry->value);
    }
    _cleanup_free_ char *text = make_line(replica, "resources", resources, &size);
    int rc = file_write_atomic(path, text, size, 0600);
    replica->size = replica->whole_size = rc < 0 ? 0 : size;
    return rc;
}

static int append(struct replica *replica, const char *path)
{
    json_t *changes = json_object();
    size_t size;

    omap_foreach (entry, &replica->unsaved) {
        json_t *body = omap_get(&replica->resources, entry->key);
        json_object_set_new(changes, entry->key, body ? json_incref(body) : json_null());
    }
    _cleanup_free_ char *text = make_line(replica, "changes", changes, &size);
    int rc = file_append(path, replica->size, text, size);
    /* After a failed sync nobody knows what the disk has; only of a full one we do. */
    replica->size = rc == 0 ? replica->size + size : rc == -ENOSPC ? replica->size : 0;
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
