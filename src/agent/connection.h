/* connection.h - the agent's end of the link: keeps one connection to one of the servers.
 *
 *          ┌────────────── back-off 0.2 s … 15 s, with jitter; the next server ◄───────────┐
 *          ▼                                                                               │
 *     [waiting] ──► [connecting] ──► hello ──► welcome ──► [welcomed] ──► closed ───────────┤
 *                         │                  facts, status,    │ snapshot, put, delete       │
 *                         │                                    ▼ sync                        │
 *                         │                                [synced] ── ack … ──► closed ─────┘
 *                         └── "this node is gone" (403, 404, 410) ──► removed()
 *
 * Nothing here touches the host: resources go to the reconciler, whose outcome comes back through
 * connection_applied(). Facts and counters are kept, and sent again after each welcome. */
#pragma once

#include <jansson.h>
#include <uv.h>

#include "agent/identity.h"
#include "core/reconcile.h"

struct connection;

struct connection_config {
    const char *state_dir;     /* where a renewed certificate goes */
    struct identity *identity; /* borrowed; its certificate changes */
    /* The server says that this node doesn't exist any more. `detail` is its sentence. */
    void (*removed)(void *arg, const char *detail);
    void *arg;
};

struct connection *connection_new(uv_loop_t *loop, const struct connection_config *config);

/* Begins to connect. */
void connection_start(struct connection *c, struct reconcile *reconcile);

/* Closes; the memory is freed when the loop has run to its end. */
void connection_free(struct connection *c);

/* backend_env.report: takes the reference `value`, NULL: no more. `arg` is the connection. */
void connection_report(void *arg, const char *name, json_t *value);

/* backend_env.count and .count_gone. */
void connection_count(void *arg, const char *name, uint64_t packets, uint64_t bytes);
void connection_count_gone(void *arg, const char *name);

/* reconcile_applied_fn. */
void connection_applied(void *arg, int64_t revision, const json_t *errors);

/* {"agentVersion","services":{…}}: sent if it isn't what was sent last. */
void connection_status(struct connection *c, const json_t *status);

/* {"connected":bool,"server":"host:port","problem":""|why not,"appliedRevision":n,"errors":[…]},
 * a new reference. */
json_t *connection_describe(const struct connection *c);

/* --- pure, for tests --- */

/* How long to wait after `rounds` times all servers were tried in vain; `random` is any number. */
uint64_t connection_backoff_msec(unsigned rounds, uint32_t random);
