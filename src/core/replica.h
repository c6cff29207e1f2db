/* replica.h - the agent's copy of what its node must have, in memory and on disk.
 *
 * Changes are collected first and taken over all at once by replica_commit(), if the sum of what
 * would then be there is the digest that the server says. The file's first line is everything,
 *     {"revision":n,"digest":hex,"resources":{key:body,...}}
 * and each line after it what changed then, so that a change costs what it is long, not what
 * there is:
 *     {"revision":n,"digest":hex,"changes":{key:body or null,...}}
 * When the changes have become longer than the first line, all is written anew as one line, by
 * replacing the file. Each line is believed only if its digest is that of what is there after it.
 * A last line without its end, or with zeros in it, is what a crash left: it was never synced, so
 * nobody was told that it is there, and it is passed over. Anything else that is wrong makes the
 * file worth nothing.
 *
 * Bodies are kept as canonical text, a fifth of what they take as trees: a node may have ten
 * thousand. replica_body() makes a tree of one while somebody looks at it. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "core/digest.h"
#include "lib/error.h"
#include "lib/omap.h"

enum {
    REPLICA_LEN_MAX = 100000,     /* resources of one node; more are not taken */
    REPLICA_SIZE_MAX = 256 << 20, /* bytes of the file */
};

struct replica {
    struct omap resources; /* key -> its body as canonical text, owned */
    struct digest digest;
    int64_t revision;
    struct omap changes; /* the same; "" to delete */
    int snapshot;        /* the changes are everything there is */
    struct omap unsaved; /* keys of which the file says something else; the values mean nothing */
    size_t size;         /* of the file, in bytes; 0: the next save writes all of it */
    size_t whole_size;   /* of its first line */
};

/* -ENOENT if there is no file, -EINVAL if it can't be believed (*error says why). */
int replica_load(struct replica *replica, const char *path, struct error *error);
int replica_parse(struct replica *replica, const char *text, size_t size, struct error *error);

/* Adds what changed since the last save to the file, or writes all of it, and syncs it. What
 * couldn't be saved goes with the next save. A fault point. */
int replica_save(struct replica *replica, const char *path);

/* A new reference, or NULL if there is no such resource. */
json_t *replica_body(const struct replica *replica, const char *key);

/* `body` NULL: delete. */
void replica_change(struct replica *replica, const char *key, const json_t *body);

/* Drops the changes, and begins again: with an empty set if `snapshot`. */
void replica_begin(struct replica *replica, int snapshot);

/* Told of each key that is another now, or is no more. */
typedef void replica_changed_fn(void *arg, const char *key);

/* Takes the changes over: 1 if something is different now, 0 if not; -ESTALE if the digest would
 * be another: then the changes are dropped. `changed` may be NULL. */
int replica_commit(struct replica *replica, int64_t revision, const char *digest,
                   replica_changed_fn *changed, void *arg);

void replica_done(struct replica *replica);
