/* reconcile.h - makes the host match the replica, and keeps it so. Written once for all drivers.
 *
 *            put/delete + sync            drift, timers, children's ends
 *                  │                                 │ reconcile_wake()
 *                  ▼                                 ▼
 *     replica (file) ──► [dirty] ──► observe ─ diff ─ apply ─ observe ──► [settled]
 *                           ▲                                     │ something failed
 *                           └──────── back-off 0.1 s … 30 s ◄─────┘
 *
 * The replica is the set of resources for this node with revision and digest; it is written to
 * disk (file_write_atomic) after a sync mark, before it is applied, so an agent that restarts with
 * the server gone restores everything that it has acknowledged. A corrupt replica file is set
 * aside as `replica.json.corrupt`, and the agent asks for a snapshot (revision 0). Without a
 * replica nothing on the host is touched until the first sync mark: an empty set isn't an order to
 * tear down. When the disk is full the new resources are applied all the same, and the error is
 * reported. */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <uv.h>

#include "core/backend.h"
#include "lib/error.h"

struct reconcile;

/* After each pass that settled or failed: the revision that is now applied, and errors
 * [{"key","message"}] (borrowed, empty if none). The same outcome twice isn't reported. */
typedef void reconcile_applied_fn(void *arg, int64_t revision, const json_t *errors);

/* Loads the replica from <state_dir>/replica.json; a missing file is an empty replica. */
int reconcile_new(uv_loop_t *loop, const char *state_dir, const struct backend *const *backends,
                  const struct backend_env *env, reconcile_applied_fn *applied, void *arg,
                  struct reconcile **ret_reconcile, struct error *error);
/* Stops the drivers, leaves the host as it is. */
void reconcile_free(struct reconcile *r);

int64_t reconcile_revision(const struct reconcile *r);
const char *reconcile_digest(const struct reconcile *r, char hex[33]);

/* Changes that a sync mark closes. begin_snapshot: what is put until the sync is all there is. */
void reconcile_begin_snapshot(struct reconcile *r);
void reconcile_put(struct reconcile *r, const char *key, int64_t revision, json_t *body);
void reconcile_delete(struct reconcile *r, const char *key, int64_t revision);
/* Drops the changes that no sync mark has closed yet: the connection that brought them is gone. */
void reconcile_abort(struct reconcile *r);
/* Takes the changes over and wakes the loop. The digest must be the set's: -ESTALE if not (then
 * ask for a snapshot; nothing was taken over). */
int reconcile_sync(struct reconcile *r, int64_t revision, const char *digest);

/* The host may have drifted: one pass soon (several wakes make one pass). */
void reconcile_wake(struct reconcile *r);

/* One pass now, for tests and `leave`; returns the number of items that weren't `same` before. */
int reconcile_pass(struct reconcile *r, struct error *error);

/* Removes everything of ours from the host and restores it; for `leave`. */
int reconcile_leave(struct reconcile *r, struct error *error);

/* A question to the drivers (backend.h): 0, and done() comes; -ENOENT: it is for none of them. */
int reconcile_ask(struct reconcile *r, const char *what, backend_answer_fn *done, void *arg);

/* {"vpn":{...}} from the drivers' status(), a new reference. Of a service with several drivers the
 * first one's members count, what the others add comes to them, and lists of one name are joined.
 */
json_t *reconcile_status(const struct reconcile *r);
