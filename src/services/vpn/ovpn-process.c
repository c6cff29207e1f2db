/* The daemon is known by its arguments: --config, and a hash of that file's text. What the text
 * was when it was started so can be told apart from what the file says now. */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "services/vpn/ovpn-internal.h"

enum {
    CONF_SIZE_MAX = 1 << 20,
    LOG_TAIL_SIZE = 4096,
    LOG_SIZE_MAX = 1 << 20,
    END_USEC = 4000000,   /* with explicit-exit-notify it takes two seconds to end */
    ANSWER_USEC = 500000, /* how long an answer is waited for before it is ended */
    HUNG_USEC = 4000000,  /* after it was found hung */
};

/* --- files --- */

int ovpn_failed(int rc, struct error *error, const char *what, const char *path)
{
    if (rc < 0) {
        error_set(error, error_status(rc), NULL, "cannot %s %s: %s", what, path, strerror(-rc));
    }
    return rc;
}

int ovpn_write(const struct ovpn *o, const char *path, const char *text, struct error *error)
{
    int rc = fault_point();

    rc = rc < 0 ? rc : file_make_folder(o->folder, 0700);
    rc = rc < 0 ? rc : file_write_atomic(path, text, strlen(text), 0600);
    return ovpn_failed(rc, error, "write", path);
}

int ovpn_unlink(const char *path, struct error *error)
{
    struct stat status;
    int rc = lstat(path, &status) < 0 ? -errno : fault_point();

    if (rc == 0 && unlink(path) < 0) {
        rc = -errno;
    }
    return rc == -ENOENT ? 0 : ovpn_failed(rc, error, "remove", path);
}

int ovpn_read(const char *path, size_t limit, char **ret_text, struct error *error)
{
    struct buf buf = BUF_INIT(limit);
    int rc = file_read(path, &buf);

    if (rc < 0) {
        buf_done(&buf);
        *ret_text = NULL;
        return rc == -ENOENT ? 0 : ovpn_failed(rc, error, "read", path);
    }
    *ret_text = buf.data ? buf.data : xstrdup("");
    return 0;
}

/* In quotes, as openvpn(8) reads them. */
static void add_path(struct buf *conf, const char *option, const char *path, const char *more)
{
    buf_printf(conf, "%s \"", option);
    for (const char *at = path; *at; at++) {
        buf_printf(conf, *at == '"' || *at == '\\' ? "\\%c" : "%c", *at);
    }
    buf_printf(conf, "\"%s\n", more);
}

static char *configuration(const struct ovpn *o, const struct ovpn_spec *spec)
{
    struct buf conf = BUF_INIT(CONF_SIZE_MAX);

    buf_printf(&conf, "# Made by cnsmo-agent; changes are lost.\n");
    buf_printf(&conf, "dev %s\ndev-type tun\ntopology subnet\n", spec->device);
    buf_printf(&conf, "ifconfig-noexec\nroute-noexec\nscript-security 0\nverb 2\n");
    buf_printf(&conf, "%s", spec->offload ? "" : "disable-dco\n");
    add_path(&conf, "management", o->socket_path, " unix");
    if (spec->server) {
        buf_printf(&conf, "mode server\ntls-server\nmanagement-hold\n");
        add_path(&conf, "client-config-dir", o->members_path, "");
        buf_printf(&conf, "ccd-exclusive\n");
        add_path(&conf, "crl-verify", o->crl_path, "");
    }
    buf_printf(&conf, "%s", spec->text);
    return conf.data;
}

static char *log_path(const struct ovpn *o)
{
    return xasprintf("%s/%s.log", o->env.log_dir, o->name);
}

static const char *const NO_ARGUMENTS[] = {NULL};

struct arguments {
    const char *argv[7]; /* ends with NULL */
    char hash[SHA256_HEX_SIZE];
};

