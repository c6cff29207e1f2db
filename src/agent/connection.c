#include "agent/connection.h"

#include <stdio.h>
#include <string.h>

#include "agent/answers.h"
#include "agent/counts.h"
#include "agent/renewal.h"
#include "lib/clock.h"
#include "lib/hash.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/omap.h"
#include "link/link.h"
#include "link/message.h"

enum {
    BACKOFF_MIN_MSEC = 200,
    BACKOFF_MAX_MSEC = 15000,
    RESYNC_MAX = 3,    /* wrong digests in a row, then we connect anew */
    FACTS_MAX = 10000, /* kept */
    CLOCK_WRONG_SEC = 3600,
};

enum phase {
    PHASE_WAITING,
    PHASE_CONNECTING,
    PHASE_WELCOMED,
    PHASE_SYNCED,
};

struct connection {
    uv_loop_t *loop;
    struct connection_config config;
    struct reconcile *reconcile;
    struct link *link; /* NULL while waiting */
    enum phase phase;
    uv_timer_t retry;
    struct renewal *renewal;
    int closing, handles;
    size_t server;  /* index of the one that is tried */
    unsigned tried; /* servers in vain since the last welcome */
    unsigned resyncs;
    int told_removed;
    int64_t started;
    char reason[512];  /* why this connection ends, if we know */
    char problem[512]; /* why we aren't connected; that of the last try while the next one runs */
    struct counts *counts;
    struct answers *answers;
    struct omap facts; /* name -> json_t; JSON null: not told yet that it is no more */
    json_t *status;    /* as last given; NULL: never */
    json_t *errors;    /* of the last outcome; NULL: none yet */
    int64_t applied;
};

static void on_retry(uv_timer_t *timer);

static void free_json(void *value)
{
    json_decref(value);
}

static int is_welcomed(const struct connection *c)
{
    return c->link && c->phase >= PHASE_WELCOMED;
}

/* Takes the reference. */
static void send_new(struct connection *c, json_t *message)
{
    link_send(c->link, message);
    json_decref(message);
}

/* For counters and answers, which don't outlive the connection. */
static void send_if_welcomed(void *arg, json_t *message)
{
    struct connection *c = arg;

    if (is_welcomed(c)) {
        send_new(c, message);
    } else {
        json_decref(message);
    }
}

/* --- what we tell --- */

static void send_hello(struct connection *c)
{
    char digest[33];

    send_new(c, json_pack("{s:s, s:i, s:s, s:I, s:s, s:s, s:I}", "type", "hello", "version",
                          LINK_VERSION, "id", c->config.identity->id, "revision",
                          (json_int_t)reconcile_revision(c->reconcile), "digest",
                          reconcile_digest(c->reconcile, digest), "agentVersion", CNSMO_VERSION,
                          "started", (json_int_t)c->started));
}

static void send_ack(struct connection *c)
{
    if (c->link && c->phase == PHASE_SYNCED && c->errors) {
        send_new(c, json_pack("{s:s, s:I, s:O}", "type", "ack", "revision", (json_int_t)c->applied,
                              "errors", c->errors));
    }
}

static void send_status(struct connection *c)
{
    if (is_welcomed(c) && c->status) {
        send_new(c, json_pack("{s:s, s:O}", "type", "status", "status", c->status));
    }
}

static void send_fact(struct connection *c, const char *name, json_t *value)
{
    send_new(c, json_pack("{s:s, s:{s:O}}", "type", "facts", "facts", name, value));
}

/* One message for each: together they could be longer than a line may be. */
static void send_facts(struct connection *c)
{
    omap_foreach (fact, &c->facts) {
        send_fact(c, fact->key, fact->value);
        if (json_is_null((json_t *)fact->value)) {
            json_decref(omap_del(&c->facts, fact->key));
        }
    }
}

