/* swarm.c - the control channel: commands in, events out. */
#include "swarm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    LINE_MAX_BYTES = 65536,
    MEMBERS_MAX = 20000,
    PARALLEL_DEFAULT = 64,
};

static struct buf input = BUF_INIT(LINE_MAX_BYTES);

/* --- events --- */

void swarm_tell(json_t *event)
{
    char *text = json_dumps(event, JSON_COMPACT);

    puts(text);
    fflush(stdout);
    free(text);
    json_decref(event);
}

static void tell_time(const char *event, const char *what, json_int_t number, int64_t usec)
{
    swarm_tell(
        json_pack("{s:s, s:I, s:I}", "event", event, what, number, "usec", (json_int_t)usec));
}

void swarm_note_failure(struct swarm *swarm, const char *what)
{
    swarm->failures++;
    snprintf(swarm->problem, sizeof swarm->problem, "%s", what);
}

void swarm_enrolled(struct swarm *swarm)
{
    swarm->enrolled++;
    if (--swarm->joins_left == 0) {
        tell_time("enrolled", "count", (json_int_t)swarm->enrolled, clock_monotonic_usec());
    }
}

static int all_acked(const struct swarm *swarm)
{
    for (size_t i = 0; i < swarm->members_len; i++) {
        if (swarm->members[i]->revision < swarm->wanted ||
            swarm->members[i]->state != MEMBER_SYNCED) {
            return 0;
        }
    }
    return 1;
}

static void check_acked(struct swarm *swarm)
{
    if (swarm->wanted && swarm->synced == swarm->members_len && all_acked(swarm)) {
        tell_time("acked", "revision", swarm->wanted, swarm->last_ack_usec);
        swarm->wanted = 0;
    }
}

void swarm_synced(struct swarm *swarm, struct member *member, int is_first)
{
    swarm->last_ack_usec = clock_monotonic_usec();
    if (is_first && ++swarm->synced == swarm->members_len && swarm->enrolled == swarm->synced) {
        swarm->was_complete = 1;
        tell_time("connected", "count", (json_int_t)swarm->synced, swarm->last_ack_usec);
    }
    if (swarm->wanted && member->revision >= swarm->wanted) {
        check_acked(swarm);
    }
}

void swarm_lost(struct swarm *swarm, struct member *member)
{
    swarm->synced--;
    if (swarm->was_complete) {
        swarm->was_complete = 0;
        swarm_tell(
            json_pack("{s:s, s:I}", "event", "lost", "usec", (json_int_t)clock_monotonic_usec()));
    }
}

/* --- commands --- */

static int read_server(struct swarm *swarm, struct error *error)
{
    const char *server = swarm->token.servers[0];
    const char *colon = strrchr(server, ':');

    if (!colon || atoi(colon + 1) <= 0) {
        return error_set(error, 400, NULL, "%s isn't host:port", server);
    }
    free(swarm->host);
    swarm->host = xstrndup(server, (size_t)(colon - server));
    swarm->port = (uint16_t)atoi(colon + 1);
    return 0;
}

static void set_parallel(struct swarm *swarm, const json_t *command)
{
    swarm->parallel = (unsigned)json_get_integer(command, "parallel", PARALLEL_DEFAULT);
}

static int do_enrol(struct swarm *swarm, const json_t *command, struct error *error)
{
    json_int_t first = json_get_integer(command, "first", 0);
    json_int_t last = json_get_integer(command, "last", 0);

    if (first != (json_int_t)swarm->members_len + 1 || last < first || last > MEMBERS_MAX) {
        return error_set(error, 400, NULL, "\"first\" must be %zu, \"last\" at most %d",
                         swarm->members_len + 1, MEMBERS_MAX);
    }
    join_token_done(&swarm->token);
    int rc = join_token_decode(json_get_string(command, "token", ""), &swarm->token, error);
    rc = rc < 0 ? rc : read_server(swarm, error);
    if (rc < 0) {
        return rc;
    }
    set_parallel(swarm, command);
    swarm->members = xrealloc(swarm->members, (size_t)last * sizeof(struct member *));
    swarm->joins_left = (size_t)(last - first) + 1;
    while (swarm->members_len < (size_t)last) {
        struct member *member = member_new(swarm, (unsigned)swarm->members_len + 1);
        swarm->members[swarm->members_len++] = member;
        member_queue(member);
    }
    return 0;
}

