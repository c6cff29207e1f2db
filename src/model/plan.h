/* plan.h - from intent to what each machine must have, as pure functions.
 *
 * A service's plan function turns one object into resources. It may read anything else only
 * through the view, which notes every key and prefix read; when one of these changes the object
 * is planned again, and no other. No I/O, no clock, no randomness.
 *
 * A resource is a small JSON document under a key that is unique in the deployment, on exactly
 * one channel. Nodes get the resources of the channels they are on (deployment.h):
 *
 *     node/<id>            that node alone
 *     service/<name>       every node that runs the service
 *     hub/<name>           those of them that are hubs
 *
 * Keys begin with the service's name: "vpn/self/Agent.1", "vpn/peer/Agent.1". */
#pragma once

#include <jansson.h>

#include "lib/error.h"
#include "lib/omap.h"
#include "model/tree.h"

/* A reading of the tree that remembers what was read. */
struct view {
    const struct tree *tree;
    struct omap *reads; /* keys and prefixes (these end in '/'); NULL: don't remember */
    int force;          /* for validate(): who writes knows that it could cut somebody off */
};

/* The value under a key of tree.h, borrowed, or NULL. */
const json_t *view_get(struct view *view, const char *key);

/* The spec of an object, borrowed, or NULL. */
const json_t *view_spec(struct view *view, const char *kind, const char *id);

/* Calls `each` for every key under the prefix (which ends in '/'), in byte order; `rest` is the
 * key without the prefix. */
typedef void view_each_fn(void *arg, const char *rest, const json_t *value);
void view_each(struct view *view, const char *prefix, view_each_fn *each, void *arg);

/* What the object's "sealed" holds encrypted, in clear: for a resource that needs a key. The
 * caller wipes and frees it; NULL in, or what can't be read: NULL. It goes into PLAN_SECRET alone.
 */
char *view_unseal(struct view *view, const char *sealed);

/* How that is done; tests without it have such texts in clear. Before anything is planned, once in
 * a process; always the same for the same text. */
typedef char *plan_unseal_fn(void *arg, const char *sealed);
void plan_set_unseal(plan_unseal_fn *unseal, void *arg);

/* The member of a resource that previews don't show. */
#define PLAN_SECRET "secret"

/* What a plan function puts out. */
struct plan {
    struct omap resources; /* key -> struct plan_resource */
};

struct plan_resource {
    char *channel;
    json_t *body;
};

/* Takes the reference to `body`. The same key twice in one plan is a bug and aborts. */
void plan_put(struct plan *plan, const char *channel, const char *key, json_t *body);

void plan_done(struct plan *plan);
