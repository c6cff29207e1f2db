/* lb-socket.c - HAProxy's command socket. It answers one line of commands and closes. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "services/lb/lb-driver.h"

enum {
    CHUNK_SIZE = 16384,
};

/* Connects and sends: a local socket takes a short line at once. */
static int send_command(const char *socket_path, const char *command)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || strlen(socket_path) >= sizeof address.sun_path) {
        return fd < 0 ? -errno : -ENAMETOOLONG;
    }
    snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        return -errno;
    }
    ssize_t size = send(fd, command, strlen(command), MSG_NOSIGNAL);
    if (size != (ssize_t)strlen(command)) {
        return size < 0 ? -errno : -EIO;
    }
    int sent = fd;
    fd = -1;
    return sent;
}

/* 1: the end, 0: more may come, or a negative errno. */
static int read_some(int fd, struct buf *out)
{
    char chunk[CHUNK_SIZE];

    for (;;) {
        ssize_t size = recv(fd, chunk, sizeof chunk, 0);
        if (size < 0) {
            return errno == EAGAIN ? 0 : -errno;
        }
        if (size == 0) {
            return 1;
        }
        int rc = buf_append(out, chunk, (size_t)size);
        if (rc < 0) {
            return rc;
        }
    }
}

int lb_ask(const char *socket_path, const char *command, unsigned timeout_msec, struct buf *out)
{
    int64_t deadline = clock_monotonic_usec() + (int64_t)timeout_msec * 1000;
    _cleanup_close_ int fd = send_command(socket_path, command);
    int rc = fd < 0 ? fd : 0;

    while (rc == 0) {
        int64_t left_msec = (deadline - clock_monotonic_usec()) / 1000;
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        if (left_msec <= 0 || poll(&waiting, 1, (int)left_msec) == 0) {
            return -ETIMEDOUT;
        }
        rc = read_some(fd, out);
    }
    return rc < 0 ? rc : 0;
}

/* --- without waiting --- */

struct lb_probe {
    uv_poll_t watch;
    int fd;
    struct buf answer;
    lb_answer_fn *done;
    void *arg;
};

static void on_closed(uv_handle_t *handle)
{
    struct lb_probe *probe = handle->data;

    close(probe->fd);
    buf_done(&probe->answer);
    free(probe);
}

static void on_readable(uv_poll_t *watch, int status, int events)
{
    struct lb_probe *probe = watch->data;
    int rc = status < 0 ? status : read_some(probe->fd, &probe->answer);

    if (rc != 0) {
        uv_poll_stop(watch);
        probe->done(probe->arg, rc == 1 ? probe->answer.data : NULL);
    }
}

struct lb_probe *lb_probe_new(uv_loop_t *loop, const char *socket_path, const char *command,
                              lb_answer_fn *done, void *arg)
{
    int fd = send_command(socket_path, command);

    if (fd < 0) {
        return NULL;
    }
    struct lb_probe *probe = xnew(struct lb_probe);
    *probe =
        (struct lb_probe){.fd = fd, .answer = BUF_INIT(LB_STAT_MAX), .done = done, .arg = arg};
    uv_poll_init(loop, &probe->watch, fd);
    probe->watch.data = probe;
    uv_poll_start(&probe->watch, UV_READABLE, on_readable);
    return probe;
}

struct lb_probe *lb_probe_free(struct lb_probe *probe)
{
    if (probe) {
        uv_close((uv_handle_t *)&probe->watch, on_closed);
    }
    return NULL;
}
