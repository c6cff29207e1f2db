/* tree.h - the deployment in memory: a mirror of the store, key by key.
 *
 * Keys are paths. What stands where:
 *
 *     object/<kind>/<id>          {"spec":{...}, "sealed":{...}}   what people ask for; "sealed"
 *                                 (password hashes and the like) never leaves through the API
 *     fact/<node>/<service>.<name>[/<sub>]   what an agent reported: "fact/Agent.1/vpn.self"
 *     fact/<node>/core.seen       what the server itself saw of the node: {"address":"192.0.2.7",
 *                                 "server":"198.51.100.1:8444"}
 *     claim/<what>/<value>        {"owner":"object/nodes/Agent.1"}: a value only one may have
 *     counter/<kind>              the last counted id; "client-ranges": rewritten by every change
 *                                 of a hub's client range or a node's address
 *     index/label/<name>=<value>/<node>   made by the tree itself from nodes' labels, not stored
 *     index/service/<service>/<node>      likewise, from nodes' services
 *     index/hub/<node>                    likewise, from nodes' hub flag
 *     index/large/<service>               likewise, while more than TREE_LARGE nodes run it
 *     auth/... pki/...            private to those modules
 *
 * Values are immutable json_t; a change puts another in their place. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "lib/omap.h"

enum {
    TREE_LARGE = 500,
};

struct tree_entry {
    int64_t revision;
    json_t *value;
};

struct tree {
    struct omap entries; /* key -> struct tree_entry */
    struct omap sizes;   /* service -> size_t: how many nodes run it */
};

/* Called for every key that a put or delete changed, the index keys it implied included. */
typedef void tree_changed_fn(void *arg, const char *key);

/* `value` NULL deletes. Takes its own reference. `changed` may be NULL. */
void tree_put(struct tree *tree, const char *key, int64_t revision, json_t *value,
              tree_changed_fn *changed, void *arg);

const struct tree_entry *tree_get(const struct tree *tree, const char *key);

/* The value, borrowed, or NULL. */
const json_t *tree_value(const struct tree *tree, const char *key);

/* The "spec" of object/<kind>/<id>, borrowed, or NULL. */
const json_t *tree_spec(const struct tree *tree, const char *kind, const char *id);

void tree_done(struct tree *tree);

/* Walks the keys that begin with prefix. */
struct omap_entry *tree_first(const struct tree *tree, const char *prefix);
struct omap_entry *tree_next(const struct tree *tree, const struct omap_entry *e,
                             const char *prefix);
