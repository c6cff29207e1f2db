/* conn.h - one connection to a switch on this machine, through its management socket.
 *
 * Open vSwitch listens on <run>/<bridge>.mgmt; who connects there is a controller. In order:
 *
 *     conn = of_conn_new(loop, &(struct of_conn_config){.path = path}, &HANDLER, arg);
 *     // opened() comes; from then on:
 *     of_bundle(conn, &SOURCE, arg);          // change flows, all or none
 *     of_ask_flows(conn, &filter, each, done, arg);
 *     of_conn_close(conn);                    // closed() comes, at the end, always
 *
 * All runs on the loop's thread and no function calls back from inside. After closed() the
 * connection is gone; whoever wants another makes one, when it likes.
 *
 *     of_conn_new ─► [connecting] ─► [hello] ─► [features] ─ opened() ─► [open]
 *                          │            │            │                     │ requests, echoes
 *                          └────────────┴────────────┴───── of_conn_close, broken, malformed,
 *                                                           version, silence ─► closed()
 *
 * Guarantees: every request that was accepted (returned 0) has its done() called exactly once,
 * before closed() if the connection ends first. A switch that says nothing for echo_msec is asked
 * whether it is there, and given up silent_msec later: so a hung switch fails every request
 * within the sum of both. A bundle is streamed: flows are taken from the source as the switch
 * takes the bytes, so what is held is OF_HIGH_WATER_BYTES, however long the bundle.
 *
 * The program must ignore SIGPIPE: a switch may go at any time.
 *
 * Errors have sentences (refusal.h). The `struct error` that a callback is given is borrowed, and
 * so are all structs.
 *
 * Sources: OpenFlow 1.4.1 sections 6.3 (connection), 6.9 (bundles), 7.5.1 (hello, versions). */
#pragma once

#include <uv.h>

#include "lib/error.h"
#include "openflow/flow.h"
#include "openflow/switch.h"

enum {
    OF_CONNECT_MSEC = 5000, /* to be open */
    OF_ECHO_MSEC = 5000,
    OF_SILENT_MSEC = 5000,
    OF_REQUESTS_MAX = 256,           /* not answered yet; bundles count too */
    OF_HIGH_WATER_BYTES = 256 << 10, /* of a bundle that wait for the switch */
    OF_QUEUE_MAX = 4 << 20,          /* of everything; a switch that reads so little is given up */
};

struct of_conn;

struct of_conn_config {
    const char *path; /* copied */
    /* 0: the values above. */
    unsigned connect_msec, echo_msec, silent_msec;
};

/* Members may be NULL, except closed. */
struct of_conn_handler {
    void (*opened)(struct of_conn *conn, void *arg, const struct of_features *features);
    /* A flow with OF_FLOW_SEND_REMOVED has gone. */
    void (*flow_removed)(struct of_conn *conn, void *arg, const struct of_flow_removed *removed);
    void (*port_changed)(struct of_conn *conn, void *arg, enum of_port_change change,
                         const struct of_port *port);
    /* Once, at the end; error->status is 0 if of_conn_close() was the reason. */
    void (*closed)(struct of_conn *conn, void *arg, const struct error *error);
};

/* Never fails: what is wrong is told by closed(). */
struct of_conn *of_conn_new(uv_loop_t *loop, const struct of_conn_config *config,
                            const struct of_conn_handler *handler, void *arg);

/* At once; requests without an answer fail. May be called from callbacks, and twice. */
void of_conn_close(struct of_conn *conn);

/* OF_VERSION_…; 0 before the hello. */
uint8_t of_conn_version(const struct of_conn *conn);

/* Hands to the kernel now what the loop would at its next turn, for those whose turn may take a
 * while; a bundle's source is asked from inside. Calls back nothing else. */
void of_conn_flush(struct of_conn *conn);

/* Bytes that the kernel hasn't taken yet. */
size_t of_conn_backlog(const struct of_conn *conn);

/* --- requests ---
 *
 * Each returns 0, -ENOTCONN when the connection isn't open, or -EAGAIN when OF_REQUESTS_MAX are
 * under way; then nothing was sent and done() isn't called. done()'s error is NULL on success.
 * The switch handles requests in order. */

typedef void of_done_fn(void *arg, const struct error *error);

/* Done when the switch has carried out everything that was sent before. */
int of_barrier(struct of_conn *conn, of_done_fn *done, void *arg);

/* One change, by itself. Also -EINVAL, when the flow can't be said (flow.h). */
int of_change(struct of_conn *conn, const struct of_flow_mod *mod, of_done_fn *done, void *arg);

/* For each entry, then done(). An answer may be cut by the connection's end: then done() has an
 * error, and what each() saw wasn't all. */
typedef void of_each_flow_fn(void *arg, const struct of_flow_stats *stats);
typedef void of_each_port_fn(void *arg, const struct of_port *port);
typedef void of_each_port_stats_fn(void *arg, const struct of_port_stats *stats);
typedef void of_each_table_fn(void *arg, const struct of_table_stats *stats);

int of_ask_flows(struct of_conn *conn, const struct of_flow_filter *filter, of_each_flow_fn *each,
                 of_done_fn *done, void *arg);
int of_ask_ports(struct of_conn *conn, of_each_port_fn *each, of_done_fn *done, void *arg);
int of_ask_port_stats(struct of_conn *conn, of_each_port_stats_fn *each, of_done_fn *done,
                      void *arg);
/* Also of tables without flows. */
int of_ask_tables(struct of_conn *conn, of_each_table_fn *each, of_done_fn *done, void *arg);

/* --- bundles --- */

/* Where the changes of a bundle come from. It must stay until done(). */
struct of_bundle_source {
    /* Fills the change number `index` (from 0; *ret_mod is zeroed) and returns 1, or 0 after the
     * last one, or a negative errno to give the bundle up: then nothing of it happens. */
    int (*next)(void *arg, size_t index, struct of_flow_mod *ret_mod);
    /* The switch refuses this change, so the bundle won't happen. Called for each such change,
     * before done(). NULL: not interested. */
    void (*refused)(void *arg, size_t index, const struct error *error);
    /* NULL: all changes are in force together. Else none is, and this is the first reason. If the
     * connection ended after the commit was sent, it isn't known which. */
    of_done_fn *done;
};

/* All changes at one moment, or none. Several bundles are done one after the other; other
 * requests may overtake one that is still being streamed. */
int of_bundle(struct of_conn *conn, const struct of_bundle_source *source, void *arg);
