/* conn-internal.h - a connection, as conn.c, request.c and bundle.c know it. Private.
 *
 * Numbers of messages (xid): requests count from 1 up to 0x7fffffff, the changes of bundles have
 * those from 0x80000000, so that a change's place in its bundle can be told from its number. */
#pragma once

#include "openflow/conn.h"
#include "openflow/refusal.h"
#include "openflow/wire.h"

enum of_conn_state {
    OF_CONN_CONNECTING,
    OF_CONN_HELLO,
    OF_CONN_FEATURES,
    OF_CONN_OPEN,
    OF_CONN_ENDED,
};

enum {
    OF_READ_BYTES = 65536,
};

struct of_request;
struct of_bundle_state;

struct of_conn {
    uv_pipe_t pipe;
    uv_idle_t flusher; /* runs while there is something to write and the kernel may take it */
    uv_timer_t timer;
    uv_connect_t connecting;
    unsigned handles; /* not closed yet */
    enum of_conn_state state;
    struct of_conn_config config; /* path NULL once connected */
    const struct of_conn_handler *handler;
    void *arg;
    uint8_t version;
    struct buf in;       /* the beginning of a message that isn't complete */
    struct buf out;      /* not handed to the kernel yet */
    int is_writing;      /* a uv_write() is under way */
    uint64_t heard_msec; /* when anything came last */
    uint64_t asked_msec; /* when it was asked whether it is there; 0: not */
    int is_last_call;    /* late, but what has come meanwhile wasn't read yet */
    uint32_t xid;        /* of the last request */
    uint32_t change_xid; /* of the next change of a bundle, without its high bit */
    uint32_t bundle_id;
    struct of_request *requests;     /* in the order of sending */
    struct of_bundle_state *bundles; /* the first one is under way */
    unsigned requests_len;           /* of both lists */
    struct error reason;
};

/* --- conn.c --- */

/* Ends the connection for that reason; the first one counts. */
void of_conn_end(struct of_conn *conn, const struct error *reason);
/* The same: the switch broke the protocol. */
void of_conn_malformed(struct of_conn *conn, const char *what);
/* Something has come: the switch is there. */
void of_conn_heard(struct of_conn *conn);
/* The features have come. */
void of_conn_opened(struct of_conn *conn);
/* Queues a small message of our own, not of a request. */
void of_conn_say(struct of_conn *conn, const struct of_out *message);
/* There is something in conn->out. */
void of_conn_flush_soon(struct of_conn *conn);
/* 0 if one more request may be made. */
int of_conn_may_ask(const struct of_conn *conn);
uint32_t of_conn_next_xid(struct of_conn *conn);

/* --- receive.c --- */

/* What has come from the switch, in whatever pieces. */
void of_conn_take(struct of_conn *conn, const uint8_t *data, size_t size);

/* --- request.c --- */

/* An answer to a question or barrier; one that nobody waits for is ignored. */
void of_request_answered(struct of_conn *conn, const uint8_t *message, size_t size);
void of_request_barrier(struct of_conn *conn, uint32_t xid);
/* True if the refused message was a request of ours. */
int of_request_refused(struct of_conn *conn, const struct of_refusal *refusal);
void of_request_fail_all(struct of_conn *conn, const struct error *error);

/* --- bundle.c --- */

/* Fills conn->out up to the high-water mark. */
void of_bundle_pump(struct of_conn *conn);
int of_bundle_has_more(const struct of_conn *conn);
void of_bundle_answered(struct of_conn *conn, const uint8_t *message, size_t size);
int of_bundle_refused(struct of_conn *conn, const struct of_refusal *refusal);
void of_bundle_fail_all(struct of_conn *conn, const struct error *error);
