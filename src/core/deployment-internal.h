/* deployment-internal.h - the deployment's parts, for the files of core/ only. */
#pragma once

#include "core/deployment.h"
#include "core/planner.h"

enum {
    EVENTS_MAX = 10000, /* kept */
    /* Transactions whose concerned nodes are remembered, and such nodes in all of them. */
    RECENT_MAX = 256,
    RECENT_NODES_MAX = 20000,
    REPORTED_MAX = 16, /* statuses kept as trees */
    /* A write that loses its race is built again so often: each round somebody wins, so many who
     * change the same object (machines that join with one token) all get through. */
    WRITE_TRIES_MAX = 1000,
    KINDS_MAX = 64,
};

struct recent {
    int64_t revision;
    struct omap nodes; /* concerned nodes */
};

struct live {
    int connected;
    char *address;
    int64_t last_seen_usec; /* 0: not since this server started */
    int64_t acked;          /* revision applied */
    int64_t concerned;      /* the newest revision that changed what the node must have */
    json_t *errors;         /* [{"key","message"}] or NULL */
    char *status;           /* as reported, or NULL: a text takes a fifth of the tree's memory */
};

/* A status as a tree, while it is looked at: of `live`, or NULL. */
struct reported {
    const struct live *live;
    json_t *status;
};

struct waiter {
    struct deployment *d;
    int64_t revision;
    struct omap concerned;
    struct omap pending; /* connected nodes that haven't acknowledged */
    json_t *away;        /* names of concerned nodes that are away */
    uv_timer_t timer;
    applied_fn *done;
    void *arg;
    struct waiter *next;
};

/* The address of a deleted node, not to be given away before these nodes have let go of it. */
struct quarantine {
    int64_t revision; /* of the deletion */
    struct omap nodes;
};

struct deployment {
    uv_loop_t *loop;
    struct store *store;
    const struct service *const *services;
    const struct kind *kinds[KINDS_MAX + 1];
    struct omap schemas;    /* schema_text pointer as hex -> json_t */
    struct omap fact_types; /* name -> struct fact_slot */
    struct tree tree;
    struct planner planner;
    struct channels channels;
    int64_t revision;
    uint64_t generation;
    struct counters counters;
    int counted; /* something was since the generation was raised for that */
    int64_t counted_usec;
    struct recent recent[RECENT_MAX];
    size_t recent_at;    /* modulo RECENT_MAX: the newest */
    size_t recent_nodes; /* in all of them but the one that is being filled */
    struct omap live;    /* node -> struct live */
    struct reported reported[REPORTED_MAX];
    size_t reported_at;
    struct omap behind; /* those who have something to apply, or errors; not owned */
    struct waiter *waiters;
    struct deployment_listener *listeners;
    struct omap quarantine; /* claim key -> struct quarantine */
    uint32_t address_hint;  /* the address allocated last */
    int64_t last_event;
    int64_t refusals_since; /* the minute in which `refusals` joins were refused */
    unsigned refusals;
    size_t events;
};

struct fact_slot {
    const struct service *service;
    json_t *schema;
};

/* --- kinds.c --- */
int kinds_register(struct deployment *d, struct error *error);
void kinds_done(struct deployment *d);
/* The slot of a fact's name ("vpn.self", "vpn.endpoint/Agent.2"), or NULL. */
const struct fact_slot *kinds_fact(const struct deployment *d, const char *name);

/* --- change.c: a transaction being put together --- */
struct change {
    struct deployment *d;
    struct store_compare compares[STORE_OPS_MAX];
    size_t compares_len;
    struct store_op ops[STORE_OPS_MAX];
    size_t ops_len;
    struct omap expected, put; /* key -> its compare or operation */
    int overflow;
};
struct change *change_new(struct deployment *d);
void change_free(struct change *change);
/* The key must be as it is in the tree now. */
void change_expect(struct change *change, const char *key);
/* Value NULL deletes. Copies. Of one key the last one counts. */
void change_put(struct change *change, const char *key, const json_t *value);
/* Adds an event, and drops the oldest where there are too many. */
void change_event(struct change *change, const struct actor *actor, const char *reason,
                  const char *subject, const char *message);
/* Adds the changes of claims when `owner` (a key) goes from one value to another (NULL: none).
 * 409 when one is somebody else's. `service` NULL asks every service. */
int change_claims(struct change *change, const char *owner, const json_t *before,
                  const json_t *after, struct error *error);
/* Hands it to the store and frees it. -ENOSPC etc. come through `done`. */
void change_commit(struct change *change, store_done_fn *done, void *arg);
/* Words for a store's error. */
int change_error(int rc, struct error *error);

/* --- rules.c: what the services say of a write --- */
int write_check(struct deployment *d, const struct kind *kind, const char *id, const json_t *spec,
                int force, struct error *error);
int write_check_deletion(struct deployment *d, const struct kind *kind, const char *id,
                         struct error *error);
