/* lb-process.c - the daemon.
 *
 * The master is the child that we know; its workers, also those that only wait for their last
 * connection, have our mark in their environment, so all of them are found to be ended. It is told
 * to read its configuration again by SIGUSR2, which only comes after `haproxy -c` has accepted
 * that; what else can fail then is a port that was taken in between. A master that has only just
 * started its worker ignores that signal (seen with 2.6.12), so it comes again until the log says
 * that the reload has begun. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/file.h"
#include "lib/mem.h"
#include "services/lb/lb-driver.h"

enum {
    ASK_MSEC = 300,
    SIGNAL_AGAIN_USEC = 200000,
    SETTLE_USEC = 8000000, /* with many servers and a slow machine it takes a while */
    ENVIRONMENT_MAX = 1 << 20,
    LOG_SIZE_MAX = 1 << 20,
    END_MSEC = 1500,
};

static const char *const NO_ARGUMENTS[] = {NULL};

/* --- life --- */

int lb_process_is_installed(void)
{
    const char *path = getenv("PATH");
    _cleanup_free_ char *folders = xstrdup(path ? path : "");

    for (char *save = NULL, *folder = strtok_r(folders, ":", &save); folder;
         folder = strtok_r(NULL, ":", &save)) {
        _cleanup_free_ char *program = xasprintf("%s/haproxy", folder);
        if (access(program, X_OK) == 0) {
            return 1;
        }
    }
    return 0;
}

void lb_process_init(struct lb *lb)
{
    lb->folder = xasprintf("%s/lb", lb->env->run_dir);
    lb->config = xasprintf("%s/haproxy.cfg", lb->folder);
    lb->socket = xasprintf("%s/haproxy.sock", lb->folder);
    lb->state = xasprintf("%s/servers", lb->folder);
    lb->chroot = xasprintf("%s/empty", lb->folder);
}

void lb_process_done(struct lb *lb)
{
    children_adopt(lb->children, LB_CHILD, NO_ARGUMENTS, NULL, NULL);
    lb_stat_done(&lb->stat);
    omap_clear(&lb->loading, NULL);
    free(lb->folder);
    free(lb->config);
    free(lb->socket);
    free(lb->state);
    free(lb->chroot);
}

/* --- looking --- */

static void forget_daemon(struct lb *lb)
{
    lb->is_running = lb->has_stat = 0;
    lb->hung_usec = lb->asked_usec = 0;
    lb->probe = lb_probe_free(lb->probe);
    lb_stat_done(&lb->stat);
}

static void last_words(const struct lb *lb, char *text, size_t size);

static void on_ended(void *arg, const char *name, int status)
{
    struct lb *lb = arg;
    char words[250];

    last_words(lb, words, sizeof words);
    forget_daemon(lb);
    lb->failed = lb->reload_usec != 0;
    lb->reload_usec = 0;
    snprintf(lb->problem, sizeof lb->problem, "haproxy ended%s%s", words[0] ? ": " : "", words);
    reconcile_wake(lb->env->reconcile);
}

void lb_process_told(struct lb *lb, struct lb_stat *stat)
{
    lb_stat_done(&lb->stat);
    lb->stat = *stat;
    lb->has_stat = 1;
    lb->hung_usec = lb->asked_usec = 0;
    lb_counters_take(lb);
}

void lb_process_look(struct lb *lb)
{
    _cleanup_buf_ struct buf answer = BUF_INIT(LB_STAT_MAX);
    struct lb_stat stat;

    if (children_adopt(lb->children, LB_CHILD, NO_ARGUMENTS, on_ended, lb) < 0) {
        if (lb->is_running) {
            forget_daemon(lb);
        }
        return;
    }
    lb->is_running = 1;
    if (lb->hung_usec) {
        return; /* the probe that is out tells when it is back */
    }
    int rc = lb_ask(lb->socket, LB_STAT_COMMAND, ASK_MSEC, &answer);
    if (rc == 0 && answer.data && lb_stat_parse(answer.data, &stat) == 0) {
        lb_process_told(lb, &stat);
    } else if (rc == -ETIMEDOUT && !lb->reload_usec) {
        lb->hung_usec = clock_monotonic_usec();
    }
}

