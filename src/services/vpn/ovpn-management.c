#include "services/vpn/ovpn-management.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/mem.h"

enum {
    TICK_MSEC = 100,
    ASK_USEC = 1000000,
    PATIENCE_USEC = 3000000,
    CHUNK_SIZE = 16384,
};

/* A question that isn't answered yet. */
struct question {
    struct question *next;
    enum {
        ASK_LINE,     /* answered by one line that nobody wants to know */
        ASK_STATE,    /* by lines until END */
        ASK_SESSIONS, /* the same */
    } kind;
    unsigned serial;
    int64_t asked_usec;
};

struct management {
    uv_loop_t *loop;
    uv_timer_t timer;
    uv_pipe_t *pipe; /* NULL: no connection and no try */
    int connected;
    char *path;
    const struct management_calls *calls;
    void *arg;

    struct question *first, **last; /* in the order of asking */
    unsigned serial;                /* of the last ASK_SESSIONS */
    int64_t asked_usec;             /* when that was */
    int64_t heard_usec;             /* the last answer, or when we began to wait for one */
    int hung;

    unsigned long event_id; /* of the session that notifications are about */
    int in_event;

    struct buf input;  /* what isn't a whole line yet */
    struct buf answer; /* lines of the answer that comes in */
};

/* --- questions --- */

static void forget_first(struct management *m)
{
    struct question *question = m->first;

    m->first = question->next;
    if (!m->first) {
        m->last = &m->first;
    }
    free(question);
}

static void on_written(uv_write_t *request, int status)
{
    free(request->data);
    free(request); /* a failure shows in the answer that doesn't come */
}

