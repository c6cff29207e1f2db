/* receive.c - the switch's bytes into messages, and each to whom it concerns. */
#include <string.h>

#include "openflow/conn-internal.h"
#include "openflow/hello.h"

static void answer_echo(struct of_conn *conn, const uint8_t *message, size_t size)
{
    struct of_out out;

    if (size > sizeof out.bytes) {
        of_conn_malformed(conn, "an echo that is too long");
        return;
    }
    out.size = 0;
    of_begin(&out, conn->version, OF_ECHO_REPLY, of_u32(message, 4));
    memcpy(of_out_room(&out, size - OF_HEADER_BYTES), message + OF_HEADER_BYTES,
           size - OF_HEADER_BYTES);
    of_finish(&out, 0);
    of_conn_say(conn, &out);
}

/* Open vSwitch tells nothing by itself to who came through the management socket, unless asked
 * with a miss_send_len (ovs-vswitchd's "service controllers"). */
static void ask_events(struct of_conn *conn)
{
    struct of_out out;

    out.size = 0;
    of_begin(&out, conn->version, OF_SET_CONFIG, of_conn_next_xid(conn));
    of_put(&out, 0, 2); /* fragments are handled like other packets */
    of_put(&out, 128, 2);
    of_finish(&out, 0);
    of_conn_say(conn, &out);
}

static void on_features(struct of_conn *conn, const uint8_t *message, size_t size)
{
    struct of_features features;

    if (of_features_decode(message, size, &features) < 0) {
        of_conn_malformed(conn, "its features");
        return;
    }
    of_conn_opened(conn);
    if (conn->handler->flow_removed || conn->handler->port_changed) {
        ask_events(conn);
    }
    if (conn->handler->opened) {
        conn->handler->opened(conn, conn->arg, &features);
    }
}

static void on_hello(struct of_conn *conn, const uint8_t *message, size_t size)
{
    struct error error;
    struct of_out out;

    if (of_hello_decode(message, size, &conn->version, &error) < 0) {
        of_hello_refuse(&out, of_u32(message, 4), error.detail);
        uv_buf_t buf = uv_buf_init((char *)out.bytes, (unsigned)out.size);
        uv_try_write((uv_stream_t *)&conn->pipe, &buf, 1); /* a courtesy; it is over anyway */
        of_conn_end(conn, &error);
        return;
    }
    conn->state = OF_CONN_FEATURES;
    out.size = 0;
    of_begin(&out, conn->version, OF_FEATURES_REQUEST, of_conn_next_xid(conn));
    of_finish(&out, 0);
    of_conn_say(conn, &out);
}

static void on_refusal(struct of_conn *conn, const uint8_t *message, size_t size)
{
    struct of_refusal refusal;
    struct error error;

    if (of_refusal_decode(message, size, &refusal) < 0) {
        of_conn_malformed(conn, "an error message");
        return;
    }
    if (conn->state != OF_CONN_OPEN) {
        of_refusal_explain(&refusal, &error);
        of_conn_end(conn, &error);
    } else if (!of_bundle_refused(conn, &refusal)) {
        of_request_refused(conn, &refusal);
    }
}

static void on_event(struct of_conn *conn, const uint8_t *message, size_t size)
{
    struct of_flow_removed removed;
    enum of_port_change change;
    struct of_port port;

    if (of_u8(message, 1) == OF_FLOW_REMOVED) {
        if (of_flow_removed_decode(message, size, &removed) < 0) {
            of_conn_malformed(conn, "the news of a removed flow");
        } else if (conn->handler->flow_removed) {
            conn->handler->flow_removed(conn, conn->arg, &removed);
        }
    } else if (of_port_status_decode(conn->version, message, size, &change, &port) < 0) {
        of_conn_malformed(conn, "the news of a port");
    } else if (conn->handler->port_changed) {
        conn->handler->port_changed(conn, conn->arg, change, &port);
    }
}

static void on_open_message(struct of_conn *conn, const uint8_t *message, size_t size)
{
    switch (of_u8(message, 1)) {
    case OF_MULTIPART_REPLY:
        of_request_answered(conn, message, size);
        break;
    case OF_BARRIER_REPLY:
        of_request_barrier(conn, of_u32(message, 4));
        break;
    case OF_BUNDLE_CONTROL:
    case OF_EXPERIMENTER:
        of_bundle_answered(conn, message, size);
        break;
    case OF_FLOW_REMOVED:
    case OF_PORT_STATUS:
        on_event(conn, message, size);
        break;
    default:
        break; /* packets, roles, later inventions */
    }
}

static void on_message(struct of_conn *conn, const uint8_t *message, size_t size)
{
    uint8_t type = of_u8(message, 1);

    if (type == OF_HELLO) {
        if (conn->state == OF_CONN_HELLO) {
            on_hello(conn, message, size);
        }
    } else if (type == OF_ERROR) {
        on_refusal(conn, message, size);
    } else if (conn->state == OF_CONN_HELLO || of_u8(message, 0) != conn->version) {
        of_conn_malformed(conn, "a message of another version than agreed");
    } else if (type == OF_ECHO_REQUEST) {
        answer_echo(conn, message, size);
    } else if (conn->state == OF_CONN_FEATURES && type == OF_FEATURES_REPLY) {
        on_features(conn, message, size);
    } else if (conn->state == OF_CONN_OPEN) {
        on_open_message(conn, message, size);
    }
}

/* Takes the complete messages; returns how many bytes they were. */
static size_t take_messages(struct of_conn *conn, const uint8_t *data, size_t size)
{
    size_t at = 0;

    while (conn->state != OF_CONN_ENDED && size - at >= OF_HEADER_BYTES) {
        size_t len = of_u16(data + at, 2);
        if (len < OF_HEADER_BYTES) {
            of_conn_malformed(conn, "a message with a wrong length");
            return size;
        }
        if (len > size - at) {
            break;
        }
        on_message(conn, data + at, len);
        at += len;
    }
    return at;
}

void of_conn_take(struct of_conn *conn, const uint8_t *data, size_t size)
{
    of_conn_heard(conn);
    if (conn->in.size == 0) {
        size_t done = take_messages(conn, data, size);
        data += done;
        size -= done;
    }
    if (conn->state == OF_CONN_ENDED || size == 0) {
        return;
    }
    size_t old_size = conn->in.size;
    buf_append(&conn->in, data, size); /* the limit is a message and a read */
    if (old_size > 0) {
        buf_consume(&conn->in, take_messages(conn, (const uint8_t *)conn->in.data, conn->in.size));
    }
    if (conn->in.size == 0) {
        buf_done(&conn->in);
    }
}
