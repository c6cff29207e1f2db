#include "ovsdb/unixctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "ovsdb/split.h"

enum {
    ANSWER_MAX = 1 << 20,
    READ_BYTES = 4096,
};

struct unixctl {
    uv_pipe_t pipe;
    uv_timer_t timer;
    uv_connect_t connecting;
    uv_write_t writing;
    unsigned handles; /* not closed yet */
    const char *method;
    char *text; /* what is sent */
    char data[READ_BYTES];
    struct split split;
    int is_ended;
    unixctl_done_fn *done; /* NULL: nobody waits any more */
    void *arg;
};

char *unixctl_path(const char *run_dir, const char *program)
{
    _cleanup_free_ char *pid_path = xasprintf("%s/%s.pid", run_dir, program);
    _cleanup_buf_ struct buf text = BUF_INIT(32);

    if (file_read(pid_path, &text) < 0 || text.size == 0) {
        return NULL;
    }
    long pid = strtol(text.data, NULL, 10);
    return pid > 0 ? xasprintf("%s/%s.%ld.ctl", run_dir, program, pid) : NULL;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct unixctl *call = handle->data;

    if (--call->handles == 0) {
        split_done(&call->split);
        free(call->text);
        free(call);
    }
}

/* NULL: it was carried out. */
static void end(struct unixctl *call, const struct error *error)
{
    unixctl_done_fn *done = TAKE(call->done);

    if (call->is_ended) {
        return;
    }
    call->is_ended = 1;
    uv_close((uv_handle_t *)&call->pipe, on_handle_closed);
    uv_close((uv_handle_t *)&call->timer, on_handle_closed);
    if (done) {
        done(call->arg, error);
    }
}

static void fail(struct unixctl *call, const char *why)
{
    struct error error;

    error_set(&error, 503, NULL, "%s: %.300s", call->method, why);
    end(call, &error);
}

static int on_answer(void *arg, const char *text, size_t size)
{
    struct unixctl *call = arg;
    struct error error;
    json_t *answer;

    if (json_parse(text, size, &answer, &error) < 0) {
        fail(call, "the answer can't be understood");
        return 1;
    }
    const json_t *refusal = json_object_get(answer, "error");
    if (refusal && !json_is_null(refusal)) {
        fail(call, json_is_string(refusal) ? json_string_value(refusal) : "refused");
    } else {
        end(call, NULL);
    }
    json_decref(answer);
    return 1;
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct unixctl *call = handle->data;

    *buf = uv_buf_init(call->data, sizeof call->data);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct unixctl *call = stream->data;

    if (size < 0) {
        fail(call, uv_strerror((int)size));
    } else if (split_push(&call->split, buf->base, (size_t)size, on_answer, call) < 0) {
        fail(call, "the answer can't be understood");
    }
}

static void on_written(uv_write_t *request, int status)
{
    struct unixctl *call = request->data;

    if (status < 0 && !call->is_ended) {
        fail(call, uv_strerror(status));
    }
}

static void on_connected(uv_connect_t *request, int status)
{
    struct unixctl *call = request->data;
    uv_buf_t buf = uv_buf_init(call->text, (unsigned)strlen(call->text));

    if (call->is_ended) {
        return;
    }
    if (status < 0 ||
        (status = uv_read_start((uv_stream_t *)&call->pipe, allocate, on_read)) < 0 ||
        (status = uv_write(&call->writing, (uv_stream_t *)&call->pipe, &buf, 1, on_written)) < 0) {
        fail(call, uv_strerror(status));
    }
}

static void on_timer(uv_timer_t *timer)
{
    fail(timer->data, "no answer in time");
}

struct unixctl *unixctl_call(uv_loop_t *loop, const char *path, const char *method,
                             unsigned timeout_msec, unixctl_done_fn *done, void *arg)
{
    struct unixctl *call = xnew(struct unixctl);

    call->method = method;
    call->text = xasprintf("{\"id\":0,\"method\":\"%s\",\"params\":[]}", method);
    call->split.begun.limit = ANSWER_MAX;
    call->done = done;
    call->arg = arg;
    call->handles = 2;
    uv_pipe_init(loop, &call->pipe, 0);
    uv_timer_init(loop, &call->timer);
    call->pipe.data = call->timer.data = call->connecting.data = call->writing.data = call;
    uv_update_time(loop);
    /* A path that is too long for a socket's address is tried cut, and isn't there. */
    uv_timer_start(&call->timer, on_timer, timeout_msec, 0);
    uv_pipe_connect(&call->connecting, &call->pipe, path, on_connected);
    return call;
}

void unixctl_cancel(struct unixctl *call)
{
    if (call) {
        call->done = NULL;
        end(call, NULL);
    }
}
