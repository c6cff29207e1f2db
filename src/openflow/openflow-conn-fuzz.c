#include <stdlib.h>

#include "openflow/conn-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct tally {
    unsigned asked, done, closed;
};

static void on_done(void *arg, const struct error *error)
{
    ((struct tally *)arg)->done++;
}

static void on_flow(void *arg, const struct of_flow_stats *stats)
{
}

static void on_port(void *arg, const struct of_port *port)
{
}

static void on_port_stats(void *arg, const struct of_port_stats *stats)
{
}

static void on_table(void *arg, const struct of_table_stats *stats)
{
}

static int next(void *arg, size_t index, struct of_flow_mod *ret_mod)
{
    ret_mod->flow.priority = 1;
    return index < 3;
}

static const struct of_bundle_source SOURCE = {.next = next, .done = on_done};

/* The requests' numbers begin with 4, after hello, features and the wish for news. */
static void on_opened(struct of_conn *conn, void *arg, const struct of_features *features)
{
    static const struct of_flow_filter ALL = {.table = OF_TABLE_ALL};
    struct tally *tally = arg;

    tally->asked += of_ask_flows(conn, &ALL, on_flow, on_done, arg) == 0;
    tally->asked += of_ask_ports(conn, on_port, on_done, arg) == 0;
    tally->asked += of_ask_port_stats(conn, on_port_stats, on_done, arg) == 0;
    tally->asked += of_ask_tables(conn, on_table, on_done, arg) == 0;
    tally->asked += of_barrier(conn, on_done, arg) == 0;
    tally->asked += of_bundle(conn, &SOURCE, arg) == 0;
}

static void on_removed(struct of_conn *conn, void *arg, const struct of_flow_removed *removed)
{
}

static void on_closed(struct of_conn *conn, void *arg, const struct error *error)
{
    ((struct tally *)arg)->closed++;
}

static const struct of_conn_handler HANDLER = {
    .opened = on_opened, .flow_removed = on_removed, .closed = on_closed};

/* Whatever a switch says in whatever pieces: every request is answered once, and it ends once. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t piece = size > 0 ? data[size - 1] % 64 + 1u : 1;
    struct tally tally = {0};
    uv_loop_t loop;

    uv_loop_init(&loop);
    struct of_conn *conn = of_conn_new(
        &loop, &(struct of_conn_config){.path = "/nonexistent/switch"}, &HANDLER, &tally);
    of_conn_next_xid(conn); /* our hello */
    conn->state = OF_CONN_HELLO;
    for (size_t at = 0; at < size && conn->state != OF_CONN_ENDED; at += piece) {
        of_conn_take(conn, data + at, size - at < piece ? size - at : piece);
        of_bundle_pump(conn);
    }
    of_conn_close(conn);
    uv_run(&loop, UV_RUN_DEFAULT);
    if (tally.closed != 1 || tally.asked != tally.done || uv_loop_close(&loop) != 0) {
        abort();
    }
    return 0;
}
