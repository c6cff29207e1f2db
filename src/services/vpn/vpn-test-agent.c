/* vpn-test-agent - the driver alone, without server and link, for tests and for trying by hand.
 *
 *     vpn-test-agent run|leave NODE FOLDER
 *
 * FOLDER/resources.json is {"key":{body},...}, read again on SIGHUP. FOLDER/status.json and
 * FOLDER/facts.json are written anew all the time. SIGTERM ends it and leaves the host as it is.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/digest.h"
#include "core/reconcile.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/vpn/vpn-backend.h"

struct agent {
    uv_loop_t loop;
    struct backend_env env;
    struct reconcile *reconcile;
    const char *folder;
    json_t *facts;
    int64_t revision;
    uv_timer_t timer;
    char *text; /* of resources.json, as last read */
};

static void write_json(const struct agent *a, const char *name, const json_t *json)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", a->folder, name);
    _cleanup_free_ char *text = json_canonical(json);

    file_write_atomic(path, text, strlen(text), 0644);
}

static void on_report(void *arg, const char *name, json_t *value)
{
    struct agent *a = arg;

    json_object_set_new(a->facts, name, value ? value : json_null());
}

static void on_applied(void *arg, int64_t revision, const json_t *errors)
{
    struct agent *a = arg;

    write_json(a, "errors.json", errors);
}

static void load(struct agent *a)
{
    _cleanup_free_ char *path = xasprintf("%s/resources.json", a->folder);
    _cleanup_buf_ struct buf buf = BUF_INIT(1 << 20);
    struct digest sum = {0};
    json_t *resources, *body;
    const char *key;
    struct error error;
    char hex[33];

    if (file_read(path, &buf) < 0 || !buf.data || (a->text && strcmp(a->text, buf.data) == 0)) {
        return;
    }
    free(a->text);
    a->text = xstrdup(buf.data);
    if (json_parse(buf.data, buf.size, &resources, &error) < 0) {
        fprintf(stderr, "%s: %s\n", path, error.detail);
        return;
    }
    a->revision++;
    reconcile_begin_snapshot(a->reconcile);
    json_object_foreach (resources, key, body) {
        reconcile_put(a->reconcile, key, a->revision, body);
        digest_add(&sum, digest_of(key, body));
    }
    if (reconcile_sync(a->reconcile, a->revision, digest_format(sum, hex)) < 0) {
        fprintf(stderr, "the digest is wrong\n");
    }
    json_decref(resources);
}

static void on_timer(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    json_t *status = reconcile_status(a->reconcile);
    _cleanup_free_ char *stop = xasprintf("%s/stop", a->folder);

    load(a);
    write_json(a, "status.json", status);
    write_json(a, "facts.json", a->facts);
    json_decref(status);
    if (unlink(stop) == 0) {
        uv_stop(&a->loop);
    }
}

static void run(struct agent *a)
{
    uv_timer_init(&a->loop, &a->timer);
    a->timer.data = a;
    uv_timer_start(&a->timer, on_timer, 0, 100);
    uv_run(&a->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&a->timer, NULL);
}

int main(int argc, char **argv)
{
    static const struct backend *const BACKEND[] = {&BACKEND_VPN, NULL};
    struct agent a = {.facts = json_object()};
    struct error error = {0};
    int rc = 0;

    if (argc != 4) {
        fprintf(stderr, "usage: vpn-test-agent run|leave NODE FOLDER\n");
        return 2;
    }
    a.folder = argv[3];
    a.env = (struct backend_env){.loop = &a.loop,
                                 .node = argv[2],
                                 .state_dir = a.folder,
                                 .run_dir = a.folder,
                                 .log_dir = a.folder,
                                 .report = on_report,
                                 .report_arg = &a};
    uv_loop_init(&a.loop);
    if (reconcile_new(&a.loop, a.folder, BACKEND, &a.env, on_applied, &a, &a.reconcile, &error) <
        0) {
        fprintf(stderr, "%s\n", error.detail);
        return 1;
    }
    if (strcmp(argv[1], "leave") == 0) {
        rc = reconcile_leave(a.reconcile, &error);
        if (rc < 0) {
            fprintf(stderr, "%s\n", error.detail);
        }
    } else {
        run(&a);
    }
    reconcile_free(a.reconcile);
    uv_run(&a.loop, UV_RUN_DEFAULT);
    uv_loop_close(&a.loop);
    json_decref(a.facts);
    free(a.text);
    return rc < 0 ? 1 : 0;
}
