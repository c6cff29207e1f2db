#include "services/sdn/sdn-fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "core/digest.h"
#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/ip.h"
#include "lib/mem.h"
#include "lib/spawn.h"
#include "services/overlay.h"
#include "services/sdn/sdn-backend.h"

enum {
    DEADLINE_MSEC = 20000,
};

#define STATE_DIR "/tmp/state"
#define INNER_MAC "0a:63:6e:73:6d:02" /* OVERLAY_INNER_BYTES */

static const struct backend *const BACKENDS_OF_TEST[] = {&BACKEND_SDN, NULL};

/* --- the agent --- */

static void on_count(void *arg, const char *name, uint64_t packets, uint64_t bytes)
{
    struct agent *a = arg;
    struct counter *counter = omap_get(&a->counters, name);

    if (!counter) {
        counter = xnew(struct counter);
        omap_put(&a->counters, name, counter);
    }
    assert_true(packets >= counter->packets && bytes >= counter->bytes);
    *counter = (struct counter){packets, bytes};
}

static void on_gone(void *arg, const char *name)
{
    struct agent *a = arg;

    free(omap_del(&a->counters, name));
}

static void on_applied(void *arg, int64_t revision, const json_t *errors)
{
    struct agent *a = arg;
    char *text = json_dumps(errors, 0);

    a->applied = json_array_size(errors) == 0 ? revision : -1;
    snprintf(a->errors, sizeof a->errors, "%s", text);
    free(text);
}

void agent_start(struct agent *a)
{
    const struct backend_env env = {.node = NODE,
                                    .state_dir = STATE_DIR,
                                    .run_dir = "/run/agent",
                                    .log_dir = "/tmp/log",
                                    .count = on_count,
                                    .count_gone = on_gone,
                                    .count_arg = a};
    struct error error;

    signal(SIGPIPE, SIG_IGN);
    file_make_folder(STATE_DIR, 0700);
    *a = (struct agent){.resources = json_object()};
    assert_int_equal(uv_loop_init(&a->loop), 0);
    assert_int_equal(reconcile_new(&a->loop, STATE_DIR, BACKENDS_OF_TEST, &env, on_applied, a,
                                   &a->reconcile, &error),
                     0);
    a->revision = reconcile_revision(a->reconcile);
    reconcile_begin_snapshot(a->reconcile);
}

void agent_stop(struct agent *a)
{
    reconcile_free(a->reconcile);
    uv_run(&a->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&a->loop), 0);
    omap_clear(&a->counters, free);
    json_decref(a->resources);
}

void agent_put(struct agent *a, const char *key, const char *body)
{
    const json_t *before = json_object_get(a->resources, key);

    if (before) {
        digest_remove(&a->digest, digest_of(key, before));
        json_object_del(a->resources, key);
        reconcile_delete(a->reconcile, key, a->revision + 1);
    }
    if (body) {
        json_t *json = json_loads(body, 0, NULL);
        assert_non_null(json);
        json_object_set_new(a->resources, key, json);
        digest_add(&a->digest, digest_of(key, json));
        reconcile_put(a->reconcile, key, a->revision + 1, json);
    }
}

void agent_send(struct agent *a)
{
    char hex[33];

    a->revision++;
    assert_int_equal(reconcile_sync(a->reconcile, a->revision, digest_format(a->digest, hex)), 0);
}

static int is_applied(struct agent *a, const void *arg)
{
    return a->applied == a->revision;
}

void agent_settle(struct agent *a)
{
    agent_send(a);
    agent_wait(a, is_applied, NULL, "applied");
}

static void on_end(uv_timer_t *timer)
{
    *(int *)timer->data = 1;
}

