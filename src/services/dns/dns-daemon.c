/* dns-daemon.c - our dnsmasq. All of its state is files, so a restart loses nothing:
 *
 *     RUN/dns/hosts/00 … 3f        names, read again when they are replaced
 *     RUN/dns/upstreams            whom it asks for other names, read again likewise
 *     RUN/dns/dnsmasq-<hash>.conf  the rest; by its name the process says which one it has read */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/reconcile.h"
#include "lib/fault.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/dns/dns-driver.h"

enum {
    CONF_SIZE_MAX = 64 << 20,
    ANSWER_MSEC = 300,
    START_MSEC = 1000,
    END_MSEC = 500,
    UNANSWERED_MAX = 3,
    SAVE_TICKS = 60,
    LOG_SIZE_MAX = 1 << 20,
};

#define CONF_BEGIN "dnsmasq-"

static int failed(int rc, struct error *error, const char *what, const char *path)
{
    return rc < 0 ? error_set(error, 500, NULL, "cannot %s %s: %s", what, path, strerror(-rc)) : 0;
}

static void set_state(struct dns *d, enum dns_state state, const char *message)
{
    d->state = state;
    snprintf(d->message, sizeof d->message, "%.299s", message);
}

/* --- files --- */

/* dnsmasq reads whatever appears in the hosts' folder, so what is half written stands elsewhere.
 */
static int write_file(struct dns *d, const char *path, const char *text, struct error *error)
{
    _cleanup_free_ char *fresh = xasprintf("%s/new", d->folder);
    int rc = fault_point();

    rc = rc < 0 ? rc : file_write_atomic(fresh, text ? text : "", text ? strlen(text) : 0, 0644);
    if (rc == 0 && rename(fresh, path) < 0) {
        rc = -errno;
    }
    return failed(rc, error, "write", path);
}

static int file_is(const char *path, const char *text)
{
    _cleanup_buf_ struct buf there = BUF_INIT(DNS_FILE_SIZE_MAX);

    return file_read(path, &there) == 0 &&
           strcmp(there.data ? there.data : "", text ? text : "") == 0;
}

static char *hosts_path(const struct dns *d, size_t file)
{
    return xasprintf("%s/%02zx", d->hosts, file);
}

/* Marks those that aren't as they must be. */
static void look_at_hosts(struct dns *d)
{
    for (size_t i = 0; i < DNS_FILES; i++) {
        _cleanup_buf_ struct buf text = BUF_INIT(DNS_FILE_SIZE_MAX);
        _cleanup_free_ char *path = hosts_path(d, i);
        dns_set_write_file(&d->set, i, &text);
        d->set.changed[i] = !file_is(path, text.data);
    }
}

static int write_hosts(struct dns *d, struct error *error)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < DNS_FILES; i++) {
        _cleanup_buf_ struct buf text = BUF_INIT(DNS_FILE_SIZE_MAX);
        _cleanup_free_ char *path = hosts_path(d, i);
        if (!d->set.changed[i]) {
            continue;
        }
        dns_set_write_file(&d->set, i, &text);
        if (!file_is(path, text.data)) {
            rc = write_file(d, path, text.data, error);
            d->files_dirty = 1;
        }
        d->set.changed[i] = rc < 0;
    }
    return rc;
}

/* The caller frees it. */
static char *upstreams_text(struct dns *d)
{
    struct buf text = BUF_INIT(4096);
    json_t *one;
    size_t i;

    buf_append(&text, "", 0);
    if (json_array_size(d->upstreams) == 0) {
        resolver_upstreams(d->resolver, &text);
    }
    json_array_foreach (d->upstreams, i, one) {
        buf_printf(&text, "nameserver %s\n", json_string_value(one));
    }
    return text.data ? text.data : xstrdup("");
}

/* Some other programs' user: whose it is otherwise doesn't matter, files are all it has. */
static const char *user(void)
{
    return getpwnam("dnsmasq") ? "dnsmasq" : getpwnam("nobody") ? "nobody" : "root";
}

/* The caller frees it. */
static char *conf_text(struct dns *d)
{
    struct buf text = BUF_INIT(CONF_SIZE_MAX);

    buf_printf(&text,
               "# Made by cnsmo-agent.\nport=%d\nuser=%s\nlisten-address=" DNS_ADDRESS
               "\nlisten-address=%s\nbind-dynamic\nno-hosts\ndomain-needed\ncache-size=10000\n"
               "dns-forward-max=1000\nresolv-file=%s\nhostsdir=%s\nlocal=/%s/\n",
               DNS_PORT, user(), d->address, d->upstreams_path, d->hosts, d->set.domain);
    dns_set_write_special(&d->set, &text);
    return text.data;
}