/* --- the log --- */

static char *log_path(const struct lb *lb)
{
    return xasprintf("%s/" LB_CHILD ".log", lb->env->log_dir);
}

static void note_log_size(struct lb *lb)
{
    _cleanup_free_ char *path = log_path(lb);
    struct stat status;

    lb->log_size = stat(path, &status) == 0 ? status.st_size : 0;
}

/* Old lines go to a file beside it when it has become large: each back end that comes or goes is
 * one.
 */
void lb_process_bound_log(struct lb *lb)
{
    _cleanup_buf_ struct buf text = BUF_INIT(4 * LOG_SIZE_MAX);
    _cleanup_free_ char *path = log_path(lb);
    _cleanup_free_ char *older = xasprintf("%s.1", path);
    struct stat status;

    if (stat(path, &status) < 0 || status.st_size < LOG_SIZE_MAX) {
        return;
    }
    if (file_read(path, &text) == 0 && text.data) {
        file_write_atomic(older, text.data, text.size, 0640);
    }
    if (truncate(path, 0) == 0) {
        lb->log_size = 0;
    }
}

/* That back ends are down is no reason for anything here. */
static int is_reason(const char *line)
{
    return strncmp(line, "[ALERT]", 7) == 0 && !strstr(line, "no server available");
}

static int is_beginning(const char *line)
{
    return strstr(line, "Reloading HAProxy") != NULL;
}

/* The first such line that HAProxy logged since the start or reload; "" if there is none. */
static void find_in_log(const struct lb *lb, int (*is_it)(const char *line), char *text,
                        size_t size)
{
    _cleanup_free_ char *path = log_path(lb);
    char line[1024];
    FILE *log = fopen(path, "re");

    text[0] = '\0';
    if (!log) {
        return;
    }
    if (fseek(log, lb->log_size, SEEK_SET) == 0) {
        while (!text[0] && fgets(line, sizeof line, log)) {
            line[strcspn(line, "\n")] = '\0';
            if (is_it(line)) {
                snprintf(text, size, "%.*s", (int)size - 1, lb_words_of(line));
            }
        }
    }
    fclose(log);
}

static void last_words(const struct lb *lb, char *text, size_t size)
{
    find_in_log(lb, is_reason, text, size);
}

/* --- start and reload --- */

static size_t count_loadable(const struct lb *lb)
{
    size_t len = 0;

    omap_foreach (e, &lb->wanted) {
        len += (size_t)lb_can_be_loaded(e->value);
    }
    return len;
}

/* Other changes may come before that is loaded. */
static void note_loading(struct lb *lb)
{
    omap_clear(&lb->loading, NULL);
    omap_foreach (e, &lb->wanted) {
        const struct lb_wanted *w = e->value;
        if (lb_can_be_loaded(w)) {
            omap_put(&lb->loading, w->proxy, lb);
        }
    }
    lb->reload_usec = clock_monotonic_usec();
}

static int tell_to_reload(struct lb *lb, struct error *error)
{
    lb->signal_usec = clock_monotonic_usec();
    return lb_failed(children_signal(lb->children, LB_CHILD, SIGUSR2), error, "reload", "haproxy");
}

/* Once more, if nobody has heard it. */
static int tell_again(struct lb *lb, struct error *error)
{
    char words[40];

    if (!lb->signal_usec || clock_monotonic_usec() - lb->signal_usec < SIGNAL_AGAIN_USEC) {
        return 0;
    }
    find_in_log(lb, is_beginning, words, sizeof words);
    if (words[0]) {
        lb->signal_usec = 0;
        return 0;
    }
    return tell_to_reload(lb, error);
}

