/* renewal.h - keeps this node's certificate good: asks for a new one before it expires, and when
 * the authority that signs is another than the one that signed ours (a rollover).
 *
 *     [good] ── 30 days left ────────────────────────────► [asked] ── renewed ──► [good]
 *       └────── another authority ──► [waiting] ── 0 … 5 s ──┘  └── disconnected ──► [good]
 *
 * The wait is a random one: at a rollover all nodes hear of it at once. Until the new certificate
 * is on the disk (while that takes none, it is kept in memory) the old one stays in use, and
 * neither the connection nor anything else that runs with it is touched. */
#pragma once

#include <uv.h>

#include "agent/identity.h"

struct renewal;

struct renewal_config {
    const char *state_dir;     /* where a renewed certificate goes; NULL: nowhere, for tests */
    struct identity *identity; /* borrowed; its certificate changes */
    /* Sends the request, if there is a connection. */
    void (*ask)(void *arg, const char *csr);
    void *arg;
};

struct renewal *renewal_new(uv_loop_t *loop, const struct renewal_config *config);
/* The memory is freed by the loop. NULL is fine. */
void renewal_free(struct renewal *renewal);

/* The server is there; `authority` signs certificates now, NULL: it doesn't say. */
void renewal_welcomed(struct renewal *renewal, const char *authority);
void renewal_announced(struct renewal *renewal, const char *authority);
/* What was asked for is lost. */
void renewal_disconnected(struct renewal *renewal);
/* Here it is. */
void renewal_renewed(struct renewal *renewal, const char *certificate);
