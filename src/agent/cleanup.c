#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "core/backend.h"
#include "core/reconcile.h"
#include "lib/mem.h"

static void report_nothing(void *arg, const char *name, json_t *value)
{
    json_decref(value);
}

int cleanup_host(const struct agent_paths *paths, const char *node, struct error *error)
{
    struct backend_env env = {.node = node,
                              .state_dir = paths->state_dir,
                              .run_dir = paths->run_dir,
                              .log_dir = paths->log_dir,
                              .report = report_nothing};
    struct reconcile *reconcile;
    uv_loop_t loop;

    uv_loop_init(&loop);
    int rc = reconcile_new(&loop, paths->state_dir, BACKENDS, &env, NULL, NULL, &reconcile, error);
    if (rc == 0) {
        rc = reconcile_leave(reconcile, error);
        reconcile_free(reconcile);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return rc;
}

/* --- files --- */

static int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

static void note_first(int *first, const char *path, struct error *error)
{
    if (*first == 0) {
        *first = -errno;
        error_set(error, 500, NULL, "cannot remove %s: %s", path, strerror(errno));
    }
}

static void remove_file(const char *folder, const char *name, int *first, struct error *error)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", folder, name);

    if (unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR) {
        note_first(first, path, error);
    }
}

static void set_aside(const char *folder, const char *name, int *first, struct error *error)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", folder, name);
    _cleanup_free_ char *aside = xasprintf("%s.removed", path);

    if (rename(path, aside) < 0 && errno != ENOENT) {
        note_first(first, path, error);
    }
}

/* Each service has a folder of its name there. (Not FTW_MOUNT: on an overlay file system, as in a
 * container, files and folders differ in st_dev.) */
static void remove_service_folders(const char *folder, int *first, struct error *error)
{
    for (size_t i = 0; BACKENDS[i]; i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", folder, BACKENDS[i]->service);
        if (access(path, F_OK) == 0 && nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) < 0) {
            note_first(first, path, error);
        }
    }
}

int cleanup_files(const struct agent_paths *paths, int keep_identity, struct error *error)
{
    static const char *const IDENTITY[] = {"agent.json", "cert.pem", "key.pem"};
    static const char *const STATE[] = {"root.pem", "replica.json", "replica.json.corrupt"};
    static const char *const RUN[] = {"status.json", "children.json"};
    int first = 0;

    /* agent.json goes first: without it nothing starts again. */
    for (size_t i = 0; i < ARRAY_LEN(IDENTITY); i++) {
        if (keep_identity) {
            set_aside(paths->state_dir, IDENTITY[i], &first, error);
        } else {
            _cleanup_free_ char *aside = xasprintf("%s.removed", IDENTITY[i]);
            remove_file(paths->state_dir, IDENTITY[i], &first, error);
            remove_file(paths->state_dir, aside, &first, error);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(STATE); i++) {
        remove_file(paths->state_dir, STATE[i], &first, error);
    }
    for (size_t i = 0; i < ARRAY_LEN(RUN); i++) {
        remove_file(paths->run_dir, RUN[i], &first, error);
    }
    remove_service_folders(paths->state_dir, &first, error);
    remove_service_folders(paths->run_dir, &first, error);
    rmdir(paths->state_dir); /* not if somebody has put something there */
    return first;
}
