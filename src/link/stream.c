#include "link/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/mem.h"

enum {
    READ_BYTES = 32768,
    RECORD_BYTES = 16384,
    HIGH_WATER_BYTES = 256 << 10, /* of ciphertext that waits for the kernel */
    KEEPALIVE_SECONDS = 30,
    USER_TIMEOUT_MSEC = 20000, /* sent and not acknowledged for so long: broken */
};

struct stream_write {
    uv_write_t request;
    struct stream *stream;
    char *data;
};

static void flush(struct stream *s);
static void on_idle(uv_idle_t *idle);

static void end(struct stream *s, int status, const char *what, const char *why)
{
    struct error error;

    if (s->state == STREAM_ENDED || s->state == STREAM_CLOSED) {
        return;
    }
    s->state = STREAM_ENDED;
    uv_read_stop((uv_stream_t *)&s->tcp);
    error_set(&error, status, NULL, "%s%s%s", what, why ? ": " : "", why ? why : "");
    s->handler->ended(s->arg, &error);
}

/* --- ciphertext --- */

static ssize_t pull(gnutls_transport_ptr_t arg, void *data, size_t size)
{
    struct stream *s = arg;

    if (s->in_size == 0) {
        gnutls_transport_set_errno(s->session, EAGAIN);
        return -1;
    }
    size = size < s->in_size ? size : s->in_size;
    memcpy(data, s->in, size);
    s->in += size;
    s->in_size -= size;
    return (ssize_t)size;
}

static ssize_t push(gnutls_transport_ptr_t arg, const void *data, size_t size)
{
    struct stream *s = arg;

    s->cipher.limit = 4 * HIGH_WATER_BYTES; /* encrypt() stays far below */
    buf_append(&s->cipher, data, size);
    return (ssize_t)size;
}

static void written(uv_write_t *request, int status)
{
    struct stream_write *write = (struct stream_write *)request;
    struct stream *s = write->stream;

    free(write->data);
    free(write);
    if (s->state == STREAM_CLOSED) {
        return;
    }
    if (status < 0) {
        end(s, 503, "the connection broke", uv_strerror(status));
    } else {
        flush(s);
    }
}

/* Hands the kernel what GnuTLS has made, at once if it takes it. */
static void write_out(struct stream *s)
{
    uv_buf_t buf = uv_buf_init(s->cipher.data, (unsigned)s->cipher.size);
    size_t done = 0;

    if (s->cipher.size == 0) {
        return;
    }
    int rc = uv_try_write((uv_stream_t *)&s->tcp, &buf, 1);
    if (rc > 0) {
        done = (size_t)rc;
    }
    if (done == s->cipher.size) {
        buf_done(&s->cipher);
        return;
    }
    struct stream_write *write = xnew(struct stream_write);
    write->stream = s;
    write->data = s->cipher.data;
    buf = uv_buf_init(write->data + done, (unsigned)(s->cipher.size - done));
    s->cipher = (struct buf){0};
    rc = uv_write(&write->request, (uv_stream_t *)&s->tcp, &buf, 1, written);
    if (rc < 0) { /* the handle is broken: the reading side will tell */
        free(write->data);
        free(write);
    }
}

/* --- sending --- */

static void shut(uv_shutdown_t *request, int status)
{
    (void)request; /* what is wrong shows when reading */
    (void)status;
}

static void say_goodbye(struct stream *s)
{
    if (s->is_shut || s->out.size > 0) {
        return;
    }
    s->is_shut = 1;
    if (s->was_opened) {
        gnutls_bye(s->session, GNUTLS_SHUT_WR);
    }
    write_out(s);
    uv_shutdown(&s->shutdown, (uv_stream_t *)&s->tcp, shut);
}

static void drop_out(struct stream *s)
{
    if (s->out.size > 0) {
        mem_wipe(s->out.data, s->out.size); /* a join carries its secret */
    }
    buf_done(&s->out);
    s->out_done = 0;
}

