/* agents-fixture.h - a server's agents with a real store, authority and connections; for tests. */
#pragma once

#include "core/deployment-fixture.h"
#include "pki/pki.h"
#include "server/agents.h"

enum {
    PEERS_MAX = 4,
};

/* An agent as the test plays it. */
struct peer {
    struct link *link;
    int opened, closed;
    json_t *inbox; /* messages not yet looked at */
    struct error reason;
};

struct world {
    struct fixture *f;
    char *pki_folder;
    struct pki *pki;
    struct agents *agents;
    char *certificate, *key;
    char *node_key, *node_certificate; /* of Agent.1, once it has joined */
    struct peer peers[PEERS_MAX];
    uv_timer_t deadline;
};

/* The digest of nothing. */
extern const char EMPTY[];

/* cmocka's set-up and tear-down: the server listens, and has the token "t1" for any id. */
int set_up(void **state);
int tear_down(void **state);

/* Runs the loop until the flag is set; aborts when that takes too long. */
void run_until(struct world *w, const int *flag);

/* Closes the server's side. */
void stop(struct world *w);

/* Connects as peer i, whose last link is closed first; both NULL: as a stranger. */
struct peer *connect_as(struct world *w, unsigned i, const char *certificate, const char *key);
void drop_peer(struct world *w, struct peer *peer);

/* Takes the reference. */
void say(struct peer *peer, json_t *message);

/* The next message, which must be of that type; the caller's. */
json_t *expect(struct world *w, struct peer *peer, const char *type);
void expect_only(struct world *w, struct peer *peer, const char *type);
/* An error message with that status, then the end of the link. */
void expect_error(struct world *w, struct peer *peer, int status, const char *pointer);

json_t *join_message(const char *csr, const char *id);
json_t *hello_message(const char *id, json_int_t revision, const char *digest, json_int_t started);

/* Agent.1 joins, as peer 0. */
void join(struct world *w);
/* Agent.1 says hello as that peer and is welcome. */
struct peer *greet(struct world *w, unsigned i, json_int_t revision, const char *digest,
                   json_int_t started);

/* Reads messages up to the sync that has the present digest; returns them, without that. */
json_t *until_synced(struct world *w, struct peer *peer, const char *node);
/* Is there a message of that type about that key? */
int has(const json_t *messages, const char *type, const char *key);

#define WORLD(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
