#include "services/vpn/vpn-hosts.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "lib/spawn.h"

enum {
    WORDS_MAX = 48,
};

struct host hosts[HOSTS] = {{.name = "Hub", .number = 1},
                            {.name = "A", .number = 2},
                            {.name = "B", .number = 3},
                            {.name = "X", .number = 9}};
char *agent_path;
static char *root;

/* --- running things --- */

int run(const struct host *host, const char *command, char **ret_output)
{
    _cleanup_free_ char *copy = xstrdup(command), *rest = copy;
    const char *argv[WORDS_MAX] = {NULL};
    struct buf out = BUF_INIT(1 << 20);
    char target[16];
    size_t len = 0;

    if (host) {
        snprintf(target, sizeof target, "%d", host->init);
        argv[len++] = "nsenter";
        argv[len++] = "-t";
        argv[len++] = target;
        argv[len++] = "-n";
        argv[len++] = "-m";
        argv[len++] = "-p";
        argv[len++] = "--";
    }
    for (char *word; (word = strsep(&rest, " "));) {
        assert_true(len < WORDS_MAX - 1);
        argv[len++] = word;
    }
    struct spawn spawn = {.argv = argv, .out = &out, .timeout_msec = 10000};
    int rc = spawn_run(&spawn);
    if (ret_output) {
        *ret_output = out.data ? out.data : xstrdup("");
    } else {
        buf_done(&out);
    }
    return rc;
}

void must(const struct host *host, const char *command)
{
    int rc = run(host, command, NULL);

    if (rc != 0) {
        fail_msg("%s: %s: status %d", host ? host->name : "-", command, rc);
    }
}

int says(const struct host *host, const char *command, const char *text)
{
    _cleanup_free_ char *out = NULL;

    return run(host, command, &out) == 0 && strstr(out, text) != NULL;
}

void dump_all(void)
{
    static const char *const COMMANDS[] = {"wg show", "ip route", "ip addr show cnsmo0"};

    for (size_t i = 0; i < HOSTS; i++) {
        for (size_t k = 0; k < ARRAY_LEN(COMMANDS); k++) {
            _cleanup_free_ char *out = NULL;
            run(&hosts[i], COMMANDS[k], &out);
            print_message("%s$ %s\n%s\n", hosts[i].name, COMMANDS[k], out);
        }
    }
}

json_t *read_json(const struct host *host, const char *name)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", host->folder, name);
    _cleanup_buf_ struct buf buf = BUF_INIT(1 << 20);
    json_t *json = NULL;

    if (file_read(path, &buf) == 0 && buf.data) {
        json_parse(buf.data, buf.size, &json, NULL);
    }
    return json;
}

static void write_text(const struct host *host, const char *name, const char *text)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", host->folder, name);

    assert_int_equal(file_write_atomic(path, text, strlen(text), 0644), 0);
}

/* --- machines --- */

static _Noreturn void be_init(int ready)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0 ||
        mount("proc", "/proc", "proc", 0, NULL) < 0 || write(ready, "r", 1) != 1) {
        _exit(1);
    }
    for (;;) {
        if (wait(NULL) < 0) {
            sleep(1);
        }
    }
}

/* Stays, so that the first process in the namespaces ends when the test ends. */
static _Noreturn void be_parent(int ready)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID) < 0) {
        _exit(1);
    }
    int inner[2];
    char byte;
    if (pipe(inner) < 0) {
        _exit(1);
    }
    pid_t init = fork();
    if (init == 0) {
        be_init(inner[1]);
    }
    if (read(inner[0], &byte, 1) != 1 || write(ready, &init, sizeof init) != sizeof init) {
        _exit(1);
    }
    waitpid(init, NULL, 0);
    _exit(0);
}

/* The first process of new namespaces; its end ends everything in there. */
static pid_t start_init(void)
{
    int channel[2];
    pid_t init = 0;

    assert_int_equal(pipe(channel), 0);
    if (fork() == 0) {
        be_parent(channel[1]);
    }
    close(channel[1]);
    assert_int_equal(read(channel[0], &init, sizeof init), sizeof init);
    close(channel[0]);
    return init;
}

static void start_host(struct host *host)
{
    char command[200];

    host->folder = xasprintf("%s/%s", root, host->name);
    assert_int_equal(mkdir(host->folder, 0700), 0);
    host->init = start_init();
    snprintf(command, sizeof command, "ip link add p%d type veth peer name eth0 netns %d",
             host->number, host->init);
    must(NULL, command);
    snprintf(command, sizeof command, "ip link set p%d master sw0 up", host->number);
    must(NULL, command);
    must(host, "ip link set lo up");
    must(host, "ip link set eth0 up");
    snprintf(command, sizeof command, "ip addr add 192.0.2.%d/24 dev eth0", host->number);
    must(host, command);
    must(host, "ip route add default via 192.0.2.254");
}

