#include "lib/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/mem.h"
#include "lib/spawn-private.h"

/* Ours with `mark` in front; only the array is new. */
static const char **environment_with(const char *mark)
{
    size_t len = 0;

    while (environ[len]) {
        len++;
    }
    const char **environment = xcalloc(len + 2, sizeof *environment);
    environment[0] = mark;
    memcpy(environment + 1, environ, len * sizeof *environ);
    return environment;
}

static int spawn_with(const char *const *argv, const char *mark, const int fds[3],
                      posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes,
                      pid_t *ret_pid)
{
    sigset_t all, none;

    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(attributes, &all);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setflags(attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    for (int i = 0; i < 3; i++) {
        posix_spawn_file_actions_adddup2(actions, fds[i], i);
    }
    posix_spawn_file_actions_addclosefrom_np(actions, 3);
    _cleanup_free_ const char **marked = mark ? environment_with(mark) : NULL;
    return -posix_spawnp(ret_pid, argv[0], actions, attributes, (char *const *)argv,
                         marked ? (char *const *)marked : environ);
}

int spawn_start(const char *const *argv, const char *mark, const int fds[3], pid_t *ret_pid,
                int *ret_pidfd)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    int rc = spawn_with(argv, mark, fds, &actions, &attributes, &pid);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (rc < 0) {
        return rc;
    }
    /* Nobody reaps it before us, so the pid can't mean another process yet. */
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        rc = -errno;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return rc;
    }
    *ret_pid = pid;
    *ret_pidfd = pidfd;
    return 0;
}

int spawn_start_logged(const char *const *argv, const char *mark, const char *log_path,
                       pid_t *ret_pid, int *ret_pidfd, struct error *error)
{
    _cleanup_close_ int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    _cleanup_close_ int log = open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);

    if (null < 0 || log < 0) {
        int rc = -errno;
        error_set(error, error_status(rc), NULL, "cannot open %s: %s",
                  null < 0 ? "/dev/null" : log_path, strerror(-rc));
        return rc;
    }
    int rc = spawn_start(argv, mark, (int[]){null, log, log}, ret_pid, ret_pidfd);
    if (rc < 0) {
        error_set(error, error_status(rc), NULL, "cannot start %s: %s", argv[0], strerror(-rc));
    }
    return rc;
}

int spawn_detached(const char *const *argv, const char *log_path, pid_t *ret_pid,
                   struct error *error)
{
    _cleanup_close_ int pidfd = -1;

    return spawn_start_logged(argv, NULL, log_path, ret_pid, &pidfd, error);
}

static int msec_left(int64_t deadline_usec)
{
    int64_t left = deadline_usec - clock_monotonic_usec();
    return left <= 0 ? 0 : (int)(left / 1000 + 1);
}

int spawn_wait(int pidfd, unsigned timeout_msec)
{
    struct pollfd watched = {.fd = pidfd, .events = POLLIN};
    int64_t deadline = clock_monotonic_usec() + (int64_t)timeout_msec * 1000;

    for (;;) {
        int len = poll(&watched, 1, msec_left(deadline));
        if (len > 0) {
            return 0;
        }
        if (len < 0 && errno != EINTR) {
            return -errno;
        }
        if (len == 0) {
            return -ETIMEDOUT;
        }
    }
}

int spawn_reap(int pidfd)
{
    siginfo_t info = {0};

    while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG) < 0) {
        if (errno != EINTR) {
            return -1; /* ECHILD: somebody else's child */
        }
    }
    if (info.si_pid == 0) {
        return -1;
    }
    return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

/* A file in memory, not a pipe: it needs no writer, and `nft -f -` can open /dev/stdin. */
static int input_open(const struct spawn *spawn)
{
    size_t done = 0;

    if (!spawn->input) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
    }
    if (spawn->input_size > SPAWN_INPUT_MAX) {
        return -E2BIG;
    }
    int fd = memfd_create("input", MFD_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    while (done < spawn->input_size) {
        ssize_t size = write(fd, (const char *)spawn->input + done, spawn->input_size - done);
        if (size < 0 && errno != EINTR) {
            int rc = -errno;
            close(fd);
            return rc;
        }
        done += size > 0 ? (size_t)size : 0;
    }
    lseek(fd, 0, SEEK_SET);
    return fd;
}

