/* reconcile-look-fixture.h - a reconciler with two drivers that count what is asked of them: one
 * observes everything ("all/"), one can look at keys ("key/"). Both own "both/". */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    MANY = 2000,
};

/* A driver and its part of the host: key -> value. */
struct part {
    const struct backend_env *env;
    const char *prefix;
    struct omap things;
    struct omap accepted; /* answered with "not yet", in force when finish() is called */
    int is_slow;          /* applies answer "not yet" */
    int fails;            /* applies fail */
    int wakes;            /* so many looks find that everything should be looked at */
    unsigned observed, looked, compared, applied, items;
    unsigned others; /* calls of the other drivers when it was last applied */
};

struct fixture {
    char folder[64];
    uv_loop_t loop;
    uv_timer_t ticker; /* so that uv_run() always comes back */
    struct part all, key;
    struct reconcile *r;
    struct omap wanted; /* what the server has put: key -> value */
    int64_t sent;       /* its revision */
    int64_t acked;
    unsigned reports, errors;
};

/* What was accepted is in force now, and the driver says so. */
void finish(struct part *part);

/* The server puts or deletes a resource, and says that this is all for now. */
void put(struct fixture *f, const char *key, int value);
void delete (struct fixture *f, const char *key);
void sync_now(struct fixture *f);
void run_until_acked(struct fixture *f);

void forget_counts(struct fixture *f);
/* A new process of the agent. */
void start(struct fixture *f);

/* cmocka's: the node has MANY resources already, all of them in force. */
int set_up(void **state);
int tear_down(void **state);

#define LOOK_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