static void make_arguments(const struct ovpn *o, const char *text, struct arguments *ret)
{
    hash_text_hex(text, ret->hash);
    ret->argv[0] = "openvpn";
    ret->argv[1] = "--config";
    ret->argv[2] = o->conf_path;
    ret->argv[3] = "--setenv";
    ret->argv[4] = "CNSMO_CONFIG";
    ret->argv[5] = ret->hash;
}

/* --- state --- */

static void set_state(struct ovpn *o, enum ovpn_state state, const char *message)
{
    o->state = state;
    snprintf(o->message, sizeof o->message, "%s", message);
}

static void tell_changed(const struct ovpn *o, enum ovpn_state before)
{
    if (ovpn_state(o) != before && o->env.changed) {
        o->env.changed(o->env.arg);
    }
}

static void on_state(void *arg, const struct ovpn_state_line *line)
{
    struct ovpn *o = arg;
    enum ovpn_state before = ovpn_state(o);
    char message[150];

    o->peer = line->peer;
    o->adopted = 0;
    if (strcmp(line->name, "CONNECTED") == 0) {
        o->was_connected = 1;
        set_state(o, OVPN_CONNECTED, "");
    } else {
        int again = o->was_connected || o->state == OVPN_RECONNECTING ||
                    strcmp(line->name, "RECONNECTING") == 0;
        o->peer.port = 0;
        snprintf(message, sizeof message, "openvpn says %s%s%s", line->name,
                 line->description[0] ? ": " : "", line->description);
        set_state(o, again ? OVPN_RECONNECTING : OVPN_STARTING, message);
    }
    tell_changed(o, before);
}

/* Everybody who is refused, and a server that is away, make it log for as long as that lasts. */
static void bound_log(struct ovpn *o)
{
    _cleanup_buf_ struct buf text = BUF_INIT(2 * LOG_SIZE_MAX);
    _cleanup_free_ char *path = log_path(o);
    _cleanup_free_ char *older = xasprintf("%s.1", path);
    struct stat status;

    if (stat(path, &status) < 0 || status.st_size < LOG_SIZE_MAX) {
        return;
    }
    if (file_read(path, &text) == 0 && text.data) {
        file_write_atomic(older, text.data, text.size, 0640);
    }
    if (truncate(path, 0) == 0 && o->log_size > 0) {
        o->log_size = 0;
    }
}

static void on_sessions(void *arg, unsigned serial, struct ovpn_session *sessions, size_t len)
{
    struct ovpn *o = arg;

    free(o->sessions);
    o->sessions = sessions;
    o->sessions_len = len;
    o->answered = 1;
    bound_log(o);
    ovpn_revoked_sweep(o);
    ovpn_members_sweep(o, serial);
}

static void on_serial(void *arg, unsigned long id, const char *serial)
{
    ovpn_revoked_note(arg, id, serial);
}

static void on_hung(void *arg, int hung)
{
    struct ovpn *o = arg;
    enum ovpn_state before = ovpn_state(o);

    o->hung_usec = hung ? clock_monotonic_usec() : 0;
    tell_changed(o, before);
}

static const struct management_calls CALLS = {
    .state = on_state, .sessions = on_sessions, .serial = on_serial, .hung = on_hung};

/* It runs: seen for the first time, or started. */
static void take_daemon(struct ovpn *o)
{
    if (!o->running) {
        o->running = 1;
        o->was_connected = o->answered = 0;
        o->seen_usec = clock_monotonic_usec();
        o->management = management_new(o->env.loop, o->socket_path, &CALLS, o);
        set_state(o, OVPN_STARTING, "openvpn is starting");
    }
}

/* It runs no more. */
static void lose_daemon(struct ovpn *o, enum ovpn_state state, const char *message)
{
    o->running = o->adopted = 0;
    o->hung_usec = o->ended_usec = 0;
    o->peer.port = 0;
    o->management = management_free(o->management);
    free(TAKE(o->sessions));
    o->sessions_len = 0;
    ovpn_members_forget_cuts(o);
    omap_clear(&o->serials, free);
    set_state(o, state, message);
}

