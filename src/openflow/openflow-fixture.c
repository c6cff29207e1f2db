#include "openflow/openflow-fixture.h"

#include <errno.h>
#include <signal.h>

/* --- the connection --- */

static void on_opened(struct of_conn *conn, void *arg, const struct of_features *features)
{
    struct client *c = arg;

    c->opened++;
    c->features = *features;
}

static void on_removed(struct of_conn *conn, void *arg, const struct of_flow_removed *removed)
{
    struct client *c = arg;

    c->removed = *removed;
    c->removed_len++;
}

static void on_changed(struct of_conn *conn, void *arg, enum of_port_change change,
                       const struct of_port *port)
{
    struct client *c = arg;

    if (c->changes_len < SEEN_MAX) {
        c->changed[c->changes_len] = *port;
        c->changes[c->changes_len] = change;
    }
    c->changes_len++;
}

static void on_closed(struct of_conn *conn, void *arg, const struct error *error)
{
    struct client *c = arg;

    c->reason = *error;
    c->conn = NULL;
    c->closed++;
}

static const struct of_conn_handler HANDLER = {.opened = on_opened,
                                               .flow_removed = on_removed,
                                               .port_changed = on_changed,
                                               .closed = on_closed};

void client_init(struct client *c)
{
    signal(SIGPIPE, SIG_IGN); /* as every program that writes to sockets */
    *c = (struct client){0};
    assert_int_equal(uv_loop_init(&c->loop), 0);
}

void client_connect(struct client *c, const char *path, struct of_conn_config config)
{
    config.path = path;
    c->opened = c->closed = 0;
    c->conn = of_conn_new(&c->loop, &config, &HANDLER, c);
}

void client_open(struct client *c, const char *path)
{
    client_connect(c, path, (struct of_conn_config){0});
    run_until(&c->loop, &c->opened, 1);
}

void client_done(struct client *c)
{
    if (c->conn) {
        of_conn_close(c->conn);
        run_until(&c->loop, &c->closed, 1);
    }
    uv_run(&c->loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&c->loop), 0);
}

/* --- requests --- */

void note_done(void *arg, const struct error *error)
{
    struct outcome *outcome = arg;

    outcome->done++;
    if (error) {
        outcome->failed++;
        outcome->error = *error;
    }
}

void note_flow(void *arg, const struct of_flow_stats *stats)
{
    struct outcome *outcome = arg;

    if (outcome->len < SEEN_MAX) {
        outcome->flows[outcome->len] = *stats;
    }
    outcome->len++;
}

void note_port(void *arg, const struct of_port *port)
{
    struct outcome *outcome = arg;

    if (outcome->len < SEEN_MAX) {
        outcome->ports[outcome->len] = *port;
    }
    outcome->len++;
}

void note_port_stats(void *arg, const struct of_port_stats *stats)
{
    struct outcome *outcome = arg;

    if (outcome->len < SEEN_MAX) {
        outcome->port_stats[outcome->len] = *stats;
    }
    outcome->len++;
}

void note_table(void *arg, const struct of_table_stats *stats)
{
    struct outcome *outcome = arg;

    if (outcome->len < SEEN_MAX) {
        outcome->tables[outcome->len] = *stats;
    }
    outcome->len++;
}

/* --- bundles --- */

static int next_change(void *arg, size_t index, struct of_flow_mod *ret_mod)
{
    struct changes *changes = arg;

    if (changes->fails_at > 0 && index == changes->fails_at) {
        return -EINVAL;
    }
    if (index == changes->len) {
        return 0;
    }
    *ret_mod = changes->mods[index];
    return 1;
}

static void note_refused(void *arg, size_t index, const struct error *error)
{
    struct changes *changes = arg;

    if (changes->refused_len < SEEN_MAX) {
        changes->refused[changes->refused_len] = index;
        changes->refusals[changes->refused_len] = *error;
    }
    changes->refused_len++;
}

static void note_committed(void *arg, const struct error *error)
{
    struct changes *changes = arg;

    note_done(&changes->outcome, error);
}

const struct of_bundle_source CHANGES = {
    .next = next_change, .refused = note_refused, .done = note_committed};

void commit(struct client *c, struct changes *changes)
{
    assert_int_equal(of_bundle(c->conn, &CHANGES, changes), 0);
    run_until(&c->loop, &changes->outcome.done, 1);
}
