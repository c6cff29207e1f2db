/* fake-peer.h - the other end of a unix socket, played by the test itself.
 *
 *     fake_peer_listen(&peer, loop);       // at peer.path
 *     ... the client connects ...          // peer.accepted
 *     fake_peer_send(&peer, data, size);   // and peer.received holds what came
 *     fake_peer_done(&peer);
 */
#pragma once

#include <uv.h>

#include "lib/buf.h"

struct fake_peer {
    uv_loop_t *loop;
    uv_pipe_t listener, pipe;
    char folder[32];
    char path[48];
    int accepted, ended, closed;
    int is_deaf; /* set before the client connects: never reads */
    struct buf received;
    int received_len; /* bytes, also as an int to wait for */
};

void fake_peer_listen(struct fake_peer *peer, uv_loop_t *loop);
void fake_peer_send(struct fake_peer *peer, const void *data, size_t size);
/* Closes the connection, and waits for the next one. */
void fake_peer_hang_up(struct fake_peer *peer);
void fake_peer_done(struct fake_peer *peer);