static void ask(struct management *m, int kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void ask(struct management *m, int kind, const char *format, ...)
{
    struct question *question = xnew(struct question);
    uv_write_t *request = xnew(uv_write_t);
    char *text;
    va_list args;

    va_start(args, format);
    int size = vasprintf(&text, format, args);
    va_end(args);
    if (size < 0) {
        abort(); /* out of memory, as in mem.h */
    }
    question->kind = kind;
    question->asked_usec = clock_monotonic_usec();
    if (kind == ASK_SESSIONS) {
        question->serial = ++m->serial;
        m->asked_usec = question->asked_usec;
    }
    *m->last = question;
    m->last = &question->next;
    request->data = text;
    uv_buf_t buf = uv_buf_init(text, (unsigned)size);
    if (uv_write(request, (uv_stream_t *)m->pipe, &buf, 1, on_written) < 0) {
        on_written(request, 0);
    }
}

unsigned management_ask(struct management *m)
{
    if (!m->connected) {
        return m->serial + 1;
    }
    ask(m, ASK_SESSIONS, "status 3\n");
    return m->serial;
}

void management_kill(struct management *m, const char *name)
{
    if (m->connected) {
        ask(m, ASK_LINE, "kill %s\n", name);
    }
}

void management_restart(struct management *m, unsigned long id)
{
    if (m->connected) {
        ask(m, ASK_LINE, "client-kill %lu\n", id);
    }
}

/* --- the connection --- */

static void on_pipe_closed(uv_handle_t *handle)
{
    free(handle);
}

static void drop_connection(struct management *m)
{
    if (m->pipe) {
        m->pipe->data = NULL;
        uv_close((uv_handle_t *)m->pipe, on_pipe_closed);
    }
    m->pipe = NULL;
    m->connected = m->in_event = 0;
    while (m->first) {
        forget_first(m);
    }
    buf_done(&m->input);
    buf_done(&m->answer);
}

static void note_heard(struct management *m)
{
    m->heard_usec = clock_monotonic_usec();
    if (m->hung) {
        m->hung = 0;
        m->calls->hung(m->arg, 0);
    }
}

/* --- answers --- */

static void tell_state(struct management *m, const char *line)
{
    struct ovpn_state_line state;

    if (ovpn_state_parse(line, &state) == 0) {
        m->calls->state(m->arg, &state);
    }
}

static void finish_answer(struct management *m)
{
    struct ovpn_session *sessions;
    int kind = m->first->kind;
    unsigned serial = m->first->serial;
    size_t len;

    forget_first(m);
    const char *text = m->answer.data ? m->answer.data : "";
    if (kind == ASK_STATE) {
        tell_state(m, text);
    } else if (kind == ASK_SESSIONS && ovpn_status_parse(text, &sessions, &len, NULL) == 0) {
        m->calls->sessions(m->arg, serial, sessions, len);
    }
    buf_done(&m->answer);
}

static int begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* ">CLIENT:ESTABLISHED,<id>", lines of its environment, and one that says END. */
static void take_event(struct management *m, const char *line)
{
    char serial[OVPN_SERIAL_SIZE];

    if (m->in_event && ovpn_serial_parse(line, serial) == 0) {
        m->calls->serial(m->arg, m->event_id, serial);
    } else if (!begins(line, ">CLIENT:ENV,")) {
        m->in_event = sscanf(line, ">CLIENT:ESTABLISHED,%lu", &m->event_id) == 1;
    }
}

/* 0, or -EPROTO when it talks so that we can't follow. */
static int take_line(struct management *m, char *line)
{
    line[strcspn(line, "\r")] = '\0';
    if (line[0] == '>') {
        if (begins(line, ">STATE:")) {
            tell_state(m, line + strlen(">STATE:"));
        } else if (begins(line, ">CLIENT:")) {
            take_event(m, line);
        }
        return 0;
    }
    if (!m->first) {
        return -EPROTO;
    }
    note_heard(m);
    int is_last = m->first->kind == ASK_LINE || begins(line, "ERROR:") || strcmp(line, "END") == 0;
    if (is_last) {
        finish_answer(m);
        return 0;
    }
    return buf_printf(&m->answer, "%s\n", line) < 0 ? -EPROTO : 0;
}

static void take_lines(struct management *m)
{
    int rc = 0;

    for (char *end; rc == 0 && m->input.data && (end = strchr(m->input.data, '\n'));) {
        size_t size = (size_t)(end - m->input.data) + 1;
        *end = '\0';
        rc = take_line(m, m->input.data);
        buf_consume(&m->input, size);
    }
    if (rc < 0) {
        drop_connection(m);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    *buf = uv_buf_init(xrealloc(NULL, CHUNK_SIZE), CHUNK_SIZE);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct management *m = stream->data;

    if (m && size < 0) {
        drop_connection(m);
    } else if (m && size > 0) {
        /* A NUL would hide what follows; openvpn writes none. */
        if (memchr(buf->base, '\0', (size_t)size) ||
            buf_append(&m->input, buf->base, (size_t)size) < 0) {
            drop_connection(m);
        } else {
            take_lines(m);
        }
    }
    free(buf->base);
}

static void on_connected(uv_connect_t *request, int status)
{
    struct management *m = request->handle->data;

    free(request);
    if (!m) {
        return;
    }
    if (status < 0 || uv_read_start((uv_stream_t *)m->pipe, on_alloc, on_read) < 0) {
        drop_connection(m);
        return;
    }
    m->connected = 1;
    ask(m, ASK_LINE, "state on\n");
    ask(m, ASK_STATE, "state\n");
    /* A server waits for us when it starts, so that we see every session come up; not again when
     * it restarts by itself, since we may be gone by then. */
    ask(m, ASK_LINE, "hold off\n");
    ask(m, ASK_LINE, "hold release\n");
    ask(m, ASK_SESSIONS, "status 3\n");
}

static void connect_now(struct management *m)
{
    uv_connect_t *request = xnew(uv_connect_t);

    m->pipe = xnew(uv_pipe_t);
    uv_pipe_init(m->loop, m->pipe, 0);
    m->pipe->data = m;
    uv_pipe_connect(request, m->pipe, m->path, on_connected);
}

static void on_tick(uv_timer_t *timer)
{
    struct management *m = timer->data;
    int64_t now = clock_monotonic_usec();

    if (!m->pipe) {
        connect_now(m);
    } else if (m->connected && !m->first && now - m->asked_usec >= ASK_USEC) {
        management_ask(m);
    }
    /* While nothing is asked there is nothing to wait for. */
    int64_t since = m->connected && m->first && m->first->asked_usec > m->heard_usec
                        ? m->first->asked_usec
                        : m->heard_usec;
    int waits = !m->connected || m->first;
    if (!m->hung && waits && now - since > PATIENCE_USEC) {
        m->hung = 1;
        m->calls->hung(m->arg, 1);
    }
}

/* --- life --- */

struct management *management_new(uv_loop_t *loop, const char *path,
                                  const struct management_calls *calls, void *arg)
{
    struct management *m = xnew(struct management);

    *m = (struct management){.loop = loop,
                             .path = xstrdup(path),
                             .calls = calls,
                             .arg = arg,
                             .last = &m->first,
                             .heard_usec = clock_monotonic_usec(),
                             .input = BUF_INIT(OVPN_STATUS_SIZE_MAX),
                             .answer = BUF_INIT(OVPN_STATUS_SIZE_MAX)};
    uv_timer_init(loop, &m->timer);
    m->timer.data = m;
    uv_timer_start(&m->timer, on_tick, 0, TICK_MSEC);
    return m;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct management *m = handle->data;

    free(m->path);
    free(m);
}

struct management *management_free(struct management *m)
{
    if (m) {
        drop_connection(m);
        uv_close((uv_handle_t *)&m->timer, on_timer_closed);
    }
    return NULL;
}
