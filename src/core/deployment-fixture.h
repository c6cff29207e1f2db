/* deployment-fixture.h - a deployment for tests: a real store in a temporary folder, and a small
 * service, "toy": everybody knows the "colour" that each node reports. Its "toy/marks" are
 * counted, and forced where they are "sharp". */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/deployment.h"
#include "lib/buf.h"

struct fixture {
    char folder[40];
    uv_loop_t loop;
    struct store *store;
    struct deployment *d;
};

/* What a write's or a wait's callback said. */
struct outcome {
    int finished, rc;
    struct error error;
    int64_t revision;
    char id[64];
    json_t *deltas;
};

extern unsigned toy_plans_made;

/* cmocka's set-up and tear-down. */
int fixture_set_up(void **state);
int fixture_tear_down(void **state);
void fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);

/* A write_done_fn for a struct outcome. */
void fixture_done(void *arg, int rc, const struct write_result *result, const struct error *error);
void fixture_run(struct fixture *f, const int *finished);

/* Only begins; `o` is finished in some turn of the loop. */
void begin_write(struct fixture *f, struct write write, const char *spec, struct outcome *o);
/* Each runs the loop until its callback came. */
struct outcome do_write(struct fixture *f, struct write write, const char *spec);
struct outcome create_node(struct fixture *f, const char *id, const char *spec);
struct outcome report(struct fixture *f, const char *node, const char *facts);

/* A resource_fn for a struct buf: "key body;". */
void collect_resource(void *arg, const char *key, int64_t revision, const json_t *body);

/* Incremental equals recomputed. */
void assert_lawful(struct fixture *f);

#define assert_collected(call, expected)                                                          \
    do {                                                                                          \
        struct buf seen_ = BUF_INIT(10000);                                                       \
        call;                                                                                     \
        assert_string_equal(seen_.data ? seen_.data : "", expected);                              \
        buf_done(&seen_);                                                                         \
    } while (0)

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