/* The spec with what the server chooses. Takes the reference; NULL with the reason. */
json_t *write_complete(struct deployment *d, const struct kind *kind, const char *id,
                       const json_t *before, json_t *spec, struct error *error);

/* --- write.c: one object's write --- */
json_t *write_value(const json_t *spec, const json_t *sealed);
/* A write under way; it owns copies of everything, since a lost race builds it again. */
struct writing {
    struct deployment *d;
    enum write_verb verb;
    char *kind, *id;
    int force, is_forced, returns;
    int draws_id; /* the caller gave none: each try makes its own */
    json_t *spec, *sealed;
    int64_t if_match;
    const char *reason;
    char *actor_name, *actor_source;
    enum role actor_role;
    unsigned tries;
    write_done_fn *done;
    void *arg;
};
struct writing *writing_new(struct deployment *d, const struct actor *actor,
                            const struct write *write, write_done_fn *done, void *arg);
void writing_free(struct writing *w);
/* Tells why, and frees it. */
void writing_fail(struct writing *w, int rc, const struct error *error);
/* Builds the transaction and the new value (NULL: delete); both are the caller's. */
int writing_build(struct writing *w, struct change *change, char **ret_key, json_t **ret_value,
                  struct error *error);
/* The event of `subject`, written "admin created <what>". */
void writing_add_event(struct writing *w, struct change *change, const char *subject,
                       const char *what);

/* --- node.c: what is particular to nodes --- */
/* The spec with the address and, for a hub, the client range that it doesn't name (addresses.h); a
 * new reference, or NULL with the reason. */
json_t *node_complete(struct deployment *d, const char *id, const json_t *spec,
                      struct error *error);
/* Claims say that two values are equal, not that two ranges overlap: of two transactions at once
 * that give a node a client range or an address, one is built again. */
void node_gate(struct change *change, const json_t *before, const json_t *after);
/* Adds the deletion of what belongs to a node: facts and their claims. */
void node_forget(struct change *change, const char *id);
/* Deletes facts under the prefix whose nodes are gone: what one transaction couldn't hold, or a
 * crash left behind. */
void node_sweep(struct deployment *d, const char *prefix);

/* --- revoke.c --- */
/* Adds the revocation of the certificates that the sealed part of an object noted before and
 * doesn't after (NULL: the object is gone). `owner`: "nodes/Agent.1". */
void revoke_dropped(struct change *change, const char *owner, const json_t *before,
                    const json_t *after);
/* Whether the list is too long, and all of it was signed within a day. Each that is too much
 * stands on the list of what is revoked, which is bounded: one node must not fill it. */
int revoke_comes_too_fast(const json_t *serials);
/* Adds the revocation of the oldest of a list that is too long, which become fewer. */
void revoke_surplus(struct change *change, const char *owner, json_t *serials);

/* --- quarantine.c --- */
/* Follows the claims as they are stored. `concerned`: the nodes whose resources that transaction
 * changed; NULL after a start, when every node tells anew what it has. */
void quarantine_follow(struct deployment *d, const char *key, const json_t *value,
                       int64_t revision, const struct omap *concerned);
/* The node has applied `revision`, or is gone (INT64_MAX). */
void quarantine_acked(struct deployment *d, const char *node, int64_t revision);
void quarantine_done(struct deployment *d);

/* --- preview.c --- */
json_t *preview_deltas(struct deployment *d, const char *key, json_t *value);

/* --- fleet.c --- */
struct live *fleet_live(const struct deployment *d, const char *node);
/* What the agent said of itself last, or NULL: borrowed, until REPORTED_MAX others were asked for
 * or it says something else. */
const json_t *fleet_reported(struct deployment *d, const struct live *live);
void fleet_done(struct deployment *d);
void fleet_forget(struct deployment *d, const char *node);
/* Nodes' channels follow their objects. Returns 1 if that changed anything. */
int fleet_channels(struct deployment *d, const char *node, int64_t revision);
/* "" or why the node hasn't applied the resource. */
const char *fleet_problem(const struct deployment *d, const char *node, const char *key,
                          int64_t revision);
/* What the node must have has changed. */
void fleet_concern(struct deployment *d, const char *node, int64_t revision);
/* The channels a node with this spec is on: NULL-terminated, the caller frees both levels. */
char **fleet_channel_names(const char *node, const json_t *spec);
void fleet_free_names(char **names);

/* --- counting.c --- */
/* The resource is gone, and what was counted of it goes along. */
void counting_gone(struct deployment *d, const char *channel, const char *key);
/* Raises the generation where counters have changed, at most once a second. */
void counting_generation(struct deployment *d);

/* --- waiting.c --- */
/* Whom the transaction concerns is put into it, then it's ended. */
struct recent *waiting_begin_recent(struct deployment *d, int64_t revision);
void waiting_end_recent(struct deployment *d);
/* The node has acknowledged something, or is away. */
void waiting_check(struct deployment *d, const char *node);
/* Ends all waiters. */
void waiting_done(struct deployment *d);
