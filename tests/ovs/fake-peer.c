#include "fake-peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/mem.h"

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    *buf = uv_buf_init(xrealloc(NULL, suggested), (unsigned)suggested);
}

static void on_read(uv_stream_t *pipe, ssize_t size, const uv_buf_t *buf)
{
    struct fake_peer *peer = pipe->data;

    if (size > 0) {
        assert_int_equal(buf_append(&peer->received, buf->base, (size_t)size), 0);
        peer->received_len = (int)peer->received.size;
    } else if (size < 0) {
        peer->ended++;
        uv_read_stop(pipe);
    }
    free(buf->base);
}

static void on_client(uv_stream_t *listener, int status)
{
    struct fake_peer *peer = listener->data;

    assert_int_equal(uv_accept(listener, (uv_stream_t *)&peer->pipe), 0);
    if (!peer->is_deaf) {
        uv_read_start((uv_stream_t *)&peer->pipe, on_alloc, on_read);
    }
    peer->accepted++;
}

void fake_peer_listen(struct fake_peer *peer, uv_loop_t *loop)
{
    *peer = (struct fake_peer){
        .loop = loop, .folder = "/tmp/fake-peer-XXXXXX", .received.limit = 16 << 20};
    assert_non_null(mkdtemp(peer->folder));
    snprintf(peer->path, sizeof peer->path, "%s/socket", peer->folder);
    uv_pipe_init(loop, &peer->listener, 0);
    uv_pipe_init(loop, &peer->pipe, 0);
    peer->listener.data = peer->pipe.data = peer;
    assert_int_equal(uv_pipe_bind(&peer->listener, peer->path), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&peer->listener, 1, on_client), 0);
}

static void on_written(uv_write_t *request, int status)
{
    free(request->data);
    free(request);
}

void fake_peer_send(struct fake_peer *peer, const void *data, size_t size)
{
    uv_write_t *request = xnew(uv_write_t);

    request->data = xrealloc(NULL, size);
    memcpy(request->data, data, size);
    uv_buf_t buf = uv_buf_init(request->data, (unsigned)size);
    assert_int_equal(uv_write(request, (uv_stream_t *)&peer->pipe, &buf, 1, on_written), 0);
}

static void on_closed(uv_handle_t *handle)
{
    ((struct fake_peer *)handle->data)->closed++;
}

static void close_and_wait(struct fake_peer *peer, uv_pipe_t *pipe)
{
    int before = peer->closed;

    uv_close((uv_handle_t *)pipe, on_closed);
    while (peer->closed == before) {
        uv_run(peer->loop, UV_RUN_ONCE);
    }
}

void fake_peer_hang_up(struct fake_peer *peer)
{
    close_and_wait(peer, &peer->pipe);
    uv_pipe_init(peer->loop, &peer->pipe, 0);
    peer->pipe.data = peer;
    buf_done(&peer->received);
    peer->received_len = 0;
}

void fake_peer_done(struct fake_peer *peer)
{
    close_and_wait(peer, &peer->pipe);
    close_and_wait(peer, &peer->listener);
    buf_done(&peer->received);
    unlink(peer->path);
    rmdir(peer->folder);
}