static int do_connect(struct swarm *swarm, const json_t *command, struct error *error)
{
    swarm->is_connecting = 1;
    set_parallel(swarm, command);
    for (size_t i = 0; i < swarm->members_len; i++) {
        struct member *member = swarm->members[i];
        if (member->state == MEMBER_IDLE && !member->link && member->certificate &&
            !uv_is_active((uv_handle_t *)&member->retry)) {
            member_queue(member);
        }
    }
    return 0;
}

static int do_acked(struct swarm *swarm, const json_t *command, struct error *error)
{
    swarm->wanted = json_get_integer(command, "revision", 0);
    check_acked(swarm);
    return 0;
}

static int do_state(struct swarm *swarm, const json_t *command, struct error *error)
{
    swarm_tell(json_pack("{s:s, s:I, s:I, s:I, s:I, s:s}", "event", "state", "enrolled",
                         (json_int_t)swarm->enrolled, "connected", (json_int_t)swarm->synced,
                         "resyncs", (json_int_t)swarm->resyncs, "failures",
                         (json_int_t)swarm->failures, "problem", swarm->problem));
    return 0;
}

static const struct {
    const char *name;
    int (*run)(struct swarm *swarm, const json_t *command, struct error *error);
} COMMANDS[] = {
    {"enrol", do_enrol},
    {"connect", do_connect},
    {"acked", do_acked},
    {"state", do_state},
};

static void obey(struct swarm *swarm, const char *line, size_t size)
{
    struct error error = {0};
    json_t *command = NULL;
    int rc = json_parse(line, size, &command, &error);
    const char *name = json_get_string(command, "do", "");
    size_t i = 0;

    while (rc == 0 && i < ARRAY_LEN(COMMANDS) && strcmp(COMMANDS[i].name, name) != 0) {
        i++;
    }
    if (rc == 0) {
        rc = i < ARRAY_LEN(COMMANDS)
                 ? COMMANDS[i].run(swarm, command, &error)
                 : error_set(&error, 400, NULL, "\"%.40s\" isn't a command", name);
    }
    if (rc < 0) {
        swarm_tell(json_pack("{s:s, s:s}", "event", "failed", "reason", error.detail));
    }
    json_decref(command);
}

/* --- life --- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char room[4096];

    *buf = uv_buf_init(room, sizeof room);
}

/* The end of stdin is the end of the program: the system closes the links. */
static void on_input(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct swarm *swarm = stream->data;

    if (size < 0 || buf_append(&input, buf->base, (size_t)size) < 0) {
        exit(size == UV_EOF ? 0 : 1);
    }
    for (char *end; input.size > 0 && (end = memchr(input.data, '\n', input.size));) {
        size_t line = (size_t)(end - input.data);
        obey(swarm, input.data, line);
        buf_consume(&input, line + 1);
    }
}

static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(void)
{
    uv_loop_t loop;
    uv_pipe_t in;
    struct swarm swarm = {.loop = &loop, .parallel = PARALLEL_DEFAULT};
    struct error error;

    raise_descriptors();
    uv_loop_init(&loop);
    swarm.queue_end = &swarm.queue;
    swarm.started = clock_now_usec();
    if (pki_make_csr("swarm", &swarm.key, &swarm.csr, &error) < 0) {
        fprintf(stderr, "swarm: %s\n", error.detail);
        return 1;
    }
    uv_pipe_init(&loop, &in, 0);
    in.data = &swarm;
    if (uv_pipe_open(&in, 0) < 0 || uv_read_start((uv_stream_t *)&in, on_alloc, on_input) < 0) {
        fprintf(stderr, "swarm: stdin must be a pipe\n");
        return 1;
    }
    return uv_run(&loop, UV_RUN_DEFAULT);
}
