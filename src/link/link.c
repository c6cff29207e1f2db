#include "link/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "link/message.h"

static void stream_opened(void *arg);
static void stream_data(void *arg, const char *data, size_t size);
static void stream_ended(void *arg, const struct error *error);
static void stream_closed(void *arg);

static const struct stream_handler STREAM_HANDLER = {
    .opened = stream_opened,
    .data = stream_data,
    .ended = stream_ended,
    .closed = stream_closed,
};

static const struct link_limits LIMITS = {
    .handshake_msec = LINK_HANDSHAKE_MSEC,
    .ping_msec = LINK_PING_MSEC,
    .silent_msec = LINK_SILENT_MSEC,
    .queue_max = LINK_QUEUE_MAX,
};

/* --- life --- */

struct link *link_new(uv_loop_t *loop, const struct link_limits *limits)
{
    struct link *link = xnew(struct link);

    link->limits = limits ? *limits : LIMITS;
    link->frame.limit = LINK_LINE_JOIN_MAX;
    link->pending = 2;
    stream_init(&link->stream, loop, &STREAM_HANDLER, link);
    uv_timer_init(loop, &link->timer);
    link->timer.data = link;
    return link;
}

static void link_free(struct link *link)
{
    frame_done(&link->frame);
    tls_identity_done(&link->peer);
    tls_unref(link->tls);
    free(link->reason);
    free(link->verify_error);
    free(link);
}

void link_settle(struct link *link)
{
    if (--link->pending > 0) {
        return;
    }
    if (link->handler && link->handler->closed) {
        link->handler->closed(link, link->arg, link->reason);
    }
    if (link->server) {
        link_server_closed(link);
    }
    if (link->client) {
        link_client_freed(link);
    }
    link_free(link);
}

static void stream_closed(void *arg)
{
    link_settle(arg);
}

static void on_timer_closed(uv_handle_t *handle)
{
    link_settle(handle->data);
}

static void set_reason(struct link *link, const struct error *reason)
{
    if (!link->is_ending) {
        link->is_ending = 1;
        link->reason = xnew(struct error);
        *link->reason = *reason;
    }
}

void link_drop(struct link *link, const struct error *reason)
{
    set_reason(link, reason);
    if (!link->is_dropped) {
        link->is_dropped = 1;
        frame_done(&link->frame);
        stream_abort(&link->stream);
        uv_close((uv_handle_t *)&link->timer, on_timer_closed);
    }
}

static void on_linger(uv_timer_t *timer)
{
    struct link *link = timer->data;

    link_drop(link, link->reason);
}

void link_linger(struct link *link, unsigned msec)
{
    if (!link->is_dropped) {
        uv_timer_start(&link->timer, on_linger, msec, 0);
    }
}

void link_end(struct link *link, const struct error *reason)
{
    if (link->is_ending) {
        return;
    }
    set_reason(link, reason);
    if (!link->is_started) {
        link_drop(link, reason);
        return;
    }
    frame_done(&link->frame);
    stream_finish(&link->stream);
    link_linger(link, LINGER_MSEC);
}

static void __attribute__((format(printf, 3, 4)))
end_because(struct link *link, int status, const char *format, ...)
{
    struct error error = {.status = status};
    va_list ap;

    va_start(ap, format);
    vsnprintf(error.detail, sizeof error.detail, format, ap);
    va_end(ap);
    link_end(link, &error);
}

void link_close(struct link *link)
{
    end_because(link, 0, "closed");
}

/* --- time --- */

static uint64_t now_msec(const struct link *link)
{
    return uv_now(link->timer.loop);
}

static void on_late(uv_timer_t *timer)
{
    struct link *link = timer->data;
    struct error error = {.status = 408};

    if (link->is_open) {
        end_because(link, 408, "the peer said nothing, or nothing of use, in time");
        return;
    }
    snprintf(error.detail, sizeof error.detail, "no %s within %u ms",
             link->is_started ? "TLS handshake" : "connection", link->limits.handshake_msec);
    link_drop(link, &error);
}

static void send_type(struct link *link, const char *type)
{
    json_t *message = json_pack("{s:s}", "type", type);

    link_send(link, message);
    json_decref(message);
}

static void on_tick(uv_timer_t *timer)
{
    struct link *link = timer->data;
    uint64_t now = now_msec(link);

    if (now - link->heard_msec >= link->limits.silent_msec) {
        struct error error;
        error_set(&error, 408, NULL, "nothing was heard for %u ms", link->limits.silent_msec);
        link_drop(link, &error);
        return;
    }
    if (link->client && now - link->pinged_msec >= link->limits.ping_msec) {
        link->pinged_msec = now;
        send_type(link, "ping");
    }
}

/* From now on the peer must be heard. One without certificate has a short time altogether. */
static void watch_silence(struct link *link)
{
    unsigned tick = link->limits.silent_msec / 4;

    if (link->is_unproven) {
        uv_timer_start(&link->timer, on_late, UNPROVEN_MSEC, 0);
        return;
    }
    if (link->client && link->limits.ping_msec < tick) {
        tick = link->limits.ping_msec;
    }
    uv_timer_start(&link->timer, on_tick, tick, tick);
}

/* --- opening --- */

static int verify(gnutls_session_t session)
{
    struct link *link = gnutls_session_get_ptr(session);
    struct error error;

    if (tls_verify(link->tls, session, &link->peer, &link->stream.alert, &error) == 0) {
        return 0;
    }
    free(link->verify_error);
    link->verify_error = xnew(struct error);
    *link->verify_error = error;
    return GNUTLS_E_CERTIFICATE_ERROR;
}