/* --- its end --- */

/* Without the time at its front, if it has one. */
static const char *skip_time(const char *line)
{
    int day, second, size = 0;

    sscanf(line, "%*4d-%*2d-%2d %*2d:%*2d:%2d %n", &day, &second, &size);
    return line + size;
}

static int says_nothing(const char *line)
{
    return line[0] == '\0' || strcmp(line, "Exiting due to fatal error") == 0 ||
           strncmp(line, "Use --help", strlen("Use --help")) == 0;
}

/* The last line that the daemon logged since we started it, without blame for its end itself. */
static void last_words(const struct ovpn *o, char *text, size_t size)
{
    _cleanup_free_ char *path = log_path(o);
    char tail[LOG_TAIL_SIZE], *rest = tail;
    FILE *log = fopen(path, "re");

    text[0] = '\0';
    if (!log || fseek(log, 0, SEEK_END) < 0) {
        if (log) {
            fclose(log);
        }
        return;
    }
    long end = ftell(log), start = end - (LOG_TAIL_SIZE - 1);
    start = start > o->log_size ? start : o->log_size;
    fseek(log, start, SEEK_SET);
    tail[fread(tail, 1, sizeof tail - 1, log)] = '\0';
    fclose(log);
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (!says_nothing(skip_time(line))) {
            snprintf(text, size, "%s", skip_time(line));
        }
    }
}

static void on_ended(void *arg, const char *name, int status)
{
    struct ovpn *o = arg;
    enum ovpn_state before = ovpn_state(o);
    char words[200] = "", message[280];

    if (o->ended_usec) {
        lose_daemon(o, OVPN_OFF, "");
    } else {
        if (o->log_size >= 0) {
            last_words(o, words, sizeof words);
        }
        snprintf(message, sizeof message, "openvpn ended%s%s", words[0] ? ": " : "", words);
        o->failed = !o->was_connected;
        lose_daemon(o, OVPN_ENDED, message);
    }
    tell_changed(o, before);
}

/* --- looking --- */

struct ovpn *ovpn_new(const struct ovpn_env *env, const char *name)
{
    struct ovpn *o = xnew(struct ovpn);

    o->env = *env;
    o->name = xstrdup(name);
    o->folder = xasprintf("%s/vpn", env->run_dir);
    o->conf_path = xasprintf("%s/%s.conf", o->folder, name);
    o->socket_path = xasprintf("%s/%s.sock", o->folder, name);
    o->crl_path = xasprintf("%s/%s.crl", o->folder, name);
    o->serials_path = xasprintf("%s/%s.serials", o->folder, name);
    o->members_path = xasprintf("%s/%s.d", o->folder, name);
    o->log_size = -1;
    return o;
}

struct ovpn *ovpn_free(struct ovpn *o)
{
    if (!o) {
        return NULL;
    }
    children_adopt(o->env.children, o->name, NO_ARGUMENTS, NULL, NULL);
    management_free(o->management);
    ovpn_members_done(o);
    ovpn_revoked_done(o);
    free(o->sessions);
    free(o->name);
    free(o->folder);
    free(o->conf_path);
    free(o->socket_path);
    free(o->crl_path);
    free(o->members_path);
    free(o->serials_path);
    free(o);
    return NULL;
}

/* 1: it runs with these arguments, 0: with others, -ESRCH: it doesn't run. */
static int look(struct ovpn *o, const char *const *argv)
{
    int rc = children_adopt(o->env.children, o->name, argv, on_ended, o);

    if (rc >= 0) {
        if (!o->running) {
            o->adopted = 1;
            ovpn_revoked_load(o);
        }
        take_daemon(o);
    } else if (o->running) {
        lose_daemon(o, OVPN_OFF, ""); /* its end wasn't seen by the loop yet */
    }
    return rc;
}

