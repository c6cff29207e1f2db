#include "server/agents-fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/hash.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/mem.h"

enum {
    DEADLINE_MSEC = 20000,
};

const char EMPTY[] = "00000000000000000000000000000000";
static const char SECRET[] = "open sesame";

/* --- the world --- */

static void on_deadline(uv_timer_t *timer)
{
    fprintf(stderr, "the deadline passed\n");
    abort(); /* the world can't be taken down in order now */
}

void run_until(struct world *w, const int *flag)
{
    uv_timer_start(&w->deadline, on_deadline, DEADLINE_MSEC, 0);
    while (!*flag) {
        uv_run(&w->f->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&w->deadline);
}

static void put_token(struct world *w, const char *id, int uses)
{
    char hex[SHA256_HEX_SIZE];
    struct outcome o = {0};
    struct actor actor = {"tester", "-", ROLE_ADMIN};
    json_t *spec = json_pack("{s:i,s:s,s:[],s:[s],s:{},s:b,s:s,s:s}", "uses", uses, "expires",
                             "2100-01-01T00:00:00Z", "ids", "services", "toy", "labels", "hub", 0,
                             "cloud", "", "description", "");
    json_t *sealed = json_pack("{s:s,s:i}", "secretHash", hash_text_hex(SECRET, hex), "used", 0);
    struct write write = {
        .verb = WRITE_CREATE, .kind = "tokens", .id = id, .spec = spec, .sealed = sealed};

    deployment_write(w->f->d, &actor, &write, fixture_done, &o);
    run_until(w, &o.finished);
    assert_string_equal(o.error.detail, "");
    json_decref(spec);
    json_decref(sealed);
}

static void start(struct world *w)
{
    static const char *const NAMES[] = {"127.0.0.1", NULL};
    struct error error = {0};

    if (!w->certificate) {
        assert_int_equal(pki_server_certificate(w->pki, NAMES, &w->certificate, &w->key, &error),
                         0);
    }
    const struct agents_config config = {
        .address = "127.0.0.1",
        .certificate_pem = w->certificate,
        .key_pem = w->key,
        .links_max = 100,
    };
    assert_int_equal(agents_new(&w->f->loop, w->f->d, w->pki, &config, &w->agents, &error), 0);
}

int set_up(void **state)
{
    struct world *w = xnew(struct world);
    void *fixture = NULL;

    log_set_level(LOG_ERROR);
    fixture_set_up(&fixture);
    w->f = fixture;
    w->pki_folder = xasprintf("%s/pki", w->f->folder);
    assert_int_equal(pki_open(w->pki_folder, &w->pki, NULL), 0);
    uv_timer_init(&w->f->loop, &w->deadline);
    start(w);
    put_token(w, "t1", 100);
    *state = w;
    return 0;
}

static void set_flag(void *arg)
{
    *(int *)arg = 1;
}

void stop(struct world *w)
{
    int closed = 0;

    agents_close(TAKE(w->agents), set_flag, &closed);
    run_until(w, &closed);
}

void drop_peer(struct world *w, struct peer *peer)
{
    if (peer->link && !peer->closed) {
        link_close(peer->link);
        run_until(w, &peer->closed);
    }
    json_decref(peer->inbox);
    *peer = (struct peer){0};
}

int tear_down(void **state)
{
    static const char *const FILES[] = {"root", "server-ca", "agent-ca", "client-ca", "server"};
    struct world *w = *state;
    void *fixture = w->f;

    if (w->agents) {
        stop(w);
    }
    for (size_t i = 0; i < PEERS_MAX; i++) {
        drop_peer(w, &w->peers[i]);
    }
    uv_close((uv_handle_t *)&w->deadline, NULL);
    for (size_t i = 0; i < ARRAY_LEN(FILES); i++) {
        _cleanup_free_ char *cert = xasprintf("%s/%s.pem", w->pki_folder, FILES[i]);
        _cleanup_free_ char *key = xasprintf("%s/%s.key", w->pki_folder, FILES[i]);
        unlink(cert);
        unlink(key);
    }
    rmdir(w->pki_folder);
    fixture_tear_down(&fixture);
    pki_free(w->pki);
    free(w->pki_folder);
    free(w->certificate);
    free(w->key);
    free(w->node_key);
    free(w->node_certificate);
    free(w);
    return 0;
}

/* --- peers --- */

static void on_opened(struct link *link, void *arg)
{
    ((struct peer *)arg)->opened = 1;
}

static void on_message(struct link *link, void *arg, const char *type, const json_t *message)
{
    json_array_append_new(((struct peer *)arg)->inbox, json_deep_copy(message));
}

static void on_closed(struct link *link, void *arg, const struct error *error)
{
    struct peer *peer = arg;

    peer->closed = 1;
    peer->reason = *error;
}

static const struct link_handler HANDLER = {on_opened, on_message, on_closed};

struct peer *connect_as(struct world *w, unsigned i, const char *certificate, const char *key)
{
    const struct link_client_config config = {
        .address = "127.0.0.1",
        .port = agents_port(w->agents),
        .fingerprint = pki_fingerprint(w->pki),
        .certificate_pem = certificate,
        .key_pem = key,
    };
    struct peer *peer = &w->peers[i];

    drop_peer(w, peer);
    peer->inbox = json_array();
    peer->link = link_connect(&w->f->loop, &config, &HANDLER, peer);
    run_until(w, &peer->opened);
    return peer;
}

void say(struct peer *peer, json_t *message)
{
    assert_non_null(message);
    link_send(peer->link, message);
    json_decref(message);
}

/* The next message, which must be of that type; the caller's. */
json_t *expect(struct world *w, struct peer *peer, const char *type)
{
    uv_timer_start(&w->deadline, on_deadline, DEADLINE_MSEC, 0);
    while (json_array_size(peer->inbox) == 0) {
        if (peer->closed) {
            fail_msg("closed (%s) instead of %s", peer->reason.detail, type);
        }
        uv_run(&w->f->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&w->deadline);
    json_t *message = json_incref(json_array_get(peer->inbox, 0));
    json_array_remove(peer->inbox, 0);
    if (strcmp(json_get_string(message, "type", ""), type) != 0) {
        _cleanup_free_ char *text = json_canonical(message);
        fail_msg("%s instead of %s", text, type);
    }
    return message;
}

void expect_only(struct world *w, struct peer *peer, const char *type)
{
    json_decref(expect(w, peer, type));
}

/* An error message with that status, then the end of the link. */
void expect_error(struct world *w, struct peer *peer, int status, const char *pointer)
{
    json_t *message = expect(w, peer, "error");

    assert_int_equal(json_get_integer(message, "status", 0), status);
    assert_string_equal(json_get_string(message, "pointer", "-"), pointer);
    json_decref(message);
    run_until(w, &peer->closed);
}

json_t *join_message(const char *csr, const char *id)
{
    return json_pack("{s:s,s:i,s:s,s:s,s:s,s:s,s:[s],s:[],s:s,s:s}", "type", "join", "version", 1,
                     "token", "t1", "secret", SECRET, "csr", csr, "id", id, "services", "toy",
                     "routes", "hostname", "box", "agentVersion", "0.1");
}

/* Agent.1 joins, as peer 0. */
void join(struct world *w)
{
    struct peer *peer = connect_as(w, 0, NULL, NULL);
    char *csr = NULL;

    assert_int_equal(pki_make_csr("Agent.1", &w->node_key, &csr, NULL), 0);
    say(peer, join_message(csr, "Agent.1"));
    json_t *joined = expect(w, peer, "joined");
    assert_string_equal(json_get_string(joined, "id", ""), "Agent.1");
    assert_string_equal(json_get_string(joined, "root", ""), pki_root_pem(w->pki));
    w->node_certificate = xstrdup(json_get_string(joined, "certificate", ""));
    json_decref(joined);
    free(csr);
    run_until(w, &peer->closed);
}

json_t *hello_message(const char *id, json_int_t revision, const char *digest, json_int_t started)
{
    return json_pack("{s:s,s:i,s:s,s:I,s:s,s:s,s:I}", "type", "hello", "version", 1, "id", id,
                     "revision", revision, "digest", digest, "agentVersion", "0.1", "started",
                     started);
}

/* Agent.1 says hello as that peer and is welcome. */
struct peer *greet(struct world *w, unsigned i, json_int_t revision, const char *digest,
                   json_int_t started)
{
    struct peer *peer = connect_as(w, i, w->node_certificate, w->node_key);

    say(peer, hello_message("Agent.1", revision, digest, started));
    json_t *welcome = expect(w, peer, "welcome");
    assert_string_equal(json_get_string(welcome, "id", ""), "Agent.1");
    assert_string_equal(json_get_string(welcome, "address", ""), "127.0.0.1");
    json_decref(welcome);
    return peer;
}

/* Reads messages up to the sync that has the present digest; returns them, without that. */
json_t *until_synced(struct world *w, struct peer *peer, const char *node)
{
    json_t *seen = json_array();
    char hex[DIGEST_HEX_SIZE];

    for (;;) {
        uv_timer_start(&w->deadline, on_deadline, DEADLINE_MSEC, 0);
        while (json_array_size(peer->inbox) == 0) {
            assert_false(peer->closed);
            uv_run(&w->f->loop, UV_RUN_ONCE);
        }
        uv_timer_stop(&w->deadline);
        json_t *message = json_array_get(peer->inbox, 0);
        if (strcmp(json_get_string(message, "type", ""), "sync") == 0) {
            int is_last = strcmp(json_get_string(message, "digest", ""),
                                 deployment_digest(w->f->d, node, hex)) == 0;
            json_array_remove(peer->inbox, 0);
            if (is_last) {
                return seen;
            }
        } else {
            json_array_append(seen, message);
            json_array_remove(peer->inbox, 0);
        }
    }
}

/* Is there a message of that type about that key? */
int has(const json_t *messages, const char *type, const char *key)
{
    const json_t *message;
    size_t i;

    json_array_foreach (messages, i, message) {
        if (strcmp(json_get_string(message, "type", ""), type) == 0 &&
            strcmp(json_get_string(message, "key", ""), key) == 0) {
            return 1;
        }
    }
    return 0;
}
