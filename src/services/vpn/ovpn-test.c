/* A server and a client, both ours, on one host that has nothing else; each test in namespaces of
 * its own (core/laws-host.h). The devices have no addresses: it's about sessions. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/laws-host.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/mem.h"
#include "services/vpn/ovpn-test-pki.h"
#include "services/vpn/ovpn.h"

enum {
    DEADLINE_SEC = 30,
    PORT = 1194,
};

#define FOLDER "/tmp/pki"
#define RUN_DIR "/run/agent"
#define LOG_DIR "/tmp/log"

#define TIMERS "keepalive 1 4\nhand-window 4\nconnect-timeout 2\n"
#define SERVER                                                                                    \
    "proto udp4\nlport 1194\nifconfig 10.9.0.1 255.255.255.0\ndh none\n"                          \
    "ca " FOLDER "/root.pem\ncert " FOLDER "/hub.pem\nkey " FOLDER "/hub.key\n"                   \
    "remote-cert-eku 2.25.201838361293746121.2\nexplicit-exit-notify 1\n" TIMERS
#define CLIENT                                                                                    \
    "client\nproto udp4\nnobind\nremote 127.0.0.1 1194\nconnect-retry 1 2\n"                      \
    "auth-retry nointeract\nca " FOLDER "/root.pem\ncert " FOLDER "/alice.pem\n"                  \
    "key " FOLDER "/alice.key\nremote-cert-tls server\n" TIMERS

static const struct ovpn_spec SERVER_SPEC = {
    .device = "srv0", .server = 1, .port = PORT, .text = SERVER};
static const struct ovpn_spec CLIENT_SPEC = {.device = "cli0", .text = CLIENT};
static const struct ovpn_member ALICE = {.address = 0x0a090005, .mask_len = 24};

static uv_loop_t loop;
static struct children *children;
static struct netlink *nl;
static struct ovpn *server, *client;

#define demand(condition)                                                                         \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);               \
            show_logs();                                                                          \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

/* Lets the loop run until it's so. */
#define eventually(condition)                                                                     \
    do {                                                                                          \
        int64_t end_ = clock_monotonic_usec() + DEADLINE_SEC * 1000000LL;                         \
        while (!(condition)) {                                                                    \
            demand(clock_monotonic_usec() < end_ && #condition);                                  \
            uv_run(&loop, UV_RUN_NOWAIT);                                                         \
            poll(NULL, 0, 10);                                                                    \
        }                                                                                         \
    } while (0)

static void show_logs(void)
{
    static const char *const PATHS[] = {LOG_DIR "/server.log", LOG_DIR "/client.log"};

    for (size_t i = 0; i < ARRAY_LEN(PATHS); i++) {
        _cleanup_buf_ struct buf text = BUF_INIT(1 << 20);
        if (file_read(PATHS[i], &text) == 0 && text.data) {
            fprintf(stderr, "--- %s\n%s", PATHS[i], text.data);
        }
    }
}

/* --- the two --- */

static void start_all(void)
{
    struct error error = {0};

    demand(uv_loop_init(&loop) == 0);
    demand(children_new(&loop, RUN_DIR, LOG_DIR, &children, &error) == 0);
    struct ovpn_env env = {
        .loop = &loop, .run_dir = RUN_DIR, .log_dir = LOG_DIR, .children = children};
    server = ovpn_new(&env, "server");
    client = ovpn_new(&env, "client");
    demand(ovpn_observe(server, &error) == 0 && ovpn_observe(client, &error) == 0);
}

static void end_all(void)
{
    server = ovpn_free(server);
    client = ovpn_free(client);
    children_free(children);
    uv_run(&loop, UV_RUN_DEFAULT);
    demand(uv_loop_close(&loop) == 0);
}

static void set_up(void)
{
    _cleanup_free_ char *crl = NULL;
    struct error error = {0};

    signal(SIGPIPE, SIG_IGN); /* as the agent does */
    demand(file_make_folder(FOLDER, 0700) == 0 && file_make_folder(RUN_DIR, 0755) == 0 &&
           file_make_folder(LOG_DIR, 0755) == 0);
    test_pki_make(FOLDER);
    test_pki_issue(FOLDER, "hub", "hub", TEST_NODE);
    test_pki_issue(FOLDER, "alice", "alice", TEST_CLIENT);
    demand(netlink_new(&nl) == 0);
    demand(ovpn_device_make(nl, "srv0") == 0 && ovpn_device_make(nl, "cli0") == 0);
    start_all();
    crl = test_pki_crl(FOLDER, NULL);
    demand(ovpn_crl_put(server, crl, &error) == 0);
}

static int tear_down(void)
{
    struct error error;

    eventually(ovpn_remove(client, &error) == 0 && ovpn_remove(server, &error) == 0);
    end_all();
    netlink_free(nl);
    return 0;
}

static int applied(struct ovpn *o, const struct ovpn_spec *spec)
{
    struct error error = {0};
    int rc = ovpn_apply(o, spec, &error);

    if (rc < 0 && rc != -EAGAIN) {
        fprintf(stderr, "%s\n", error.detail);
    }
    return rc == 0;
}

static const struct ovpn_session *session_of(const char *name)
{
    size_t len;
    const struct ovpn_session *sessions = ovpn_sessions(server, &len);

    for (size_t i = 0; i < len; i++) {
        if (strcmp(sessions[i].name, name) == 0) {
            return &sessions[i];
        }
    }
    return NULL;
}

static int has_address(uint32_t address)
{
    const struct ovpn_session *session = session_of("alice");

    return session && session->address == address;
}

static void connect_both(void)
{
    struct error error = {0};

    demand(ovpn_member_put(server, "alice", &ALICE, &error) == 0);
    eventually(applied(server, &SERVER_SPEC));
    eventually(applied(client, &CLIENT_SPEC));
    eventually(has_address(ALICE.address));
    eventually(ovpn_state(client) == OVPN_CONNECTED);
}

/* --- tests --- */

static int session_is_listed(const void *arg)
{
    size_t len;

    set_up();
    connect_both();
    const struct ovpn_session *session = session_of("alice");
    demand(session->from.address == 0x7f000001 && session->from.port != 0);
    demand(session->since_sec * 1000000 <= clock_now_usec());
    demand(ovpn_peer(client).address == 0x7f000001 && ovpn_peer(client).port == PORT);
    demand(ovpn_sessions(server, &len) && len == 1);
    eventually(session_of("alice")->rx_bytes > 0 && session_of("alice")->tx_bytes > 0);
    return tear_down();
}

static int absent_server_is_looked_for(const void *arg)
{
    set_up();
    demand(!applied(client, &CLIENT_SPEC));
    eventually(ovpn_state(client) == OVPN_RECONNECTING);
    eventually(strstr(ovpn_message(client), "WAIT"));
    demand(ovpn_state(client) == OVPN_RECONNECTING && ovpn_matches(client, &CLIENT_SPEC));
    return tear_down();
}

static int dropped_member_is_cut_and_refused(const void *arg)
{
    struct error error = {0};

    set_up();
    connect_both();
    omap_foreach (e, ovpn_members(server)) {
        demand(ovpn_member_drop(server, e->key, &error) == 0);
    }
    eventually(!session_of("alice"));
    eventually(ovpn_state(client) == OVPN_RECONNECTING);
    demand(!ovpn_member_matches(server, "alice", &ALICE));
    demand(ovpn_member_put(server, "alice", &ALICE, &error) == 0);
    eventually(has_address(ALICE.address)); /* it tried all the time */
    return tear_down();
}

static int changed_member_comes_anew(const void *arg)
{
    static const struct ovpn_member OTHER = {.address = 0x0a090007, .mask_len = 24};
    static const struct ovpn_member ROUTED = {
        .address = 0x0a090007, .mask_len = 24, .route = {0x0a0a0000, 24}};
    struct error error = {0};

    set_up();
    connect_both();
    demand(ovpn_member_put(server, "alice", &OTHER, &error) == 0);
    demand(ovpn_member_matches(server, "alice", &OTHER));
    eventually(has_address(OTHER.address));
    unsigned long id = session_of("alice")->id;
    demand(ovpn_member_put(server, "alice", &ROUTED, &error) == 0);
    eventually(has_address(OTHER.address) && session_of("alice")->id != id);
    return tear_down();
}

/* An agent that ended in between: the file has gone, but nobody cut the session. */
static int forgotten_session_is_cut(const void *arg)
{
    struct error error = {0};

    set_up();
    connect_both();
    end_all();
    demand(unlink(RUN_DIR "/vpn/server.d/alice") == 0);
    start_all();
    eventually(ovpn_state(server) == OVPN_CONNECTED && session_of("alice"));
    eventually(!session_of("alice"));
    demand(ovpn_observe(server, &error) == 0);
    return tear_down();
}

static int server_logged(const char *words)
{
    _cleanup_buf_ struct buf text = BUF_INIT(2 << 20);

    return file_read(LOG_DIR "/server.log", &text) == 0 && text.data && strstr(text.data, words);
}

static int revoked_is_refused(const void *arg)
{
    struct error error = {0};

    set_up();
    connect_both();
    _cleanup_free_ char *crl = test_pki_crl(FOLDER, "alice");
    demand(ovpn_crl_put(server, crl, &error) == 0 && ovpn_crl_matches(server, crl));
    demand(ovpn_member_drop(server, "alice", &error) == 0);
    eventually(!session_of("alice"));
    demand(ovpn_member_put(server, "alice", &ALICE, &error) == 0);
    eventually(ovpn_state(client) == OVPN_RECONNECTING);
    eventually(server_logged("certificate revoked"));
    demand(!session_of("alice"));
    return tear_down();
}

/* The member stays, as when it got another certificate; its session with the old one doesn't. */
static int session_of_a_revoked_one_is_cut(const void *arg)
{
    struct error error = {0};

    set_up();
    test_pki_issue(FOLDER, "bob", "bob", TEST_CLIENT);
    _cleanup_free_ char *other = test_pki_crl(FOLDER, "bob");
    _cleanup_free_ char *crl = test_pki_crl(FOLDER, "alice");
    connect_both();
    unsigned long id = session_of("alice")->id;
    demand(ovpn_crl_put(server, other, &error) == 0);
    unsigned long rx = session_of("alice")->rx_bytes;
    eventually(session_of("alice") && session_of("alice")->rx_bytes > rx);
    demand(session_of("alice")->id == id); /* another's revocation is nothing to it */
    demand(ovpn_crl_put(server, crl, &error) == 0);
    eventually(!session_of("alice"));
    demand(ovpn_member_matches(server, "alice", &ALICE));
    return tear_down();
}

static int session_is_known_after_a_restart(const void *arg)
{
    struct error error = {0};

    set_up();
    test_pki_issue(FOLDER, "bob", "bob", TEST_CLIENT);
    _cleanup_free_ char *other = test_pki_crl(FOLDER, "bob");
    _cleanup_free_ char *crl = test_pki_crl(FOLDER, "alice");
    connect_both();
    eventually(access(RUN_DIR "/vpn/server.serials", F_OK) == 0);
    unsigned long id = session_of("alice")->id;
    end_all();
    start_all();
    eventually(session_of("alice"));
    demand(ovpn_crl_put(server, other, &error) == 0);
    unsigned long rx = session_of("alice")->rx_bytes;
    eventually(session_of("alice") && session_of("alice")->rx_bytes > rx);
    demand(session_of("alice")->id == id);
    demand(ovpn_crl_put(server, crl, &error) == 0);
    eventually(!session_of("alice"));
    return tear_down();
}

/* It came up while no agent was there: nobody knows its certificate, so it must show it again. */
static int unseen_session_shows_its_certificate_again(const void *arg)
{
    struct error error = {0};

    set_up();
    _cleanup_free_ char *crl = test_pki_crl(FOLDER, "alice");
    connect_both();
    eventually(access(RUN_DIR "/vpn/server.serials", F_OK) == 0);
    end_all();
    demand(unlink(RUN_DIR "/vpn/server.serials") == 0);
    start_all();
    eventually(session_of("alice"));
    demand(ovpn_crl_put(server, crl, &error) == 0);
    eventually(!session_of("alice") && ovpn_state(client) == OVPN_RECONNECTING);
    return tear_down();
}

static long log_size(const char *name)
{
    _cleanup_free_ char *path = xasprintf(LOG_DIR "/%s", name);
    struct stat status;

    return stat(path, &status) == 0 ? (long)status.st_size : -1;
}

static int log_does_not_grow_without_end(const void *arg)
{
    struct error error = {0};

    set_up();
    connect_both();
    demand(truncate(LOG_DIR "/server.log", 3 << 19) == 0);
    eventually(log_size("server.log") == 0);
    demand(log_size("server.log.1") >= 3 << 19);
    demand(ovpn_member_drop(server, "alice", &error) == 0);
    eventually(log_size("server.log") > 0); /* it goes on there, from the beginning */
    demand(log_size("server.log") < 1 << 19);
    return tear_down();
}

static int same_text_is_kept(const void *arg)
{
    struct error error = {0};

    set_up();
    connect_both();
    pid_t pid = children_pid(children, "server");
    unsigned long id = session_of("alice")->id;
    end_all();
    start_all();
    demand(ovpn_present(server) && ovpn_member_matches(server, "alice", &ALICE));
    eventually(ovpn_matches(server, &SERVER_SPEC) && session_of("alice"));
    eventually(applied(server, &SERVER_SPEC));
    demand(children_pid(children, "server") == pid && session_of("alice")->id == id);
    demand(ovpn_observe(server, &error) == 0 && ovpn_matches(server, &SERVER_SPEC));
    return tear_down();
}

static int other_text_restarts(const void *arg)
{
    const struct ovpn_spec other = {
        .device = "srv0", .server = 1, .port = PORT, .text = SERVER "# other\n"};

    set_up();
    connect_both();
    pid_t pid = children_pid(children, "server");
    demand(!ovpn_matches(server, &other));
    eventually(applied(server, &other));
    demand(children_pid(children, "server") != pid && ovpn_matches(server, &other));
    eventually(has_address(ALICE.address)); /* the client came back by itself */
    return tear_down();
}

static int hung_daemon_is_replaced(const void *arg)
{
    set_up();
    connect_both();
    pid_t pid = children_pid(children, "server");
    demand(kill(pid, SIGSTOP) == 0);
    eventually(ovpn_state(server) == OVPN_HUNG);
    demand(strstr(ovpn_message(server), "doesn't answer"));
    demand(!ovpn_matches(server, &SERVER_SPEC));
    eventually(applied(server, &SERVER_SPEC));
    demand(children_pid(children, "server") != pid);
    eventually(has_address(ALICE.address));
    return tear_down();
}

static int paused_daemon_is_kept(const void *arg)
{
    set_up();
    connect_both();
    pid_t pid = children_pid(children, "server");
    demand(kill(pid, SIGSTOP) == 0);
    eventually(ovpn_state(server) == OVPN_HUNG);
    demand(kill(pid, SIGCONT) == 0);
    eventually(applied(server, &SERVER_SPEC));
    demand(children_pid(children, "server") == pid);
    return tear_down();
}

static int killed_daemon_comes_back(const void *arg)
{
    set_up();
    connect_both();
    demand(kill(children_pid(children, "server"), SIGKILL) == 0);
    eventually(ovpn_state(server) == OVPN_ENDED);
    eventually(applied(server, &SERVER_SPEC));
    eventually(has_address(ALICE.address));
    return tear_down();
}

static int failures_are_told(const void *arg)
{
    static const struct ovpn_spec BROKEN = {
        .device = "srv0", .server = 1, .port = PORT, .text = SERVER "no-such-option\n"};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    struct error error = {0};

    set_up();
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    demand(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    demand(ovpn_apply(server, &SERVER_SPEC, &error) < 0);
    demand(strstr(error.detail, "UDP port 1194 is taken"));
    close(fd);
    demand(ovpn_apply(server, &BROKEN, &error) == -EAGAIN);
    eventually(ovpn_state(server) == OVPN_ENDED);
    demand(ovpn_apply(server, &BROKEN, &error) == -EIO);
    demand(strstr(error.detail, "no-such-option"));
    eventually(applied(server, &SERVER_SPEC));
    _cleanup_free_ char *path = xstrdup(getenv("PATH"));
    setenv("PATH", "/nowhere", 1);
    demand(ovpn_apply(client, &CLIENT_SPEC, &error) == -ENOENT);
    demand(strstr(error.detail, "install the package openvpn"));
    setenv("PATH", path, 1);
    return tear_down();
}

static int nothing_is_left(const void *arg)
{
    struct error error = {0};

    set_up();
    connect_both();
    demand(ovpn_member_drop(server, "alice", &error) == 0);
    demand(ovpn_crl_drop(server, &error) == 0);
    eventually(ovpn_remove(server, &error) == 0 && ovpn_remove(client, &error) == 0);
    demand(!ovpn_present(server) && ovpn_state(server) == OVPN_OFF);
    demand(access(RUN_DIR "/vpn", F_OK) < 0 && errno == ENOENT);
    demand(children_pid(children, "server") == 0 && children_pid(children, "client") == 0);
    return tear_down();
}

static int device_outlives_and_is_ours(const void *arg)
{
    struct netlink_link link;

    set_up();
    connect_both();
    demand(netlink_link_get(nl, "srv0", &link) == 0 && ovpn_device_ours(&link));
    demand(ovpn_device_make(nl, "srv0") == -EEXIST);
    tear_down();
    demand(netlink_new(&nl) == 0);
    demand(netlink_link_get(nl, "srv0", &link) == 0 && ovpn_device_ours(&link));
    host_do((const char *const[]){"ip", "link", "set", "srv0", "alias", "other", NULL});
    demand(netlink_link_get(nl, "srv0", &link) == 0 && !ovpn_device_ours(&link));
    netlink_free(nl);
    return 0;
}

static void run(void **state)
{
    int (*test)(const void *arg);

    memcpy(&test, state, sizeof test);
    assert_int_equal(host_run(test, NULL), 0);
}

#define ON_HOST(test)                                                                             \
    {                                                                                             \
#test, run, NULL, NULL, (void *)(test)                                                    \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_HOST(session_is_listed),
        ON_HOST(absent_server_is_looked_for),
        ON_HOST(dropped_member_is_cut_and_refused),
        ON_HOST(changed_member_comes_anew),
        ON_HOST(forgotten_session_is_cut),
        ON_HOST(session_of_a_revoked_one_is_cut),
        ON_HOST(session_is_known_after_a_restart),
        ON_HOST(unseen_session_shows_its_certificate_again),
        ON_HOST(revoked_is_refused),
        ON_HOST(log_does_not_grow_without_end),
        ON_HOST(same_text_is_kept),
        ON_HOST(other_text_restarts),
        ON_HOST(hung_daemon_is_replaced),
        ON_HOST(paused_daemon_is_kept),
        ON_HOST(killed_daemon_comes_back),
        ON_HOST(failures_are_told),
        ON_HOST(nothing_is_left),
        ON_HOST(device_outlives_and_is_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
