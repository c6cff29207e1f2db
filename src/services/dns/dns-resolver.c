#include "services/dns/dns-resolver.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fault.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "lib/spawn.h"
#include "services/dns/dns-query.h"

enum {
    FILE_SIZE_MAX = 64 << 10,
    UPSTREAMS_MAX = 8,
};

#define CONF "/etc/resolv.conf"
#define RECORD "cnsmo.dns" /* resolvconf's name of ours */
#define RESOLVED_FOLDER "/run/systemd/resolve"

static const char FILE_WAY[] = CONF, RESOLVED_WAY[] = "systemd-resolved",
                  RESOLVCONF_WAY[] = "resolvconf";

struct resolver {
    char *folder, *mark_path;
    json_t *mark;        /* what was done, and what to put back; NULL: nothing */
    char path[PATH_MAX]; /* CONF without links */
    char *watched_folder;
    char *text; /* of it, as last read */
    int exists;
};

static int failed(int rc, struct error *error, const char *what, const char *path)
{
    return rc < 0 ? error_set(error, 500, NULL, "cannot %s %s: %s", what, path, strerror(-rc)) : 0;
}

struct resolver *resolver_new(const char *state_dir)
{
    struct resolver *r = xnew(struct resolver);

    r->folder = xasprintf("%s/dns", state_dir);
    r->mark_path = xasprintf("%s/resolver.json", r->folder);
    r->text = xstrdup("");
    return r;
}

struct resolver *resolver_free(struct resolver *r)
{
    if (r) {
        json_decref(r->mark);
        free(r->folder);
        free(r->mark_path);
        free(r->watched_folder);
        free(r->text);
        free(r);
    }
    return NULL;
}

/* --- how it is --- */

/* NULL: there is none. The caller frees it. */
static char *read_text(const char *path, int *ret_rc)
{
    struct buf text = BUF_INIT(FILE_SIZE_MAX);
    int rc = file_read(path, &text);

    if (rc == 0) {
        buf_append(&text, "", 0);
    }
    *ret_rc = rc == -ENOENT || rc == -ENOTDIR ? 0 : rc;
    if (rc < 0) {
        buf_done(&text);
        return NULL;
    }
    return text.data ? text.data : xstrdup("");
}

/* Links are followed, so that they stay; one that leads nowhere yet leads to where it says. */
static void find_path(struct resolver *r)
{
    char *resolved = realpath(CONF, NULL), target[PATH_MAX];
    ssize_t size;

    if (resolved) {
        snprintf(r->path, sizeof r->path, "%s", resolved);
        free(resolved);
    } else if ((size = readlink(CONF, target, sizeof target - 1)) > 0) {
        target[size] = '\0';
        snprintf(r->path, sizeof r->path, "%s%.4000s", target[0] == '/' ? "" : "/etc/", target);
    } else {
        snprintf(r->path, sizeof r->path, "%s", CONF);
    }
    free(r->watched_folder);
    r->watched_folder = xstrdup(r->path);
    *strrchr(r->watched_folder, '/') = '\0';
}

static int read_conf(struct resolver *r)
{
    int rc;
    char *text = read_text(r->path, &rc);

    free(r->text);
    r->exists = text != NULL;
    r->text = text ? text : xstrdup("");
    return rc;
}

static int load_mark(struct resolver *r)
{
    struct error error;
    int rc;
    _cleanup_free_ char *text = read_text(r->mark_path, &rc);

    json_decref(r->mark);
    r->mark = NULL;
    if (text && json_parse(text, strlen(text), &r->mark, &error) < 0) {
        r->mark = NULL; /* cut short by a crash before anything was changed: it is written first */
    }
    return rc;
}

int resolver_observe(struct resolver *r, struct error *error)
{
    find_path(r);
    int rc = failed(read_conf(r), error, "read", r->path);
    return rc < 0 ? rc : failed(load_mark(r), error, "read", r->mark_path);
}

/* What the machine had without us; the caller frees it. Where it got lost, whom it asked still
 * stands in ours. */
static char *kept_text(const struct resolver *r)
{
    struct buf out = BUF_INIT(FILE_SIZE_MAX);

    if (r->mark) {
        return xstrdup(json_get_string(r->mark, "text", ""));
    }
    if (!resolver_is_ours(r->text)) {
        return xstrdup(r->text);
    }
    buf_append(&out, "", 0);
    resolver_nameservers(r->text, UPSTREAMS_MAX, &out);
    return out.data ? out.data : xstrdup("");
}

static const char *way_of(const struct resolver *r)
{
    return json_get_string(r->mark, "way", "");
}

static int has_program(const char *name)
{
    const char *const folders[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                   "/usr/bin",        "/sbin",          "/bin"};

    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", folders[i], name);
        if (access(path, X_OK) == 0) {
            return 1;
        }
    }
    return 0;
}

