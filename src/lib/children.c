/* A child is in memory while we watch it, and in children.json as long as it runs. The file is
 * what counts: memory is filled from it when a name is asked for. */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "lib/child-record.h"
#include "lib/fault.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "lib/omap.h"
#include "lib/spawn-private.h"
#include "lib/spawn.h"

enum {
    RECORDS_MAX = 1 << 20, /* bytes of children.json */
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
    struct omap watched;  /* name -> struct child */
    struct omap searched; /* names whose mark was looked for: later ones are our own doing */
};

/* --- children.json --- */

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

/* What a child has in its environment. */
static char *make_mark(const struct children *c, const char *name)
{
    return xasprintf("CNSMO_CHILD=%s:%s", c->path, name);
}

/* The record of one name, a new reference, or NULL. */
static json_t *load_record(struct children *c, const char *name)
{
    json_t *records = load_records(c);
    json_t *record = json_incref(json_object_get(records, name));

    json_decref(records);
    if (record || omap_get(&c->searched, name)) {
        return record;
    }
    omap_put(&c->searched, name, c);
    _cleanup_free_ char *mark = make_mark(c, name);
    record = child_search(mark);
    if (record) {
        save_record(c, name, json_incref(record)); /* if it can't be, it's watched all the same */
    }
    return record;
}

/* --- watching --- */

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
    int pidfd = record ? child_open(record) : -ESRCH;
    if (pidfd < 0) {
        return NULL;
    }
    return watch(c, name, (pid_t)json_get_integer(record, "pid", 0), pidfd);
}

/* --- starting and stopping --- */

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
    _cleanup_free_ char *mark = make_mark(c, name);
    int rc = spawn_start_logged(argv, mark, log_path, &pid, &pidfd, error);
    if (rc < 0) {
        return rc;
    }
    rc = save_record(c, name, child_record(pid, child_arguments(argv)));
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
    json_t *record = load_record(c, name);
    struct child *child = find(c, name, record);
    int keep = child && record && child_has_arguments(record, argv);
    int rc = 0;

    json_decref(record);
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
    json_t *record = load_record(c, name);
    struct child *child = find(c, name, record);

    json_decref(record);
    return child ? child->pid : 0;
}

int children_adopt(struct children *c, const char *name, const char *const *argv,
                   child_ended_fn *ended, void *arg)
{
    json_t *record = load_record(c, name);
    struct child *child = find(c, name, record);
    int rc = child ? record && child_has_arguments(record, argv) : -ESRCH;

    json_decref(record);
    if (child) {
        child->ended = ended;
        child->arg = arg;
    }
    return rc;
}

int children_signal(struct children *c, const char *name, int signal)
{
    json_t *record = load_record(c, name);
    struct child *child = find(c, name, record);
    int rc = child ? fault_point() : -ESRCH;

    json_decref(record);
    if (rc == 0 && pidfd_send_signal(child->pidfd, signal, NULL, 0) < 0) {
        rc = -errno;
    }
    return rc;
}

int children_stop(struct children *c, const char *name, unsigned deadline_msec)
{
    json_t *record = load_record(c, name);
    struct child *child = find(c, name, record);
    int rc = child ? fault_point() : 0;

    json_decref(record);
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

/* --- the supervisor --- */

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
    omap_clear(&c->searched, NULL);
    free(c->path);
    free(c->log_dir);
    free(c);
}
