/* swarm-member.c - one agent of the swarm.
 *
 *     [idle] ─► [queued] ─► [joining] ─► [idle]             once, without a certificate
 *                  │
 *                  └─► [opening] ─► [welcomed] ─► [synced]
 *                  ▲       └────────────┴────────────┘ closed
 *                  └── back-off, as an agent's (agent/connection.c) */
#include <stdio.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "link/message.h"
#include "swarm.h"

enum {
    BACKOFF_MIN_MSEC = 200,
    BACKOFF_MAX_MSEC = 15000,
    PORT = 51820,
};

static void send_new(struct member *member, json_t *message)
{
    link_send(member->link, message);
    json_decref(message);
}

/* --- turns: so many handshakes at once, no more --- */

static void end_turn(struct member *member)
{
    if (member->has_turn) {
        member->has_turn = 0;
        member->swarm->turns--;
        swarm_next(member->swarm);
    }
}

void member_queue(struct member *member)
{
    struct swarm *swarm = member->swarm;

    member->state = MEMBER_QUEUED;
    member->next_queued = NULL;
    *swarm->queue_end = member;
    swarm->queue_end = &member->next_queued;
    swarm_next(swarm);
}

static void on_retry(uv_timer_t *timer)
{
    member_queue(timer->data);
}

static void retry_later(struct member *member)
{
    unsigned shift = member->tries < 10 ? member->tries : 10;
    uint64_t most = (uint64_t)BACKOFF_MIN_MSEC << shift;
    uint32_t random;

    most = most < BACKOFF_MAX_MSEC ? most : BACKOFF_MAX_MSEC;
    random_bytes(&random, sizeof random);
    member->tries++;
    uv_timer_start(&member->retry, on_retry, most / 2 + random % (most / 2 + 1), 0);
}

/* --- what a member says --- */

static void send_join(struct member *member)
{
    const struct swarm *swarm = member->swarm;

    send_new(member,
             json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:[], s:s, s:s, s:[s]}", "type", "join",
                       "version", LINK_VERSION, "token", swarm->token.id, "secret",
                       swarm->token.secret, "csr", swarm->csr, "id", member->id, "routes",
                       "hostname", member->id, "agentVersion", CNSMO_VERSION, "services", "vpn"));
}

static void send_hello(struct member *member)
{
    char digest[33];

    send_new(member, json_pack("{s:s, s:i, s:s, s:I, s:s, s:s, s:I}", "type", "hello", "version",
                               LINK_VERSION, "id", member->id, "revision", member->revision,
                               "digest", digest_format(member->digest, digest), "agentVersion",
                               CNSMO_VERSION, "started", (json_int_t)member->swarm->started));
}

/* A key that no other has: the hash of the id. */
static void send_fact(struct member *member)
{
    uint8_t hash[SHA256_SIZE];

    hash_sha256(member->id, strlen(member->id), hash);
    _cleanup_free_ char *key = base64_encode(hash, sizeof hash);
    send_new(member, json_pack("{s:s, s:{s:{s:s, s:i, s:[s], s:s}}}", "type", "facts", "facts",
                               "vpn.self", "publicKey", key, "port", PORT, "addresses",
                               link_local_address(member->link), "backend", "kernel"));
}

/* As long as a real one: it names every peer. */
static void send_status(struct member *member)
{
    static const char PEER[] = "vpn/peer/";
    json_t *peers = json_array();

    for (struct omap_entry *e = omap_first_from(&member->held, PEER);
         e && strncmp(e->key, PEER, sizeof PEER - 1) == 0; e = omap_next(&member->held, e)) {
        const char *peer = e->key + sizeof PEER - 1;
        if (strcmp(peer, member->id) != 0) {
            json_array_append_new(
                peers, json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "node", peer, "path", "direct",
                                 "via", "", "lastHandshake", "2026-01-01T00:00:00Z", "rxBytes",
                                 (json_int_t)1000000, "txBytes", (json_int_t)1000000));
        }
    }
    send_new(member, json_pack("{s:s, s:{s:s, s:{s:{s:s, s:s, s:s, s:s, s:o}}}}", "type", "status",
                               "status", "agentVersion", CNSMO_VERSION, "services", "vpn", "state",
                               "running", "message", "", "address", "10.77.0.1", "backend",
                               "kernel", "peers", peers));
}

/* --- what it is told --- */

static void hold(struct member *member, const char *key, const json_t *body)
{
    struct digest *old = omap_get(&member->held, key);

    if (old) {
        digest_remove(&member->digest, *old);
    }
    if (!body) {
        free(omap_del(&member->held, key));
        return;
    }
    if (!old) {
        old = xnew(struct digest);
        omap_put(&member->held, key, old);
    }
    *old = digest_of(key, body);
    digest_add(&member->digest, *old);
}

static void forget_all(struct member *member)
{
    omap_clear(&member->held, free);
    member->digest = (struct digest){0};
}

