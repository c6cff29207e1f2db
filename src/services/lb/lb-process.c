/* lb-process.c - the daemon and its files.
 *
 * The master is the child that we know; its workers, also those that only wait for their last
 * connection, have our mark in their environment, so all of them are found to be ended. It is told
 * to read its configuration again by SIGUSR2, which only comes after `haproxy -c` has accepted
 * that; what else can fail then is a port that was taken in between. */
#include <dirent.h>
#include <errno.h>
#include <pwd.h>
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
    SETTLE_USEC = 8000000, /* with many servers and a slow machine it takes a while */
    NOBODY = 65534,
    ENVIRONMENT_MAX = 1 << 20,
    LOG_SIZE_MAX = 1 << 20,
    END_MSEC = 1500,
};

static const char *const NO_ARGUMENTS[] = {NULL};

/* --- files --- */

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
    free(lb->folder);
    free(lb->config);
    free(lb->socket);
    free(lb->state);
    free(lb->chroot);
}

static int failed(int rc, struct error *error, const char *what, const char *path)
{
    return rc < 0 ? (error_set(error, error_status(rc), NULL, "cannot %s %s: %s", what, path,
                               strerror(-rc)),
                     rc)
                  : rc;
}

static int write_text(const char *path, const char *text, struct error *error)
{
    int rc = fault_point();

    rc = rc < 0 ? rc : file_write_atomic(path, text, strlen(text), 0600);
    return failed(rc, error, "write", path);
}

int lb_process_has_files(const struct lb *lb)
{
    return access(lb->folder, F_OK) == 0;
}

/* Calls `remove` for each file; those that `keep` says stay. */
static int remove_files(const struct lb *lb, int (*keep)(const struct lb *lb, const char *file),
                        struct error *error)
{
    DIR *folder = opendir(lb->folder);
    int rc = 0;

    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        _cleanup_free_ char *path = xasprintf("%s/%s", lb->folder, entry->d_name);
        if (entry->d_name[0] == '.' || (keep && keep(lb, entry->d_name))) {
            continue;
        }
        int one = fault_point();
        if (one == 0 && remove(path) < 0) {
            one = -errno;
        }
        rc = rc < 0 ? rc : failed(one, error, "remove", path);
    }
    if (folder) {
        closedir(folder);
    }
    return rc;
}

/* --- looking --- */

static void forget_daemon(struct lb *lb)
{
    lb->is_running = lb->has_stat = 0;
    lb->hung_usec = 0;
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
    lb->hung_usec = 0;
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

/* "[ALERT] (12) : config : what" to "what". */
static const char *words_of(const char *line)
{
    const char *at = strstr(line, " : ");

    return at ? at + 3 : line;
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

/* The first alert that HAProxy logged since the start or reload. */
static void last_words(const struct lb *lb, char *text, size_t size)
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
            if (is_reason(line)) {
                snprintf(text, size, "%.*s", (int)size - 1, words_of(line));
            }
        }
    }
    fclose(log);
}

/* --- the configuration --- */

static void find_user(struct lb_paths *paths)
{
    const struct passwd *user = getpwnam("haproxy");

    paths->uid = user ? user->pw_uid : NOBODY;
    paths->gid = user ? user->pw_gid : NOBODY;
}

static int can_be_loaded(const struct lb_wanted *w)
{
    return !w->is_refused && !w->problem[0];
}

/* Of all that can be loaded, or of one. The caller frees it. */
static char *configuration(const struct lb *lb, const struct lb_wanted *only)
{
    struct buf out = BUF_INIT(LB_CONFIG_MAX);
    struct lb_paths paths = {
        .folder = lb->folder, .socket = lb->socket, .state = lb->state, .chroot = lb->chroot};

    find_user(&paths);
    lb_config_global(&out, &paths);
    omap_foreach (e, &lb->wanted) {
        const struct lb_wanted *w = e->value;
        if (only ? w == only : can_be_loaded(w)) {
            lb_config_section(&out, w->proxy, w->spec, &paths);
        }
    }
    return out.data;
}

static int write_certificates(const struct lb *lb, struct error *error)
{
    char file[LB_PROXY_SIZE + 8];
    int rc = 0;

    omap_foreach (e, &lb->wanted) {
        const struct lb_wanted *w = e->value;
        lb_certificate_name(w->proxy, file, sizeof file);
        _cleanup_free_ char *path = xasprintf("%s/%s", lb->folder, file);
        if (rc < 0 || !lb_has_tls(w->spec) || access(path, F_OK) == 0) {
            continue; /* its name says what is in it */
        }
        char *text =
            xasprintf("%s\n%s", json_string_value(json_object_get(w->spec, "certificate")),
                      json_string_value(json_object_get(w->spec, "secret")));
        rc = write_text(path, text, error);
        mem_wipe(text, strlen(text));
        free(text);
    }
    return rc;
}

/* 0, or what haproxy has against the configuration in the file. */
static int check_file(const char *path, struct error *error)
{
    _cleanup_buf_ struct buf words = BUF_INIT(1 << 20);
    struct spawn spawn = {.argv = (const char *[]){"haproxy", "-c", "-f", path, NULL},
                          .err = &words};
    int rc = spawn_run(&spawn);

    if (rc == -ENOENT) {
        return error_set(error, 501, NULL,
                         "the program haproxy is missing: install the package haproxy");
    }
    if (rc <= 0) {
        return failed(rc, error, "run", "haproxy -c");
    }
    const char *alert = words.data ? strstr(words.data, "[ALERT]") : NULL;
    const char *line = words_of(alert ? alert : words.data ? words.data : "");
    return error_set(error, 400, NULL, "haproxy refuses its configuration: %.*s",
                     (int)strcspn(line, "\n"), line);
}

