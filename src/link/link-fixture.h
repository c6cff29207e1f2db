/* link-fixture.h - both ends of the link in one process and one loop, over loopback; for tests. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "link/link-test-pki.h"
#include "link/link.h"

enum {
    ENDS_MAX = 8,
};

/* What one end of a link went through. */
struct end {
    struct link *link;
    int opened, closed;
    unsigned messages;
    size_t bytes; /* of "data" */
    char type[32], detail[512];
    int status;
    int closes_on_message, echoes;
    struct error reason;
};

struct world {
    uv_loop_t loop;
    struct test_cert root, server_ca, agent_ca, client_ca, server_cert;
    char *server_chain, *server_key, *agents_chain, *fingerprint;
    struct link_limits limits;
    struct link_server *server;
    struct end ends[ENDS_MAX]; /* the server's, in the order of acceptance */
    unsigned accepted;
    int server_closed;
    uv_timer_t deadline;
};

/* cmocka's set-up and tear-down. */
int world_make(void **state);
int world_drop(void **state);

/* Runs the loop until the int is at least `wanted`; aborts when that takes too long. */
void run_until(struct world *w, const int *value, int wanted);

/* What run_until() does when it takes too long, for a test's own loop. */
enum {
    DEADLINE_MSEC = 20000,
};
void too_late(uv_timer_t *timer);

void serve(struct world *w);
void serve_with(struct world *w, unsigned handshakes, unsigned links, unsigned unproven);
void stop(struct world *w);

/* Of every end: notes in its struct end. */
extern const struct link_handler HANDLER;
/* A right certificate of Agent.1. */
extern const struct test_leaf NODE;

/* A link_accept_fn whose argument is the world. */
const struct link_handler *on_accepted(void *arg, struct link *link, void **ret_arg);

/* The certificates of up to three in one text; `c` may be NULL. The caller frees it. */
char *join_pems(const struct test_cert *a, const struct test_cert *b, const struct test_cert *c);

struct link_client_config client_config(struct world *w);

/* Connects without a certificate, or with a leaf of that issuer. */
void join(struct world *w, struct end *end);
void enter(struct world *w, struct end *end, const struct test_cert *issuer,
           const struct test_leaf *leaf);

/* Sends a message of that type with so many bytes of "data". */
void say(struct link *link, const char *type, size_t data_size);

#define in_world(test) cmocka_unit_test_setup_teardown(test, world_make, world_drop)