/* Encrypts as much as the kernel should be given now. */
static int encrypt(struct stream *s)
{
    while (s->out_done < s->out.size &&
           s->cipher.size + uv_stream_get_write_queue_size((uv_stream_t *)&s->tcp) <
               HIGH_WATER_BYTES) {
        size_t size = s->out.size - s->out_done;
        ssize_t rc = gnutls_record_send(s->session, s->out.data + s->out_done,
                                        size < RECORD_BYTES ? size : RECORD_BYTES);
        if (rc < 0) {
            return (int)rc;
        }
        s->out_done += (size_t)rc;
    }
    if (s->out_done == s->out.size) {
        drop_out(s);
    }
    return 0;
}

static void flush(struct stream *s)
{
    uv_idle_stop(&s->flusher);
    if (s->was_opened && (s->state == STREAM_OPEN || s->state == STREAM_FINISHING)) {
        int rc = encrypt(s);
        write_out(s);
        if (rc < 0) {
            end(s, 503, "TLS failed", gnutls_strerror(rc));
            return;
        }
        if (s->out.size > 0 && uv_stream_get_write_queue_size((uv_stream_t *)&s->tcp) == 0) {
            uv_idle_start(&s->flusher, on_idle); /* the kernel took all: the next part soon */
        }
    }
    if (s->state == STREAM_FINISHING) {
        say_goodbye(s);
    }
}

static void on_idle(uv_idle_t *idle)
{
    flush(idle->data);
}

int stream_send(struct stream *s, const char *data, size_t size, size_t limit)
{
    if (s->state != STREAM_HANDSHAKE && s->state != STREAM_OPEN && s->state != STREAM_NEW) {
        return 0;
    }
    if (stream_queued(s) + size > limit) {
        return -E2BIG;
    }
    if (s->out_done > s->out.size / 2) {
        buf_consume(&s->out, s->out_done); /* seldom enough to be cheap */
        s->out_done = 0;
    }
    s->out.limit = 2 * limit; /* the encrypted part counts too, but is less than half */
    int rc = buf_append(&s->out, data, size);
    if (rc == 0 && s->state == STREAM_OPEN) {
        uv_idle_start(&s->flusher, on_idle);
    }
    return rc;
}

size_t stream_queued(const struct stream *s)
{
    return s->out.size - s->out_done + s->cipher.size +
           uv_stream_get_write_queue_size((const uv_stream_t *)&s->tcp);
}

/* --- receiving --- */

static void fail_handshake(struct stream *s, int code)
{
    const char *why = gnutls_strerror(code);

    if (code == GNUTLS_E_FATAL_ALERT_RECEIVED) {
        why = gnutls_alert_get_name(gnutls_alert_get(s->session));
    } else if (s->alert != 0) {
        gnutls_alert_send(s->session, GNUTLS_AL_FATAL, s->alert);
    } else {
        gnutls_alert_send_appropriate(s->session, code);
    }
    write_out(s);
    end(s, 401,
        code == GNUTLS_E_FATAL_ALERT_RECEIVED ? "the peer refused the TLS handshake"
                                              : "the TLS handshake failed",
        why ? why : "unknown alert");
}

/* 0: go on; not 0: nothing more to do now. */
static int shake_hands(struct stream *s)
{
    int rc = gnutls_handshake(s->session);

    if (rc < 0 && gnutls_error_is_fatal(rc)) {
        fail_handshake(s, rc);
        return 1;
    }
    if (rc < 0) {
        return s->in_size == 0;
    }
    s->was_opened = 1;
    s->state = STREAM_OPEN;
    if (s->out.size > 0) {
        uv_idle_start(&s->flusher, on_idle);
    }
    s->handler->opened(s->arg);
    return 0;
}