void agent_run(struct agent *a, int msec)
{
    uv_timer_t end;
    int is_over = 0;

    uv_timer_init(&a->loop, &end);
    uv_update_time(&a->loop);
    end.data = &is_over;
    uv_timer_start(&end, on_end, (uint64_t)msec, 0);
    while (!is_over) {
        uv_run(&a->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&end, NULL);
    uv_run(&a->loop, UV_RUN_NOWAIT);
}

void agent_wait(struct agent *a, int (*condition)(struct agent *a, const void *arg),
                const void *arg, const char *what)
{
    int64_t deadline = clock_monotonic_usec() + DEADLINE_MSEC * (int64_t)1000;

    while (!condition(a, arg)) {
        if (clock_monotonic_usec() > deadline) {
            _cleanup_free_ char *flows = flows_now();
            fail_msg("not %s after %d s; errors %s; flows:\n%s", what, DEADLINE_MSEC / 1000,
                     a->errors, flows);
        }
        agent_run(a, 10);
    }
}

uint64_t agent_counter(const struct agent *a, const char *name)
{
    const struct counter *counter = omap_get(&a->counters, name);

    return counter ? counter->packets : UINT64_MAX;
}

struct wanted {
    const char *name;
    uint64_t packets;
};

static int has_counted(struct agent *a, const void *arg)
{
    const struct wanted *wanted = arg;
    uint64_t packets = agent_counter(a, wanted->name);

    return packets != UINT64_MAX && packets >= wanted->packets;
}

void agent_wait_counter(struct agent *a, const char *name, uint64_t packets)
{
    const struct wanted wanted = {name, packets};

    agent_wait(a, has_counted, &wanted, name);
    assert_int_equal(agent_counter(a, name), packets);
}

/* --- the overlay --- */

#define IN_NAMESPACE "ip", "netns", "exec", OVERLAY_NAMESPACE

void overlay_make_tunnel(void)
{
    ovs_do(ARGV("ip", "netns", "add", OVERLAY_NAMESPACE));
    ovs_do(ARGV("ip", "link", "add", OVERLAY_PORT, "type", "veth", "peer", "name", OVERLAY_INNER,
                "address", INNER_MAC, "netns", OVERLAY_NAMESPACE));
    ovs_do(ARGV("ip", "link", "set", OVERLAY_PORT, "up", "alias", "cnsmo"));
    ovs_do(ARGV(IN_NAMESPACE, "ip", "link", "set", OVERLAY_INNER, "up"));
    ovs_do(ARGV(IN_NAMESPACE, "ip", "address", "add", PEER "/16", "dev", OVERLAY_INNER));
    ovs_do(ARGV(IN_NAMESPACE, "ip", "neighbour", "replace", OWN, "lladdr", OVERLAY_BRIDGE_MAC,
                "dev", OVERLAY_INNER));
}

void overlay_make_address(void)
{
    ovs_do(ARGV("ip", "link", "set", OVERLAY_BRIDGE, "up"));
    ovs_do(ARGV("ip", "address", "replace", OWN "/16", "dev", OVERLAY_BRIDGE));
    ovs_do(ARGV("ip", "neighbour", "replace", PEER, "lladdr", INNER_MAC, "dev", OVERLAY_BRIDGE));
}

static int send_all(const char *to, unsigned port, int len)
{
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

    inet_pton(AF_INET, to, &address.sin_addr);
    for (int i = 0; i < len; i++) {
        if (sendto(fd, "cnsmo", 5, 0, (void *)&address, sizeof address) != 5) {
            return -1;
        }
    }
    return 0;
}

void send_to_peer(unsigned port, int len)
{
    assert_int_equal(send_all(PEER, port, len), 0);
}

void send_from_peer(unsigned port, int len)
{
    int status;

    pid_t child = fork();
    if (child == 0) {
        int fd = open("/run/netns/" OVERLAY_NAMESPACE, O_RDONLY | O_CLOEXEC);
        _exit(fd < 0 || setns(fd, CLONE_NEWNET) < 0 || send_all(OWN, port, len) < 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Flows of one table and priority are listed in the order in which they came. */
static char *sort_lines(char *text)
{
    struct buf out = BUF_INIT(64 << 20);
    char *lines[64], *rest = text;
    size_t len = 0;

    buf_append(&out, "", 0);
    for (char *line; len < ARRAY_LEN(lines) && (line = strsep(&rest, "\n"));) {
        lines[len++] = line;
    }
    qsort(lines, len, sizeof *lines, by_text);
    for (size_t i = 0; i < len; i++) {
        if (lines[i][0]) {
            buf_printf(&out, "%s\n", lines[i]);
        }
    }
    if (rest) {
        buf_printf(&out, "%s", rest); /* so many aren't compared */
    }
    free(text);
    return out.data;
}

char *flows_now(void)
{
    static const char *const DUMP[] = {"ovs-ofctl", "-O",         "OpenFlow14",   "--no-stats",
                                       "--sort",    "dump-flows", OVERLAY_BRIDGE, NULL};
    struct buf out = BUF_INIT(64 << 20);
    struct error error;

    /* While the bridge isn't there the command fails. */
    if (spawn_check(&(struct spawn){.argv = DUMP, .out = &out, .timeout_msec = DEADLINE_MSEC},
                    &error) < 0) {
        buf_done(&out);
    }
    return out.data ? sort_lines(out.data) : xstrdup("");
}
