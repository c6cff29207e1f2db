#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "lib/spawn.h"

#define UNIT "cnsmo-agent.service"

enum {
    POLL_MSEC = 50,
    STATUS_MAX = 16 << 20,
    SYSTEMCTL_MSEC = 30000,
};

void agent_complain(const struct error *error)
{
    fprintf(stderr, "cnsmo-agent: %s\n", error->detail);
}

int agent_make_folders(const struct agent_paths *paths, struct error *error)
{
    const char *folders[] = {paths->state_dir, paths->run_dir, paths->log_dir};

    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        int rc = file_make_folder(folders[i], i == 0 ? 0700 : 0755);
        if (rc < 0) {
            error_set(error, error_status(rc), NULL, "cannot make %s: %s", folders[i],
                      strerror(-rc));
            return rc;
        }
    }
    return 0;
}

/* --- the lock --- */

static char *pid_path(const struct agent_paths *paths)
{
    return xasprintf("%s/agent.pid", paths->run_dir);
}

static pid_t read_pid(int fd)
{
    char text[32] = "";

    return pread(fd, text, sizeof text - 1, 0) > 0 ? (pid_t)atoi(text) : 0;
}

int process_lock(const struct agent_paths *paths, int *ret_fd, pid_t *ret_pid, struct error *error)
{
    _cleanup_free_ char *path = pid_path(paths);
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0) {
        int rc = -errno;
        error_set(error, error_status(rc), NULL, "cannot open %s: %s", path, strerror(-rc));
        return rc;
    }
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
        pid_t pid = read_pid(fd);
        if (ret_pid) {
            *ret_pid = pid;
        }
        return error_set(error, 409, NULL, "an agent runs already (pid %d, %s)", (int)pid, path);
    }
    if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0) {
        int rc = -errno;
        error_set(error, error_status(rc), NULL, "cannot write %s: %s", path, strerror(-rc));
        return rc;
    }
    *ret_fd = fd;
    fd = -1; /* the caller's now */
    return 0;
}

pid_t process_running(const struct agent_paths *paths)
{
    _cleanup_free_ char *path = pid_path(paths);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    if (fd < 0 || fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type == F_UNLCK) {
        return 0;
    }
    return read_pid(fd);
}

/* --- systemd --- */

static int systemctl(const char *verb, const char *option)
{
    const char *argv[] = {"systemctl", verb, option, UNIT, NULL};

    return spawn_run(&(struct spawn){.argv = argv, .timeout_msec = SYSTEMCTL_MSEC});
}

/* The unit runs with the default folders only. */
static int unit_is_for_us(const struct agent_paths *paths)
{
    return access("/run/systemd/system", F_OK) == 0 &&
           strcmp(paths->state_dir, AGENT_STATE_DIR) == 0 &&
           strcmp(paths->run_dir, AGENT_RUN_DIR) == 0 && systemctl("cat", "--no-pager") == 0;
}

int process_start(const struct agent_paths *paths, struct error *error)
{
    char self[4096];
    pid_t pid;

    if (process_running(paths) > 0) {
        return 0;
    }
    if (unit_is_for_us(paths)) {
        const char *enable[] = {"systemctl", "enable", "--now", UNIT, NULL};
        return spawn_check(&(struct spawn){.argv = enable, .timeout_msec = SYSTEMCTL_MSEC}, error);
    }
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    if (size < 0) {
        return error_set(error, 500, NULL, "cannot find my own program: %s", strerror(errno));
    }
    self[size] = '\0';
    const char *argv[] = {self,        "run",          "--state-dir", paths->state_dir,
                          "--run-dir", paths->run_dir, "--log-dir",   paths->log_dir,
                          NULL};
    _cleanup_free_ char *log = xasprintf("%s/agent.log", paths->log_dir);
    return spawn_detached(argv, log, &pid, error);
}

/* Until the lock is free. */
static int wait_gone(const struct agent_paths *paths, struct error *error)
{
    int64_t deadline = clock_monotonic_usec() + (int64_t)STOP_DEADLINE_MSEC * 1000;

    while (process_running(paths) > 0) {
        if (clock_monotonic_usec() > deadline) {
            return error_set(error, 500, NULL, "the running agent (pid %d) doesn't end",
                             (int)process_running(paths));
        }
        poll(NULL, 0, POLL_MSEC);
    }
    return 0;
}

int process_stop(const struct agent_paths *paths, struct error *error)
{
    if (unit_is_for_us(paths)) {
        systemctl("disable", "--now");
    }
    pid_t pid = process_running(paths);
    if (pid > 1) {
        _cleanup_close_ int pidfd = pidfd_open(pid, 0);
        /* Asked again with the pidfd open: so the pid still is the one that holds the lock. */
        if (pidfd >= 0 && process_running(paths) == pid) {
            pidfd_send_signal(pidfd, SIGTERM, NULL, 0);
        }
    }
    return wait_gone(paths, error);
}

/* --- its state --- */

json_t *process_status(const struct agent_paths *paths)
{
    _cleanup_free_ char *path = xasprintf("%s/status.json", paths->run_dir);
    _cleanup_buf_ struct buf text = BUF_INIT(STATUS_MAX);
    json_t *status = NULL;

    if (file_read(path, &text) < 0 || !text.data ||
        json_parse(text.data, text.size, &status, NULL) < 0) {
        return NULL;
    }
    return status;
}

/* NULL if all is well, else what is missing, in words that live as long as the status. */
static const char *missing(const json_t *status)
{
    const char *name;
    json_t *service;

    if (!json_get_bool(status, "connected", 0)) {
        const char *problem = json_get_string(status, "problem", "");
        return problem[0] ? problem : "it isn't connected to the server yet";
    }
    if (!json_get_bool(status, "applied", 0)) {
        return "the server's resources aren't applied yet";
    }
    const json_t *first = json_array_get(json_object_get(status, "errors"), 0);
    if (first) {
        return json_get_string(first, "message", "a resource can't be applied");
    }
    json_object_foreach (json_object_get(status, "services"), name, service) {
        const char *state = json_get_string(service, "state", "");
        if (strcmp(state, "failed") == 0 || strcmp(state, "starting") == 0) {
            const char *message = json_get_string(service, "message", "");
            return message[0] ? message : "a service doesn't run yet";
        }
    }
    return NULL;
}

int process_wait_up(const struct agent_paths *paths, struct error *error)
{
    int64_t deadline = clock_monotonic_usec() + (int64_t)START_DEADLINE_MSEC * 1000;

    for (;;) {
        pid_t pid = process_running(paths);
        json_t *status = pid > 0 ? process_status(paths) : NULL;
        /* A status of an earlier process doesn't count. */
        const char *why = json_get_integer(status, "pid", 0) == pid && status
                              ? missing(status)
                              : "the agent doesn't run";
        int is_late = clock_monotonic_usec() > deadline;
        if (why && is_late) {
            error_set(error, 503, NULL, "joined, but not up after %d s: %s (see %s)",
                      START_DEADLINE_MSEC / 1000, why, paths->log_dir);
        }
        json_decref(status);
        if (!why || is_late) {
            return why ? -EHOSTUNREACH : 0;
        }
        poll(NULL, 0, POLL_MSEC);
    }
}