static int receive(struct stream *s)
{
    char plain[RECORD_BYTES];
    ssize_t rc = gnutls_record_recv(s->session, plain, sizeof plain);

    if (rc > 0) {
        s->handler->data(s->arg, plain, (size_t)rc);
        return 0;
    }
    if (rc == 0) {
        end(s, 503, "the peer closed the link", NULL);
    } else if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED) {
        const char *name = gnutls_alert_get_name(gnutls_alert_get(s->session));
        end(s, 401, "the peer refused", name ? name : "unknown alert");
    } else if (gnutls_error_is_fatal((int)rc)) {
        gnutls_alert_send_appropriate(s->session, (int)rc);
        end(s, 400, "TLS failed", gnutls_strerror((int)rc));
    } else if (rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED) {
        return s->in_size == 0;
    }
    return 0;
}

static void pump(struct stream *s)
{
    int done = 0;

    while (!done) {
        if (s->state == STREAM_HANDSHAKE) {
            done = shake_hands(s);
        } else if (s->state == STREAM_OPEN) {
            done = receive(s);
        } else {
            break;
        }
    }
    s->in = NULL;
    s->in_size = 0;
    if (s->state != STREAM_CLOSED) {
        write_out(s);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    *buf = uv_buf_init(xrealloc(NULL, READ_BYTES), READ_BYTES);
}

static void on_read(uv_stream_t *tcp, ssize_t size, const uv_buf_t *buf)
{
    struct stream *s = tcp->data;

    if (size > 0 && s->state != STREAM_FINISHING) {
        s->in = buf->base;
        s->in_size = (size_t)size;
        pump(s);
    } else if (size == UV_EOF) {
        end(s, 503, "the peer closed the connection", NULL);
    } else if (size < 0) {
        end(s, 503, "the connection broke", uv_strerror((int)size));
    }
    free(buf->base);
}

/* --- life --- */

void stream_init(struct stream *s, uv_loop_t *loop, const struct stream_handler *handler,
                 void *arg)
{
    *s = (struct stream){.handler = handler, .arg = arg, .handles = 2};
    uv_tcp_init(loop, &s->tcp);
    uv_idle_init(loop, &s->flusher);
    s->tcp.data = s;
    s->flusher.data = s;
}

static void set_options(struct stream *s)
{
    unsigned user_timeout = USER_TIMEOUT_MSEC;
    uv_os_fd_t fd;

    uv_tcp_nodelay(&s->tcp, 1);
    uv_tcp_keepalive(&s->tcp, 1, KEEPALIVE_SECONDS);
    if (uv_fileno((uv_handle_t *)&s->tcp, &fd) == 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof user_timeout);
    }
}

int stream_start(struct stream *s, gnutls_session_t session)
{
    s->session = session;
    s->state = STREAM_HANDSHAKE;
    gnutls_transport_set_ptr(session, s);
    gnutls_transport_set_pull_function(session, pull);
    gnutls_transport_set_push_function(session, push);
    set_options(s);
    int rc = uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read);
    if (rc == 0) {
        pump(s); /* a client speaks first */
    }
    return rc;
}

void stream_finish(struct stream *s)
{
    if (s->state == STREAM_HANDSHAKE) {
        drop_out(s); /* it will never be encrypted */
    }
    if (s->state == STREAM_ENDED) {
        uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read);
        drop_out(s);
    }
    if (s->state == STREAM_HANDSHAKE || s->state == STREAM_OPEN || s->state == STREAM_ENDED) {
        s->state = STREAM_FINISHING;
        uv_idle_start(&s->flusher, on_idle);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct stream *s = handle->data;

    if (--s->handles == 0) {
        if (s->session) {
            gnutls_deinit(s->session);
        }
        buf_done(&s->cipher);
        s->handler->closed(s->arg);
    }
}

void stream_abort(struct stream *s)
{
    if (s->state == STREAM_CLOSED) {
        return;
    }
    s->state = STREAM_CLOSED;
    drop_out(s);
    uv_close((uv_handle_t *)&s->tcp, on_handle_closed);
    uv_close((uv_handle_t *)&s->flusher, on_handle_closed);
}