static char *conf_path(const struct dns *d, const char *text)
{
    char hex[SHA256_HEX_SIZE];

    return xasprintf("%s/" CONF_BEGIN "%.16s.conf", d->folder, hash_text_hex(text, hex));
}

/* Configurations that aren't this one; NULL: all. */
static int remove_confs(struct dns *d, const char *but, struct error *error)
{
    DIR *folder = opendir(d->folder);
    int rc = 0;

    for (struct dirent *e; folder && rc == 0 && (e = readdir(folder));) {
        _cleanup_free_ char *path = xasprintf("%s/%s", d->folder, e->d_name);
        if (strncmp(e->d_name, CONF_BEGIN, strlen(CONF_BEGIN)) == 0 &&
            (!but || strcmp(path, but) != 0)) {
            rc = fault_point();
            rc = rc == 0 && unlink(path) < 0 ? -errno : rc;
            failed(rc, error, "delete", path);
        }
    }
    if (folder) {
        closedir(folder);
    }
    return rc;
}

/* --- its life --- */

/* It has read what was written before when it answers. */
static int barrier(struct dns *d, unsigned timeout_msec)
{
    int rc = dns_query_barrier(timeout_msec);

    d->asked += rc == 0;
    return rc;
}

struct arguments {
    char *conf;
    const char *argv[6];
};

static void make_arguments(struct dns *d, const char *text, struct arguments *ret_arguments)
{
    _cleanup_free_ char *path = conf_path(d, text);

    *ret_arguments = (struct arguments){.conf = xasprintf("--conf-file=%s", path)};
    const char *const argv[] = {"dnsmasq",    "--keep-in-foreground", "--log-facility=-",
                                "--pid-file", ret_arguments->conf,    NULL};
    memcpy(ret_arguments->argv, argv, sizeof argv);
}

static void close_socket(struct dns *d)
{
    if (d->socket >= 0) {
        close(d->socket);
    }
    d->socket = -1;
}

static void take_daemon(struct dns *d)
{
    if (!d->running) {
        d->running = 1;
        d->unanswered = 0;
        close_socket(d);
        counts_turn(d, children_pid(d->children, DNS_CHILD));
    }
}

static void lose_daemon(struct dns *d)
{
    d->running = 0;
    close_socket(d);
}

static char *log_path(const struct dns *d)
{
    return xasprintf("%s/" DNS_CHILD ".log", d->env->log_dir);
}

/* The last line that it logged since we started it. */
static void last_words(const struct dns *d, char *words, size_t size)
{
    _cleanup_free_ char *path = log_path(d);
    char line[300];
    FILE *log = fopen(path, "re");

    words[0] = '\0';
    if (log && fseek(log, d->log_size, SEEK_SET) == 0) {
        while (fgets(line, sizeof line, log)) {
            line[strcspn(line, "\n")] = '\0';
            const char *text = strstr(line, ": ");
            if (*line) {
                snprintf(words, size, "%.*s", (int)size - 1, text ? text + 2 : line);
            }
        }
    }
    if (log) {
        fclose(log);
    }
}

static void on_ended(void *arg, const char *name, int status)
{
    struct dns *d = arg;
    char words[200] = "", message[280];

    if (d->log_size >= 0) {
        last_words(d, words, sizeof words);
    }
    lose_daemon(d);
    snprintf(message, sizeof message, "dnsmasq ended%s%s", words[0] ? ": " : "", words);
    set_state(d, DNS_FAILED, message);
    reconcile_wake(d->env->reconcile);
}

/* 1: it runs with these arguments, 0: with others, -ESRCH: it doesn't. */
static int look(struct dns *d, const char *const *argv)
{
    int rc = children_adopt(d->children, DNS_CHILD, argv, on_ended, d);

    if (rc >= 0) {
        take_daemon(d);
    } else {
        lose_daemon(d);
    }
    return rc;
}

/* Who has the port of this address, or of all, as `ss` tells it; "" if that isn't known. Others
 * (systemd-resolved, say) may have the same port of another address. */
static void who_has_port(const char *address, int udp, char *name, size_t size)
{
    _cleanup_buf_ struct buf out = BUF_INIT(64 << 10);
    _cleanup_free_ char *which = xasprintf("src %s:%d or src 0.0.0.0:%d or src [::]:%d", address,
                                           DNS_PORT, DNS_PORT, DNS_PORT);
    const char *const argv[] = {"ss", udp ? "-Hlnup" : "-Hlntp", which, NULL};
    struct spawn spawn = {.argv = argv, .out = &out};

    name[0] = '\0';
    if (spawn_run(&spawn) == 0 && out.data) {
        const char *users = strstr(out.data, "users:((\"");
        if (users) {
            users += strlen("users:((\"");
            snprintf(name, size, "%.*s", (int)strcspn(users, "\""), users);
        }
    }
}