/* An output that is wanted becomes a pipe, one that isn't /dev/null. */
static int output_open(const struct buf *buf, int ret_ends[2])
{
    if (!buf) {
        ret_ends[0] = -1;
        ret_ends[1] = open("/dev/null", O_WRONLY | O_CLOEXEC);
        return ret_ends[1] < 0 ? -errno : 0;
    }
    if (pipe2(ret_ends, O_CLOEXEC) < 0) {
        return -errno;
    }
    fcntl(ret_ends[0], F_SETFL, O_NONBLOCK); /* our end only: the child's is another description */
    return 0;
}

/* Takes what is there. 0: more may come; 1: this was the end. */
static int drain(int fd, struct buf *buf)
{
    char chunk[16384];

    for (;;) {
        ssize_t size = read(fd, chunk, sizeof chunk);
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size < 0) {
            return errno == EAGAIN ? 0 : -errno;
        }
        if (size == 0) {
            return 1;
        }
        int rc = buf_append(buf, chunk, (size_t)size);
        if (rc < 0) {
            return rc;
        }
    }
}

/* Reads until the process has ended. A grandchild may hold the pipes open longer: not waited for.
 */
static int collect(int pidfd, const int outputs[2], const struct spawn *spawn)
{
    struct buf *bufs[] = {spawn->out, spawn->err};
    struct pollfd watched[] = {{.fd = pidfd, .events = POLLIN},
                               {.fd = outputs[0], .events = POLLIN},
                               {.fd = outputs[1], .events = POLLIN}};
    unsigned timeout_msec = spawn->timeout_msec ? spawn->timeout_msec : SPAWN_TIMEOUT_MSEC;
    int64_t deadline = clock_monotonic_usec() + (int64_t)timeout_msec * 1000;

    for (int ended = 0; !ended;) {
        int len = poll(watched, ARRAY_LEN(watched), msec_left(deadline));
        if (len < 0 && errno != EINTR) {
            return -errno;
        }
        if (len == 0) {
            return -ETIMEDOUT;
        }
        ended = len > 0 && watched[0].revents;
        for (int i = 0; i < 2; i++) {
            int rc = watched[i + 1].fd < 0 ? 0 : drain(watched[i + 1].fd, bufs[i]);
            if (rc < 0) {
                return rc;
            }
            if (rc == 1) {
                watched[i + 1].fd = -1;
            }
        }
    }
    return 0;
}

static int run_with(const struct spawn *spawn, const int fds[3], const int outputs[2])
{
    _cleanup_close_ int pidfd = -1;
    pid_t pid;

    int rc = spawn_start(spawn->argv, NULL, fds, &pid, &pidfd);
    if (rc < 0) {
        return rc;
    }
    rc = collect(pidfd, outputs, spawn);
    if (rc < 0) {
        pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
        spawn_wait(pidfd, SPAWN_TIMEOUT_MSEC);
    }
    int status = spawn_reap(pidfd);
    return rc < 0 ? rc : status;
}

int spawn_run(const struct spawn *spawn)
{
    int out[2] = {-1, -1}, err[2] = {-1, -1};

    int rc = fault_point();
    if (rc < 0) {
        return rc;
    }
    _cleanup_close_ int input = input_open(spawn);
    if (input < 0) {
        return input;
    }
    rc = output_open(spawn->out, out);
    if (rc == 0) {
        rc = output_open(spawn->err, err);
    }
    if (rc == 0) {
        rc = run_with(spawn, (int[]){input, out[1], err[1]}, (int[]){out[0], err[0]});
    }
    for (int i = 0; i < 2; i++) {
        close_indirect_(&out[i]);
        close_indirect_(&err[i]);
    }
    return rc;
}

/* The first line that isn't blank, cut out of the text. */
static const char *first_line(char *text)
{
    text += strspn(text, " \t\r\n");
    text[strcspn(text, "\r\n")] = '\0';
    return text;
}

int spawn_check(const struct spawn *spawn, struct error *error)
{
    _cleanup_buf_ struct buf err = BUF_INIT(1 << 16);
    struct spawn copy = *spawn;
    const char *name = spawn->argv[0];

    if (!copy.err) {
        copy.err = &err;
    }
    int rc = spawn_run(&copy);
    if (rc == 0) {
        return 0;
    }
    const char *words = copy.err->size > 0 ? first_line(copy.err->data) : "";
    if (rc < 0) {
        error_set(error, error_status(rc), NULL, "%s: %s", name,
                  rc == -ETIMEDOUT ? "took too long and was stopped" : strerror(-rc));
        return rc;
    }
    if (words[0] == '\0') {
        return error_set(error, 500, NULL, "%s ended with status %d", name, rc);
    }
    return error_set(error, 500, NULL, "%s: %s", name, words);
}
