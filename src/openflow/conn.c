#include "openflow/conn-internal.h"

#include <errno.h>
#include <string.h>
#include <sys/un.h>

#include "lib/mem.h"
#include "openflow/hello.h"

enum {
    HANDLES = 3,
    LAST_CALL_MSEC = 1,
};

struct write {
    uv_write_t request;
    struct of_conn *conn;
    char *data;
};

static void on_idle(uv_idle_t *idle);

/* --- ending --- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct of_conn *conn = handle->data;

    if (--conn->handles > 0) {
        return;
    }
    of_request_fail_all(conn, &conn->reason);
    of_bundle_fail_all(conn, &conn->reason);
    conn->handler->closed(conn, conn->arg, &conn->reason);
    buf_done(&conn->in);
    buf_done(&conn->out);
    free((char *)conn->config.path);
    free(conn);
}

void of_conn_end(struct of_conn *conn, const struct error *reason)
{
    if (conn->state == OF_CONN_ENDED) {
        return;
    }
    conn->state = OF_CONN_ENDED;
    conn->reason = *reason;
    uv_close((uv_handle_t *)&conn->pipe, on_handle_closed);
    uv_close((uv_handle_t *)&conn->flusher, on_handle_closed);
    uv_close((uv_handle_t *)&conn->timer, on_handle_closed);
}

static void end(struct of_conn *conn, int status, const char *what, const char *why)
{
    struct error error;

    error_set(&error, status, NULL, "%s%s%s", what, why ? ": " : "", why ? why : "");
    of_conn_end(conn, &error);
}

void of_conn_malformed(struct of_conn *conn, const char *what)
{
    end(conn, 503, "the switch broke the protocol", what);
}

void of_conn_close(struct of_conn *conn)
{
    end(conn, 0, "closed by us", NULL);
}

/* --- writing --- */

static void written(uv_write_t *request, int status)
{
    struct write *write = (struct write *)request;
    struct of_conn *conn = write->conn;

    free(write->data);
    free(write);
    conn->is_writing = 0;
    if (status < 0) {
        end(conn, 503, "the connection to the switch broke", uv_strerror(status));
    } else {
        of_conn_flush_soon(conn);
    }
}

/* The rest, that the kernel didn't take at once. */
static void write_later(struct of_conn *conn, size_t done)
{
    struct write *write = xnew(struct write);

    write->conn = conn;
    write->data = conn->out.data;
    uv_buf_t buf = uv_buf_init(write->data + done, (unsigned)(conn->out.size - done));
    conn->out = (struct buf){.limit = OF_QUEUE_MAX};
    int rc = uv_write(&write->request, (uv_stream_t *)&conn->pipe, &buf, 1, written);
    if (rc < 0) {
        free(write->data);
        free(write);
        end(conn, 503, "cannot write to the switch", uv_strerror(rc));
        return;
    }
    conn->is_writing = 1;
}

static void write_out(struct of_conn *conn)
{
    uv_buf_t buf = uv_buf_init(conn->out.data, (unsigned)conn->out.size);
    int rc = uv_try_write((uv_stream_t *)&conn->pipe, &buf, 1);

    if (rc < 0 && rc != UV_EAGAIN) {
        end(conn, 503, "cannot write to the switch", uv_strerror(rc));
    } else if (rc < 0 || (size_t)rc < conn->out.size) {
        write_later(conn, rc < 0 ? 0 : (size_t)rc);
    } else {
        buf_done(&conn->out);
    }
}

/* One piece for each turn of the loop, so that answers are read in between. */
static void on_idle(uv_idle_t *idle)
{
    struct of_conn *conn = idle->data;

    if (!conn->is_writing && conn->state == OF_CONN_OPEN) {
        of_bundle_pump(conn);
    }
    if (conn->state == OF_CONN_ENDED || conn->is_writing) {
        uv_idle_stop(idle);
        return;
    }
    if (conn->out.size > 0) {
        write_out(conn);
    }
    if (conn->is_writing || !of_bundle_has_more(conn)) {
        uv_idle_stop(idle);
    }
}

void of_conn_flush_soon(struct of_conn *conn)
{
    if (conn->state != OF_CONN_ENDED && !conn->is_writing) {
        uv_idle_start(&conn->flusher, on_idle);
    }
}

void of_conn_flush(struct of_conn *conn)
{
    if (conn->is_writing || conn->state != OF_CONN_OPEN) {
        return;
    }
    of_bundle_pump(conn);
    uv_buf_t buf = uv_buf_init(conn->out.data, (unsigned)conn->out.size);
    int rc = buf.len > 0 ? uv_try_write((uv_stream_t *)&conn->pipe, &buf, 1) : 0;
    if (rc > 0) {
        conn->out.size -= (size_t)rc;
        memmove(conn->out.data, conn->out.data + rc, conn->out.size);
    }
    /* What is left, and what went wrong, is the loop's. */
    of_conn_flush_soon(conn);
}

size_t of_conn_backlog(const struct of_conn *conn)
{
    return conn->out.size + uv_stream_get_write_queue_size((const uv_stream_t *)&conn->pipe);
}

void of_conn_say(struct of_conn *conn, const struct of_out *message)
{
    if (of_conn_backlog(conn) > OF_QUEUE_MAX / 2 ||
        buf_append(&conn->out, message->bytes, message->size) < 0) {
        end(conn, 503, "the switch doesn't read what it is sent", NULL);
        return;
    }
    of_conn_flush_soon(conn);
}

/* --- is it there? --- */

static void on_timer(uv_timer_t *timer);

