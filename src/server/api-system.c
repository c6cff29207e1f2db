/* api-system.c - health, metrics, backup, and what browsers ask before they call. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "server/api-internal.h"

static const char PROBE_KEY[] = "auth/probe";

enum {
    PROBE_USEC = 30000000, /* a good probe is believed for so long: each costs a transaction */
    PROBE_BAD_USEC = 1000000,
    METRICS_MAX = 8 << 20,
};

/* --- health --- */

void system_healthz(struct api_call *call)
{
    call_reply_text(call, 200, "text/plain; charset=utf-8", "ok\n");
}

static void reply_ready(struct api_call *call)
{
    struct error error;

    if (call->api->probe_rc < 0) {
        error_set(&error, 503, NULL, "the store can't be written: %s",
                  strerror(-call->api->probe_rc));
        call_fail(call, &error);
        return;
    }
    call_reply_text(call, 200, "text/plain; charset=utf-8", "ready\n");
}

static void on_probed(void *arg, int rc, int64_t revision)
{
    struct api_call *call = arg;

    call->api->probe_rc = rc;
    call->api->probed_usec = clock_monotonic_usec();
    reply_ready(call);
}

void system_readyz(struct api_call *call)
{
    int64_t believed = call->api->probe_rc < 0 ? PROBE_BAD_USEC : PROBE_USEC;
    int64_t age = clock_monotonic_usec() - call->api->probed_usec;

    if (call->api->probed_usec != 0 && age < believed) {
        reply_ready(call);
        return;
    }
    call->api->probed_usec = clock_monotonic_usec(); /* others meanwhile get the last answer */
    json_t *value = json_pack("{s:I}", "time", (json_int_t)clock_now_usec());
    deployment_put_private(call->api->deployment, PROBE_KEY, value, on_probed, call);
    json_decref(value);
}

/* --- metrics (Prometheus text format 0.0.4) --- */

