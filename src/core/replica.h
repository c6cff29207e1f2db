/* replica.h - the agent's copy of what its node must have, in memory and on disk.
 *
 * Changes are collected first and taken over all at once by replica_commit(), if the sum of what
 * would then be there is the digest that the server says. The file is
 *     {"revision":n,"digest":hex,"resources":{key:body,...}}
 * and is believed only if its digest is that of its resources. */
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
    struct omap resources; /* key -> json_t body, owned */
    struct digest digest;
    int64_t revision;
    struct omap changes; /* key -> json_t body, or JSON null to delete; owned */
    int snapshot;        /* the changes are everything there is */
};

/* -ENOENT if there is no file, -EINVAL if it can't be believed (*error says why). */
int replica_load(struct replica *replica, const char *path, struct error *error);
int replica_parse(struct replica *replica, const char *text, size_t size, struct error *error);

/* A fault point. */
int replica_save(const struct replica *replica, const char *path);

/* Takes the reference `body`; NULL: delete. */
void replica_change(struct replica *replica, const char *key, json_t *body);

/* Drops the changes, and begins again: with an empty set if `snapshot`. */
void replica_begin(struct replica *replica, int snapshot);

/* Takes the changes over: 1 if something is different now, 0 if not; -ESTALE if the digest would
 * be another: then the changes are dropped. */
int replica_commit(struct replica *replica, int64_t revision, const char *digest);

void replica_done(struct replica *replica);
