/* lb-files.c - what lies in RUN/lb: the configuration, which HAProxy must have accepted before it
 * is used; certificates, whose names say what is in them; and what the next worker is told of
 * servers.
 */
#include <dirent.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "lib/fault.h"
#include "lib/file.h"
#include "lib/mem.h"
#include "services/lb/lb-driver.h"

enum {
    NOBODY = 65534,
    SIGNALLED = 128, /* spawn.h */
};

/* --- files --- */

int lb_failed(int rc, struct error *error, const char *what, const char *path)
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
    return lb_failed(rc, error, "write", path);
}

int lb_files_present(const struct lb *lb)
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
        rc = rc < 0 ? rc : lb_failed(one, error, "remove", path);
    }
    if (folder) {
        closedir(folder);
    }
    return rc;
}

const char *lb_words_of(const char *line)
{
    const char *at = strstr(line, " : ");

    return at ? at + 3 : line;
}

/* --- the configuration --- */

static void find_user(struct lb_paths *paths)
{
    const struct passwd *user = getpwnam("haproxy");

    paths->uid = user ? user->pw_uid : NOBODY;
    paths->gid = user ? user->pw_gid : NOBODY;
}

int lb_can_be_loaded(const struct lb_wanted *w)
{
    return w->is_refused ? w->has_fallback : !w->problem[0];
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
        if (only ? w == only : lb_can_be_loaded(w)) {
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
        return error_set(error, 501, NULL, LB_MISSING);
    }
    if (rc <= 0) {
        return lb_failed(rc, error, "run", "haproxy -c");
    }
    if (rc > SIGNALLED) { /* out of memory, say: that says nothing of the configuration */
        return error_set(error, 500, NULL, "haproxy -c was killed by signal %d", rc - SIGNALLED);
    }
    const char *alert = words.data ? strstr(words.data, "[ALERT]") : NULL;
    const char *line = lb_words_of(alert ? alert : words.data ? words.data : "");
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
        if (lb_can_be_loaded(w) && !lb_wanted_is_loaded(lb, w) &&
            write_and_check(lb, w, &error) == -EINVAL) {
            lb_wanted_refuse(w, error.detail);
            found = 1;
        }
    }
    return found;
}

int lb_files_make(struct lb *lb, struct error *error)
{
    _cleanup_free_ char *path = xasprintf("%s.new", lb->config);
    int rc = fault_point();

    rc = rc < 0 ? rc : file_make_folder(lb->folder, 0700);
    rc = rc < 0 ? rc : file_make_folder(lb->chroot, 0755);
    rc = lb_failed(rc, error, "make", lb->folder);
    rc = rc < 0 ? rc : write_certificates(lb, error);
    rc = rc < 0 ? rc : write_and_check(lb, NULL, error);
    if (rc == -EINVAL && find_refused(lb)) {
        /* Who stays as it was may have lost its certificate's file meanwhile. */
        rc = write_certificates(lb, error);
        rc = rc < 0 ? rc : write_and_check(lb, NULL, error);
    }
    if (rc == 0 && rename(path, lb->config) < 0) {
        rc = lb_failed(-errno, error, "write", lb->config);
    }
    return rc;
}

/* --- what the next worker is told --- */

static const char *new_name(void *arg, const char *service)
{
    const struct lb *lb = arg;
    const struct lb_wanted *w = omap_get(&lb->wanted, service);

    return w ? w->proxy : NULL;
}

/* Who was down is down for the next worker, from its first moment on. */
int lb_files_write_servers(struct lb *lb, struct error *error)
{
    _cleanup_free_ char *text = NULL;

    if (lb->is_running && lb->stat.servers_text) {
        text = lb_stat_renamed(lb->stat.servers_text, new_name, lb);
    }
    return write_text(lb->state, text && *text ? text : "1\n", error);
}

/* --- tidying up --- */

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

int lb_files_sweep(struct lb *lb, struct error *error)
{
    return remove_files(lb, keep_but_stale, error);
}

int lb_files_remove(struct lb *lb, struct error *error)
{
    int rc = remove_files(lb, NULL, error);

    if (rc == 0 && rmdir(lb->folder) < 0 && errno != ENOENT) {
        rc = lb_failed(-errno, error, "remove", lb->folder);
    }
    return rc;
}
