/* store-test.h - what the tests of the store share: a store in a folder of its own, and
 * transactions that are waited for. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/error.h"
#include "store/store.h"

struct fixture {
    uv_loop_t loop;
    struct store *store; /* NULL while closed */
    char folder[32];
    char path[64];
    struct error error;
};

/* What a callback said; calls counts them. */
struct outcome {
    int calls;
    int rc;
    int64_t revision;
};

int fixture_setup(void **state);
int fixture_teardown(void **state);

void fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);

/* A file in the fixture's folder; the caller frees the path. */
char *fixture_file(const struct fixture *f, const char *name);

/* A store_done_fn; arg is a struct outcome. */
void note_outcome(void *arg, int rc, int64_t revision);

/* Runs the loop until the outcome is there; fails the test after 20 s. */
struct outcome wait_outcome(struct fixture *f, struct outcome *outcome);

/* One transaction with one operation, waited for. `value` NULL deletes. */
struct outcome put(struct fixture *f, const char *key, const char *value);

/* Its value as text, or NULL if the key isn't there. The caller frees it. */
char *get(struct fixture *f, const char *key, int64_t *ret_revision);

/* All of the state as "key=value@revision " in order. The caller frees it. */
char *dump(struct fixture *f);