int lb_process_load(struct lb *lb, struct error *error)
{
    const char *const argv[] = {"haproxy", "-W", "-f", lb->config, NULL};

    if (lb->failed) {
        lb->failed = 0; /* told now; the next call tries again */
        return error_set(error, 500, NULL, "%s", lb->problem);
    }
    if (count_loadable(lb) == 0) {
        return lb_process_stop(lb, error);
    }
    int rc = lb_files_make(lb, error);
    rc = rc < 0 ? rc : lb_files_write_servers(lb, error);
    if (rc < 0) {
        return rc;
    }
    if (count_loadable(lb) == 0) {
        return lb_process_stop(lb, error);
    }
    note_log_size(lb);
    lb_counters_take(lb);
    if (lb->is_running) {
        rc = tell_to_reload(lb, error);
    } else {
        lb->signal_usec = 0;
        rc = children_ensure(lb->children, LB_CHILD, argv, on_ended, lb, error);
        lb->is_running = rc >= 0;
    }
    if (rc < 0) {
        return rc;
    }
    note_loading(lb);
    return -EAGAIN;
}

/* The running configuration is the one that was written? */
static int is_loaded(const struct lb *lb)
{
    omap_foreach (e, &lb->stat.proxies) {
        if (!omap_get(&lb->loading, ((const struct lb_proxy *)e->value)->name)) {
            return 0;
        }
    }
    return lb->has_stat && lb->stat.proxies.len == lb->loading.len;
}

int lb_process_settle(struct lb *lb, struct error *error)
{
    char words[250];

    if (is_loaded(lb)) {
        lb->reload_usec = lb->signal_usec = 0;
        lb->problem[0] = '\0';
        return lb_files_sweep(lb, error);
    }
    int rc = tell_again(lb, error);
    if (rc < 0) {
        return rc;
    }
    if (clock_monotonic_usec() - lb->reload_usec < SETTLE_USEC) {
        last_words(lb, words, sizeof words);
        if (!words[0]) {
            return -EAGAIN;
        }
    } else {
        last_words(lb, words, sizeof words);
    }
    lb->reload_usec = 0;
    return error_set(error, 500, NULL, "haproxy didn't take its new configuration%s%s",
                     words[0] ? ": " : "", words);
}

/* --- the end --- */

/* Does the process have our mark, so that it is the master or a worker? */
static int is_ours(const char *process, const char *mark)
{
    _cleanup_buf_ struct buf texts = BUF_INIT(ENVIRONMENT_MAX);
    _cleanup_free_ char *path = xasprintf("/proc/%s/environ", process);
    _cleanup_free_ char *name_path = xasprintf("/proc/%s/comm", process);
    _cleanup_buf_ struct buf name = BUF_INIT(64);

    if (file_read(name_path, &name) < 0 || !name.data || strcmp(name.data, "haproxy\n") != 0 ||
        file_read(path, &texts) < 0) {
        return 0;
    }
    for (size_t at = 0; at < texts.size; at += strlen(texts.data + at) + 1) {
        if (strcmp(texts.data + at, mark) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Workers end by themselves when their master does, but for one that is hung. */
static void kill_workers(const struct lb *lb)
{
    _cleanup_free_ char *mark =
        xasprintf("CNSMO_CHILD=%s/children.json:" LB_CHILD, lb->env->run_dir);
    DIR *processes = opendir("/proc");

    for (struct dirent *entry; processes && (entry = readdir(processes));) {
        pid_t pid = (pid_t)atoi(entry->d_name);
        if (pid > 1 && is_ours(entry->d_name, mark)) {
            kill(pid, SIGKILL);
        }
    }
    if (processes) {
        closedir(processes);
    }
}

int lb_process_stop(struct lb *lb, struct error *error)
{
    int rc = children_stop(lb->children, LB_CHILD, lb->hung_usec ? 0 : END_MSEC);

    if (rc < 0) {
        return lb_failed(rc, error, "stop", "haproxy");
    }
    kill_workers(lb);
    forget_daemon(lb);
    lb->reload_usec = 0;
    return 0;
}

int lb_process_remove(struct lb *lb, struct error *error)
{
    int rc = lb_process_stop(lb, error);

    rc = rc < 0 ? rc : lb_files_remove(lb, error);
    lb->problem[0] = '\0';
    return rc;
}
