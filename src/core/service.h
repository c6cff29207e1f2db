/* service.h - a network service, the server's half.
 *
 * A service is one folder under src/services and one word in src/services/meson.build. This half
 * is pure: it validates objects and plans resources. The agent's half is backend.h. Life of one
 * object: schema (model/schema.h) -> complete() -> validate() -> claims() -> stored -> plan() ->
 * resources. */
#pragma once

#include "model/kind.h"
#include "model/plan.h"

struct deployment;
struct count;

/* A fact: a typed value that agents of the service report (counters are not facts). */
struct fact_type {
    const char *name; /* "vpn.self"; a name ending in "/" takes one path segment more:
                         "vpn.endpoint/" is reported as "vpn.endpoint/Agent.2" */
    const char *schema_text;
};

/* The live state of nodes, for status(). */
struct reports {
    const json_t *(*of_node)(const struct reports *reports, const char *node);
    /* What the node has counted under "sdn/filter/7" (core/counters.h): 0, or -ENOENT and zero. */
    int (*count)(const struct reports *reports, const char *node, const char *name,
                 struct count *ret_total);
    struct deployment *deployment;
    const char *service;
};

struct service {
    const char *name;                /* "vpn" */
    const struct kind *const *kinds; /* it brings these, NULL-terminated; may be NULL */
    const struct fact_type *facts;   /* ended by .name NULL; may be NULL */

    /* Kinds whose objects this service plans, its own or others': {"nodes", NULL}. */
    const char *const *plans;

    /* What the schema can't say. The spec is valid by its schema and filled with defaults. NULL:
     * nothing to check. Called for every kind in `kinds` and `plans`. */
    int (*validate)(const char *kind, const char *id, const json_t *spec, struct view *view,
                    struct error *error);

    /* Fills in what the server chooses where the caller didn't (an address, say), in objects of
     * its own kinds: a new reference, or NULL with the reason. `before` is the present spec; NULL:
     * the object is new. Comes after the schema's defaults and before validate(). Two writes at
     * once may choose the same: a claim then lets one of them choose again. NULL: nothing. */
    json_t *(*complete)(const char *kind, const char *id, const json_t *before, const json_t *spec,
                        struct view *view, struct error *error);

    /* 0, or 409 when an object of its kinds or of `plans` must not be deleted now. NULL: each may
     * be. */
    int (*may_delete)(const char *kind, const char *id, struct view *view, struct error *error);

    /* Values that only one owner may have, as "<what>/<value>": each is handed to `claim`. For
     * objects `key` is "object/<kind>/<id>" and `value` the spec, for facts "fact/<node>/<name>"
     * and the fact. NULL: none. */
    void (*claims)(const char *key, const json_t *value,
                   void (*claim)(void *arg, const char *name, const char *pointer), void *arg);

    /* Turns one object into resources. Must not fail for an object that validates: what isn't
     * known yet (a fact not reported) simply gives fewer resources. */
    void (*plan)(const char *kind, const char *id, const json_t *spec, struct view *view,
                 struct plan *plan);

    /* Adds to the computed status of an object of its own kinds. `object` is as stored, with what
     * is sealed: only what people may see goes into `status`. reports->of_node() gives what a
     * node's agent says of this service now, borrowed until it is called again, or NULL. NULL:
     * nothing to add. */
    void (*status)(const char *kind, const char *id, const json_t *object, struct view *view,
                   const struct reports *reports, json_t *status);
};

/* All services built in, the core first, NULL-terminated. Made by src/services/meson.build. */
extern const struct service *const SERVICES[];

/* Kinds of the core itself: nodes, tokens, users, settings, events. NULL-terminated. */
extern const struct kind *const CORE_KINDS[];

/* The core as a service: it brings CORE_KINDS, validates nodes and settings, claims addresses. */
extern const struct service SERVICE_CORE;
