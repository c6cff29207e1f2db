/* agents.h - the server's side of the link: machines join, nodes get what they must have.
 *
 *     agents_new() ─► strangers: join ─► certificate
 *                     nodes: hello ─► welcome ─► snapshot or deltas, then changes as they come
 *
 * Changes are sent in bundles: what the deployment tells within one turn of the loop goes out
 * together, closed by one sync. A node that is deleted is told so and cut off at once. All the
 * protocol is in link/link.h. Everything runs on the loop's thread. */
#pragma once

#include <uv.h>

#include "core/deployment.h"
#include "lib/error.h"
#include "link/link.h"
#include "pki/pki.h"

struct agents;

struct agents_config {
    const char *address; /* "0.0.0.0" */
    uint16_t port;
    const char *certificate_pem; /* chain */
    const char *key_pem;
    unsigned links_max;
    const struct link_limits *limits; /* NULL: the usual ones; for tests */
};

/* Listens. Strings are copied; the deployment and the authority must outlive agents_close(). */
int agents_new(uv_loop_t *loop, struct deployment *deployment, struct pki *pki,
               const struct agents_config *config, struct agents **ret_agents,
               struct error *error);

/* Closes the listener and all links; `done` (may be NULL) is called from the loop when they are
 * gone. What was being written when it was called is finished after that, from the store. */
void agents_close(struct agents *agents, void (*done)(void *arg), void *arg);

/* Further connections are served with this certificate and are held against the authority as it is
 * now; the links that are there stay. */
int agents_certificate(struct agents *agents, const char *certificate_pem, const char *key_pem,
                       struct error *error);

/* Asks a node's agent how its host is now, "sdn/flows" (core/backend.h), and calls `done` once,
 * perhaps before it returns: with the answer, borrowed, or NULL and the error; 503 when the node
 * is away or silent for 3 s. */
typedef void agents_answer_fn(void *arg, const json_t *body, const struct error *error);
void agents_ask(struct agents *agents, const char *node, const char *what, agents_answer_fn *done,
                void *arg);

/* Tells the nodes which authority signs now. */
void agents_announce(struct agents *agents);

/* The port that was bound. */
uint16_t agents_port(const struct agents *agents);
