/* ovsdb-fixture.h - a connection and what came of it, for tests. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ovsdb/ovsdb.h"
#include "run-until.h"

struct client {
    uv_loop_t loop;
    struct ovsdb *db;
    int opened, updated, closed;
    struct error reason; /* of the end */
};

/* What a transaction came to. */
struct outcome {
    int done;
    json_t *results; /* NULL if it failed */
    struct error error;
};

void client_init(struct client *c);
/* Connects with these limits (path, database and columns are filled in where they are NULL), and
 * doesn't wait. */
void client_connect(struct client *c, struct ovsdb_config config);
void client_open(struct client *c, const char *path);
void client_done(struct client *c);

/* Takes the reference to `ops`, and waits. */
struct outcome transact(struct client *c, json_t *ops);
void note_done(void *arg, const json_t *results, const struct error *error);
