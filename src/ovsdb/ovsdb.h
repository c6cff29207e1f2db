/* ovsdb.h - a connection to an OVSDB server on this machine, and a mirror of what one follows.
 *
 * JSON-RPC over the server's unix socket (<run>/db.sock for Open vSwitch). In order:
 *
 *     db = ovsdb_new(loop, &(struct ovsdb_config){.path = path, .database = "Open_vSwitch",
 *                                                 .monitor = columns}, &HANDLER, arg);
 *     // opened(): the mirror holds everything that was asked for
 *     // updated(), whenever it has changed
 *     ovsdb_transact(db, ops, done, arg);
 *     ovsdb_close(db);                        // closed() comes, at the end, always
 *
 *     ovsdb_new ─► [connecting] ─► [monitoring] ─ opened() ─► [open] ─ updated(), done() …
 *                       └────────────────┴─────────────────────┴─► closed()
 *
 * All runs on the loop's thread and no function calls back from inside. After closed() the
 * connection and its mirror are gone; whoever wants another makes one, when it likes.
 *
 * Guarantees: a transaction that was accepted (returned 0) has its done() called exactly once,
 * before closed() if the connection ends first; then it isn't known whether it happened. What a
 * transaction of ours changed is in the mirror before its done(). A server that says nothing for
 * echo_msec is asked whether it is there, and given up silent_msec later; its own echoes are
 * answered. A message is at most OVSDB_MESSAGE_MAX bytes, JSON is limited as lib/json.h says.
 *
 * Errors have sentences that name the operation, with the server's own words (RFC 7047 section
 * 3.1 and 4.1.3). The program must ignore SIGPIPE.
 *
 * Source: RFC 7047 section 4. */
#pragma once

#include <uv.h>

#include "ovsdb/mirror.h"

enum {
    OVSDB_CONNECT_MSEC = 5000, /* to be open */
    OVSDB_ECHO_MSEC = 5000,
    OVSDB_SILENT_MSEC = 5000,
    OVSDB_MESSAGE_MAX = 16 << 20,
    OVSDB_QUEUE_MAX = 4 << 20, /* bytes that the server hasn't read */
    OVSDB_TRANSACTIONS_MAX = 64,
};

struct ovsdb;

struct ovsdb_config {
    const char *path;     /* borrowed during ovsdb_new() */
    const char *database; /* a literal */
    /* {"Bridge":["name","ports"],…}: what to follow; borrowed during ovsdb_new(). */
    const json_t *monitor;
    /* 0: the values above. */
    unsigned connect_msec, echo_msec, silent_msec;
};

/* Members may be NULL, except closed. */
struct ovsdb_handler {
    void (*opened)(struct ovsdb *db, void *arg);
    void (*updated)(struct ovsdb *db, void *arg);
    /* Once, at the end; error->status is 0 if ovsdb_close() was the reason. */
    void (*closed)(struct ovsdb *db, void *arg, const struct error *error);
};

/* Never fails: what is wrong is told by closed(). */
struct ovsdb *ovsdb_new(uv_loop_t *loop, const struct ovsdb_config *config,
                        const struct ovsdb_handler *handler, void *arg);

/* At once. May be called from callbacks, and twice. */
void ovsdb_close(struct ovsdb *db);

const struct ovsdb_mirror *ovsdb_mirror(const struct ovsdb *db);

/* `results` is the array of the operations' results, borrowed; NULL if there is an error. */
typedef void ovsdb_done_fn(void *arg, const json_t *results, const struct error *error);

/* All operations (RFC 7047 section 5.2; a borrowed array) together, or none. -ENOTCONN when the
 * connection isn't open, -EAGAIN when too many are under way, -E2BIG when the text is too long:
 * then nothing was sent and done() isn't called. */
int ovsdb_transact(struct ovsdb *db, const json_t *ops, ovsdb_done_fn *done, void *arg);