static void arm(struct of_conn *conn, uint64_t at_msec)
{
    uint64_t now = uv_now(conn->timer.loop);

    uv_timer_start(&conn->timer, on_timer, at_msec > now ? at_msec - now : 0, 0);
}

/* The next time that it matters whether something came. */
static void arm_check(struct of_conn *conn)
{
    arm(conn, conn->asked_msec ? conn->asked_msec + conn->config.silent_msec
                               : conn->heard_msec + conn->config.echo_msec);
}

void of_conn_heard(struct of_conn *conn)
{
    int was_asked = conn->asked_msec != 0 || conn->is_last_call;

    conn->heard_msec = uv_now(conn->timer.loop);
    if (conn->state != OF_CONN_OPEN) {
        return; /* until then there is one deadline for all */
    }
    conn->asked_msec = 0;
    conn->is_last_call = 0;
    if (was_asked) {
        arm_check(conn);
    }
}

void of_conn_opened(struct of_conn *conn)
{
    conn->state = OF_CONN_OPEN;
    conn->is_last_call = 0;
    arm_check(conn);
}

static void ask_echo(struct of_conn *conn, uint64_t now)
{
    struct of_out out;

    out.size = 0;
    of_begin(&out, conn->version, OF_ECHO_REQUEST, of_conn_next_xid(conn));
    of_finish(&out, 0);
    of_conn_say(conn, &out);
    conn->asked_msec = now;
}

static void on_timer(uv_timer_t *timer)
{
    struct of_conn *conn = timer->data;
    uint64_t now = uv_now(timer->loop);

    if (conn->state == OF_CONN_ENDED) {
        return;
    }
    int is_late = conn->state != OF_CONN_OPEN ||
                  (conn->asked_msec && now >= conn->asked_msec + conn->config.silent_msec);
    if (is_late && !conn->is_last_call) {
        conn->is_last_call = 1; /* perhaps it was we who slept */
        arm(conn, now + LAST_CALL_MSEC);
        return;
    }
    if (is_late) {
        end(conn, 408,
            conn->state == OF_CONN_OPEN ? "the switch doesn't answer any more (is it hung?)"
                                        : "the switch doesn't answer",
            NULL);
        return;
    }
    if (!conn->asked_msec && now >= conn->heard_msec + conn->config.echo_msec) {
        ask_echo(conn, now);
    }
    if (conn->state == OF_CONN_OPEN) {
        arm_check(conn);
    }
}

/* --- reading --- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    *buf = uv_buf_init(xrealloc(NULL, OF_READ_BYTES), OF_READ_BYTES);
}

static void on_read(uv_stream_t *pipe, ssize_t size, const uv_buf_t *buf)
{
    struct of_conn *conn = pipe->data;

    if (size > 0 && conn->state != OF_CONN_ENDED) {
        of_conn_take(conn, (const uint8_t *)buf->base, (size_t)size);
    } else if (size == UV_EOF) {
        end(conn, 503, "the switch closed the connection", NULL);
    } else if (size < 0) {
        end(conn, 503, "the connection to the switch broke", uv_strerror((int)size));
    }
    free(buf->base);
}

/* --- beginning --- */

static void on_connected(uv_connect_t *request, int status)
{
    struct of_conn *conn = request->data;
    struct of_out out;

    if (conn->state == OF_CONN_ENDED) {
        return;
    }
    if (status < 0) {
        end(conn, 503, "cannot connect to the switch", uv_strerror(status));
        return;
    }
    conn->state = OF_CONN_HELLO;
    of_hello_encode(&out, of_conn_next_xid(conn));
    of_conn_say(conn, &out);
    uv_read_start((uv_stream_t *)&conn->pipe, on_alloc, on_read);
}

struct of_conn *of_conn_new(uv_loop_t *loop, const struct of_conn_config *config,
                            const struct of_conn_handler *handler, void *arg)
{
    struct of_conn *conn = xnew(struct of_conn);

    *conn = (struct of_conn){.config = *config,
                             .handler = handler,
                             .arg = arg,
                             .handles = HANDLES,
                             .in.limit = OF_MESSAGE_MAX + OF_READ_BYTES,
                             .out.limit = OF_QUEUE_MAX};
    conn->config.path = xstrdup(config->path);
    conn->config.connect_msec = config->connect_msec ? config->connect_msec : OF_CONNECT_MSEC;
    conn->config.echo_msec = config->echo_msec ? config->echo_msec : OF_ECHO_MSEC;
    conn->config.silent_msec = config->silent_msec ? config->silent_msec : OF_SILENT_MSEC;
    uv_pipe_init(loop, &conn->pipe, 0);
    uv_idle_init(loop, &conn->flusher);
    uv_timer_init(loop, &conn->timer);
    conn->pipe.data = conn->flusher.data = conn->timer.data = conn->connecting.data = conn;
    arm(conn, uv_now(loop) + conn->config.connect_msec);
    if (strlen(config->path) >= sizeof((struct sockaddr_un *)0)->sun_path) {
        end(conn, 400, "the path of the switch's socket is too long", config->path);
    } else {
        uv_pipe_connect(&conn->connecting, &conn->pipe, config->path, on_connected);
    }
    return conn;
}

uint8_t of_conn_version(const struct of_conn *conn)
{
    return conn->version;
}

int of_conn_may_ask(const struct of_conn *conn)
{
    return conn->state != OF_CONN_OPEN             ? -ENOTCONN
           : conn->requests_len >= OF_REQUESTS_MAX ? -EAGAIN
                                                   : 0;
}

uint32_t of_conn_next_xid(struct of_conn *conn)
{
    conn->xid = conn->xid == INT32_MAX ? 1 : conn->xid + 1;
    return conn->xid;
}
