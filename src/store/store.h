/* store.h - the deployment's durable state: keys, values and one revision counter.
 *
 * The interface is etcd's in small (etcd API v3: KV, Txn, Watch), so that an embedded SQLite file
 * and an etcd cluster serve alike. Keys are non-empty UTF-8 without NUL, at most STORE_KEY_MAX
 * bytes; values are bytes. Every transaction that changes something raises the revision by one;
 * a key's `revision` is that of the transaction that last put it.
 *
 * In order: store_open(); store_range() to fill a mirror; store_watch() from that revision on;
 * store_txn() to change; store_close(). Calls are made on the loop's thread and never block on a
 * disk once the store is open: transactions are queued, a writer thread commits what has queued
 * up in one disk transaction (group commit, synchronous=FULL), and callbacks run on the loop's
 * thread. For one transaction the order is: watch callbacks, then the transaction's own callback.
 * The store keeps the loop alive only while callbacks are due; after store_close() the loop must
 * turn once more to free its handle. A callback may call anything here, store_close() too.
 *
 * What a callback has reported as committed survives kill -9 and power loss. When the disk is
 * full or broken the transaction fails with -ENOSPC or -EIO, nothing of it is applied, and the
 * store goes on; the next one that fits succeeds. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/error.h"

enum {
    STORE_KEY_MAX = 512,
    STORE_OPS_MAX = 1024,          /* operations in one transaction */
    STORE_TXN_BYTES_MAX = 1 << 20, /* keys and values of one transaction */
    STORE_SCHEMA_VERSION = 1,
};

struct store;

/* The transaction happens only if every compare holds. At most STORE_OPS_MAX of them. */
struct store_compare {
    const char *key;
    int64_t revision; /* the key's revision; 0: the key doesn't exist */
};

struct store_op {
    const char *key;
    const void *value; /* NULL deletes the key (fine if it isn't there) */
    size_t size;
};

struct store_entry {
    const char *key;
    const void *value; /* NULL in a watch: the key was deleted */
    size_t size;
    int64_t revision;
};

/* rc: 0 committed at `revision`; -ECANCELED a compare failed (revision: the store's present one);
 * -ENOSPC, -EIO as above. */
typedef void store_done_fn(void *arg, int rc, int64_t revision);

/* All entries of one transaction in one call, in the order of the operations. */
typedef void store_watch_fn(void *arg, int64_t revision, const struct store_entry *entries,
                            size_t len);

typedef void store_entry_fn(void *arg, const struct store_entry *entry);

/* Opens or makes the database file, migrates an older schema version (a copy `path.bak-vN` is
 * kept) and refuses a newer one. Another process that has it open: -EBUSY. */
int store_open(uv_loop_t *loop, const char *path, struct store **ret_store, struct error *error);

/* Finishes what is queued, runs its callbacks, closes. NULL is fine. */
void store_close(struct store *store);

int64_t store_revision(const struct store *store);

/* Every key that begins with `prefix`, in byte order, as of now. Reads the disk on the caller's
 * thread: for the start, and for tests. What is queued may be in it already; a watch from
 * store_revision() then tells it once more. `each` doesn't call the store. */
int store_range(struct store *store, const char *prefix, store_entry_fn *each, void *arg);

/* Reads the whole database and checks its structure; -EIO if it is damaged. Takes long: for
 * `cnsmod check`. */
int store_check(struct store *store, struct error *error);

/* Copies its arguments. -E2BIG past the limits above, -EINVAL for a bad key; then `done` isn't
 * called; neither is it for -ESHUTDOWN, when the store is being closed. Otherwise `done` (may be
 * NULL) is called exactly once, later. Operations happen in their order, on the same key too. What
 * changes nothing (no operation, or only deletions of keys that aren't there) succeeds at the
 * present revision. */
int store_txn(struct store *store, const struct store_compare *compares, size_t compares_len,
              const struct store_op *ops, size_t ops_len, store_done_fn *done, void *arg);

/* Calls back for every transaction after revision `from`, first (during this call) those that are
 * past already. Deletions of what wasn't there aren't told. One watcher at a time (the mirror): it
 * replaces the one before, and `each` NULL ends it. -ESTALE: `from` is compacted, or newer than
 * anything that the store has; read the range again. */
int store_watch(struct store *store, int64_t from, store_watch_fn *each, void *arg);

/* Forgets the log up to and including `revision`; the present values stay. The rows go little by
 * little between transactions. */
int store_compact(struct store *store, int64_t revision);

/* A consistent copy of the running database to a new file (mode 0600), made on a worker thread
 * while transactions go on. It is whole and synced, or not there. One at a time: -EBUSY, and
 * `done` isn't called. Else `done` gets 0 and the copy's revision, -EEXIST if the file is there,
 * -ENOSPC, or another negative errno. */
int store_backup(struct store *store, const char *path, store_done_fn *done, void *arg);

/* Puts a backup in the place of the (closed, else -EBUSY) database at `path`, after checking its
 * integrity and schema version; the old file is kept as `path.before-restore`. Keys keep their
 * revisions, but the store's goes on far after the newest that either file knows, with an empty
 * log: no revision that was ever told comes again for other content, and everybody who remembers
 * one reads anew. */
int store_restore(const char *backup_path, const char *path, struct error *error);
