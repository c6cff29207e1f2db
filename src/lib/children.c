/* A child is in memory while we watch it, and in children.json as long as it runs. The file is
 * what counts: memory is filled from it when a name is asked for. */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "lib/fault.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "lib/omap.h"
#include "lib/spawn-private.h"
#include "lib/spawn.h"

enum {
    RECORDS_MAX = 1 << 20, /* bytes of children.json */
    STAT_START_FIELD = 22, /* proc(5): starttime, in ticks since boot */
    KILL_MSEC = 2000,      /* how long the kernel may take to end a killed process */
};

struct child {
    struct children *children; /* NULL: nobody is interested any more, only the handle closes */
    uv_poll_t watch;
    char *name;
    pid_t pid;
    int pidfd;
    child_ended_fn *ended;
    void *arg;
};

struct children {
    uv_loop_t *loop;
    char *path; /* of children.json */
    char *log_dir;
    struct omap watched; /* name -> struct child */
};

/* --- who a process is -------------------------------------------------------------------------
 */

/* Start time of a living process, or 0. */
static unsigned long long start_time(pid_t pid)
{
    _cleanup_buf_ struct buf stat = BUF_INIT(4096);
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (file_read(path, &stat) < 0 || stat.size == 0) {
        return 0;
    }
    /* The name in brackets may hold anything, so count from the last bracket: field 3 follows. */
    char *field = strrchr(stat.data, ')');
    if (!field || field[1] == '\0' || field[2] == 'Z' || field[2] == 'X') {
        return 0;
    }
    for (int i = 2; field && i < STAT_START_FIELD; i++) {
        field = strchr(field + 1, ' ');
    }
    return field ? strtoull(field + 1, NULL, 10) : 0;
}

/* The program's path; after an upgrade of its package it's still the one that was started. */
static char *executable(pid_t pid)
{
    static const char DELETED[] = " (deleted)";
    char path[64], target[4096];

    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    ssize_t size = readlink(path, target, sizeof target - 1);
    if (size < 0) {
        return xstrdup("");
    }
    target[size] = '\0';
    size_t len = (size_t)size, tail = sizeof DELETED - 1;
    if (len > tail && strcmp(target + len - tail, DELETED) == 0) {
        target[len - tail] = '\0';
    }
    return xstrdup(target);
}

static json_t *make_record(pid_t pid, const char *const *argv)
{
    _cleanup_free_ char *exe = executable(pid);
    json_t *arguments = json_array();

    for (size_t i = 0; argv[i]; i++) {
        json_array_append_new(arguments, json_string(argv[i]));
    }
    return json_pack("{s:i, s:I, s:s, s:o}", "pid", (int)pid, "start", (json_int_t)start_time(pid),
                     "exe", exe, "argv", arguments);
}

/* The pidfd of the process that the record is about, or -ESRCH when that one has ended. */
static int open_recorded(const json_t *record)
{
    pid_t pid = (pid_t)json_get_integer(record, "pid", 0);
    json_int_t start = json_get_integer(record, "start", 0);

    if (pid <= 1 || start == 0) {
        return -ESRCH;
    }
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        return -ESRCH;
    }
    /* Looked at after the pidfd was opened: so they speak of the same process. */
    _cleanup_free_ char *exe = executable(pid);
    if ((json_int_t)start_time(pid) != start ||
        strcmp(exe, json_get_string(record, "exe", "")) != 0) {
        close(pidfd);
        return -ESRCH;
    }
    return pidfd;
}

static int same_arguments(const json_t *record, const char *const *argv)
{
    const json_t *arguments = json_object_get(record, "argv");
    size_t len = 0;

    while (argv[len]) {
        const char *argument = json_string_value(json_array_get(arguments, len));
        if (!argument || strcmp(argument, argv[len]) != 0) {
            return 0;
        }
        len++;
    }
    return json_array_size(arguments) == len;
}

/* --- children.json ----------------------------------------------------------------------------
 */

/* A new reference to all records; an object in any case. */
static json_t *load_records(const struct children *c)
{
    _cleanup_buf_ struct buf text = BUF_INIT(RECORDS_MAX);
    json_t *records = NULL;

    if (file_read(c->path, &text) == 0 && text.data) {
        json_parse(text.data, text.size, &records, NULL);
    }
    if (!json_is_object(records)) {
        json_decref(records);
        return json_object();
    }
    return records;
}

/* Replaces the record of one name; NULL removes it. Read anew each time: another supervisor in
 * this process may have its own records there. */
static int save_record(const struct children *c, const char *name, json_t *record)
{
    json_t *records = load_records(c);

    if (record) {
        json_object_set_new(records, name, record);
    } else if (json_object_del(records, name) < 0) {
        json_decref(records);
        return 0;
    }
    char *text = json_dumps(records, JSON_INDENT(2) | JSON_SORT_KEYS);
    int rc = file_write_atomic(c->path, text, strlen(text), 0600);
    free(text);
    json_decref(records);
    return rc;
}

/* --- watching ---------------------------------------------------------------------------------
 */

static void on_closed(uv_handle_t *handle)
{
    struct child *child = handle->data;

    close(child->pidfd);
    free(child->name);
    free(child);
}

static void unwatch(struct child *child)
{
    omap_del(&child->children->watched, child->name);
    child->children = NULL;
    uv_close((uv_handle_t *)&child->watch, on_closed);
}

