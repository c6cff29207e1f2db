/* openflow-fixture.h - a connection and what came of it, for tests. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "openflow/conn.h"
#include "run-until.h"

enum {
    SEEN_MAX = 16,
};

struct client {
    uv_loop_t loop;
    struct of_conn *conn;
    int opened, closed;
    struct of_features features;
    struct error reason; /* of the end */
    int removed_len, changes_len;
    struct of_flow_removed removed;
    struct of_port changed[SEEN_MAX]; /* with: */
    enum of_port_change changes[SEEN_MAX];
};

/* What a request came to. */
struct outcome {
    int done, failed;
    struct error error;
    int len; /* entries seen */
    struct of_flow_stats flows[SEEN_MAX];
    struct of_port ports[SEEN_MAX];
    struct of_port_stats port_stats[SEEN_MAX];
    struct of_table_stats tables[SEEN_MAX];
};

/* A bundle from an array. */
struct changes {
    const struct of_flow_mod *mods;
    size_t len;
    size_t fails_at; /* next() gives up there; 0: never */
    struct outcome outcome;
    size_t refused[SEEN_MAX];
    struct error refusals[SEEN_MAX];
    int refused_len;
};
extern const struct of_bundle_source CHANGES; /* its argument is a struct changes */

void client_init(struct client *c);
/* Connects, with these limits (path is filled in), and doesn't wait. */
void client_connect(struct client *c, const char *path, struct of_conn_config config);
/* Connects and waits until it is open. */
void client_open(struct client *c, const char *path);
/* Closes what is open, and the loop. */
void client_done(struct client *c);

/* For requests; their argument is a struct outcome. */
void note_done(void *arg, const struct error *error);
void note_flow(void *arg, const struct of_flow_stats *stats);
void note_port(void *arg, const struct of_port *port);
void note_port_stats(void *arg, const struct of_port_stats *stats);
void note_table(void *arg, const struct of_table_stats *stats);

/* A bundle, until it is done. */
void commit(struct client *c, struct changes *changes);
