/* ovsdb-internal.h - a connection, as ovsdb.c and transact.c know it. Private to src/ovsdb. */
#pragma once

#include "ovsdb/ovsdb.h"
#include "ovsdb/rpc.h"
#include "ovsdb/split.h"

enum {
    OVSDB_MONITOR_NUMBER = 0, /* of the request */
};

enum ovsdb_state {
    OVSDB_CONNECTING,
    OVSDB_MONITORING,
    OVSDB_OPEN,
    OVSDB_ENDED,
};

struct ovsdb_transaction;

struct ovsdb {
    uv_pipe_t pipe;
    uv_timer_t timer;
    uv_connect_t connecting;
    unsigned handles; /* not closed yet */
    enum ovsdb_state state;
    const struct ovsdb_handler *handler;
    void *arg;
    struct ovsdb_config config; /* path and monitor aren't used after ovsdb_new() */
    json_t *monitor_request;    /* until it is sent */
    struct ovsdb_mirror mirror;
    struct split in;
    struct ovsdb_transaction *transactions; /* in the order of sending */
    unsigned transactions_len;
    json_int_t number;   /* of the last transaction; they count from 1 */
    uint64_t heard_msec; /* when anything came last */
    uint64_t asked_msec; /* when it was asked whether it is there; 0: not */
    int is_last_call;    /* late, but what has come meanwhile wasn't read yet */
    struct error reason;
};

/* --- ovsdb.c --- */

/* -E2BIG: the server reads too slowly, or the message is too long. */
int ovsdb_send(struct ovsdb *db, const json_t *message);

/* --- transact.c --- */

/* An answer to a transaction; one that nobody waits for is ignored. */
void ovsdb_answered(struct ovsdb *db, const struct rpc *rpc);
void ovsdb_fail_all(struct ovsdb *db, const struct error *error);