void connection_report(void *arg, const char *name, json_t *value)
{
    struct connection *c = arg;
    json_t *old = omap_get(&c->facts, name);

    if ((!value && (!old || json_is_null(old))) || (value && old && json_equal(old, value)) ||
        (!old && c->facts.len >= FACTS_MAX)) {
        json_decref(value);
        return;
    }
    if (is_welcomed(c)) {
        send_fact(c, name, value ? value : json_null());
    }
    if (!value && is_welcomed(c)) {
        json_decref(omap_del(&c->facts, name));
    } else {
        json_decref(omap_put(&c->facts, name, value ? value : json_null()));
    }
}

void connection_applied(void *arg, int64_t revision, const json_t *errors)
{
    struct connection *c = arg;

    json_decref(c->errors);
    c->errors = json_deep_copy(errors);
    c->applied = revision;
    send_ack(c);
}

void connection_status(struct connection *c, const json_t *status)
{
    if (c->status && json_equal(c->status, (json_t *)status)) {
        return;
    }
    json_decref(c->status);
    c->status = json_deep_copy(status);
    send_status(c);
}

void connection_count(void *arg, const char *name, uint64_t packets, uint64_t bytes)
{
    struct connection *c = arg;

    counts_put(c->counts, name, packets, bytes);
}

void connection_count_gone(void *arg, const char *name)
{
    struct connection *c = arg;

    counts_gone(c->counts, name);
}

static void ask_certificate(void *arg, const char *csr)
{
    struct connection *c = arg;

    if (is_welcomed(c)) {
        send_new(c, json_pack("{s:s, s:s}", "type", "renew", "csr", csr));
    }
}

/* --- what we are told --- */

static void warn_of_clock(const char *time)
{
    int64_t theirs;

    if (clock_parse(time, &theirs) < 0) {
        return;
    }
    int64_t off = (theirs - clock_now_usec()) / 1000000;
    if (off > CLOCK_WRONG_SEC || off < -CLOCK_WRONG_SEC) {
        char seconds[24];
        snprintf(seconds, sizeof seconds, "%lld", (long long)off);
        log_warn("this machine's clock and the server's differ", "seconds", seconds, NULL);
    }
}

static void welcomed(struct connection *c, const struct message_welcome *welcome)
{
    c->phase = PHASE_WELCOMED;
    c->tried = 0;
    c->resyncs = 0;
    c->problem[0] = c->reason[0] = '\0';
    log_info("connected", "node", c->config.identity->id, "server",
             c->config.identity->servers[c->server], "address", welcome->address, NULL);
    warn_of_clock(welcome->time);
    send_facts(c);
    send_status(c);
    counts_welcomed(c->counts);
    renewal_welcomed(c->renewal, welcome->authority);
}

static void synced(struct connection *c, const struct message_sync *sync)
{
    if (reconcile_sync(c->reconcile, sync->revision, sync->digest) < 0) {
        log_warn("the resources don't match the server's digest; asking for all of them", "node",
                 c->config.identity->id, NULL);
        c->resyncs++;
        send_new(c, json_pack("{s:s}", "type", "resync"));
        return;
    }
    c->resyncs = 0;
    renewal_announced(c->renewal, sync->authority);
    int first = c->phase != PHASE_SYNCED;
    c->phase = PHASE_SYNCED;
    /* The reconciler doesn't repeat an outcome, but this server may not have heard it. */
    if (first && c->applied == sync->revision) {
        send_ack(c);
    }
}

static void refused(const struct message_refused *refused)
{
    _cleanup_free_ char *facts = json_dumps(refused->facts, JSON_COMPACT);

    log_warn("the server doesn't take a report", "facts", facts, "reason", refused->detail, NULL);
}

static int means_removed(const struct connection *c, int status)
{
    return status == 410 || (c->phase < PHASE_WELCOMED && (status == 403 || status == 404));
}

static void on_error(struct connection *c, const json_t *message)
{
    struct error error = {0};

    message_read_error(message, &error);
    snprintf(c->reason, sizeof c->reason, "%s", error.detail);
    if (means_removed(c, error.status) && !c->told_removed) {
        c->told_removed = 1;
        c->config.removed(c->config.arg, error.detail);
    }
}

