#include "core/laws-host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "lib/spawn.h"

enum {
    OUTPUT_MAX = 64 << 20,
    SYSCTL_MAX = 1 << 16,
};

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static _Noreturn void give_up(const char *what, const char *why)
{
    fprintf(stderr, "laws: %s: %s\n", what, why);
    exit(1);
}

void host_do(const char *const *argv)
{
    struct error error;

    if (spawn_check(&(struct spawn){.argv = argv}, &error) < 0) {
        give_up(argv[0], error.detail);
    }
}

/* --- namespaces --- */

static void make_mounts(void)
{
    static const char *const EMPTY[] = {"/run", "/tmp"};

    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("proc", "/proc", "proc", 0, NULL) < 0) {
        give_up("mount", strerror(errno));
    }
    for (size_t i = 0; i < ARRAY_LEN(EMPTY); i++) {
        if (mount("tmpfs", EMPTY[i], "tmpfs", 0, "mode=0755") < 0) {
            give_up(EMPTY[i], strerror(errno));
        }
    }
    if (chdir("/") < 0) { /* as the agent does; where we were may be hidden now */
        give_up("/", strerror(errno));
    }
}

static int wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return -1;
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Process 1 of the namespace: reaps what others leave, and takes everything with it at the end. */
static _Noreturn void be_init(int (*test)(const void *arg), const void *arg)
{
    int status;

    make_mounts();
    pid_t tester = fork();
    if (tester == 0) {
        host_do(ARGV("ip", "link", "set", "lo", "up"));
        /* Link-local addresses come when they like. */
        host_do(ARGV("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1",
                     "net.ipv6.conf.default.disable_ipv6=1"));
        exit(test(arg));
    }
    for (;;) {
        pid_t ended = wait(&status);
        if (ended == tester || (ended < 0 && errno == ECHILD)) {
            _exit(ended == tester && WIFEXITED(status) ? WEXITSTATUS(status) : 1);
        }
    }
}

int host_run(int (*test)(const void *arg), const void *arg)
{
    fflush(NULL);
    pid_t outer = fork();
    if (outer == 0) {
        if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID) < 0) {
            give_up("unshare (root is needed)", strerror(errno));
        }
        pid_t init = fork();
        if (init == 0) {
            be_init(test, arg);
        }
        _exit(wait_for(init) == 0 ? 0 : 1);
    }
    return wait_for(outer) == 0 ? 0 : -1;
}

void host_add_strangers(void)
{
    host_do(ARGV("ip", "link", "add", "stranger0", "type", "bridge"));
    host_do(ARGV("ip", "address", "add", "192.0.2.1/24", "dev", "stranger0"));
    host_do(ARGV("ip", "link", "set", "stranger0", "up"));
    host_do(ARGV("ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.9"));
    host_do(ARGV("ip", "route", "add", "203.0.113.0/24", "dev", "stranger0", "table", "77"));
    host_do(ARGV("ip", "rule", "add", "to", "203.0.113.0/24", "lookup", "77", "pref", "77"));
    host_do(ARGV("nft", "add table inet stranger; add chain inet stranger c { type filter hook "
                        "input priority 0; }; add rule inet stranger c tcp dport 9 counter drop"));
}

/* --- looking --- */