void start_agent(struct host *host)
{
    char target[16];

    snprintf(target, sizeof target, "%d", host->init);
    host->agent = fork();
    if (host->agent == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("nsenter", "nsenter", "-t", target, "-n", "-m", "-p", "--", agent_path, "run",
               host->name, host->folder, (char *)NULL);
        _exit(127);
    }
}

void stop_agent(struct host *host)
{
    int status;

    write_text(host, "stop", "");
    assert_int_equal(waitpid(host->agent, &status, 0), host->agent);
    assert_int_equal(status, 0); /* the sanitizers have nothing to say either */
    host->agent = 0;
}

/* --- resources --- */

/* What the others are told of the host's key: what it has reported so far. */
static const char *reported_key(const json_t *facts)
{
    return json_get_string(json_object_get(facts, "vpn.self"), "publicKey", "");
}

json_t *self_resource(const struct host *host)
{
    json_t *facts = read_json(host, "facts.json");
    json_t *self = json_pack(
        "{s:s+, s:s, s:i, s:i, s:b, s:s, s:s, s:b, s:s}", "address", "10.77.0.",
        host == HUB ? "1"
        : host == A ? "2"
                    : "3",
        "range", "10.77.0.0/16", "port", 51820, "mtu", 0, "hub", host == HUB, "fabric",
        "wireguard", "cloud", "", "public", host == HUB, "publicKey", reported_key(facts));

    json_decref(facts);
    return self;
}

static json_t *peer_resource(const struct host *host, const char *via)
{
    json_t *facts = read_json(host, "facts.json");
    const char *key =
        json_get_string(json_object_get(facts, "vpn.self"), "publicKey", "no fact came");
    char address[32], endpoint[32];

    snprintf(address, sizeof address, "10.77.0.%d", host->number);
    snprintf(endpoint, sizeof endpoint, "192.0.2.%d:51820", host->number);
    json_t *peer = json_pack("{s:s, s:s, s:b, s:s, s:[]}", "address", address, "publicKey", key,
                             "hub", host == HUB, "cloud", "", "endpoints");
    if (via) {
        json_array_append_new(json_object_get(peer, "endpoints"),
                              json_pack("{s:s, s:s}", "endpoint", endpoint, "via", via));
    }
    json_decref(facts);
    return peer;
}

void give(struct host *host, json_t *resources)
{
    _cleanup_free_ char *text = json_canonical(resources);

    write_text(host, "resources.json", text);
    json_decref(resources);
}

void give_all(const char *via)
{
    for (size_t i = 0; i < 3; i++) {
        char key[32];
        json_t *resources = json_object();
        snprintf(key, sizeof key, "vpn/self/%s", hosts[i].name);
        json_object_set_new(resources, key, self_resource(&hosts[i]));
        for (size_t k = 0; k < 3; k++) {
            snprintf(key, sizeof key, "vpn/peer/%s", hosts[k].name);
            json_object_set_new(resources, key,
                                peer_resource(&hosts[k], &hosts[k] == HUB ? "declared" : via));
        }
        give(&hosts[i], resources);
    }
}

int path_is(const struct host *host, const char *node, const char *path)
{
    json_t *status = read_json(host, "status.json"), *peer;
    int found = 0;
    size_t i;

    json_array_foreach (json_object_get(json_object_get(status, "vpn"), "peers"), i, peer) {
        found |= strcmp(json_get_string(peer, "node", ""), node) == 0 &&
                 strcmp(json_get_string(peer, "path", "?"), path) == 0;
    }
    json_decref(status);
    return found;
}

int state_is(const struct host *host, const char *state)
{
    json_t *status = read_json(host, "status.json");
    int found = strcmp(json_get_string(json_object_get(status, "vpn"), "state", "?"), state) == 0;

    json_decref(status);
    return found;
}

int has_fact(const struct host *host, const char *name)
{
    json_t *facts = read_json(host, "facts.json");
    int found = json_is_object(json_object_get(facts, name));

    json_decref(facts);
    return found;
}

int pings(const struct host *host, const char *address)
{
    char command[64];

    snprintf(command, sizeof command, "ping -c 1 -W 1 %s", address);
    return run(host, command, NULL) == 0;
}

int hosts_up(void **state)
{
    char folder[] = "/tmp/vpn-test-XXXXXX";

    assert_non_null(mkdtemp(folder));
    root = xstrdup(folder);
    if (unshare(CLONE_NEWNET) < 0) {
        return -1;
    }
    must(NULL, "ip link add sw0 type bridge");
    must(NULL, "ip link set sw0 up");
    for (size_t i = 0; i < HOSTS; i++) {
        start_host(&hosts[i]);
    }
    return 0;
}

int hosts_down(void **state)
{
    for (size_t i = 0; i < HOSTS; i++) {
        if (hosts[i].init > 0) {
            kill(hosts[i].init, SIGKILL);
        }
        free(hosts[i].folder);
    }
    const char *const argv[] = {"rm", "-rf", root, NULL};
    struct spawn spawn = {.argv = argv};
    spawn_run(&spawn);
    free(root);
    free(agent_path);
    return 0;
}