static void metric(struct buf *buf, const char *name, const char *type, const char *help)
{
    buf_printf(buf, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static size_t count_keys(const struct tree *tree, const char *prefix)
{
    size_t len = 0;

    for (struct omap_entry *e = tree_first(tree, prefix); e; e = tree_next(tree, e, prefix)) {
        len++;
    }
    return len;
}

static void count_objects(struct api *api, struct buf *buf)
{
    metric(buf, "cnsmo_objects", "gauge", "Objects by kind.");
    for (size_t i = 0; deployment_kind_at(api->deployment, i); i++) {
        const struct kind *kind = deployment_kind_at(api->deployment, i);
        _cleanup_free_ char *prefix = xasprintf("object/%s/", kind->name);
        if (deployment_kind(api->deployment, kind->name, NULL) == kind) {
            buf_printf(buf, "cnsmo_objects{kind=\"%s\"} %zu\n", kind->name,
                       count_keys(deployment_tree(api->deployment), prefix));
        }
    }
}

static void count_nodes(struct api *api, struct buf *buf)
{
    const struct tree *tree = deployment_tree(api->deployment);
    size_t connected = 0;

    metric(buf, "cnsmo_node_connected", "gauge", "1 while the node's agent is connected.");
    for (struct omap_entry *e = tree_first(tree, "object/nodes/"); e;
         e = tree_next(tree, e, "object/nodes/")) {
        const char *id = e->key + strlen("object/nodes/");
        int is = fleet_is_connected(api->deployment, id);
        connected += (size_t)is;
        buf_printf(buf, "cnsmo_node_connected{node=\"%s\"} %d\n", id, is);
    }
    metric(buf, "cnsmo_nodes_connected", "gauge", "Nodes whose agent is connected.");
    buf_printf(buf, "cnsmo_nodes_connected %zu\n", connected);
}

void system_metrics(struct api_call *call)
{
    _cleanup_buf_ struct buf buf = BUF_INIT(METRICS_MAX);
    struct api *api = call->api;

    metric(&buf, "cnsmo_build_info", "gauge", "The version that runs.");
    buf_printf(&buf, "cnsmo_build_info{version=\"%s\"} 1\n", CNSMO_VERSION);
    metric(&buf, "cnsmo_revision", "counter", "Revision of the store.");
    buf_printf(&buf, "cnsmo_revision %" PRId64 "\n", deployment_revision(api->deployment));
    count_nodes(api, &buf);
    count_objects(api, &buf);
    metric(&buf, "cnsmo_sessions", "gauge", "Sessions that are logged in.");
    buf_printf(&buf, "cnsmo_sessions %zu\n", auth_session_count(api->auth));
    metric(&buf, "cnsmo_watch_streams", "gauge", "Open streams of changes.");
    buf_printf(&buf, "cnsmo_watch_streams %zu\n", api->watchers_len);
    metric(&buf, "cnsmo_http_requests_total", "counter", "Requests by class of the answer.");
    for (size_t i = 2; i < ARRAY_LEN(api->requests); i++) {
        buf_printf(&buf, "cnsmo_http_requests_total{code=\"%zuxx\"} %" PRIu64 "\n", i,
                   api->requests[i]);
    }
    counters_metrics(api, &buf);
    call_reply_text(call, 200, "text/plain; version=0.0.4; charset=utf-8",
                    buf.data ? buf.data : "");
}

/* --- backup --- */

struct backup {
    struct api_call *call;
    char *folder, *path;
};

static void backup_free(struct backup *b)
{
    unlink(b->path);
    rmdir(b->folder);
    free(b->path);
    free(b->folder);
    free(b);
}

static void on_backup(void *arg, int rc, int64_t revision)
{
    struct backup *b = arg;
    struct api_call *call = b->call;
    int fd = rc < 0 ? -1 : open(b->path, O_RDONLY | O_CLOEXEC);
    struct error error;

    call->api->backing_up = 0;
    backup_free(b); /* the open file stays readable */
    if (fd < 0) {
        error_set(&error, rc == -ENOSPC ? 507 : 500, NULL, "the backup can't be made%s",
                  rc == -ENOSPC ? ": the disk is full" : "");
        call_fail(call, &error);
        return;
    }
    http_set_header(call->request, "Content-Disposition",
                    "attachment; filename=\"cnsmo-backup.db\"");
    http_reply_file(call->request, 200, "application/vnd.sqlite3", fd);
    call_done(call, 200);
}

void system_backup(struct api_call *call)
{
    struct error error;
    struct actor actor;

    if (call->api->backing_up) {
        error_set(&error, 429, NULL, "a backup is being made; try again");
        call_fail_later(call, 5, &error);
        return;
    }
    char *folder = xasprintf("%s/cnsmo-backup-XXXXXX", call->api->scratch_dir);
    if (!mkdtemp(folder)) {
        error_set(&error, errno == ENOSPC ? 507 : 500, NULL,
                  "there is no place for the backup: %s", strerror(errno));
        free(folder);
        call_fail(call, &error);
        return;
    }
    struct backup *b = xnew(struct backup);
    *b = (struct backup){.call = call, .folder = folder, .path = xasprintf("%s/db", folder)};
    call->api->backing_up = 1;
    call_actor(call, &actor);
    deployment_event(call->api->deployment, &actor, "backup", "store", "a backup was taken");
    int rc = store_backup(deployment_store(call->api->deployment), b->path, on_backup, b);
    if (rc < 0) {
        on_backup(b, rc, 0);
    }
}

/* --- CORS --- */

/* Only a route where another origin may call; its own header is set for every answer (api.c). */
void system_preflight(struct api_call *call)
{
    http_set_header(call->request, "Access-Control-Allow-Methods",
                    "GET, POST, PUT, PATCH, DELETE");
    http_set_header(call->request, "Access-Control-Allow-Headers",
                    "Authorization, Content-Type, If-Match, Last-Event-ID");
    http_set_header(call->request, "Access-Control-Max-Age", "600");
    call_reply_empty(call, 204);
}