static void synced(struct member *member, const struct message_sync *sync)
{
    char digest[33];
    int is_first = member->state != MEMBER_SYNCED;

    if (strcmp(digest_format(member->digest, digest), sync->digest) != 0) {
        member->swarm->resyncs++;
        send_new(member, json_pack("{s:s}", "type", "resync"));
        return;
    }
    member->state = MEMBER_SYNCED;
    member->tries = 0;
    member->revision = sync->revision;
    send_new(member,
             json_pack("{s:s, s:I, s:[]}", "type", "ack", "revision", sync->revision, "errors"));
    if (is_first) {
        send_status(member);
        end_turn(member);
    }
    swarm_synced(member->swarm, member, is_first);
}

static void take_certificate(struct member *member, const char *certificate)
{
    member->certificate = xstrdup(certificate);
    member->state = MEMBER_IDLE;
    member->tries = 0;
    link_close(member->link);
}

static void on_opened(struct link *link, void *arg)
{
    struct member *member = arg;

    if (member->state == MEMBER_JOINING) {
        send_join(member);
    } else {
        send_hello(member);
    }
}

static int take(struct member *member, const char *type, const json_t *message,
                struct error *error)
{
    struct message_put put;
    struct message_sync sync;
    struct message_joined joined;
    int rc = 0;

    if (strcmp(type, "welcome") == 0) {
        member->state = MEMBER_WELCOMED;
        if (!member->has_told) {
            member->has_told = 1;
            send_fact(member);
        }
    } else if (strcmp(type, "snapshot") == 0) {
        forget_all(member);
    } else if (strcmp(type, "put") == 0 && (rc = message_put(message, &put, error)) == 0) {
        hold(member, put.key, put.body);
    } else if (strcmp(type, "delete") == 0 && (rc = message_delete(message, &put, error)) == 0) {
        hold(member, put.key, NULL);
    } else if (strcmp(type, "sync") == 0 && (rc = message_sync(message, &sync, error)) == 0) {
        synced(member, &sync);
    } else if (strcmp(type, "joined") == 0 &&
               (rc = message_joined(message, &joined, error)) == 0) {
        take_certificate(member, joined.certificate);
    } else if (strcmp(type, "error") == 0) {
        message_read_error(message, error);
        rc = -1;
    } else if (strcmp(type, "refused") == 0) {
        swarm_note_failure(member->swarm, json_get_string(message, "detail", "refused"));
    }
    return rc;
}

static void on_message(struct link *link, void *arg, const char *type, const json_t *message)
{
    struct member *member = arg;
    struct error error = {0};

    if (take(member, type, message, &error) < 0) {
        swarm_note_failure(member->swarm, error.detail);
        link_close(link);
    }
}

static void on_closed(struct link *link, void *arg, const struct error *error)
{
    struct member *member = arg;
    int was_synced = member->state == MEMBER_SYNCED;

    member->link = NULL;
    if (member->state == MEMBER_IDLE) { /* has joined */
        end_turn(member);
        swarm_enrolled(member->swarm);
        if (member->swarm->is_connecting) {
            member_queue(member);
        }
        return;
    }
    if (!was_synced) {
        swarm_note_failure(member->swarm, error ? error->detail : "closed");
    }
    member->state = MEMBER_IDLE;
    if (was_synced) {
        swarm_lost(member->swarm, member);
    }
    end_turn(member);
    retry_later(member);
}

static const struct link_handler HANDLER = {
    .opened = on_opened,
    .message = on_message,
    .closed = on_closed,
};

static void begin(struct member *member)
{
    const struct swarm *swarm = member->swarm;
    const struct link_client_config config = {
        .address = swarm->host,
        .port = swarm->port,
        .fingerprint = swarm->token.fingerprint,
        .certificate_pem = member->certificate,
        .key_pem = member->certificate ? swarm->key : NULL,
        .source = member->source,
    };

    member->state = member->certificate ? MEMBER_OPENING : MEMBER_JOINING;
    member->has_turn = 1;
    member->link = link_connect(swarm->loop, &config, &HANDLER, member);
}

void swarm_next(struct swarm *swarm)
{
    while (swarm->queue && swarm->turns < swarm->parallel) {
        struct member *member = swarm->queue;
        swarm->queue = member->next_queued;
        if (!swarm->queue) {
            swarm->queue_end = &swarm->queue;
        }
        swarm->turns++;
        begin(member);
    }
}

struct member *member_new(struct swarm *swarm, unsigned number)
{
    struct member *member = xnew(struct member);

    member->swarm = swarm;
    member->id = xasprintf("Agent.%u", number);
    snprintf(member->source, sizeof member->source, "127.1.%u.%u", number / 250 % 250,
             number % 250 + 1);
    uv_timer_init(swarm->loop, &member->retry);
    member->retry.data = member;
    return member;
}
