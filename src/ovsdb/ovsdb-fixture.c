#include "ovsdb/ovsdb-fixture.h"

#include <signal.h>

#include "ovsdb/vswitch.h"

static void on_opened(struct ovsdb *db, void *arg)
{
    ((struct client *)arg)->opened++;
}

static void on_updated(struct ovsdb *db, void *arg)
{
    ((struct client *)arg)->updated++;
}

static void on_closed(struct ovsdb *db, void *arg, const struct error *error)
{
    struct client *c = arg;

    c->reason = *error;
    c->db = NULL;
    c->closed++;
}

static const struct ovsdb_handler HANDLER = {
    .opened = on_opened, .updated = on_updated, .closed = on_closed};

void client_init(struct client *c)
{
    signal(SIGPIPE, SIG_IGN); /* as every program that writes to sockets */
    *c = (struct client){0};
    assert_int_equal(uv_loop_init(&c->loop), 0);
}

void client_connect(struct client *c, struct ovsdb_config config)
{
    json_t *columns = vswitch_monitor();

    config.database = config.database ? config.database : VSWITCH_DATABASE;
    config.monitor = config.monitor ? config.monitor : columns;
    c->opened = c->closed = 0;
    c->db = ovsdb_new(&c->loop, &config, &HANDLER, c);
    json_decref(columns);
}

void client_open(struct client *c, const char *path)
{
    client_connect(c, (struct ovsdb_config){.path = path});
    run_until(&c->loop, &c->opened, 1);
}

void client_done(struct client *c)
{
    if (c->db) {
        ovsdb_close(c->db);
        run_until(&c->loop, &c->closed, 1);
    }
    uv_run(&c->loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&c->loop), 0);
}

void note_done(void *arg, const json_t *results, const struct error *error)
{
    struct outcome *outcome = arg;

    outcome->done++;
    outcome->results = json_deep_copy(results);
    if (error) {
        outcome->error = *error;
    }
}

struct outcome transact(struct client *c, json_t *ops)
{
    struct outcome outcome = {0};

    assert_int_equal(ovsdb_transact(c->db, ops, note_done, &outcome), 0);
    json_decref(ops);
    run_until(&c->loop, &outcome.done, 1);
    return outcome;
}
