/* internal.h - one link, as link.c, link-server.c and link-client.c know it. Private to src/link.
 *
 *      (server: accepted)      (client: resolved, connected)
 *                └───── link_start ─────┘
 *                            │ deadline: handshake_msec
 *                        [opening] ──────────────────────────────┐
 *                            │ handshake                         │
 *                         [open]  ping, pong, messages,          │ failed, late, too long,
 *                            │    silence                        │ silent, overflow
 *      link_close, ...       ▼                                   ▼
 *                        [ending] what is queued, FIN, at most LINGER_MSEC
 *                            ▼
 *                        [dropped] ─► handles closed ─► closed() ─► freed
 */
#pragma once

#include "link/frame.h"
#include "link/link.h"
#include "link/stream.h"
#include "link/tls.h"

enum {
    LINK_ADDRESS_SIZE = 46, /* INET6_ADDRSTRLEN */
    LINGER_MSEC = 5000,     /* for what is queued to get through after link_close() */
    LINGER_SHUTDOWN_MSEC = 500,
    UNPROVEN_QUEUE_MAX = 65536, /* bytes that a peer without certificate can make us hold */
    UNPROVEN_MSEC = 30000,      /* how long it may stay after its first line */
};

struct link_client;

struct link {
    struct stream stream;
    uv_timer_t timer;
    unsigned pending; /* of stream, timer, and the client's resolver: not closed yet */
    struct frame frame;
    const struct link_handler *handler; /* NULL until there is one */
    void *arg;
    struct tls_context *tls; /* a reference; NULL until a client has one */
    struct tls_identity peer;
    char peer_address[LINK_ADDRESS_SIZE];
    char local_address[LINK_ADDRESS_SIZE];
    struct link_limits limits;
    uint64_t heard_msec;  /* uv_now() of the last line */
    uint64_t pinged_msec; /* client: of the last ping */
    int is_open;          /* the handshake is done */
    int is_first_line_seen;
    int is_started; /* the socket is connected */
    int is_ending;
    int is_dropped;
    /* Only ended links have these: they are large. */
    struct error *reason;
    struct error *verify_error; /* better words than GnuTLS's, if the peer's chain was refused */

    struct link_server *server;   /* NULL at the client's side */
    struct link *previous, *next; /* the server's */
    int is_handshaking;           /* counted in the server's handshakes */
    int is_unproven;              /* counted in the server's sources */

    struct link_client *client; /* NULL at the server's side */
};

/* `limits` NULL: the defaults of link.h. */
struct link *link_new(uv_loop_t *loop, const struct link_limits *limits);

/* Connecting and the handshake must be through from now in handshake_msec. */
void link_begin_deadline(struct link *link);

/* Fills peer_address and local_address from the connected socket; link_start() does it too. */
void link_name_ends(struct link *link);

/* The socket is connected. */
void link_start(struct link *link);

/* Ends the link for that reason, the first of which counts: sends what is queued, closes. */
void link_end(struct link *link, const struct error *reason);

/* At once, without sending what is queued. */
void link_drop(struct link *link, const struct error *reason);

/* One of link->pending is done. */
void link_settle(struct link *link);

/* Starts the timer that drops an ending link. */
void link_linger(struct link *link, unsigned msec);

/* The sides' parts of what happens to a link. */
void link_server_opened(struct link *link);
void link_server_closed(struct link *link);
void link_client_freed(struct link *link);
