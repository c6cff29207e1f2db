#include "openflow/ofctl.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lib/file.h"
#include "lib/mem.h"
#include "openflow/openflow-fixture.h"
#include "openflow/wire.h"
#include "ovs-host.h"

#define FLOWS_PATH "/tmp/flows"

static const char *version(const char *bridge)
{
    return strcmp(bridge, "br3") == 0 ? "OpenFlow13" : "OpenFlow14";
}

static void write_flows(const char *const *flows, size_t len)
{
    _cleanup_buf_ struct buf text = BUF_INIT(1 << 16);

    for (size_t i = 0; i < len; i++) {
        assert_int_equal(buf_printf(&text, "%s\n", flows[i]), 0);
    }
    assert_int_equal(file_write_atomic(FLOWS_PATH, text.data, text.size, 0600), 0);
}

void ofctl_add(const char *bridge, const char *const *flows, size_t len)
{
    write_flows(flows, len);
    ovs_do(ARGV("ovs-ofctl", "--no-names", "-O", version(bridge), "--bundle", "add-flows", bridge,
                FLOWS_PATH));
}

char *ofctl_dump(const char *bridge)
{
    return ovs_read(ARGV("ovs-ofctl", "--no-names", "--no-stats", "--sort", "-O", version(bridge),
                         "dump-flows", bridge));
}

char *ofctl_dump_stats(const char *bridge)
{
    return ovs_read(
        ARGV("ovs-ofctl", "--no-names", "--sort", "-O", version(bridge), "dump-flows", bridge));
}

char *ofctl_read(const char *command, const char *bridge)
{
    return ovs_read(ARGV("ovs-ofctl", "--no-names", "-O", version(bridge), command, bridge));
}

void ofctl_packet_out(const char *bridge, const char *packet)
{
    ovs_do(ARGV("ovs-ofctl", "--no-names", "-O", version(bridge), "packet-out", bridge, packet));
}

static void add_bridge(const char *name, const char *port, const char *protocols)
{
    _cleanup_free_ char *set = xasprintf("protocols=%s", protocols);

    ovs_do(ARGV("ovs-vsctl", "add-br", name, "--", "set", "bridge", name, "datapath_type=netdev",
                "fail-mode=secure", set, "--", "add-port", name, port, "--", "set", "interface",
                port, "type=internal", "ofport_request=5"));
}

void ofctl_add_bridges(void)
{
    add_bridge("br0", "p0", "OpenFlow14");
    add_bridge("br3", "p3", "OpenFlow13");
    add_bridge("br1", "p1", "OpenFlow10");
}

/* --- the relay --- */

struct end {
    uv_pipe_t pipe;
    struct end *other;
    struct buf *record; /* NULL: not noted */
};

static struct relay {
    uv_pipe_t listener;
    const char *switch_path;
    struct end client, server;
    int ended, closed;
} relay;

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    *buf = uv_buf_init(xrealloc(NULL, suggested), (unsigned)suggested);
}

static void on_written(uv_write_t *request, int status)
{
    free(request->data);
    free(request);
}

static void on_read(uv_stream_t *pipe, ssize_t size, const uv_buf_t *buf)
{
    struct end *end = pipe->data;

    if (size <= 0) {
        free(buf->base);
        uv_read_stop(pipe);
        relay.ended++;
        return;
    }
    if (end->record) {
        assert_int_equal(buf_append(end->record, buf->base, (size_t)size), 0);
    }
    uv_write_t *request = xnew(uv_write_t);
    request->data = buf->base;
    uv_buf_t out = uv_buf_init(buf->base, (unsigned)size);
    uv_write(request, (uv_stream_t *)&end->other->pipe, &out, 1, on_written);
}

static void on_connected(uv_connect_t *request, int status)
{
    assert_int_equal(status, 0);
    free(request);
    uv_read_start((uv_stream_t *)&relay.client.pipe, on_alloc, on_read);
    uv_read_start((uv_stream_t *)&relay.server.pipe, on_alloc, on_read);
}

static void on_client(uv_stream_t *listener, int status)
{
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&relay.client.pipe), 0);
    uv_pipe_connect(xnew(uv_connect_t), &relay.server.pipe, relay.switch_path, on_connected);
}

