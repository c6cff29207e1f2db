#include "ovsdb/ovsdb-internal.h"

#include <errno.h>
#include <string.h>
#include <sys/un.h>

#include "lib/json.h"
#include "lib/mem.h"

enum {
    READ_BYTES = 65536,
    LAST_CALL_MSEC = 1,
};

struct write {
    uv_write_t request;
    struct ovsdb *db;
    char *text;
};

/* --- ending --- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct ovsdb *db = handle->data;

    if (--db->handles > 0) {
        return;
    }
    ovsdb_fail_all(db, &db->reason);
    db->handler->closed(db, db->arg, &db->reason);
    ovsdb_mirror_clear(&db->mirror);
    json_decref(db->monitor_request);
    split_done(&db->in);
    free(db);
}

static void end_for(struct ovsdb *db, const struct error *reason)
{
    if (db->state == OVSDB_ENDED) {
        return;
    }
    db->state = OVSDB_ENDED;
    db->reason = *reason;
    uv_close((uv_handle_t *)&db->pipe, on_handle_closed);
    uv_close((uv_handle_t *)&db->timer, on_handle_closed);
}

static void end(struct ovsdb *db, int status, const char *what, const char *why)
{
    struct error error;

    error_set(&error, status, NULL, "%s%s%s", what, why ? ": " : "", why ? why : "");
    end_for(db, &error);
}

void ovsdb_close(struct ovsdb *db)
{
    end(db, 0, "closed by us", NULL);
}

/* --- writing --- */

static void written(uv_write_t *request, int status)
{
    struct write *write = (struct write *)request;

    if (status < 0) {
        end(write->db, 503, "the connection to the database broke", uv_strerror(status));
    }
    free(write->text);
    free(write);
}

int ovsdb_send(struct ovsdb *db, const json_t *message)
{
    char *text = json_dumps(message, JSON_COMPACT);
    size_t size = text ? strlen(text) : 0;

    if (!text ||
        size + uv_stream_get_write_queue_size((uv_stream_t *)&db->pipe) > OVSDB_QUEUE_MAX) {
        free(text);
        return -E2BIG;
    }
    struct write *write = xnew(struct write);
    write->db = db;
    write->text = text;
    uv_buf_t buf = uv_buf_init(text, (unsigned)size);
    if (uv_write(&write->request, (uv_stream_t *)&db->pipe, &buf, 1, written) < 0) {
        free(text);
        free(write);
        end(db, 503, "cannot write to the database", NULL);
    }
    return 0;
}

/* The same for messages of our own, without which the connection is of no use. */
static void say(struct ovsdb *db, json_t *message)
{
    if (ovsdb_send(db, message) < 0) {
        end(db, 503, "the database doesn't read what it is sent", NULL);
    }
    json_decref(message);
}

/* --- is it there? --- */

static void on_timer(uv_timer_t *timer);

static void arm(struct ovsdb *db, uint64_t at_msec)
{
    uint64_t now = uv_now(db->timer.loop);

    uv_timer_start(&db->timer, on_timer, at_msec > now ? at_msec - now : 0, 0);
}

static void arm_check(struct ovsdb *db)
{
    arm(db, db->asked_msec ? db->asked_msec + db->config.silent_msec
                           : db->heard_msec + db->config.echo_msec);
}

static void on_timer(uv_timer_t *timer)
{
    struct ovsdb *db = timer->data;
    uint64_t now = uv_now(timer->loop);

    if (db->state == OVSDB_ENDED) {
        return;
    }
    int is_late = db->state != OVSDB_OPEN ||
                  (db->asked_msec && now >= db->asked_msec + db->config.silent_msec);
    if (is_late && !db->is_last_call) {
        db->is_last_call = 1; /* perhaps it was we who slept */
        arm(db, now + LAST_CALL_MSEC);
        return;
    }
    if (is_late) {
        end(db, 408,
            db->state == OVSDB_OPEN ? "the database doesn't answer any more (is it hung?)"
                                    : "the database doesn't answer",
            NULL);
        return;
    }
    if (!db->asked_msec && now >= db->heard_msec + db->config.echo_msec) {
        db->asked_msec = now;
        say(db, json_pack("{s:s, s:[], s:s}", "method", "echo", "params", "id", "echo"));
    }
    if (db->state == OVSDB_OPEN) {
        arm_check(db);
    }
}

static void heard(struct ovsdb *db)
{
    int was_asked = db->asked_msec != 0 || db->is_last_call;

    db->heard_msec = uv_now(db->timer.loop);
    if (db->state != OVSDB_OPEN) {
        return; /* until then there is one deadline for all */
    }
    db->asked_msec = 0;
    db->is_last_call = 0;
    if (was_asked) {
        arm_check(db);
    }
}

/* --- reading --- */

static void update(struct ovsdb *db, const json_t *updates)
{
    if (ovsdb_mirror_apply(&db->mirror, updates) < 0) {
        end(db, 503, "the database broke the protocol", "an update");
    } else if (db->state == OVSDB_OPEN && db->handler->updated) {
        db->handler->updated(db, db->arg);
    }
}

