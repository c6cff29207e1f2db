#include <errno.h>

#include "lib/mem.h"
#include "ovsdb/ovsdb-internal.h"

struct ovsdb_transaction {
    struct ovsdb_transaction *next;
    json_int_t number;
    json_t *ops; /* to name the one that failed */
    ovsdb_done_fn *done;
    void *arg;
};

/* Takes it out of the list, so that the callback may do anything. */
static void finish(struct ovsdb *db, struct ovsdb_transaction **at, const json_t *results,
                   const struct error *error)
{
    struct ovsdb_transaction *t = *at;

    *at = t->next;
    db->transactions_len--;
    ovsdb_done_fn *done = t->done;
    void *arg = t->arg;
    json_decref(t->ops);
    free(t);
    done(arg, error ? NULL : results, error);
}

int ovsdb_transact(struct ovsdb *db, const json_t *ops, ovsdb_done_fn *done, void *arg)
{
    struct ovsdb_transaction **at = &db->transactions;

    if (db->state != OVSDB_OPEN) {
        return -ENOTCONN;
    }
    if (db->transactions_len >= OVSDB_TRANSACTIONS_MAX) {
        return -EAGAIN;
    }
    json_t *params = json_copy((json_t *)ops); /* shallow: the operations are shared */
    json_array_insert_new(params, 0, json_string(db->config.database));
    json_t *message =
        json_pack("{s:s, s:o, s:I}", "method", "transact", "params", params, "id", db->number + 1);
    int rc = ovsdb_send(db, message);
    json_decref(message);
    if (rc < 0) {
        return rc;
    }
    struct ovsdb_transaction *t = xnew(struct ovsdb_transaction);
    *t = (struct ovsdb_transaction){
        .number = ++db->number, .ops = json_incref((json_t *)ops), .done = done, .arg = arg};
    while (*at) {
        at = &(*at)->next;
    }
    *at = t;
    db->transactions_len++;
    return 0;
}

void ovsdb_answered(struct ovsdb *db, const struct rpc *rpc)
{
    struct ovsdb_transaction **at = &db->transactions;
    struct error error;
    int rc;

    while (*at && (*at)->number != rpc->number) {
        at = &(*at)->next;
    }
    if (!*at) {
        return;
    }
    if (rpc->kind == RPC_ERROR) {
        rc = rpc_explain(rpc->payload, "the transaction", &error);
    } else {
        rc = rpc_check_results(rpc->payload, (*at)->ops, &error);
    }
    finish(db, at, rpc->payload, rc < 0 ? &error : NULL);
}

void ovsdb_fail_all(struct ovsdb *db, const struct error *error)
{
    while (db->transactions) {
        finish(db, &db->transactions, NULL, error);
    }
}