static int is_taken(int type, const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(DNS_PORT)};
    _cleanup_close_ int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    int on = 1;

    inet_pton(AF_INET, text, &address.sin_addr);
    if (type == SOCK_STREAM) { /* closed connections don't count */
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    }
    return fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) < 0 &&
           errno == EADDRINUSE;
}

static int check_port(const struct dns *d, struct error *error)
{
    const char *const addresses[] = {DNS_ADDRESS, d->address};
    char name[40];

    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        int udp = is_taken(SOCK_DGRAM, addresses[i]);
        if (udp || is_taken(SOCK_STREAM, addresses[i])) {
            who_has_port(addresses[i], udp, name, sizeof name);
            return error_set(error, 409, NULL, "%s port %d of %s is taken by %s",
                             udp ? "UDP" : "TCP", DNS_PORT, addresses[i],
                             *name ? name : "another program");
        }
    }
    return 0;
}

static int start(struct dns *d, const char *text, const char *const *argv, struct error *error)
{
    _cleanup_free_ char *path = conf_path(d, text), *log = log_path(d);
    struct stat status;
    int rc = check_port(d, error);

    rc = rc < 0 ? rc : write_file(d, path, text, error);
    if (rc < 0) {
        return rc;
    }
    d->log_size = stat(log, &status) == 0 ? status.st_size : 0;
    rc = children_ensure(d->children, DNS_CHILD, argv, on_ended, d, error);
    if (rc == -ENOENT) {
        return error_set(error, 500, NULL,
                         "the program dnsmasq is missing: install the package dnsmasq-base");
    }
    if (rc >= 0) {
        take_daemon(d);
        set_state(d, DNS_STARTING, "dnsmasq is starting");
    }
    return rc < 0 ? rc : barrier(d, START_MSEC);
}

static int end(struct dns *d, int is_hung, struct error *error)
{
    int rc = children_stop(d->children, DNS_CHILD, is_hung ? 0 : END_MSEC);

    if (rc == 0) {
        lose_daemon(d);
    }
    return failed(rc, error, "stop", "dnsmasq");
}

/* --- for the backend --- */

static int is_hung(const struct dns *d)
{
    return d->running && d->unanswered >= UNANSWERED_MAX;
}

int daemon_observe(struct dns *d, struct error *error)
{
    static const char *const NONE[] = {"", NULL};

    look(d, NONE);
    look_at_hosts(d);
    return 0;
}

int daemon_present(const struct dns *d)
{
    return d->running || access(d->folder, F_OK) == 0;
}

static int hosts_match(const struct dns *d)
{
    for (size_t i = 0; i < DNS_FILES; i++) {
        if (d->set.changed[i]) {
            return 0;
        }
    }
    return !d->files_dirty;
}

int daemon_matches(struct dns *d)
{
    _cleanup_free_ char *text = conf_text(d), *upstreams = upstreams_text(d),
                        *path = conf_path(d, text);
    struct arguments arguments;

    make_arguments(d, text, &arguments);
    int same = look(d, arguments.argv) == 1 && !is_hung(d) && hosts_match(d) &&
               file_is(d->upstreams_path, upstreams) && file_is(path, text);
    free(arguments.conf);
    if (same && d->state != DNS_RUNNING && d->state != DNS_HUNG) {
        same = barrier(d, ANSWER_MSEC) == 0; /* left by an earlier agent: is it well? */
        if (same) {
            set_state(d, DNS_RUNNING, "");
        } else {
            d->unanswered = UNANSWERED_MAX;
            set_state(d, DNS_HUNG, "dnsmasq doesn't answer");
        }
    }
    return same && d->state == DNS_RUNNING;
}

static int write_files(struct dns *d, struct error *error)
{
    _cleanup_free_ char *upstreams = upstreams_text(d);
    int rc = fault_point();

    rc = rc < 0 ? rc : file_make_folder(d->hosts, 0755);
    rc = failed(rc, error, "make", d->hosts);
    rc = rc < 0 ? rc : write_hosts(d, error);
    if (rc == 0 && !file_is(d->upstreams_path, upstreams)) {
        rc = write_file(d, d->upstreams_path, upstreams, error);
    }
    return rc;
}