/* One message of a welcomed link. */
static int take_message(struct connection *c, const char *type, const json_t *message,
                        struct error *error)
{
    struct message_put put;
    struct message_sync sync;
    struct message_refused refusal;
    struct message_ask ask;
    const char *certificate;
    int rc = 0;

    if (strcmp(type, "snapshot") == 0) {
        reconcile_begin_snapshot(c->reconcile);
    } else if (strcmp(type, "put") == 0) {
        if ((rc = message_put(message, &put, error)) == 0) {
            reconcile_put(c->reconcile, put.key, put.revision, (json_t *)put.body);
        }
    } else if (strcmp(type, "delete") == 0) {
        if ((rc = message_delete(message, &put, error)) == 0) {
            reconcile_delete(c->reconcile, put.key, put.revision);
        }
    } else if (strcmp(type, "sync") == 0) {
        if ((rc = message_sync(message, &sync, error)) == 0) {
            synced(c, &sync);
        }
    } else if (strcmp(type, "renewed") == 0) {
        if ((rc = message_renewed(message, &certificate, error)) == 0) {
            renewal_renewed(c->renewal, certificate);
        }
    } else if (strcmp(type, "refused") == 0) {
        if ((rc = message_refused(message, &refusal, error)) == 0) {
            refused(&refusal);
        }
    } else if (strcmp(type, "ask") == 0) {
        if ((rc = message_ask(message, &ask, error)) == 0) {
            answers_ask(c->answers, c->reconcile, ask.id, ask.what);
        }
    } else {
        rc = error_set(error, 400, "/type", "\"%.50s\" isn't a type that an agent knows", type);
    }
    if (rc == 0 && c->resyncs > RESYNC_MAX) {
        rc = error_set(error, 400, "/digest", "the digest never matches the resources");
    }
    return rc;
}

static void on_message(struct link *link, void *arg, const char *type, const json_t *message)
{
    struct connection *c = arg;
    struct message_welcome welcome;
    struct error error = {0};
    int rc = 0;

    if (c->closing) {
        return;
    }
    if (strcmp(type, "error") == 0) {
        on_error(c, message);
    } else if (is_welcomed(c)) {
        rc = take_message(c, type, message, &error);
    } else if (strcmp(type, "welcome") != 0) {
        rc = error_set(&error, 400, "/type", "\"%.50s\" came before a welcome", type);
    } else if ((rc = message_welcome(message, &welcome, &error)) == 0) {
        welcomed(c, &welcome);
    }
    if (rc < 0) {
        snprintf(c->reason, sizeof c->reason, "the server sent nonsense: %.400s", error.detail);
        link_close(c->link);
    }
}

/* --- connecting --- */

uint64_t connection_backoff_msec(unsigned rounds, uint32_t random)
{
    unsigned shift = rounds < 10 ? rounds : 10;
    uint64_t most = (uint64_t)BACKOFF_MIN_MSEC << shift;

    if (most > BACKOFF_MAX_MSEC) {
        most = BACKOFF_MAX_MSEC;
    }
    return most / 2 + random % (most / 2 + 1);
}

static unsigned server_len(const struct connection *c)
{
    unsigned len = 0;

    while (c->config.identity->servers[len]) {
        len++;
    }
    return len;
}

static void retry_later(struct connection *c)
{
    unsigned len = server_len(c);
    uint32_t random;

    c->server = (c->server + 1) % len;
    random_bytes(&random, sizeof random);
    uint64_t msec = connection_backoff_msec(c->tried / len, random);
    c->tried++;
    /* Within a round the next server is asked at once. */
    uv_timer_start(&c->retry, on_retry, c->tried % len ? 0 : msec, 0);
}

static void on_opened(struct link *link, void *arg)
{
    struct connection *c = arg;

    if (!c->closing) {
        send_hello(c);
    }
}

