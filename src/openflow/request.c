/* request.c - questions, barriers and single changes, and the answers to them. */
#include <errno.h>

#include "lib/mem.h"
#include "openflow/conn-internal.h"

enum request_kind {
    REQUEST_BARRIER,
    REQUEST_CHANGE, /* a flow mod, and a barrier with the next number */
    REQUEST_FLOWS,
    REQUEST_PORTS,
    REQUEST_PORT_STATS,
    REQUEST_TABLES,
};

struct of_request {
    struct of_request *next;
    enum request_kind kind;
    uint32_t xid;
    uint32_t barrier_xid; /* of a change; else 0 */
    union {
        of_each_flow_fn *flow;
        of_each_port_fn *port;
        of_each_port_stats_fn *port_stats;
        of_each_table_fn *table;
    } each;
    of_done_fn *done;
    void *arg;
};

/* --- making --- */

static struct of_request *add(struct of_conn *conn, enum request_kind kind, uint32_t xid,
                              of_done_fn *done, void *arg)
{
    struct of_request *request = xnew(struct of_request);
    struct of_request **at = &conn->requests;

    *request = (struct of_request){.kind = kind, .xid = xid, .done = done, .arg = arg};
    while (*at) {
        at = &(*at)->next;
    }
    *at = request;
    conn->requests_len++;
    of_conn_flush_soon(conn);
    return request;
}

/* Takes it out of the list, so that the callback may do anything. */
static void finish(struct of_conn *conn, struct of_request *request, const struct error *error)
{
    struct of_request **at = &conn->requests;

    while (*at != request) {
        at = &(*at)->next;
    }
    *at = request->next;
    conn->requests_len--;
    of_done_fn *done = request->done;
    void *arg = request->arg;
    free(request);
    done(arg, error);
}

static int put_barrier(struct of_conn *conn, uint32_t xid)
{
    struct of_out out;

    out.size = 0;
    of_begin(&out, conn->version, OF_BARRIER_REQUEST, xid);
    of_finish(&out, 0);
    return buf_append(&conn->out, out.bytes, out.size);
}

/* The questions that have no more than a type, but for port statistics: all ports. */
static int put_question(struct of_conn *conn, uint32_t xid, uint16_t type)
{
    struct of_out out;

    out.size = 0;
    of_begin(&out, conn->version, OF_MULTIPART_REQUEST, xid);
    of_put(&out, type, 2);
    of_pad(&out, 6);
    if (type == OF_MULTIPART_PORT) {
        of_put(&out, OF_PORT_ANY, 4);
        of_pad(&out, 4);
    }
    of_finish(&out, 0);
    return buf_append(&conn->out, out.bytes, out.size);
}

/* Whether there is room for one more small message in the queue. */
static int may_ask(const struct of_conn *conn)
{
    int rc = of_conn_may_ask(conn);

    return rc < 0 ? rc : conn->out.size > OF_QUEUE_MAX / 2 ? -EAGAIN : 0;
}

int of_barrier(struct of_conn *conn, of_done_fn *done, void *arg)
{
    int rc = may_ask(conn);

    if (rc == 0) {
        rc = put_barrier(conn, add(conn, REQUEST_BARRIER, of_conn_next_xid(conn), done, arg)->xid);
    }
    return rc;
}

int of_change(struct of_conn *conn, const struct of_flow_mod *mod, of_done_fn *done, void *arg)
{
    int rc = may_ask(conn);

    if (rc < 0) {
        return rc;
    }
    uint32_t xid = of_conn_next_xid(conn);
    rc = of_flow_mod_encode(&conn->out, conn->version, xid, mod);
    if (rc == 0) {
        struct of_request *request = add(conn, REQUEST_CHANGE, xid, done, arg);
        request->barrier_xid = of_conn_next_xid(conn);
        rc = put_barrier(conn, request->barrier_xid);
    }
    return rc;
}

int of_ask_flows(struct of_conn *conn, const struct of_flow_filter *filter, of_each_flow_fn *each,
                 of_done_fn *done, void *arg)
{
    int rc = may_ask(conn);

    if (rc == 0) {
        struct of_request *request = add(conn, REQUEST_FLOWS, of_conn_next_xid(conn), done, arg);
        request->each.flow = each;
        rc = of_flow_request_encode(&conn->out, conn->version, request->xid, filter);
    }
    return rc;
}

int of_ask_ports(struct of_conn *conn, of_each_port_fn *each, of_done_fn *done, void *arg)
{
    int rc = may_ask(conn);

    if (rc == 0) {
        struct of_request *request = add(conn, REQUEST_PORTS, of_conn_next_xid(conn), done, arg);
        request->each.port = each;
        rc = put_question(conn, request->xid, OF_MULTIPART_PORT_DESC);
    }
    return rc;
}

