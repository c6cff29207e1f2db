#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/connection.h"
#include "agent/identity.h"
#include "core/backend.h"
#include "core/reconcile.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/mem.h"

enum {
    STATUS_MSEC = 1000,
    STATUS_SOON_MSEC = 1, /* after what waits to be sent: writing it takes longer */
    LAST_MSEC = 2000,     /* how long what is being closed may take */
};

struct agent {
    const struct agent_paths *paths;
    struct identity identity;
    uv_loop_t loop;
    uv_signal_t term, interrupt;
    uv_timer_t timer;
    struct connection *connection;
    struct reconcile *reconcile;
    json_t *written; /* status.json as it is */
    int removed;     /* the server has deleted us */
    int hangs;       /* a look-up of a server's name can't be stopped */
};

/* --- status --- */

static void write_status(struct agent *agent, json_t *services)
{
    json_t *status = connection_describe(agent->connection);

    json_object_set_new(status, "pid", json_integer(getpid()));
    json_object_set_new(status, "id", json_string(agent->identity.id));
    json_object_set_new(status, "agentVersion", json_string(CNSMO_VERSION));
    json_object_set_new(status, "revision", json_integer(reconcile_revision(agent->reconcile)));
    json_object_set_new(status, "certificateDaysLeft",
                        json_integer(identity_days_left(&agent->identity)));
    json_object_set(status, "services", services);
    if (agent->written && json_equal(agent->written, status)) {
        json_decref(status);
        return;
    }
    _cleanup_free_ char *path = xasprintf("%s/status.json", agent->paths->run_dir);
    _cleanup_free_ char *text = json_dumps(status, JSON_INDENT(2) | JSON_SORT_KEYS);
    int rc = file_write_atomic(path, text, strlen(text), 0644);
    if (rc < 0 && agent->written) {
        log_warn("cannot write the status", "file", path, "reason", strerror(-rc), NULL);
    }
    json_decref(agent->written);
    agent->written = status;
}

static void on_status_timer(uv_timer_t *timer)
{
    struct agent *agent = timer->data;
    json_t *services = reconcile_status(agent->reconcile);
    json_t *status = json_pack("{s:s, s:O}", "agentVersion", CNSMO_VERSION, "services", services);

    connection_status(agent->connection, status);
    write_status(agent, services);
    json_decref(status);
    json_decref(services);
}

/* --- what happens --- */

static void on_applied(void *arg, int64_t revision, const json_t *errors)
{
    struct agent *agent = arg;
    const json_t *error;
    size_t i;

    json_array_foreach (errors, i, error) {
        log_error("a resource isn't in force", "node", agent->identity.id, "key",
                  json_get_string(error, "key", "-"), "reason",
                  json_get_string(error, "message", "-"), NULL);
    }
    connection_applied(agent->connection, revision, errors);
    /* Something just changed: don't let those who wait for it wait for the next round. */
    uv_timer_start(&agent->timer, on_status_timer, STATUS_SOON_MSEC, STATUS_MSEC);
}

static void on_removed(void *arg, const char *detail)
{
    struct agent *agent = arg;

    log_error("the server has removed this node; everything is taken off this machine", "node",
              agent->identity.id, "reason", detail, NULL);
    agent->removed = 1;
    uv_stop(&agent->loop);
}

static void on_signal(uv_signal_t *handle, int number)
{
    uv_stop(handle->loop);
}

/* --- life --- */

static int start_reconcile(struct agent *agent, struct error *error)
{
    struct backend_env env = {.node = agent->identity.id,
                              .state_dir = agent->paths->state_dir,
                              .run_dir = agent->paths->run_dir,
                              .log_dir = agent->paths->log_dir,
                              .report = connection_report,
                              .report_arg = agent->connection,
                              .count = connection_count,
                              .count_gone = connection_count_gone,
                              .count_arg = agent->connection};

    return reconcile_new(&agent->loop, agent->paths->state_dir, BACKENDS, &env, on_applied, agent,
                         &agent->reconcile, error);
}

