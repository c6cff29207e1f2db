#include "ovs-host.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/file.h"
#include "lib/mem.h"
#include "lib/spawn.h"

enum {
    OUTPUT_MAX = 64 << 20,
    LOG_MAX = 16 << 20,
    COMMAND_MSEC = 30000,
    GONE_MSEC = 10000,
};

static _Noreturn void give_up(const char *what, const char *why)
{
    fprintf(stderr, "ovs-host: %s: %s\n", what, why);
    exit(1);
}

char *ovs_read(const char *const *argv)
{
    struct buf out = BUF_INIT(OUTPUT_MAX);
    struct error error;

    if (spawn_check(&(struct spawn){.argv = argv, .out = &out, .timeout_msec = COMMAND_MSEC},
                    &error) < 0) {
        give_up(argv[0], error.detail);
    }
    return out.data ? out.data : xstrdup("");
}

void ovs_do(const char *const *argv)
{
    free(ovs_read(argv));
}

/* --- daemons --- */

void ovs_start_server(void)
{
    ovs_do(ARGV("ovsdb-server", OVS_RUN "/conf.db", "--remote=punix:" OVS_DB,
                "--unixctl=" OVS_RUN "/server.ctl", "--pidfile=" OVS_RUN "/server.pid",
                "--log-file=" OVS_RUN "/server.log", "-vconsole:off", "--detach", "--no-chdir"));
}

void ovs_start_switch(void)
{
    ovs_do(ARGV("ovs-vswitchd", "unix:" OVS_DB, "--pidfile=" OVS_RUN "/ovs-vswitchd.pid",
                "--log-file=" OVS_RUN "/switch.log", "-vconsole:off", "--detach", "--no-chdir"));
}

static pid_t read_pid(const char *path)
{
    _cleanup_buf_ struct buf text = BUF_INIT(32);

    if (file_read(path, &text) < 0 || text.size == 0) {
        give_up(path, "cannot read");
    }
    return (pid_t)strtol(text.data, NULL, 10);
}

pid_t ovs_server_pid(void)
{
    return read_pid(OVS_RUN "/server.pid");
}

pid_t ovs_switch_pid(void)
{
    return read_pid(OVS_RUN "/ovs-vswitchd.pid");
}

void ovs_kill(pid_t pid)
{
    _cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd gone = {.fd = fd, .events = POLLIN};

    if (fd < 0 || kill(pid, SIGKILL) < 0 || poll(&gone, 1, GONE_MSEC) != 1) {
        give_up("kill", strerror(errno));
    }
}

static void start(void)
{
    if (file_make_folder(OVS_RUN, 0755) < 0) {
        give_up(OVS_RUN, "cannot make the folder");
    }
    setenv("OVS_RUNDIR", OVS_RUN, 1);
    setenv("OVS_DBDIR", OVS_RUN, 1);
    setenv("OVS_LOGDIR", OVS_RUN, 1);
    ovs_do(ARGV("ip", "link", "set", "lo", "up"));
    ovs_do(ARGV("ovsdb-tool", "create", OVS_RUN "/conf.db",
                "/usr/share/openvswitch/vswitch.ovsschema"));
    ovs_start_server();
    ovs_do(ARGV("ovs-vsctl", "--no-wait", "init"));
    ovs_start_switch();
}

static void print_log(const char *path)
{
    _cleanup_buf_ struct buf text = BUF_INIT(LOG_MAX);

    if (file_read(path, &text) == 0 && text.size > 0) {
        fprintf(stderr, "--- %s\n%s", path, text.data);
    }
}

/* --- namespaces --- */

static void make_mounts(void)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("proc", "/proc", "proc", 0, NULL) < 0 ||
        mount("tmpfs", "/run", "tmpfs", 0, "mode=0755") < 0 ||
        mount("tmpfs", "/tmp", "tmpfs", 0, "mode=0755") < 0) {
        give_up("mount", strerror(errno));
    }
}

static int run(int (*tests)(void))
{
    start();
    int rc = tests();
    if (rc != 0) {
        print_log(OVS_RUN "/server.log");
        print_log(OVS_RUN "/switch.log");
    }
    return rc == 0 ? 0 : 1;
}

/* Process 1 of the namespace: reaps what others leave, and takes everything with it. */
static _Noreturn void be_init(int (*tests)(void))
{
    int status;

    make_mounts();
    pid_t tester = fork();
    if (tester == 0) {
        exit(run(tests));
    }
    for (;;) {
        pid_t ended = wait(&status);
        if (ended == tester || (ended < 0 && errno == ECHILD)) {
            _exit(ended == tester && WIFEXITED(status) ? WEXITSTATUS(status) : 1);
        }
    }
}

static int wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return 1;
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int ovs_host_main(int (*tests)(void))
{
    fflush(NULL);
    pid_t outer = fork(); /* whose own children can't be in two process namespaces */
    if (outer == 0) {
        if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID) < 0) {
            give_up("unshare (root is needed)", strerror(errno));
        }
        pid_t init = fork();
        if (init == 0) {
            be_init(tests);
        }
        _exit(wait_for(init));
    }
    return wait_for(outer);
}