int ovpn_observe(struct ovpn *o, struct error *error)
{
    struct stat status;

    look(o, NO_ARGUMENTS);
    o->configured = lstat(o->conf_path, &status) == 0 || lstat(o->socket_path, &status) == 0;
    char *crl = NULL;
    int rc = ovpn_read(o->crl_path, OVPN_CRL_SIZE_MAX, &crl, error);
    if (rc < 0) {
        return rc;
    }
    ovpn_revoked_take(o, crl);
    return ovpn_members_observe(o, error);
}

int ovpn_present(const struct ovpn *o)
{
    return o->running || o->configured;
}

static int file_has(const char *path, const char *text)
{
    _cleanup_free_ char *there = NULL;

    return ovpn_read(path, CONF_SIZE_MAX, &there, NULL) == 0 && there && strcmp(there, text) == 0;
}

int ovpn_runs(struct ovpn *o, const struct ovpn_spec *spec)
{
    _cleanup_free_ char *text = configuration(o, spec);
    struct arguments arguments = {0};

    make_arguments(o, text, &arguments);
    return look(o, arguments.argv) == 1 && !o->ended_usec;
}

int ovpn_matches(struct ovpn *o, const struct ovpn_spec *spec)
{
    _cleanup_free_ char *text = configuration(o, spec);
    struct arguments arguments = {0};

    o->server = spec->server;
    make_arguments(o, text, &arguments);
    int runs = look(o, arguments.argv) == 1 && !o->ended_usec && file_has(o->conf_path, text);
    enum ovpn_state state = ovpn_state(o);
    if (runs && o->adopted && state == OVPN_STARTING) {
        /* It was right when it was left alone, and will say so in a moment; but one that was left
         * before it was released has no device in its hands yet. */
        return !spec->server || spec->moved || ovpn_device_held(spec->device);
    }
    return runs && (state == OVPN_CONNECTED || (!spec->server && state == OVPN_RECONNECTING));
}

/* --- making it so --- */

/* The daemon's own words about this come late and in its log only. */
static int check_port(uint16_t port, struct error *error)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (port && fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) < 0 &&
        errno == EADDRINUSE) {
        return error_set(error, 409, NULL, "UDP port %u is taken by another program", port);
    }
    return 0;
}

static void note_log_size(struct ovpn *o)
{
    _cleanup_free_ char *path = log_path(o);
    struct stat status;

    o->log_size = stat(path, &status) == 0 ? status.st_size : 0;
}

/* What must be on the disk before the daemon reads it. */
static int prepare(struct ovpn *o, const struct ovpn_spec *spec, const char *text,
                   struct error *error)
{
    int rc = check_port(spec->port, error);

    if (rc == 0 && spec->server) {
        rc = fault_point();
        rc = rc < 0 ? rc : file_make_folder(o->members_path, 0700);
        ovpn_failed(rc, error, "make", o->members_path);
    }
    if (rc == 0) {
        rc = ovpn_unlink(o->serials_path, error); /* another daemon's: it numbers sessions anew */
    }
    if (rc == 0 && !file_has(o->conf_path, text)) {
        rc = ovpn_write(o, o->conf_path, text, error);
        o->configured |= rc == 0;
    }
    return rc;
}

static int start(struct ovpn *o, const struct ovpn_spec *spec, const char *text,
                 const char *const *argv, struct error *error)
{
    if (o->failed) {
        o->failed = 0; /* told now; the next call tries again */
        return error_set(error, 500, NULL, "%s", o->message);
    }
    if (spec->server && !o->crl) {
        set_state(o, OVPN_OFF, "there is no list of revoked certificates yet");
        return -EAGAIN;
    }
    int rc = prepare(o, spec, text, error);
    if (rc == 0) {
        note_log_size(o);
        rc = children_ensure(o->env.children, o->name, argv, on_ended, o, error);
        if (rc == -ENOENT) {
            error_set(error, 500, NULL,
                      "the program openvpn is missing: install the package openvpn");
        }
    }
    if (rc < 0) {
        set_state(o, OVPN_ENDED, error->detail);
        return rc;
    }
    take_daemon(o);
    return -EAGAIN;
}

