#include "core/replica.h"

#include <errno.h>
#include <string.h>

#include "lib/fault.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"

static void free_json(void *value)
{
    json_decref(value);
}

/* --- the file --- */

static int fill(struct replica *replica, const json_t *file, struct error *error)
{
    const json_t *resources = json_object_get(file, "resources");
    const char *key;
    json_t *body;
    char hex[33];

    if (!json_is_object(resources)) {
        return error_set(error, 400, "/resources", "the file has no resources");
    }
    json_object_foreach ((json_t *)resources, key, body) {
        omap_put(&replica->resources, key, json_incref(body));
        digest_add(&replica->digest, digest_of(key, body));
    }
    if (strcmp(digest_format(replica->digest, hex), json_get_string(file, "digest", "")) != 0) {
        return error_set(error, 400, "/digest", "the digest doesn't match the resources");
    }
    replica->revision = json_get_integer(file, "revision", 0);
    return 0;
}

int replica_parse(struct replica *replica, const char *text, size_t size, struct error *error)
{
    json_t *file = NULL;

    int rc = json_parse(text, size, &file, error);
    if (rc == 0) {
        rc = fill(replica, file, error);
        json_decref(file);
    }
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

int replica_save(const struct replica *replica, const char *path)
{
    int rc = fault_point();
    char hex[33];

    if (rc < 0) {
        return rc;
    }
    json_t *resources = json_object();
    omap_foreach (entry, &replica->resources) {
        json_object_set(resources, entry->key, entry->value);
    }
    json_t *file =
        json_pack("{s:I, s:s, s:o}", "revision", (json_int_t)replica->revision, "digest",
                  digest_format(replica->digest, hex), "resources", resources);
    char *text = json_dumps(file, JSON_COMPACT | JSON_SORT_KEYS);
    rc = file_write_atomic(path, text, strlen(text), 0600);
    free(text);
    json_decref(file);
    return rc;
}

/* --- changes --- */

void replica_change(struct replica *replica, const char *key, json_t *body)
{
    if (!omap_get(&replica->changes, key) && replica->changes.len >= REPLICA_LEN_MAX) {
        json_decref(body); /* the digest won't match, and that will be said */
        return;
    }
    json_decref(omap_put(&replica->changes, key, body ? body : json_null()));
}

void replica_begin(struct replica *replica, int snapshot)
{
    omap_clear(&replica->changes, free_json);
    replica->snapshot = snapshot;
}

/* What the digest would be with the changes. */
static struct digest digest_after(const struct replica *replica)
{
    struct digest sum = replica->snapshot ? (struct digest){0, 0} : replica->digest;

    omap_foreach (entry, &replica->changes) {
        const json_t *old = omap_get(&replica->resources, entry->key);
        if (old && !replica->snapshot) {
            digest_remove(&sum, digest_of(entry->key, old));
        }
        if (!json_is_null((json_t *)entry->value)) {
            digest_add(&sum, digest_of(entry->key, entry->value));
        }
    }
    return sum;
}

static void take_over(struct replica *replica)
{
    if (replica->snapshot) {
        omap_clear(&replica->resources, free_json);
    }
    omap_foreach (entry, &replica->changes) {
        if (json_is_null((json_t *)entry->value)) {
            json_decref(omap_del(&replica->resources, entry->key));
        } else {
            json_decref(omap_put(&replica->resources, entry->key, json_incref(entry->value)));
        }
    }
}

int replica_commit(struct replica *replica, int64_t revision, const char *digest)
{
    struct digest after = digest_after(replica);
    char hex[33];

    if (strcmp(digest_format(after, hex), digest) != 0) {
        replica_begin(replica, 0);
        return -ESTALE;
    }
    int changed = revision != replica->revision || after.high != replica->digest.high ||
                  after.low != replica->digest.low;
    take_over(replica);
    replica_begin(replica, 0);
    replica->digest = after;
    replica->revision = revision;
    return changed;
}

void replica_done(struct replica *replica)
{
    omap_clear(&replica->resources, free_json);
    omap_clear(&replica->changes, free_json);
    *replica = (struct replica){0};
}
