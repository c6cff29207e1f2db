/* stream.h - bytes through TLS through a TCP handle of libuv. Private to src/link.
 *
 *     stream_init ─► (owner connects or accepts s->tcp) ─► stream_start
 *                                                              │
 *          [handshake] ─ opened() ─► [open] ─ data()* ──────── ended(), once
 *                                      │ stream_finish()          │
 *                                      ▼                          ▼
 *               [finishing: what is queued, close_notify, FIN]  stream_abort() ─► closed()
 *
 * Ciphertext lives only as long as one callback when it comes in; plaintext that goes out is
 * queued, encrypted as the kernel takes it (so at most HIGH_WATER bytes are held twice), and an
 * idle stream holds no buffers. No function calls back from inside except the ones that libuv
 * calls. After ended() only stream_finish() and stream_abort() are of use. */
#pragma once

#include <gnutls/gnutls.h>
#include <uv.h>

#include "lib/buf.h"
#include "lib/error.h"

struct stream_handler {
    void (*opened)(void *arg);
    void (*data)(void *arg, const char *data, size_t size);
    void (*ended)(void *arg, const struct error *error); /* by the peer, or broken */
    void (*closed)(void *arg);                           /* handles are free */
};

enum stream_state {
    STREAM_NEW,
    STREAM_HANDSHAKE,
    STREAM_OPEN,
    STREAM_FINISHING,
    STREAM_ENDED,
    STREAM_CLOSED,
};

struct stream {
    uv_tcp_t tcp;
    uv_idle_t flusher; /* runs while there is something new to encrypt */
    uv_shutdown_t shutdown;
    enum stream_state state;
    int was_opened;   /* the handshake went through */
    int is_shut;      /* FIN is on its way */
    unsigned handles; /* not closed yet */
    gnutls_session_t session;
    const struct stream_handler *handler;
    void *arg;
    struct buf out; /* plaintext, the first out_done bytes already encrypted */
    size_t out_done;
    struct buf cipher; /* made by GnuTLS, to be written at the end of the callback */
    const char *in;    /* ciphertext of the present read callback */
    size_t in_size;
    gnutls_alert_description_t alert; /* what verify() wants the peer to be told; 0: default */
};

void stream_init(struct stream *s, uv_loop_t *loop, const struct stream_handler *handler,
                 void *arg);

/* Takes the session. */
int stream_start(struct stream *s, gnutls_session_t session);

/* -E2BIG: more than `limit` bytes would be queued. */
int stream_send(struct stream *s, const char *data, size_t size, size_t limit);

/* Bytes that the kernel hasn't taken yet. */
size_t stream_queued(const struct stream *s);

/* Goes on sending what is queued, says good-bye, and ignores what comes; ended() tells when the
 * peer has closed its side too. */
void stream_finish(struct stream *s);

/* Frees everything; closed() comes from the loop. */
void stream_abort(struct stream *s);
