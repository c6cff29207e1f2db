/* link.h - the agent channel: one TLS 1.3 connection with newline-delimited JSON both ways.
 *
 * TLS by GnuTLS, moved by libuv; one `struct link` is one connection, at either end. Every line
 * is one JSON object with a "type"; lines from outside pass lib/json's limits and are at most
 * LINK_LINE_MAX bytes (LINK_LINE_JOIN_MAX before the peer has proved who it is). What is sent
 * while the peer reads slowly queues up to LINK_QUEUE_MAX bytes, then the link is closed.
 *
 * The messages (fields without "?" are required; unknown fields are ignored, so that one minor
 * version older and newer understand each other; an unknown type is an error):
 *
 *   agent to server
 *     {"type":"join","version":1,"token":id,"secret":s,"csr":pem,"id"?:id,"services"?:[…],
 *      "endpoint"?:"a.b.c.d:port" or "a.b.c.d","routes":["10.0.0.0/8",…],"hostname":h,
 *      "agentVersion":v}                        only without a client certificate; one per link
 *     {"type":"hello","version":1,"id":id,"revision":n,"digest":hex,"agentVersion":v,
 *      "started":n}                             the first line of an enrolled agent
 *     {"type":"ack","revision":n,"errors":[{"key","message"}]}
 *     {"type":"facts","facts":{name:value,…}}
 *     {"type":"status","status":{…}}
 *     {"type":"counters","values":{"sdn/filter/7":[packets,bytes],"sdn/filter/6":null,…}}
 *                                               totals that have changed, null: no more; all of
 *                                               them after a welcome
 *     {"type":"answer","id":n,"body":{…}} or {"type":"answer","id":n,"error":{"status","detail"}}
 *     {"type":"resync"}                         the digest didn't match: send a snapshot
 *     {"type":"renew","csr":pem}                same key, or a new one
 *     {"type":"leave"}                          delete me; answered by "left"
 *     {"type":"ping"}                           answered by "pong"; every LINK_PING_MSEC
 *
 *   server to agent
 *     {"type":"joined","id":id,"certificate":pem chain,"root":pem}
 *     {"type":"welcome","version":1,"id":id,"time":rfc3339,"address":"peer address we saw",
 *      "authority"?:hex}                         the id of the key that signs agents' certificates
 *                                               now; who has one of another renews
 *     {"type":"snapshot"}                       what is put until the next sync is everything
 *     {"type":"put","key":k,"revision":n,"body":{…}}
 *     {"type":"delete","key":k,"revision":n}
 *     {"type":"sync","revision":n,"digest":hex,"authority"?:hex}
 *                                               apply now; also sent when nothing changed, after
 *                                               the welcome and when the authority is another
 *     {"type":"renewed","certificate":pem chain}
 *     {"type":"refused","facts":[…],"detail":s} a report that wasn't taken, and why
 *     {"type":"ask","id":n,"what":"sdn/flows"}  how is the host now? Answered within 3 s, or not
 *                                               waited for any more. "link": {}
 *     {"type":"left"}
 *     {"type":"pong"}
 *     {"type":"error","status":n,"pointer":p,"detail":s}   then the server closes the link
 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/error.h"

enum {
    LINK_VERSION = 1,
    LINK_LINE_MAX = 1 << 20,
    LINK_LINE_JOIN_MAX = 16384,
    LINK_QUEUE_MAX = 64 << 20,   /* bytes not yet taken by the kernel */
    LINK_HANDSHAKE_MSEC = 10000, /* TLS and the first line must be through by then */
    LINK_PING_MSEC = 20000,
    LINK_SILENT_MSEC = 60000, /* nothing heard for so long: the peer is gone */
};

struct link;
struct link_server;

/* The deadlines and the queue's limit, for tests that can't wait; else the values above. */
struct link_limits {
    unsigned handshake_msec, ping_msec, silent_msec;
    size_t queue_max; /* bytes */
};

/* Callbacks of one link, all on the loop's thread. After closed() the link must not be used. */
struct link_handler {
    /* Client: the handshake is done and the server's chain is trusted. NULL: not interested. */
    void (*opened)(struct link *link, void *arg);
    /* One message; `type` is its "type". The object is borrowed. */
    void (*message)(struct link *link, void *arg, const char *type, const json_t *message);
    /* Once, at the end, whoever ended it and also if it never opened; error->detail says why. */
    void (*closed)(struct link *link, void *arg, const struct error *error);
};

/* Queues one message; takes no reference. Never calls back from inside. */
void link_send(struct link *link, const json_t *message);

/* Sends what is queued, then closes. closed() comes later, from the loop. */
void link_close(struct link *link);

void link_set_arg(struct link *link, void *arg);
/* The agent's id in the peer's certificate (verified: chain, agent intermediate, validity), or
 * NULL without one. Borrowed. */
const char *link_peer_node(const struct link *link);
/* Serial of the peer's certificate in hex, or NULL. Borrowed. */
const char *link_peer_serial(const struct link *link);
/* SHA-256 hex of the public key in the peer's certificate, or NULL. Borrowed. */
const char *link_peer_key_id(const struct link *link);
/* "192.0.2.7", borrowed. */
const char *link_peer_address(const struct link *link);
/* Our own address on this connection, borrowed. */
const char *link_local_address(const struct link *link);

/* --- server --- */

struct link_server_config {
    const char *address; /* "0.0.0.0" */
    uint16_t port;
    const char *certificate_pem; /* chain */
    const char *key_pem;
    const char *client_ca_pem;        /* agent intermediates + root */
    unsigned handshakes_max;          /* in flight at once; further ones wait in the backlog */
    unsigned links_max;               /* more are closed at once */
    unsigned unproven_per_source_max; /* links without a valid certificate, per address */
    const struct link_limits *limits; /* NULL: the usual ones */
};

/* `accepted` is called after the handshake with a new link; it returns the handler and sets the
 * argument. A client certificate is asked for, not required; a bad or expired one ends the
 * handshake with an alert. */
typedef const struct link_handler *link_accept_fn(void *arg, struct link *link, void **ret_arg);

int link_server_new(uv_loop_t *loop, const struct link_server_config *config,
                    link_accept_fn *accepted, void *arg, struct link_server **ret_server,
                    struct error *error);
/* Closes the listener and all links (their closed() runs), then calls done from the loop. */
void link_server_close(struct link_server *server, void (*done)(void *arg), void *arg);
/* Further connections are served with this certificate, and of peers' ones those of these
 * intermediates are taken; the links that are there go on. */
int link_server_renew(struct link_server *server, const char *certificate_pem, const char *key_pem,
                      const char *client_ca_pem, struct error *error);
/* The port that was bound, for tests with port 0. */
uint16_t link_server_port(const struct link_server *server);

/* --- client --- */

struct link_client_config {
    const char *address; /* numeric or a name; resolved on the worker pool */
    uint16_t port;
    const char *fingerprint;     /* the root that the server's chain must end in */
    const char *certificate_pem; /* our chain; NULL to join */
    const char *key_pem;
    const char *source; /* our end's numeric IPv4 address; NULL: the system chooses */
    const struct link_limits *limits; /* NULL: the usual ones */
};

/* Connects. The server must present a valid chain whose root has that fingerprint and whose leaf
 * says cnsmo:server; the name isn't checked (addresses of servers change), the role is. */
struct link *link_connect(uv_loop_t *loop, const struct link_client_config *config,
                          const struct link_handler *handler, void *arg);
