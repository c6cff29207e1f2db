/* reconcile.h - makes the host match the replica, and keeps it so. Written once for all drivers.
 *
 *      put/delete + sync           drift, timers, children's ends
 *             │                              │ reconcile_wake()
 *             ▼                              ▼
 *          replica ──► drivers that own ──► [due] ──► observe ─ diff ─ apply ──► file ──► clean?
 *                      a changed key          ▲       (look, of some keys)                  │
 *                                             ├── looks again: it changed something ◄───────┤
 *                                             ├── back-off 0.1 s … 30 s: it failed ◄────────┤
 *                                             └── after 60 s, everything ◄── acknowledged ◄─┘
 *
 * The replica is the set of resources for this node with revision and digest. After a sync mark
 * the drivers that own a changed key are driven at once, each by itself: one with `look`
 * (backend.h) compares and applies just these keys, another one observes all of its part, and when
 * that changed something every other driver looks at all of its part too, since they build on each
 * other. So what happens between the mark and apply() costs what the change is, not what the node
 * has. A revision is acknowledged when every driver has found all that it was to look at as it
 * must be, after the last change.
 *
 * The replica is written to disk and synced (replica.h) after it is applied and before it is
 * acknowledged. So an agent that restarts with the server gone restores everything that it has
 * acknowledged. What it had applied but not saved when it was killed, its successor takes off the
 * host again, and the server, which had no word of it, sends it anew.
 *
 * A corrupt replica file is set aside as `replica.json.corrupt`, and the agent asks for a snapshot
 * (revision 0). Without a replica nothing on the host is touched until the first sync mark: an
 * empty set isn't an order to tear down. When the disk is full the new resources are applied all
 * the same, and the error is reported. */
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
/* Takes the changes over; the loop's next turn drives them. The digest must be the set's: -ESTALE
 * if not (then ask for a snapshot; nothing was taken over). */
int reconcile_sync(struct reconcile *r, int64_t revision, const char *digest);

/* What this driver makes of the host may have drifted: it is driven soon, and observes all of it
 * (several wakes make one pass). For drivers, with backend_env.reconcile. */
void reconcile_wake(struct reconcile_driver *d);
/* The same of one key alone, at once; for example because what was "not yet" is now. Of a driver
 * without `look` as reconcile_wake(). */
void reconcile_wake_key(struct reconcile_driver *d, const char *key);
/* All drivers. */
void reconcile_wake_all(struct reconcile *r);

/* One pass of all drivers over everything now, for the agent's start and tests; returns the number
 * of items that weren't `same` before. */
int reconcile_pass(struct reconcile *r, struct error *error);

/* Removes everything of ours from the host and restores it; for `leave`. */
int reconcile_leave(struct reconcile *r, struct error *error);

/* A question to the drivers (backend.h): 0, and done() comes; -ENOENT: it is for none of them. */
int reconcile_ask(struct reconcile *r, const char *what, backend_answer_fn *done, void *arg);

/* {"vpn":{...}} from the drivers' status(), a new reference. Of a service with several drivers the
 * first one's members count, what the others add comes to them, and lists of one name are joined.
 */
json_t *reconcile_status(const struct reconcile *r);