/* By who has written the file. */
static const char *choose_way(const struct resolver *r)
{
    if (strstr(r->text, "nameserver 127.0.0.53") && access(RESOLVED_FOLDER, F_OK) == 0 &&
        has_program("resolvectl")) {
        return RESOLVED_WAY;
    }
    if ((strncmp(r->path, "/run/resolvconf/", 16) == 0 || strstr(r->text, "by resolvconf")) &&
        has_program("resolvconf")) {
        return RESOLVCONF_WAY;
    }
    return FILE_WAY;
}

int resolver_present(const struct resolver *r)
{
    return r->mark != NULL || resolver_is_ours(r->text);
}

/* The caller frees it. */
static char *wanted_text(const struct resolver *r, const char *domain)
{
    struct buf out = BUF_INIT(2 * FILE_SIZE_MAX);

    resolver_rewrite(json_get_string(r->mark, "text", ""), domain, &out);
    return out.data;
}

static int is_marked(const struct resolver *r, const struct resolver_spec *spec)
{
    return strcmp(json_get_string(r->mark, "domain", ""), spec->domain) == 0 &&
           strcmp(json_get_string(r->mark, "device", ""), spec->device) == 0 &&
           json_get_integer(r->mark, "index", -1) == spec->device_index;
}

int resolver_matches(const struct resolver *r, const struct resolver_spec *spec)
{
    const char *way = way_of(r);

    if (strcmp(way, FILE_WAY) == 0) {
        _cleanup_free_ char *text = wanted_text(r, spec->domain);
        return strcmp(text, r->text) == 0;
    }
    if (strcmp(way, RESOLVCONF_WAY) == 0) {
        return strcmp(json_get_string(r->mark, "domain", ""), spec->domain) == 0;
    }
    /* Without the device there is nothing to tell resolved. */
    return strcmp(way, RESOLVED_WAY) == 0 && (!*spec->device || is_marked(r, spec));
}

int resolver_drifted(const struct resolver *r)
{
    int rc;
    _cleanup_free_ char *text =
        strcmp(way_of(r), FILE_WAY) == 0 ? read_text(r->path, &rc) : xstrdup(r->text);

    return !text || strcmp(text, r->text) != 0;
}

const char *resolver_folder(const struct resolver *r)
{
    return r->watched_folder;
}

const char *resolver_file(const struct resolver *r)
{
    return strrchr(r->path, '/') + 1;
}

const char *resolver_way(const struct resolver *r)
{
    return way_of(r);
}

/* --- changing it --- */

/* Written before what it tells of is changed: what is to be put back is never lost. */
static int save_mark(struct resolver *r, json_t *mark, struct error *error)
{
    _cleanup_free_ char *text = json_canonical(mark);

    json_decref(r->mark);
    r->mark = mark;
    int rc = fault_point();
    rc = rc < 0 ? rc : file_make_folder(r->folder, 0700);
    rc = rc < 0 ? rc : file_write_atomic(r->mark_path, text, strlen(text), 0600);
    return failed(rc, error, "write", r->mark_path);
}

static int drop_mark(struct resolver *r, struct error *error)
{
    int rc = fault_point();

    if (rc == 0 && unlink(r->mark_path) < 0 && errno != ENOENT) {
        rc = -errno;
    }
    if (rc == 0) {
        json_decref(r->mark);
        r->mark = NULL;
    }
    return failed(rc, error, "delete", r->mark_path);
}

/* A file that is mounted over, as containers have it, can't be replaced. */
static int write_in_place(const char *path, const char *text)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC | O_TRUNC);
    size_t size = strlen(text);

    if (fd < 0) {
        return -errno;
    }
    ssize_t written = write(fd, text, size);
    return written < 0 ? -errno : (size_t)written < size ? -ENOSPC : 0;
}

static int write_conf(struct resolver *r, const char *text, mode_t mode, struct error *error)
{
    int rc = fault_point();

    rc = rc < 0 ? rc : file_write_atomic(r->path, text, strlen(text), mode);
    if (rc == -EBUSY) {
        rc = write_in_place(r->path, text);
    }
    if (rc == 0) {
        free(r->text);
        r->text = xstrdup(text);
        r->exists = 1;
    }
    return failed(rc, error, "write", r->path);
}

static json_int_t mode_of(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 ? (json_int_t)(status.st_mode & 0777) : 0644;
}

/* What is there, unless we have written it: then what is kept stays so. */
static int apply_file(struct resolver *r, const struct resolver_spec *spec, struct error *error)
{
    int rc = 0;

    if (!r->mark || !resolver_is_ours(r->text)) {
        _cleanup_free_ char *text = resolver_is_ours(r->text) ? kept_text(r) : xstrdup(r->text);
        rc = save_mark(r,
                       json_pack("{s:s, s:s, s:b, s:I}", "way", FILE_WAY, "text", text, "exists",
                                 r->exists, "mode", mode_of(r->path)),
                       error);
    }
    if (rc < 0) {
        return rc;
    }
    _cleanup_free_ char *text = wanted_text(r, spec->domain);
    return strcmp(text, r->text) == 0
               ? 0
               : write_conf(r, text, (mode_t)json_get_integer(r->mark, "mode", 0644), error);
}

