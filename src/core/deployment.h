/* deployment.h - the server's brain: objects in, resources out, and how far they are in force.
 *
 * It ties the store to the tree (a mirror in memory), the services' plans and the live state of
 * the fleet. The API (server/api-*.c) writes objects and reads status; the agents' listener
 * (server/agents.c) reads resources and writes facts, acknowledgements and statuses. Everything
 * runs on the loop's thread.
 *
 *     write ──► validate ──► store transaction ──► tree ──► plan ──► channels ──► listeners
 *                (compare on revisions and claims)   (only what read what changed)
 *
 * A transaction that loses a race on its compares is built again from the newer tree, so a write
 * fails only for a reason its author can see. */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "core/counters.h"
#include "core/service.h"
#include "lib/error.h"
#include "store/store.h"

struct deployment;

/* Reads the store into memory and plans everything. `services` is NULL-terminated and lives on. */
int deployment_open(uv_loop_t *loop, struct store *store, const struct service *const *services,
                    struct deployment **ret_deployment, struct error *error);
/* After store_close(), whose last callbacks still come here. */
void deployment_close(struct deployment *d);

const struct tree *deployment_tree(const struct deployment *d);
int64_t deployment_revision(const struct deployment *d);
/* Another number whenever anything that the tree or deployment_status() shows has changed, but for
 * what changes with the clock alone (a token expires); for counters at most once a second. */
uint64_t deployment_generation(const struct deployment *d);
struct store *deployment_store(const struct deployment *d);

/* --- kinds --- */

/* The kind of a path; for settings the id says which schema. NULL: no such kind. `id` may be NULL
 * except for singletons. */
const struct kind *deployment_kind(const struct deployment *d, const char *name, const char *id);

/* The i-th kind, NULL past the end: for the API document. */
const struct kind *deployment_kind_at(const struct deployment *d, size_t i);

/* The kind's parsed schema, borrowed. */
const json_t *deployment_schema(const struct deployment *d, const struct kind *kind);

/* --- writing --- */

struct actor {
    const char *name;   /* "admin", "node:Agent.1", "system" */
    const char *source; /* address it came from, or "-" */
    enum role role;
};

enum write_verb {
    WRITE_CREATE,  /* 409 if it exists */
    WRITE_REPLACE, /* 404 if it doesn't; PUT */
    WRITE_PATCH,   /* RFC 7396 merge patch of spec */
    WRITE_DELETE,
};

struct write {
    enum write_verb verb;
    const char *kind;     /* "nodes" */
    const char *id;       /* NULL: created by the server, where the kind allows it */
    const json_t *spec;   /* whole, or the patch; NULL for delete */
    const json_t *sealed; /* NULL: as it is */
    int64_t if_match;     /* the revision that must be the present one, else 412; 0: any */
    int force;            /* of a kind that can be: on trial, where it has to be; not a deletion */
    int returns;          /* to what it was before a trial: passes as forced, on no trial */
    int dry_run;          /* answer what would change; change nothing */
    const char *reason;   /* of its event, and lives on; NULL: "created", "changed", "deleted" or
                             "forced" */
};

struct write_result {
    const char *id;
    int64_t revision;     /* of the transaction; the present one for a dry run */
    const json_t *deltas; /* dry run: [{"node","key","action":"put"|"delete","body"}] */
    const json_t *ids;    /* of a list */
};

/* rc < 0: nothing was changed, *error says why. *result and *error are valid in the call only. */
typedef void write_done_fn(void *arg, int rc, const struct write_result *result,
                           const struct error *error);

/* Validates now, commits later. Copies its arguments; `done` is called exactly once, perhaps
 * before the call returns. An audit event is written in the same transaction. */
void deployment_write(struct deployment *d, const struct actor *actor, const struct write *write,
                      write_done_fn *done, void *arg);

/* Many new objects of one kind in one transaction, all of them or none: `list` holds
 * {"id"?,"spec"}, at least one; `common` says the rest (.kind, .force). Each must be possible
 * after those before it in the list. An error's pointer begins with the place in the list. One
 * event tells of all. 413: they are more than a transaction holds. */
void deployment_create_list(struct deployment *d, const struct actor *actor,
                            const struct write *common, const json_t *list, write_done_fn *done,
                            void *arg);

/* Raw keys of a module of its own (auth/..., pki/...): last writer wins. `value` NULL deletes. */
void deployment_put_private(struct deployment *d, const char *key, const json_t *value,
                            store_done_fn *done, void *arg);

