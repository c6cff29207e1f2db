/* sqlite-txn.h - transactions as they wait in the queue, and how a batch of them is committed.
 * Private to src/store. Runs on the writer's thread; knows nothing of threads itself. */
#pragma once

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

/* One allocation that holds the arrays and every key and value too: txn_free() wipes it. */
struct txn {
    struct txn *next;
    store_done_fn *done;
    void *arg;
    int rc;           /* outcome, as for store_done_fn */
    int64_t revision; /* outcome, as for store_done_fn */
    size_t size;      /* bytes of the allocation */
    struct store_compare *compares;
    size_t compares_len;
    struct store_entry *entries; /* the operations; after a commit only what changed something */
    size_t entries_len;
};

/* -E2BIG, -EINVAL as for store_txn(). */
int txn_new(const struct store_compare *compares, size_t compares_len, const struct store_op *ops,
            size_t ops_len, struct txn **ret_txn);
void txn_free(struct txn *txn);

/* The connection with its statements prepared. */
struct writer {
    sqlite3 *db; /* borrowed */
    sqlite3_stmt *begin, *commit, *rollback, *get, *put, *del, *log, *count, *touch;
    int64_t revision;  /* of the last committed transaction */
    int journal_pages; /* since the last checkpoint */
};

int writer_init(struct writer *writer, sqlite3 *db);
void writer_done(struct writer *writer);

/* Commits a list of transactions in one disk transaction and fills in each one's outcome. When
 * that fails, each is tried on its own, so that one that doesn't fit on the disk doesn't take
 * others with it. */
void writer_commit(struct writer *writer, struct txn *list);

/* What the journal has must come into the database's own file now and then, so that it stays
 * short. SQLite would do it within a commit, and whoever waits for that one would wait for the
 * checkpoint too; so it is done between commits, when nobody waits, or, if that is never, when it
 * must. */
int writer_wants_checkpoint(const struct writer *writer);
int writer_needs_checkpoint(const struct writer *writer);
void writer_checkpoint(struct writer *writer);

/* Forgets a slice of the log up to `revision`. 1: there is more; 0: that was all. */
int writer_compact(struct writer *writer, int64_t revision);