static void maybe_free(struct connection *c);

static void on_link_closed(struct link *link, void *arg, const struct error *error)
{
    struct connection *c = arg;
    int was_connected = c->phase >= PHASE_WELCOMED;

    c->link = NULL;
    c->phase = PHASE_WAITING;
    if (c->closing) {
        maybe_free(c);
        return;
    }
    renewal_disconnected(c->renewal);
    counts_disconnected(c->counts);
    answers_disconnected(c->answers);
    reconcile_abort(c->reconcile);
    snprintf(c->problem, sizeof c->problem, "%s",
             c->reason[0] || !error ? c->reason : error->detail);
    if (c->told_removed) {
        return;
    }
    /* Once when it begins, not at each try; a server that doesn't answer while another one does
     * isn't worth a line. */
    if (was_connected || c->tried + 1 == server_len(c)) {
        log_warn("not connected", "node", c->config.identity->id, "server",
                 c->config.identity->servers[c->server], "reason", c->problem, NULL);
    }
    retry_later(c);
}

static const struct link_handler HANDLER = {
    .opened = on_opened,
    .message = on_message,
    .closed = on_link_closed,
};

static void on_retry(uv_timer_t *timer)
{
    struct connection *c = timer->data;
    const struct identity *identity = c->config.identity;
    _cleanup_free_ char *host = NULL;
    struct link_client_config config = {.fingerprint = identity->fingerprint,
                                        .certificate_pem = identity->cert_pem,
                                        .key_pem = identity->key_pem};

    if (identity_server_parse(identity->servers[c->server], &host, &config.port) < 0) {
        snprintf(c->problem, sizeof c->problem, "%s isn't host:port",
                 identity->servers[c->server]);
        retry_later(c);
        return;
    }
    config.address = host;
    c->reason[0] = '\0';
    c->phase = PHASE_CONNECTING;
    c->link = link_connect(c->loop, &config, &HANDLER, c);
}

/* --- life --- */

struct connection *connection_new(uv_loop_t *loop, const struct connection_config *config)
{
    struct connection *c = xnew(struct connection);

    c->loop = loop;
    c->config = *config;
    c->started = clock_now_usec();
    c->handles = 1;
    uv_timer_init(loop, &c->retry);
    c->retry.data = c;
    c->counts = counts_new(loop, send_if_welcomed, c);
    c->answers = answers_new(send_if_welcomed, c);
    c->renewal = renewal_new(loop, &(struct renewal_config){.state_dir = config->state_dir,
                                                            .identity = config->identity,
                                                            .ask = ask_certificate,
                                                            .arg = c});
    return c;
}

void connection_start(struct connection *c, struct reconcile *reconcile)
{
    c->reconcile = reconcile;
    uv_timer_start(&c->retry, on_retry, 0, 0);
}

static void maybe_free(struct connection *c)
{
    if (c->handles > 0 || c->link) {
        return;
    }
    omap_clear(&c->facts, free_json);
    json_decref(c->status);
    json_decref(c->errors);
    free(c);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct connection *c = handle->data;

    c->handles--;
    maybe_free(c);
}

void connection_free(struct connection *c)
{
    if (!c) {
        return;
    }
    c->closing = 1;
    if (c->link) {
        link_close(c->link);
    }
    uv_close((uv_handle_t *)&c->retry, on_timer_closed);
    counts_free(TAKE(c->counts));
    answers_free(TAKE(c->answers));
    renewal_free(TAKE(c->renewal));
}

json_t *connection_describe(const struct connection *c)
{
    return json_pack("{s:b, s:s, s:s, s:I, s:b, s:o}", "connected", c->phase == PHASE_SYNCED,
                     "server", c->config.identity->servers[c->server], "problem",
                     c->phase >= PHASE_WELCOMED ? "" : c->problem, "appliedRevision",
                     (json_int_t)c->applied, "applied", c->errors != NULL, "errors",
                     c->errors ? json_incref(c->errors) : json_array());
}
