#include "core/replica.h"

#include <errno.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"

json_t *replica_body(const struct replica *replica, const char *key)
{
    const char *text = omap_get(&replica->resources, key);

    /* It was made by us. */
    return text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
}

void replica_change(struct replica *replica, const char *key, const json_t *body)
{
    if (!omap_get(&replica->changes, key) && replica->changes.len >= REPLICA_LEN_MAX) {
        return; /* the digest won't match, and that will be said */
    }
    char *text = body && !json_is_null(body) ? json_canonical(body) : xstrdup("");
    free(omap_put(&replica->changes, key, text));
}

static int is_gone(const char *text)
{
    return text[0] == '\0';
}

void replica_begin(struct replica *replica, int snapshot)
{
    omap_clear(&replica->changes, free);
    replica->snapshot = snapshot;
}

/* What the digest would be with the changes. */
static struct digest digest_after(const struct replica *replica)
{
    struct digest sum = replica->snapshot ? (struct digest){0, 0} : replica->digest;

    omap_foreach (entry, &replica->changes) {
        const char *old = omap_get(&replica->resources, entry->key);
        if (old && !replica->snapshot) {
            digest_remove(&sum, digest_of_text(entry->key, old));
        }
        if (!is_gone(entry->value)) {
            digest_add(&sum, digest_of_text(entry->key, entry->value));
        }
    }
    return sum;
}

/* Who is to be told of what changes. */
struct listener {
    replica_changed_fn *changed;
    void *arg;
};

static void note(struct replica *replica, const char *key, const struct listener *listener)
{
    omap_put(&replica->unsaved, key, replica);
    if (listener->changed) {
        listener->changed(listener->arg, key);
    }
}

/* What a snapshot doesn't name isn't there any more. */
static void drop_others(struct replica *replica, const struct listener *listener)
{
    omap_foreach (entry, &replica->resources) {
        if (!omap_get(&replica->changes, entry->key)) {
            _cleanup_free_ char *key = xstrdup(entry->key);
            free(omap_del(&replica->resources, key));
            note(replica, key, listener);
        }
    }
}

static void take_over(struct replica *replica, const struct listener *listener)
{
    if (replica->snapshot) {
        drop_others(replica, listener);
    }
    omap_foreach (entry, &replica->changes) {
        const char *old = omap_get(&replica->resources, entry->key);
        if (is_gone(entry->value) ? !old : old && strcmp(old, entry->value) == 0) {
            continue;
        }
        if (is_gone(entry->value)) {
            free(omap_del(&replica->resources, entry->key));
        } else {
            free(omap_put(&replica->resources, entry->key, entry->value));
            entry->value = xstrdup(""); /* it is the resource's now */
        }
        note(replica, entry->key, listener);
    }
}

int replica_commit(struct replica *replica, int64_t revision, const char *digest,
                   replica_changed_fn *changed, void *arg)
{
    struct digest after = digest_after(replica);
    const struct listener listener = {.changed = changed, .arg = arg};
    char hex[33];

    if (strcmp(digest_format(after, hex), digest) != 0) {
        replica_begin(replica, 0);
        return -ESTALE;
    }
    int differs = revision != replica->revision || after.high != replica->digest.high ||
                  after.low != replica->digest.low;
    replica->digest = after;
    replica->revision = revision;
    take_over(replica, &listener);
    replica_begin(replica, 0);
    return differs;
}

void replica_done(struct replica *replica)
{
    omap_clear(&replica->resources, free);
    omap_clear(&replica->changes, free);
    omap_clear(&replica->unsaved, NULL);
    *replica = (struct replica){0};
}