/* Runs it with this configuration, and waits until it has read all that was written. */
static int run(struct dns *d, const char *text, struct error *error)
{
    struct arguments arguments;
    _cleanup_free_ char *path = conf_path(d, text);

    make_arguments(d, text, &arguments);
    int same = look(d, arguments.argv), rc = 0;
    if (same == 1 && !is_hung(d) && file_is(path, text)) {
        rc = barrier(d, ANSWER_MSEC);
        d->unanswered = rc == -ETIMEDOUT ? UNANSWERED_MAX : d->unanswered;
    } else {
        rc = same >= 0 ? end(d, is_hung(d), error) : 0;
        rc = rc < 0 ? rc : start(d, text, arguments.argv, error);
    }
    rc = rc < 0 ? rc : remove_confs(d, path, error);
    free(arguments.conf);
    return rc;
}

int daemon_apply(struct dns *d, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    struct error why = {0};
    int rc = write_files(d, &why);

    if (rc == 0) {
        text = conf_text(d);
        rc = run(d, text, &why);
    }
    if (rc == -ETIMEDOUT || rc == -ECONNREFUSED) {
        return -EAGAIN; /* its end, or its silence, is told by the loop */
    }
    if (rc < 0) {
        set_state(d, DNS_FAILED, why.detail);
        *error = why;
        return rc;
    }
    d->files_dirty = 0;
    d->unanswered = 0;
    set_state(d, DNS_RUNNING, "");
    return 0;
}

static int remove_hosts(struct dns *d, struct error *error)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < DNS_FILES; i++) {
        _cleanup_free_ char *path = hosts_path(d, i);
        rc = fault_point();
        if (rc == 0 && unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR) {
            rc = -errno;
        }
        failed(rc, error, "delete", path);
        d->set.changed[i] = 1;
    }
    rmdir(d->hosts);
    return rc;
}

int daemon_remove(struct dns *d, struct error *error)
{
    _cleanup_free_ char *fresh = xasprintf("%s/new", d->folder);
    int rc = end(d, is_hung(d), error);

    rc = rc < 0 ? rc : remove_hosts(d, error);
    rc = rc < 0 ? rc : remove_confs(d, NULL, error);
    if (rc == 0) {
        unlink(fresh);
        unlink(d->upstreams_path);
        unlink(d->held_path);
        rmdir(d->folder);
        unlink(d->counts_path);
        set_state(d, DNS_OFF, "");
    }
    return rc;
}

/* --- is it well --- */

static void take_answers(struct dns *d)
{
    uint8_t packet[DNS_REPLY_SIZE];
    char text[DNS_TEXT_SIZE], *end;
    ssize_t size;

    while (d->socket >= 0 && (size = recv(d->socket, packet, sizeof packet, 0)) > 0) {
        int number = dns_reply_number(packet, (size_t)size);
        if (number < 1 || number > 2 || dns_reply_text(packet, (size_t)size, text) < 0) {
            continue;
        }
        uint64_t value = strtoull(text, &end, 10);
        if (*text && !*end && value >= d->seen[number - 1]) {
            d->seen[number - 1] = value;
            d->own = number == 1 ? d->asked_before : d->own;
        }
        d->unanswered = 0;
    }
}

static void ask(struct dns *d)
{
    static const char *const NAMES[] = {"hits.bind", "misses.bind"};
    uint8_t packet[DNS_QUERY_SIZE];

    d->socket = d->socket >= 0 ? d->socket : dns_query_socket();
    d->asked_before = d->asked;
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        size_t size = dns_query_make(packet, (uint16_t)(i + 1), NAMES[i]);
        if (d->socket >= 0 && send(d->socket, packet, size, 0) > 0) {
            d->asked++;
        }
    }
    d->unanswered++;
}

/* It tells of each file that it reads, so of each change: appended to, for ever. */
static void bound_log(struct dns *d)
{
    _cleanup_free_ char *path = log_path(d);
    struct stat status;

    if (stat(path, &status) == 0 && status.st_size > LOG_SIZE_MAX && truncate(path, 0) == 0 &&
        d->log_size > 0) {
        d->log_size = 0;
    }
}

void daemon_tick(struct dns *d)
{
    if (!d->running) {
        return;
    }
    take_answers(d);
    if (d->state == DNS_HUNG && d->unanswered == 0) {
        set_state(d, DNS_RUNNING, "");
    } else if (is_hung(d)) {
        set_state(d, DNS_HUNG, "dnsmasq doesn't answer");
        reconcile_wake(d->env->reconcile);
    }
    counts_tell(d);
    ask(d);
    if (++d->ticks % SAVE_TICKS == 0) {
        counts_save(d);
        bound_log(d);
    }
}