static void on_end(uv_poll_t *watch, int status, int events)
{
    struct child *child = watch->data;
    struct children *c = child->children;
    child_ended_fn *ended = child->ended;
    void *arg = child->arg;

    if (!c) {
        return;
    }
    int exit_status = spawn_reap(child->pidfd);
    _cleanup_free_ char *name = xstrdup(child->name);
    unwatch(child);
    /* A record that can't be removed does no harm: the process that it names has ended. */
    save_record(c, name, NULL);
    if (ended) {
        ended(arg, name, exit_status);
    }
}

/* Takes the pidfd over. */
static struct child *watch(struct children *c, const char *name, pid_t pid, int pidfd)
{
    struct child *child = xnew(struct child);

    *child = (struct child){.children = c, .name = xstrdup(name), .pid = pid, .pidfd = pidfd};
    child->watch.data = child;
    uv_poll_init(c->loop, &child->watch, pidfd);
    uv_poll_start(&child->watch, UV_READABLE, on_end);
    omap_put(&c->watched, name, child);
    return child;
}

/* The child if it runs: watched already, or left by an earlier process and now watched. */
static struct child *find(struct children *c, const char *name, const json_t *record)
{
    struct child *child = omap_get(&c->watched, name);

    if (child) {
        if (spawn_wait(child->pidfd, 0) < 0) {
            return child;
        }
        spawn_reap(child->pidfd); /* has ended, and the loop hasn't seen it yet */
        unwatch(child);
        return NULL;
    }
    int pidfd = record ? open_recorded(record) : -ESRCH;
    if (pidfd < 0) {
        return NULL;
    }
    return watch(c, name, (pid_t)json_get_integer(record, "pid", 0), pidfd);
}

/* --- starting and stopping --------------------------------------------------------------------
 */

static int end_process(int pidfd, unsigned deadline_msec)
{
    int rc = 0;

    if (deadline_msec > 0) {
        pidfd_send_signal(pidfd, SIGTERM, NULL, 0);
        rc = spawn_wait(pidfd, deadline_msec);
    }
    if (deadline_msec == 0 || rc < 0) {
        pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
        rc = spawn_wait(pidfd, KILL_MSEC);
    }
    spawn_reap(pidfd);
    return rc;
}

static int start_child(struct children *c, const char *name, const char *const *argv,
                       struct child **ret_child, struct error *error)
{
    pid_t pid;
    int pidfd;

    _cleanup_free_ char *log_path = xasprintf("%s/%s.log", c->log_dir, name);
    int rc = spawn_start_logged(argv, log_path, &pid, &pidfd, error);
    if (rc < 0) {
        return rc;
    }
    rc = save_record(c, name, make_record(pid, argv));
    if (rc < 0) {
        /* Nobody could adopt it later, so it must not run. */
        end_process(pidfd, 0);
        close(pidfd);
        error_set(error, error_status(rc), NULL, "cannot write %s: %s", c->path, strerror(-rc));
        return rc;
    }
    *ret_child = watch(c, name, pid, pidfd);
    return 0;
}

int children_ensure(struct children *c, const char *name, const char *const *argv,
                    child_ended_fn *ended, void *arg, struct error *error)
{
    json_t *records = load_records(c);
    const json_t *record = json_object_get(records, name);
    struct child *child = find(c, name, record);
    int keep = child && record && same_arguments(record, argv);
    int rc = 0;

    json_decref(records);
    if (!keep) {
        rc = child ? children_stop(c, name, KILL_MSEC) : 0;
        rc = rc < 0 ? rc : fault_point();
        if (rc < 0) {
            error_set(error, error_status(rc), NULL, "cannot replace %s: %s", name, strerror(-rc));
            return rc;
        }
        rc = start_child(c, name, argv, &child, error);
        if (rc < 0) {
            return rc;
        }
    }
    child->ended = ended;
    child->arg = arg;
    return !keep;
}

pid_t children_pid(struct children *c, const char *name)
{
    json_t *records = load_records(c);
    struct child *child = find(c, name, json_object_get(records, name));

    json_decref(records);
    return child ? child->pid : 0;
}

int children_stop(struct children *c, const char *name, unsigned deadline_msec)
{
    json_t *records = load_records(c);
    struct child *child = find(c, name, json_object_get(records, name));
    int rc = child ? fault_point() : 0;

    json_decref(records);
    if (rc == 0 && child) {
        rc = end_process(child->pidfd, deadline_msec);
    }
    if (rc == 0) {
        children_forget(c, name);
    }
    return rc;
}

void children_forget(struct children *c, const char *name)
{
    struct child *child = omap_get(&c->watched, name);

    if (child) {
        unwatch(child);
    }
    save_record(c, name, NULL);
}

/* --- the supervisor ---------------------------------------------------------------------------
 */

int children_new(uv_loop_t *loop, const char *run_dir, const char *log_dir,
                 struct children **ret_children, struct error *error)
{
    const char *folders[] = {run_dir, log_dir};

    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        if (access(folders[i], W_OK | X_OK) < 0) {
            int rc = -errno;
            error_set(error, error_status(rc), NULL, "cannot write in %s: %s", folders[i],
                      strerror(-rc));
            return rc;
        }
    }
    struct children *c = xnew(struct children);
    c->loop = loop;
    c->path = xasprintf("%s/children.json", run_dir);
    c->log_dir = xstrdup(log_dir);
    *ret_children = c;
    return 0;
}

void children_free(struct children *c)
{
    if (!c) {
        return;
    }
    omap_foreach (entry, &c->watched) {
        unwatch(entry->value);
    }
    free(c->path);
    free(c->log_dir);
    free(c);
}