/* What the kernel numbers or counts. */
static int is_volatile(const char *key)
{
    static const char *const KEYS[] = {"ifindex",       "link_index",   "handle", "packets",
                                       "bytes",         "metainfo",     "stats",  "stats64",
                                       "num_tx_queues", "num_rx_queues"};

    for (size_t i = 0; i < ARRAY_LEN(KEYS); i++) {
        if (strcmp(key, KEYS[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

static json_t *without_volatile(const json_t *json)
{
    const char *key;
    json_t *value;
    size_t i;

    if (json_is_array(json)) {
        json_t *copy = json_array();
        json_array_foreach (json, i, value) {
            json_t *element = without_volatile(value);
            if (!json_is_object(element) || json_object_size(element) > 0) {
                json_array_append(copy, element);
            }
            json_decref(element);
        }
        return copy;
    }
    if (!json_is_object(json)) {
        return json_deep_copy(json);
    }
    json_t *copy = json_object();
    json_object_foreach ((json_t *)json, key, value) {
        if (!is_volatile(key)) {
            json_object_set_new(copy, key, without_volatile(value));
        }
    }
    return copy;
}

static json_t *look_with(const char *const *argv)
{
    _cleanup_buf_ struct buf out = BUF_INIT(OUTPUT_MAX);
    struct error error;
    json_error_t where;

    if (spawn_check(&(struct spawn){.argv = argv, .out = &out}, &error) < 0) {
        give_up(argv[0], error.detail);
    }
    json_t *json = out.size > 0 ? json_loadb(out.data, out.size, 0, &where) : json_array();
    if (!json) {
        give_up(argv[0], where.text);
    }
    json_t *clean = without_volatile(json);
    json_decref(json);
    return clean;
}

static void read_sysctls(const char *folder, json_t *sysctls)
{
    DIR *dir = opendir(folder);

    for (struct dirent *entry = dir ? readdir(dir) : NULL; entry; entry = readdir(dir)) {
        _cleanup_free_ char *path = xasprintf("%s/%s", folder, entry->d_name);
        _cleanup_buf_ struct buf text = BUF_INIT(SYSCTL_MAX);
        /* The key is drawn at the first socket that asks for it, whoever's it is. */
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "tcp_fastopen_key") == 0) {
            continue;
        }
        if (entry->d_type == DT_DIR) {
            read_sysctls(path, sysctls);
        } else if (file_read(path, &text) == 0) {
            json_object_set_new(sysctls, path, json_string(text.data ? text.data : ""));
        }
    }
    if (dir) {
        closedir(dir);
    }
}

json_t *host_look(void)
{
    json_t *sysctls = json_object();
    json_t *nft = look_with(ARGV("nft", "-j", "list", "ruleset"));

    read_sysctls("/proc/sys/net/ipv4", sysctls);
    read_sysctls("/proc/sys/net/ipv6", sysctls);
    json_t *look =
        json_pack("{s:o, s:o, s:o, s:o, s:O*, s:o}", "links", look_with(ARGV("ip", "-j", "link")),
                  "addresses", look_with(ARGV("ip", "-j", "address")), "routes",
                  look_with(ARGV("ip", "-j", "route", "show", "table", "all")), "rules",
                  look_with(ARGV("ip", "-j", "rule")), "nft", json_object_get(nft, "nftables"),
                  "sysctls", sysctls);
    json_decref(nft);
    return look;
}

/* --- comparing --- */

static int array_has(const json_t *array, const json_t *wanted)
{
    json_t *element;
    size_t i;

    json_array_foreach (array, i, element) {
        if (json_equal(element, (json_t *)wanted)) {
            return 1;
        }
    }
    return 0;
}

static void print_difference(const char *sign, const char *part, const json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);

    fprintf(stderr, "  %s %s %s\n", sign, part, text);
    free(text);
}

/* What `a` has and `b` hasn't. */
static int print_missing(const char *sign, const char *part, const json_t *a, const json_t *b)
{
    const char *key;
    json_t *value;
    size_t i;
    int found = 0;

    json_array_foreach (a, i, value) {
        if (!array_has(b, value)) {
            print_difference(sign, part, value);
            found = 1;
        }
    }
    json_object_foreach (json_is_object(a) ? (json_t *)a : NULL, key, value) {
        json_t *other = json_object_get(b, key);
        if (!other || !json_equal(value, other)) {
            print_difference(sign, key, value);
            found = 1;
        }
    }
    return found;
}

int host_differs(const json_t *before, const json_t *after, int with_sysctls)
{
    const char *part;
    json_t *value;
    int differs = 0;

    json_object_foreach ((json_t *)before, part, value) {
        const json_t *now = json_object_get(after, part);
        if (!with_sysctls && strcmp(part, "sysctls") == 0) {
            continue;
        }
        differs |= print_missing("-", part, value, now);
        differs |= print_missing("+", part, now, value);
    }
    return differs;
}

/* The part without what is of the link. A new reference. */
static json_t *without_link(json_t *part, const char *link)
{
    json_t *rest = json_array(), *item;
    size_t i;

    json_array_foreach (part, i, item) {
        if (!link || strcmp(json_get_string(item, "ifname", ""), link) != 0) {
            json_array_append(rest, item);
        }
    }
    return rest;
}

int host_lost(const json_t *before, const json_t *after, const char *shared)
{
    const char *part;
    json_t *value;
    int lost = 0;

    json_object_foreach ((json_t *)before, part, value) {
        if (strcmp(part, "sysctls") != 0) {
            json_t *counts = without_link(value, shared);
            lost |= print_missing("-", part, counts, json_object_get(after, part));
            json_decref(counts);
        }
    }
    return lost;
}
