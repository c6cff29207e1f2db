/* agents-internal.h - one agent's link, as the parts of agents*.c know it.
 *
 *     [new] ── join ──► [joining] ── joined or error, close
 *       │                                               leave
 *       └── hello ──► [synced] ◄── messages, changes ──────────► [leaving] ── left, close
 *
 * An agent lives as long as its link or a request that was made for it; a request that ends after
 * the link finds agent->link NULL. */
#pragma once

#include "lib/omap.h"
#include "server/agents.h"

enum {
    AGENTS_HANDSHAKES_MAX = 256,
    AGENTS_STRANGERS_MAX = 64,    /* links without certificate per address */
    AGENT_REPORTS_MAX = 64,       /* facts being written for one agent */
    AGENT_RESYNCS_MAX = 8,        /* asked for without an acknowledgement between */
    DUPLICATE_EVENT_MSEC = 60000, /* one event in that time */
};

enum agent_state {
    AGENT_NEW,
    AGENT_JOINING,
    AGENT_SYNCED,
    AGENT_LEAVING,
};

struct agents {
    uv_loop_t *loop;
    struct deployment *deployment;
    struct pki *pki;
    struct link_server *server;
    struct deployment_listener listener;
    struct omap by_node; /* id -> struct agent in AGENT_SYNCED or AGENT_LEAVING */
    uv_idle_t flusher;   /* runs while an agent is dirty */
    struct agent *dirty;
    json_int_t asked; /* the last question's number */
    unsigned refs;    /* agents, the server, the flusher */
    void (*done)(void *arg);
    void *done_arg;
};

struct agent {
    struct agents *agents;
    unsigned refs;     /* the link, and each request */
    struct link *link; /* NULL when closed */
    enum agent_state state;
    char *id;      /* of the node; NULL while a stranger */
    char *version; /* of its program */
    json_int_t started;
    int64_t sent_revision;
    int is_dirty;
    struct agent *next_dirty;
    unsigned reports; /* in flight */
    unsigned resyncs; /* since the last acknowledgement */
    int is_renewing;
    struct question *questions; /* under way */
    size_t questions_len;
    uint64_t duplicate_told_msec; /* 0: never */
};

struct agent *agent_ref(struct agent *agent);
void agent_unref(struct agent *agent);

/* Takes the reference to `message`; nothing happens when the link is closed. */
void agent_send(struct agent *agent, json_t *message);

/* Sends the error and closes. */
void agent_refuse(struct agent *agent, const struct error *error);

/* --- agents.c --- */
void agent_mark_dirty(struct agent *agent);
/* What has changed since agent->sent_revision, or everything; then the sync mark. */
void agent_send_changes(struct agent *agent);
void agent_send_snapshot(struct agent *agent);
void agent_send_sync(struct agent *agent);

/* --- agents-message.c --- */
void agent_message(struct link *link, void *arg, const char *type, const json_t *message);

/* --- agents-ask.c --- */
int agent_answer(struct agent *agent, const json_t *message, struct error *error);
/* The link is closed: nobody will answer. */
void agent_drop_questions(struct agent *agent);

/* --- agents-join.c --- */
int agent_join(struct agent *agent, const json_t *message, struct error *error);
int agent_renew(struct agent *agent, const json_t *message, struct error *error);