static json_t *mark_of(const char *way, const struct resolver_spec *spec, const char *text)
{
    return json_pack("{s:s, s:s, s:s, s:i, s:s}", "way", way, "domain", spec->domain, "device",
                     spec->device, "index", spec->device_index, "text", text);
}

static int apply_resolvconf(struct resolver *r, const struct resolver_spec *spec,
                            struct error *error)
{
    _cleanup_free_ char *before =
        xstrdup(r->mark ? json_get_string(r->mark, "text", "") : r->text);
    _cleanup_free_ char *record =
        xasprintf("nameserver " DNS_ADDRESS "\nsearch %s\n", spec->domain);
    const char *const argv[] = {"resolvconf", "-a", RECORD, NULL};
    struct spawn spawn = {.argv = argv, .input = record, .input_size = strlen(record)};
    int rc = r->mark ? 0 : save_mark(r, mark_of(RESOLVCONF_WAY, spec, before), error);

    rc = rc < 0 ? rc : spawn_check(&spawn, error);
    return rc < 0 ? rc : save_mark(r, mark_of(RESOLVCONF_WAY, spec, before), error);
}

/* The domain, and the way from addresses back to names, go to us (who pass on what isn't ours);
 * all else stays where it was. */
static int apply_resolved(struct resolver *r, const struct resolver_spec *spec,
                          struct error *error)
{
    const char *const dns[] = {"resolvectl", "dns", spec->device, DNS_ADDRESS, NULL};
    const char *const domain[] = {"resolvectl", "domain",        spec->device,
                                  spec->domain, "~in-addr.arpa", NULL};
    /* Without this resolved would ask us for everything, since the domain is also searched. */
    const char *const others[] = {"resolvectl", "default-route", spec->device, "no", NULL};
    const char *const *const commands[] = {dns, domain, others};

    if (!*spec->device) {
        return r->mark ? 0 : -EAGAIN; /* the overlay's device comes in a moment */
    }
    json_t *unfinished = mark_of(RESOLVED_WAY, spec, "");
    json_object_set_new(unfinished, "index", json_integer(0));
    int rc = save_mark(r, unfinished, error);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(commands); i++) {
        rc = spawn_check(&(struct spawn){.argv = commands[i]}, error);
    }
    return rc < 0 ? rc : save_mark(r, mark_of(RESOLVED_WAY, spec, ""), error);
}

int resolver_apply(struct resolver *r, const struct resolver_spec *spec, struct error *error)
{
    const char *way = *way_of(r) ? way_of(r) : choose_way(r);

    if (strcmp(way, RESOLVED_WAY) == 0) {
        return apply_resolved(r, spec, error);
    }
    return strcmp(way, RESOLVCONF_WAY) == 0 ? apply_resolvconf(r, spec, error)
                                            : apply_file(r, spec, error);
}

/* --- putting it back --- */

static int restore_file(struct resolver *r, struct error *error)
{
    if (!resolver_is_ours(r->text)) {
        return 0; /* somebody else's by now */
    }
    if (json_get_bool(r->mark, "exists", 1)) {
        _cleanup_free_ char *text = kept_text(r);
        return write_conf(r, text, (mode_t)json_get_integer(r->mark, "mode", 0644), error);
    }
    int rc = fault_point();
    if (rc == 0 && unlink(r->path) < 0 && errno != ENOENT) {
        rc = -errno;
    }
    if (rc == 0) {
        read_conf(r);
    }
    return failed(rc, error, "delete", r->path);
}

/* A device that is gone has taken its settings along. */
static int restore_resolved(struct resolver *r, struct error *error)
{
    const char *device = json_get_string(r->mark, "device", "");
    const char *const argv[] = {"resolvectl", "revert", device, NULL};
    _cleanup_free_ char *path = xasprintf("/sys/class/net/%s", device);
    struct spawn spawn = {.argv = argv};

    return *device && access(path, F_OK) == 0 ? spawn_check(&spawn, error) : 0;
}

int resolver_restore(struct resolver *r, struct error *error)
{
    const char *const argv[] = {"resolvconf", "-d", RECORD, NULL};
    const char *way = way_of(r);
    struct spawn spawn = {.argv = argv};
    int rc;

    if (!resolver_present(r)) {
        return 0;
    }
    if (strcmp(way, RESOLVED_WAY) == 0) {
        rc = restore_resolved(r, error);
    } else if (strcmp(way, RESOLVCONF_WAY) == 0) {
        rc = spawn_check(&spawn, error);
    } else {
        rc = restore_file(r, error);
    }
    rc = rc < 0 ? rc : drop_mark(r, error);
    if (rc == 0) {
        rmdir(r->folder); /* fails while there is something else */
    }
    return rc;
}

/* --- whom it asked --- */

void resolver_upstreams(struct resolver *r, struct buf *out)
{
    int rc;
    _cleanup_free_ char *resolved = strcmp(way_of(r), RESOLVED_WAY) == 0
                                        ? read_text(RESOLVED_FOLDER "/resolv.conf", &rc)
                                        : NULL;
    _cleanup_free_ char *before = resolved ? TAKE(resolved) : kept_text(r);

    resolver_nameservers(before, UPSTREAMS_MAX, out);
}