static void format_address(const struct sockaddr_storage *from, char text[LINK_ADDRESS_SIZE])
{
    static const char MAPPED[] = "::ffff:";

    text[0] = '\0';
    if (from->ss_family == AF_INET) {
        uv_ip4_name((const struct sockaddr_in *)from, text, LINK_ADDRESS_SIZE);
    } else if (from->ss_family == AF_INET6) {
        uv_ip6_name((const struct sockaddr_in6 *)from, text, LINK_ADDRESS_SIZE);
    }
    if (strncmp(text, MAPPED, strlen(MAPPED)) == 0 && strchr(text, '.')) {
        memmove(text, text + strlen(MAPPED), strlen(text) - strlen(MAPPED) + 1);
    }
}

void link_name_ends(struct link *link)
{
    struct sockaddr_storage address = {0};
    int size = sizeof address;

    if (uv_tcp_getpeername(&link->stream.tcp, (struct sockaddr *)&address, &size) == 0) {
        format_address(&address, link->peer_address);
    }
    address = (struct sockaddr_storage){0};
    size = sizeof address;
    if (uv_tcp_getsockname(&link->stream.tcp, (struct sockaddr *)&address, &size) == 0) {
        format_address(&address, link->local_address);
    }
}

void link_begin_deadline(struct link *link)
{
    uv_timer_start(&link->timer, on_late, link->limits.handshake_msec, 0);
}

void link_start(struct link *link)
{
    link->is_started = 1;
    link_name_ends(link);
    link_begin_deadline(link);
    int rc = stream_start(&link->stream, tls_session_new(link->tls, verify, link));
    if (rc < 0) {
        struct error error;
        error_set(&error, 503, NULL, "cannot read from the connection: %s", uv_strerror(rc));
        link_drop(link, &error);
    }
}

static void stream_opened(void *arg)
{
    struct link *link = arg;

    link->is_open = 1;
    link->heard_msec = link->pinged_msec = now_msec(link);
    if (link->client || link->peer.node) {
        link->frame.limit = LINK_LINE_MAX;
    }
    if (link->server) {
        link_server_opened(link);
        return;
    }
    watch_silence(link);
    if (link->handler->opened) {
        link->handler->opened(link, link->arg);
    }
}

/* --- receiving --- */

static void refuse(struct link *link, const struct error *error)
{
    if (link->server) {
        json_t *message = message_error(error);
        link_send(link, message);
        json_decref(message);
    }
    link_end(link, error);
}

static void handle(struct link *link, const char *type, const json_t *message)
{
    if (strcmp(type, "ping") == 0) {
        /* While something is queued the peer hears from us anyway, and a flood of pings from one
         * that doesn't read costs nothing. */
        if (stream_queued(&link->stream) == 0) {
            send_type(link, "pong");
        }
        return;
    }
    if (strcmp(type, "pong") == 0) {
        return;
    }
    if (!link->is_first_line_seen) {
        link->is_first_line_seen = 1;
        if (link->server) {
            watch_silence(link);
        }
    }
    if (link->handler->message) {
        link->handler->message(link, link->arg, type, message);
    }
}

static int take_line(void *arg, const char *line, size_t size)
{
    struct link *link = arg;
    json_t *message;
    const char *type;
    struct error error;

    link->heard_msec = now_msec(link);
    if (frame_parse(line, size, &message, &type, &error) < 0) {
        refuse(link, &error);
        return 1;
    }
    handle(link, type, message);
    json_decref(message);
    return link->is_ending;
}

static void stream_data(void *arg, const char *data, size_t size)
{
    struct link *link = arg;

    if (link->is_ending) {
        return;
    }
    if (frame_push(&link->frame, data, size, take_line, link) == -E2BIG) {
        struct error error;
        error_set(&error, 413, NULL, "a line must be at most %zu bytes", link->frame.limit);
        refuse(link, &error);
    }
}

static void stream_ended(void *arg, const struct error *error)
{
    struct link *link = arg;

    if (link->is_ending || error->status == 503) {
        link_drop(link, error); /* the peer is gone, or has closed its side too */
    } else {
        link_end(link, link->verify_error ? link->verify_error : error);
    }
}

/* --- sending --- */

/* The loop drops it: nobody is called back from inside link_send(). */
static void overflow(struct link *link, const char *what)
{
    struct error error;

    error_set(&error, 503, NULL, "%s", what);
    set_reason(link, &error);
    uv_timer_start(&link->timer, on_linger, 0, 0);
}

void link_send(struct link *link, const json_t *message)
{
    size_t limit = link->is_unproven ? UNPROVEN_QUEUE_MAX : link->limits.queue_max;

    if (link->is_ending) {
        return;
    }
    char *line = json_dumps(message, JSON_COMPACT);
    if (!line) {
        abort(); /* only without memory */
    }
    size_t size = strlen(line);
    line[size] = '\n'; /* takes the place of the NUL */
    if (size > LINK_LINE_MAX) {
        overflow(link, "a message to the peer was too long");
    } else if (stream_send(&link->stream, line, size + 1, limit) < 0) {
        overflow(link, "the peer reads too slowly: too much is queued");
    }
    mem_wipe(line, size);
    free(line);
}

/* --- asking --- */

void link_set_arg(struct link *link, void *arg)
{
    link->arg = arg;
}

const char *link_peer_node(const struct link *link)
{
    return link->peer.node;
}

const char *link_peer_serial(const struct link *link)
{
    return link->peer.serial;
}

const char *link_peer_key_id(const struct link *link)
{
    return link->peer.key_id;
}

const char *link_peer_address(const struct link *link)
{
    return link->peer_address;
}

const char *link_local_address(const struct link *link)
{
    return link->local_address;
}