static void on_monitored(struct ovsdb *db, const struct rpc *rpc)
{
    struct error error;

    if (rpc->kind == RPC_ERROR) {
        rpc_explain(rpc->payload, "to be followed", &error);
        end_for(db, &error);
        return;
    }
    update(db, rpc->payload);
    if (db->state != OVSDB_MONITORING) {
        return;
    }
    db->state = OVSDB_OPEN;
    db->is_last_call = 0;
    arm_check(db);
    if (db->handler->opened) {
        db->handler->opened(db, db->arg);
    }
}

static void on_rpc(struct ovsdb *db, const struct rpc *rpc)
{
    switch (rpc->kind) {
    case RPC_ECHO:
        say(db, json_pack("{s:O, s:n, s:O}", "result", rpc->payload, "error", "id", rpc->id));
        break;
    case RPC_UPDATE:
        update(db, rpc->payload);
        break;
    case RPC_RESULT:
    case RPC_ERROR:
        if (db->state == OVSDB_MONITORING && rpc->number == OVSDB_MONITOR_NUMBER) {
            on_monitored(db, rpc);
        } else {
            ovsdb_answered(db, rpc);
        }
        break;
    default:
        break;
    }
}

static int on_object(void *arg, const char *text, size_t size)
{
    struct ovsdb *db = arg;
    struct error error;
    struct rpc rpc;
    json_t *message;

    if (json_parse(text, size, &message, &error) < 0) {
        end(db, 503, "the database broke the protocol", error.detail);
        return -EBADMSG;
    }
    if (rpc_read(message, &rpc) < 0) {
        end(db, 503, "the database broke the protocol", "a message that isn't JSON-RPC");
    } else {
        on_rpc(db, &rpc);
    }
    json_decref(message);
    return db->state == OVSDB_ENDED ? -ECANCELED : 0;
}

static void take(struct ovsdb *db, const char *data, size_t size)
{
    heard(db);
    int rc = split_push(&db->in, data, size, on_object, db);
    if (rc == -E2BIG) {
        end(db, 503, "the database sent a message that is too long", NULL);
    } else if (rc < 0) {
        end(db, 503, "the database broke the protocol", "not JSON");
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    *buf = uv_buf_init(xrealloc(NULL, READ_BYTES), READ_BYTES);
}

static void on_read(uv_stream_t *pipe, ssize_t size, const uv_buf_t *buf)
{
    struct ovsdb *db = pipe->data;

    if (size > 0 && db->state != OVSDB_ENDED) {
        take(db, buf->base, (size_t)size);
    } else if (size == UV_EOF) {
        end(db, 503, "the database closed the connection", NULL);
    } else if (size < 0) {
        end(db, 503, "the connection to the database broke", uv_strerror((int)size));
    }
    free(buf->base);
}

/* --- beginning --- */

static void on_connected(uv_connect_t *request, int status)
{
    struct ovsdb *db = request->data;

    if (db->state == OVSDB_ENDED) {
        return;
    }
    if (status < 0) {
        end(db, 503, "cannot connect to the database", uv_strerror(status));
        return;
    }
    db->state = OVSDB_MONITORING;
    say(db, TAKE(db->monitor_request));
    if (db->state == OVSDB_MONITORING) {
        uv_read_start((uv_stream_t *)&db->pipe, on_alloc, on_read);
    }
}

static json_t *make_monitor(const struct ovsdb_config *config)
{
    json_t *requests = json_object(), *columns;
    const char *table;

    json_object_foreach ((json_t *)config->monitor, table, columns) {
        json_object_set_new(requests, table, json_pack("{s:O}", "columns", columns));
    }
    return json_pack("{s:s, s:[s, n, o], s:i}", "method", "monitor", "params", config->database,
                     requests, "id", OVSDB_MONITOR_NUMBER);
}

struct ovsdb *ovsdb_new(uv_loop_t *loop, const struct ovsdb_config *config,
                        const struct ovsdb_handler *handler, void *arg)
{
    struct ovsdb *db = xnew(struct ovsdb);

    *db = (struct ovsdb){.config = *config,
                         .handler = handler,
                         .arg = arg,
                         .handles = 2,
                         .in.begun.limit = OVSDB_MESSAGE_MAX,
                         .monitor_request = make_monitor(config)};
    db->config.connect_msec = config->connect_msec ? config->connect_msec : OVSDB_CONNECT_MSEC;
    db->config.echo_msec = config->echo_msec ? config->echo_msec : OVSDB_ECHO_MSEC;
    db->config.silent_msec = config->silent_msec ? config->silent_msec : OVSDB_SILENT_MSEC;
    uv_pipe_init(loop, &db->pipe, 0);
    uv_timer_init(loop, &db->timer);
    db->pipe.data = db->timer.data = db->connecting.data = db;
    arm(db, uv_now(loop) + db->config.connect_msec);
    if (strlen(config->path) >= sizeof((struct sockaddr_un *)0)->sun_path) {
        end(db, 400, "the path of the database's socket is too long", config->path);
    } else {
        uv_pipe_connect(&db->connecting, &db->pipe, config->path, on_connected);
    }
    return db;
}

const struct ovsdb_mirror *ovsdb_mirror(const struct ovsdb *db)
{
    return &db->mirror;
}
