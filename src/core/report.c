/* report.c - facts: what agents say of themselves, checked, and stored when it is new. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/deployment-internal.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "model/schema.h"

struct reporting {
    struct deployment *d;
    char *node;
    json_t *facts;
    int by_server;
    unsigned tries;
    write_done_fn *done;
    void *arg;
};

static void finish(struct reporting *r, int rc, int64_t revision, const struct error *error)
{
    struct write_result result = {.id = r->node, .revision = revision};

    if (r->done) {
        r->done(r->arg, rc, rc == 0 ? &result : NULL, error);
    }
    json_decref(r->facts);
    free(r->node);
    free(r);
}

static int check_fact(struct reporting *r, const char *name, const json_t *value,
                      struct error *error)
{
    const struct fact_slot *slot = kinds_fact(r->d, name);

    if (!slot || (strncmp(name, "core.", 5) == 0) != r->by_server) {
        return error_set(error, 400, NULL, "\"%.100s\" isn't a fact that an agent reports", name);
    }
    int rc = json_is_null(value) ? 0 : schema_validate(slot->schema, value, error);
    if (rc < 0) {
        struct error why = *error;
        return error_set(error, 400, why.pointer, "fact %.100s: %s", name, why.detail);
    }
    return 0;
}

/* Adds one fact to the transaction, unless it is as known. */
static int add_fact(struct reporting *r, struct change *change, const char *name,
                    const json_t *value, struct error *error)
{
    _cleanup_free_ char *key = xasprintf("fact/%s/%s", r->node, name);
    const json_t *before = tree_value(&r->d->tree, key);
    const json_t *after = json_is_null(value) ? NULL : value;

    if (before == after || (before && after && json_equal(before, after))) {
        return 0;
    }
    int rc = change_claims(change, key, before, after, error);
    if (rc == 0) {
        change_expect(change, key);
        change_put(change, key, after);
    }
    return rc;
}

static void attempt(struct reporting *r);

static void on_committed(void *arg, int rc, int64_t revision)
{
    struct reporting *r = arg;
    struct error error;

    if (rc == -ECANCELED && ++r->tries < WRITE_TRIES_MAX) {
        attempt(r);
        return;
    }
    if (rc < 0) {
        change_error(rc, &error);
    }
    finish(r, rc, revision, rc < 0 ? &error : NULL);
}

static int build(struct reporting *r, struct change *change, struct error *error)
{
    const char *name;
    json_t *value;
    _cleanup_free_ char *node_key = xasprintf("object/nodes/%s", r->node);

    if (!tree_get(&r->d->tree, node_key)) {
        return error_set(error, 404, NULL, "there is no node \"%s\"", r->node);
    }
    change_expect(change, node_key);
    json_object_foreach (r->facts, name, value) {
        int rc = check_fact(r, name, value, error);
        rc = rc < 0 ? rc : add_fact(r, change, name, value, error);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static void attempt(struct reporting *r)
{
    struct change *change = change_new(r->d);
    struct error error = {0};
    int rc = build(r, change, &error);

    if (rc < 0 || change->ops_len == 0) {
        change_free(change);
        finish(r, rc, r->d->revision, rc < 0 ? &error : NULL);
        return;
    }
    change_commit(change, on_committed, r);
}

void deployment_report(struct deployment *d, const char *node, const json_t *facts, int by_server,
                       write_done_fn *done, void *arg)
{
    struct reporting *r = xnew(struct reporting);

    *r = (struct reporting){
        .d = d,
        .node = xstrdup(node),
        .facts = json_deep_copy(facts),
        .by_server = by_server,
        .done = done,
        .arg = arg,
    };
    attempt(r);
}