int of_ask_port_stats(struct of_conn *conn, of_each_port_stats_fn *each, of_done_fn *done,
                      void *arg)
{
    int rc = may_ask(conn);

    if (rc == 0) {
        struct of_request *request =
            add(conn, REQUEST_PORT_STATS, of_conn_next_xid(conn), done, arg);
        request->each.port_stats = each;
        rc = put_question(conn, request->xid, OF_MULTIPART_PORT);
    }
    return rc;
}

int of_ask_tables(struct of_conn *conn, of_each_table_fn *each, of_done_fn *done, void *arg)
{
    int rc = may_ask(conn);

    if (rc == 0) {
        struct of_request *request = add(conn, REQUEST_TABLES, of_conn_next_xid(conn), done, arg);
        request->each.table = each;
        rc = put_question(conn, request->xid, OF_MULTIPART_TABLE);
    }
    return rc;
}

/* --- answers --- */

static int each_flow(const struct of_request *request, const uint8_t *data, size_t size,
                     size_t *ret_size)
{
    struct of_flow_stats stats;
    int rc = of_flow_stats_decode(data, size, &stats, ret_size);

    if (rc == 0) {
        request->each.flow(request->arg, &stats);
    }
    return rc;
}

static int each_port(uint8_t version, const struct of_request *request, const uint8_t *data,
                     size_t size, size_t *ret_size)
{
    struct of_port port;
    int rc = of_port_decode(version, data, size, &port, ret_size);

    if (rc == 0) {
        request->each.port(request->arg, &port);
    }
    return rc;
}

static int each_port_stats(uint8_t version, const struct of_request *request, const uint8_t *data,
                           size_t size, size_t *ret_size)
{
    struct of_port_stats stats;
    int rc = of_port_stats_decode(version, data, size, &stats, ret_size);

    if (rc == 0) {
        request->each.port_stats(request->arg, &stats);
    }
    return rc;
}

static int each_table(const struct of_request *request, const uint8_t *data, size_t size,
                      size_t *ret_size)
{
    struct of_table_stats stats;
    int rc = of_table_stats_decode(data, size, &stats, ret_size);

    if (rc == 0) {
        request->each.table(request->arg, &stats);
    }
    return rc;
}

static const uint16_t ANSWERS[] = {
    [REQUEST_FLOWS] = OF_MULTIPART_FLOW,
    [REQUEST_PORTS] = OF_MULTIPART_PORT_DESC,
    [REQUEST_PORT_STATS] = OF_MULTIPART_PORT,
    [REQUEST_TABLES] = OF_MULTIPART_TABLE,
};

static int take_entry(const struct of_conn *conn, const struct of_request *request,
                      const uint8_t *data, size_t size, size_t *ret_size)
{
    switch (request->kind) {
    case REQUEST_FLOWS:
        return each_flow(request, data, size, ret_size);
    case REQUEST_PORTS:
        return each_port(conn->version, request, data, size, ret_size);
    case REQUEST_PORT_STATS:
        return each_port_stats(conn->version, request, data, size, ret_size);
    default:
        return each_table(request, data, size, ret_size);
    }
}

static struct of_request *find(const struct of_conn *conn, uint32_t xid)
{
    struct of_request *request = conn->requests;

    while (request && request->xid != xid) {
        request = request->next;
    }
    return request;
}

void of_request_answered(struct of_conn *conn, const uint8_t *message, size_t size)
{
    struct of_request *request = find(conn, of_u32(message, 4));
    size_t len;

    if (!request || request->kind < REQUEST_FLOWS) {
        return;
    }
    if (size < OF_MULTIPART_BYTES || of_u16(message, 8) != ANSWERS[request->kind]) {
        of_conn_malformed(conn, "an answer to another question");
        return;
    }
    for (size_t at = OF_MULTIPART_BYTES; at < size && conn->state == OF_CONN_OPEN; at += len) {
        if (take_entry(conn, request, message + at, size - at, &len) < 0) {
            of_conn_malformed(conn, "an entry of its answer");
            return;
        }
    }
    if (conn->state == OF_CONN_OPEN && !(of_u16(message, 10) & OF_MULTIPART_MORE)) {
        finish(conn, request, NULL);
    }
}

void of_request_barrier(struct of_conn *conn, uint32_t xid)
{
    struct of_request *request = conn->requests;

    while (request && !(request->kind == REQUEST_BARRIER && request->xid == xid) &&
           !(request->kind == REQUEST_CHANGE && request->barrier_xid == xid)) {
        request = request->next;
    }
    if (request) {
        finish(conn, request, NULL);
    }
}

int of_request_refused(struct of_conn *conn, const struct of_refusal *refusal)
{
    struct of_request *request = find(conn, refusal->xid);
    struct error error;

    if (!request) {
        return 0;
    }
    of_refusal_explain(refusal, &error);
    finish(conn, request, &error);
    return 1;
}

void of_request_fail_all(struct of_conn *conn, const struct error *error)
{
    while (conn->requests) {
        finish(conn, conn->requests, error);
    }
}