/* A node reports facts: {"vpn.self":{...}, "vpn.endpoint/Agent.2":null}. Unchanged ones cost
 * nothing. Validated by their fact_type; refused with 409 when a claim (a public key, say) is
 * another node's. `core.*` facts are the server's own and are refused from agents. */
void deployment_report(struct deployment *d, const char *node, const json_t *facts, int by_server,
                       write_done_fn *done, void *arg);

/* An audit or operational event: shown under /events. Fire and forget. `subject` is a key such as
 * "object/nodes/Agent.1"; `reason` a word ("login-failed"), `message` a sentence. */
void deployment_event(struct deployment *d, const struct actor *actor, const char *reason,
                      const char *subject, const char *message);

/* --- what a node must have --- */

/* One resource as a node sees it; body NULL: delete it. */
typedef void resource_fn(void *arg, const char *key, int64_t revision, const json_t *body);

/* Everything for the node. Returns the number. */
size_t deployment_snapshot(const struct deployment *d, const char *node, resource_fn *each,
                           void *arg);

/* What has changed for the node after `revision`; -ESTALE when that isn't known any more, then
 * the node wants a snapshot. Deletes come first. */
int deployment_deltas(const struct deployment *d, const char *node, int64_t revision,
                      resource_fn *each, void *arg);

enum {
    DIGEST_HEX_SIZE = 33,
};

/* The digest of everything the node should have now (core/digest.h). */
const char *deployment_digest(const struct deployment *d, const char *node,
                              char hex[DIGEST_HEX_SIZE]);

/* --- the fleet's live state --- */

void fleet_connected(struct deployment *d, const char *node, const char *address);
void fleet_disconnected(struct deployment *d, const char *node, const char *why);
int fleet_is_connected(const struct deployment *d, const char *node);

/* The node has applied everything up to `revision`, but for `errors`
 * ([{"key","message"}], may be NULL). */
void fleet_acked(struct deployment *d, const char *node, int64_t revision, const json_t *errors);

/* What the agent says of itself: {"agentVersion":..., "services":{"vpn":{"state":"running",
 * "message":"", ...}}}. Replaces the last one. Not stored. */
void fleet_status(struct deployment *d, const char *node, const json_t *status);

/* What the node counts, {"sdn/filter/7":[packets,bytes],"sdn/filter/6":null}: totals, NULL: no
 * more; core/counters.h. Not stored. */
void fleet_counters(struct deployment *d, const char *node, const json_t *values);
const struct counters *deployment_counters(const struct deployment *d);

/* The computed status of an object, a new reference; see API v2. */
json_t *deployment_status(const struct deployment *d, const char *kind, const char *id);

/* Calls `each` for every node that the object concerns: those that have a resource of it. */
void deployment_concerned(struct deployment *d, const char *kind, const char *id,
                          void (*each)(void *arg, const char *node), void *arg);

/* Calls `done` once, when every node that revision concerned has acknowledged it (rc 0), or the
 * timeout passed or a concerned node is away (rc -EHOSTUNREACH); `report` is
 * {"nodes":n,"applied":k,"pending":[{"node","reason"}],"errors":[{"node","key","message"}]}. */
typedef void applied_fn(void *arg, int rc, const json_t *report);
void deployment_wait(struct deployment *d, int64_t revision, unsigned timeout_msec,
                     applied_fn *done, void *arg);

/* --- listening --- */

/* A listener is told of changes after they are in the tree and planned. */
struct deployment_listener {
    /* A node has new deltas up to `revision`: fetch them with deployment_deltas(). NULL: not
     * interested. Called once per node and transaction. */
    void (*node_changed)(void *arg, const char *node, int64_t revision);
    /* A stored key changed (value NULL: deleted). NULL: not interested. */
    void (*key_changed)(void *arg, const char *key, int64_t revision, const json_t *value);
    /* A node's live state changed. */
    void (*fleet_changed)(void *arg, const char *node);
    /* Counters of a node changed: {"sdn/filter/7":[packets,bytes]}, null for one that is gone.
     * NULL: not interested. */
    void (*counters_changed)(void *arg, const char *node, const json_t *totals);
    void *arg;
    struct deployment_listener *next; /* the deployment's */
};

void deployment_listen(struct deployment *d, struct deployment_listener *listener);
void deployment_unlisten(struct deployment *d, struct deployment_listener *listener);

/* Plans everything anew from the tree; 0 if that gave exactly the resources that the incremental
 * way had, else -EIO with the first difference in *error. For tests and `cnsmod check`. */
int deployment_recompute(struct deployment *d, struct error *error);