static int write_and_check(struct lb *lb, const struct lb_wanted *only, struct error *error)
{
    _cleanup_free_ char *path = xasprintf("%s.new", lb->config);
    _cleanup_free_ char *text = configuration(lb, only);
    int rc = write_text(path, text, error);

    return rc < 0 ? rc : check_file(path, error);
}

/* Of those that aren't loaded as they should be, who is it? Nobody may keep the others from being
 * changed. 1: somebody was found. */
static int find_refused(struct lb *lb)
{
    struct error error;
    int found = 0;

    omap_foreach (e, &lb->wanted) {
        struct lb_wanted *w = e->value;
        if (can_be_loaded(w) && !lb_wanted_is_loaded(lb, w) &&
            write_and_check(lb, w, &error) == -EINVAL) {
            w->is_refused = found = 1;
            snprintf(w->problem, sizeof w->problem, "%.299s", error.detail);
        }
    }
    return found;
}

static int make_configuration(struct lb *lb, struct error *error)
{
    _cleanup_free_ char *path = xasprintf("%s.new", lb->config);
    int rc = fault_point();

    rc = rc < 0 ? rc : file_make_folder(lb->folder, 0700);
    rc = rc < 0 ? rc : file_make_folder(lb->chroot, 0755);
    rc = failed(rc, error, "make", lb->folder);
    rc = rc < 0 ? rc : write_certificates(lb, error);
    rc = rc < 0 ? rc : write_and_check(lb, NULL, error);
    if (rc == -EINVAL && find_refused(lb)) {
        rc = write_and_check(lb, NULL, error);
    }
    if (rc == 0 && rename(path, lb->config) < 0) {
        rc = failed(-errno, error, "write", lb->config);
    }
    return rc;
}

/* --- start and reload --- */

static const char *new_name(void *arg, const char *service)
{
    const struct lb *lb = arg;
    const struct lb_wanted *w = omap_get(&lb->wanted, service);

    return w ? w->proxy : NULL;
}

/* Who was down is down for the next worker, from its first moment on. */
static int write_servers(struct lb *lb, struct error *error)
{
    _cleanup_free_ char *text = NULL;

    if (lb->is_running && lb->stat.servers_text) {
        text = lb_stat_renamed(lb->stat.servers_text, new_name, lb);
    }
    return write_text(lb->state, text && *text ? text : "1\n", error);
}

static size_t count_loadable(const struct lb *lb)
{
    size_t len = 0;

    omap_foreach (e, &lb->wanted) {
        len += (size_t)can_be_loaded(e->value);
    }
    return len;
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
    int rc = make_configuration(lb, error);
    rc = rc < 0 ? rc : write_servers(lb, error);
    if (rc < 0) {
        return rc;
    }
    if (count_loadable(lb) == 0) {
        return lb_process_stop(lb, error);
    }
    note_log_size(lb);
    lb_counters_take(lb);
    if (lb->is_running) {
        rc = children_signal(lb->children, LB_CHILD, SIGUSR2);
        failed(rc, error, "reload", "haproxy");
    } else {
        rc = children_ensure(lb->children, LB_CHILD, argv, on_ended, lb, error);
        lb->is_running = rc >= 0;
    }
    if (rc < 0) {
        return rc;
    }
    lb->reload_usec = clock_monotonic_usec();
    return -EAGAIN;
}

static int is_stale_certificate(const struct lb *lb, const char *file)
{
    char name[LB_PROXY_SIZE + 8];
    size_t size = strlen(file);

    if (size < 4 || strcmp(file + size - 4, ".pem") != 0) {
        return 0;
    }
    omap_foreach (e, &lb->wanted) {
        lb_certificate_name(((const struct lb_wanted *)e->value)->proxy, name, sizeof name);
        if (strcmp(name, file) == 0) {
            return 0;
        }
    }
    return 1;
}

static int keep_but_stale(const struct lb *lb, const char *file)
{
    return !is_stale_certificate(lb, file);
}

/* The running configuration is the one that was written? */
static int is_loaded(const struct lb *lb)
{
    size_t loaded = 0;

    omap_foreach (e, &lb->wanted) {
        const struct lb_wanted *w = e->value;
        if (can_be_loaded(w) && !lb_wanted_is_loaded(lb, w)) {
            return 0;
        }
        loaded += (size_t)can_be_loaded(w);
    }
    return lb->has_stat && loaded == lb->stat.proxies.len;
}

int lb_process_settle(struct lb *lb, struct error *error)
{
    char words[250];

    if (is_loaded(lb)) {
        lb->reload_usec = 0;
        lb->problem[0] = '\0';
        return remove_files(lb, keep_but_stale, error);
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
        return failed(rc, error, "stop", "haproxy");
    }
    kill_workers(lb);
    forget_daemon(lb);
    lb->reload_usec = 0;
    return 0;
}

int lb_process_remove(struct lb *lb, struct error *error)
{
    int rc = lb_process_stop(lb, error);

    rc = rc < 0 ? rc : remove_files(lb, NULL, error);
    if (rc == 0 && rmdir(lb->folder) < 0 && errno != ENOENT) {
        rc = failed(-errno, error, "remove", lb->folder);
    }
    lb->problem[0] = '\0';
    return rc;
}