/* Ends one that has other arguments, is on its way out or stays hung. 1: it may stay. */
static int end_wrong(struct ovpn *o, int same, struct error *error)
{
    if (o->hung_usec && clock_monotonic_usec() - o->hung_usec < HUNG_USEC) {
        return -EAGAIN; /* it may come back, and its sessions with it */
    }
    if (same && !o->hung_usec && !o->ended_usec) {
        return 1;
    }
    return ovpn_stop(o, error);
}

int ovpn_apply(struct ovpn *o, const struct ovpn_spec *spec, struct error *error)
{
    _cleanup_free_ char *text = configuration(o, spec);
    struct arguments arguments = {0};

    o->server = spec->server;
    make_arguments(o, text, &arguments);
    int rc = look(o, arguments.argv);
    if (rc >= 0) {
        rc = end_wrong(o, rc, error);
        if (rc < 0) {
            return rc;
        }
    }
    if (rc != 1) {
        return start(o, spec, text, arguments.argv, error);
    }
    if (!file_has(o->conf_path, text)) {
        rc = ovpn_write(o, o->conf_path, text, error);
        if (rc < 0) {
            return rc;
        }
    }
    return ovpn_matches(o, spec) ? 0 : -EAGAIN;
}

/* Asks it to end, which takes two seconds if it tells the other ends. -EALREADY: there are none,
 * so it needn't. */
static int ask_to_end(struct ovpn *o, struct error *error)
{
    int64_t now = clock_monotonic_usec();

    if (!o->answered && now - o->seen_usec < ANSWER_USEC) {
        return -EAGAIN; /* we don't know yet whether there are others */
    }
    if (o->server && o->answered && o->sessions_len == 0) {
        return -EALREADY;
    }
    int rc = children_signal(o->env.children, o->name, SIGTERM);
    if (rc < 0 && rc != -ESRCH) {
        return ovpn_failed(rc, error, "stop", "openvpn");
    }
    o->ended_usec = now;
    return -EAGAIN;
}

int ovpn_stop(struct ovpn *o, struct error *error)
{
    if (look(o, NO_ARGUMENTS) == -ESRCH) {
        return 0;
    }
    if (!o->ended_usec && !o->hung_usec) {
        int rc = ask_to_end(o, error);
        if (rc != -EALREADY) {
            return rc;
        }
    } else if (!o->hung_usec && clock_monotonic_usec() - o->ended_usec < END_USEC) {
        return -EAGAIN;
    }
    int rc = children_stop(o->env.children, o->name, 0);
    if (rc < 0) {
        return ovpn_failed(rc, error, "kill", "openvpn");
    }
    lose_daemon(o, OVPN_OFF, "");
    return 0;
}

int ovpn_remove(struct ovpn *o, struct error *error)
{
    int rc = ovpn_stop(o, error);

    rc = rc < 0 ? rc : ovpn_unlink(o->socket_path, error);
    rc = rc < 0 ? rc : ovpn_unlink(o->serials_path, error);
    rc = rc < 0 ? rc : ovpn_unlink(o->conf_path, error);
    if (rc == 0) {
        o->configured = 0;
        o->failed = 0;
        rmdir(o->members_path);
        rmdir(o->folder); /* fails while there is something else */
        set_state(o, OVPN_OFF, "");
    }
    return rc;
}

/* --- telling --- */

enum ovpn_state ovpn_state(const struct ovpn *o)
{
    return o->running && o->hung_usec ? OVPN_HUNG : o->state;
}

const char *ovpn_message(const struct ovpn *o)
{
    return ovpn_state(o) == OVPN_HUNG ? "openvpn doesn't answer" : o->message;
}

struct ip4_endpoint ovpn_peer(const struct ovpn *o)
{
    return o->peer;
}

const struct ovpn_session *ovpn_sessions(const struct ovpn *o, size_t *ret_len)
{
    *ret_len = o->sessions_len;
    return o->sessions;
}