static int start(struct agent *agent, struct error *error)
{
    struct connection_config config = {.state_dir = agent->paths->state_dir,
                                       .identity = &agent->identity,
                                       .removed = on_removed,
                                       .arg = agent};

    uv_signal_init(&agent->loop, &agent->term);
    uv_signal_init(&agent->loop, &agent->interrupt);
    uv_signal_start(&agent->term, on_signal, SIGTERM);
    uv_signal_start(&agent->interrupt, on_signal, SIGINT);
    uv_timer_init(&agent->loop, &agent->timer);
    agent->timer.data = agent;
    agent->connection = connection_new(&agent->loop, &config);
    int rc = start_reconcile(agent, error);
    if (rc < 0) {
        return rc;
    }
    /* The overlay from the replica comes first, the network after it. What fails here is tried
     * again, and reported, by the reconciler's own passes. */
    reconcile_pass(agent->reconcile, NULL);
    connection_start(agent->connection, agent->reconcile);
    uv_timer_start(&agent->timer, on_status_timer, 0, STATUS_MSEC);
    return 0;
}

static void on_last_timer(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

/* Lets everything be closed, but doesn't wait for a name server that doesn't answer. */
static void finish_loop(struct agent *agent)
{
    uv_timer_t last;

    uv_timer_init(&agent->loop, &last);
    uv_timer_start(&last, on_last_timer, LAST_MSEC, 0);
    uv_unref((uv_handle_t *)&last);
    uv_run(&agent->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&last, NULL);
    uv_run(&agent->loop, UV_RUN_NOWAIT);
    agent->hangs = uv_loop_close(&agent->loop) < 0;
}

/* The host and the children stay as they are. */
static void stop(struct agent *agent)
{
    uv_close((uv_handle_t *)&agent->term, NULL);
    uv_close((uv_handle_t *)&agent->interrupt, NULL);
    uv_close((uv_handle_t *)&agent->timer, NULL);
    /* The drivers report to the connection until they are stopped. */
    reconcile_free(agent->reconcile);
    connection_free(agent->connection);
    finish_loop(agent);
    json_decref(agent->written);
}

static int clean_up_removed(struct agent *agent, struct error *error)
{
    int rc = cleanup_host(agent->paths, agent->identity.id, error);

    return rc < 0 ? rc : cleanup_files(agent->paths, 1, error);
}

static int run(struct agent *agent, struct error *error)
{
    uv_loop_init(&agent->loop);
    int rc = start(agent, error);
    if (rc == 0) {
        log_info("agent started", "node", agent->identity.id, "version", CNSMO_VERSION, NULL);
        uv_run(&agent->loop, UV_RUN_DEFAULT);
    }
    stop(agent);
    if (rc == 0 && agent->removed) {
        rc = clean_up_removed(agent, error);
        return rc < 0 ? rc : EXIT_REMOVED;
    }
    if (rc == 0) {
        log_info("agent stopped; the host stays as it is", "node", agent->identity.id, NULL);
    }
    return rc;
}

int agent_run(const struct agent_paths *paths)
{
    struct agent agent = {.paths = paths};
    struct error error = {0};
    _cleanup_close_ int lock = -1;

    signal(SIGPIPE, SIG_IGN);
    int rc = identity_load(paths->state_dir, &agent.identity, &error);
    if (rc < 0) {
        agent_complain(&error);
        return rc == -ENOENT ? EXIT_NOT_JOINED : EXIT_FAILED;
    }
    rc = agent_make_folders(paths, &error);
    if (rc == 0) {
        rc = process_lock(paths, &lock, NULL, &error);
    }
    if (rc < 0) {
        agent_complain(&error);
        identity_done(&agent.identity);
        return rc == -EEXIST ? EXIT_RUNNING : EXIT_FAILED;
    }
    /* Not to keep the folder that we were started in from being unmounted. */
    if (chdir("/") < 0) {
        log_warn("cannot change to /", "reason", strerror(errno), NULL);
    }
    rc = run(&agent, &error);
    identity_done(&agent.identity);
    if (rc < 0) {
        log_error("the agent ends", "reason", error.detail, NULL);
        rc = EXIT_FAILED;
    }
    if (agent.hangs) {
        _exit(rc); /* exit() would wait for the look-up's thread */
    }
    return rc;
}