static void init_end(uv_loop_t *loop, struct end *end, struct end *other)
{
    uv_pipe_init(loop, &end->pipe, 0);
    end->pipe.data = end;
    end->other = other;
}

void recorder_start(uv_loop_t *loop, const char *switch_path, struct recorded *recorded)
{
    *recorded = (struct recorded){.sent.limit = 1 << 20};
    relay = (struct relay){.switch_path = switch_path};
    remove(RECORDER_PATH);
    uv_pipe_init(loop, &relay.listener, 0);
    init_end(loop, &relay.client, &relay.server);
    init_end(loop, &relay.server, &relay.client);
    relay.client.record = &recorded->sent;
    assert_int_equal(uv_pipe_bind(&relay.listener, RECORDER_PATH), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&relay.listener, 1, on_client), 0);
}

static void on_closed(uv_handle_t *handle)
{
    relay.closed++;
}

void recorder_stop(uv_loop_t *loop, struct recorded *recorded)
{
    run_until(loop, &relay.ended, 1);
    uv_close((uv_handle_t *)&relay.listener, on_closed);
    uv_close((uv_handle_t *)&relay.client.pipe, on_closed);
    uv_close((uv_handle_t *)&relay.server.pipe, on_closed);
    run_until(loop, &relay.closed, 3);
}

void recorded_done(struct recorded *recorded)
{
    buf_done(&recorded->sent);
}

static int ofctl_ended;

static void on_exit_of_ofctl(uv_process_t *process, int64_t status, int signal)
{
    assert_int_equal(status, 0);
    uv_close((uv_handle_t *)process, NULL);
    ofctl_ended = 1;
}

void ofctl_add_through(uv_loop_t *loop, const char *bridge, const char *const *flows, size_t len)
{
    char *argv[] = {"ovs-ofctl",
                    "--no-names",
                    "-O",
                    (char *)version(bridge),
                    "--bundle",
                    "add-flows",
                    "unix:" RECORDER_PATH,
                    FLOWS_PATH,
                    NULL};
    uv_process_options_t options = {.file = argv[0], .args = argv, .exit_cb = on_exit_of_ofctl};
    uv_process_t process;

    write_flows(flows, len);
    ofctl_ended = 0;
    assert_int_equal(uv_spawn(loop, &process, &options), 0);
    run_until(loop, &ofctl_ended, 1);
}

/* --- what was noted --- */

/* Clears the numbers of the message, of the bundle and of what it carries. */
static void clear_numbers(uint8_t *message)
{
    size_t head = of_u8(message, 1) == OF_BUNDLE_ADD ? OF_HEADER_BYTES : 16;

    memset(message + 4, 0, 4);
    memset(message + head, 0, 4);
    memset(message + head + 8 + 4, 0, 4);
}

static int is_add(const uint8_t *message)
{
    return of_u8(message, 1) == OF_BUNDLE_ADD ||
           (of_u8(message, 1) == OF_EXPERIMENTER && of_u32(message, 12) == OF_ONF_BUNDLE_ADD);
}

/* The n-th message that adds something; NULL if there are no more. */
static uint8_t *find_add(const struct recorded *recorded, size_t n, size_t *ret_size)
{
    uint8_t *data = (uint8_t *)recorded->sent.data;

    for (size_t at = 0; at < recorded->sent.size; at += of_u16(data + at, 2)) {
        if (is_add(data + at) && n-- == 0) {
            *ret_size = of_u16(data + at, 2);
            return data + at;
        }
    }
    return NULL;
}

size_t recorded_adds(const struct recorded *recorded)
{
    size_t size, n = 0;

    while (find_add(recorded, n, &size)) {
        n++;
    }
    return n;
}

void recorded_assert_same_add(const struct recorded *a, const struct recorded *b, size_t n)
{
    size_t a_size, b_size;
    uint8_t *first = find_add(a, n, &a_size), *second = find_add(b, n, &b_size);

    assert_int_equal(a_size, b_size);
    clear_numbers(first);
    clear_numbers(second);
    assert_memory_equal(first, second, a_size);
}
