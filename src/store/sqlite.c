/* sqlite.c - store.h on an SQLite file.
 *
 *     loop's thread                                writer's thread
 *     store_txn() ── queue ──────────────────────► takes all that is queued (a batch),
 *                                                  commits it as one disk transaction
 *     deliver() ◄── finished, uv_async_send() ──── hands the outcomes back, in order
 *        watch callback, done callback
 *
 * The database connection is used inside `gate` only: by the writer, by a backup's thread, and by
 * the loop's thread for store_range() and for the past of store_watch(). `mutex` guards the
 * queues and is never held while the disk is used. Values pass through and aren't kept. */
#include "store/store.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "lib/mem.h"
#include "store/gate.h"
#include "store/sqlite-copy.h"
#include "store/sqlite-db.h"
#include "store/sqlite-read.h"
#include "store/sqlite-txn.h"

enum {
    BATCH_BYTES_MAX = 8 << 20, /* of one disk transaction; bounds the journal */
    CALM_MSEC = 50,            /* nothing to write for so long: time for a checkpoint */
};

struct txn_queue {
    struct txn *first, **end;
};

struct backup {
    pthread_t thread;
    struct store *store;
    char *path;
    struct txn *outcome;
};

struct store {
    uv_async_t async; /* owned by the loop until it is closed; then the store is freed */
    sqlite3 *db;
    struct gate gate;

    pthread_mutex_t mutex;
    pthread_cond_t wake;       /* the writer has something to do */
    struct txn_queue queued;   /* mutex */
    struct txn_queue finished; /* mutex */
    int64_t compact_to;        /* mutex; 0: nothing to forget */
    int is_stopping;           /* mutex */
    pthread_t thread;
    struct writer writer; /* the writer thread's, once that runs */

    /* The rest is the loop's thread's. */
    struct txn_queue delivering;
    size_t pending; /* transactions and backups whose outcome wasn't delivered yet */
    int64_t revision;
    int64_t compacted;
    int is_closed;
    struct backup *backup; /* NULL: none runs */
    store_watch_fn *watch; /* NULL: nobody watches */
    void *watch_arg;
    int64_t watched; /* up to this revision the watcher has been told */
};

/* --- queues --- */

static void queue_init(struct txn_queue *queue)
{
    queue->first = NULL;
    queue->end = &queue->first;
}

static void queue_push(struct txn_queue *queue, struct txn *txn)
{
    txn->next = NULL;
    *queue->end = txn;
    queue->end = &txn->next;
}

static struct txn *queue_pop(struct txn_queue *queue)
{
    struct txn *txn = queue->first;

    if (txn) {
        queue->first = txn->next;
        queue->end = queue->first ? queue->end : &queue->first;
        txn->next = NULL;
    }
    return txn;
}

static void queue_move(struct txn_queue *to, struct txn_queue *from)
{
    for (struct txn *txn; (txn = queue_pop(from));) {
        queue_push(to, txn);
    }
}

/* --- the writer's thread --- */

static int is_idle(const struct store *store)
{
    return !store->queued.first && store->compact_to == 0 && !store->is_stopping;
}

/* With the mutex. When it is time for a checkpoint it may return without work. */
static void wait_for_work(struct store *store)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += CALM_MSEC * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    while (is_idle(store) && rc == 0) {
        rc = writer_wants_checkpoint(&store->writer)
                 ? pthread_cond_clockwait(&store->wake, &store->mutex, CLOCK_MONOTONIC, &until)
                 : pthread_cond_wait(&store->wake, &store->mutex);
    }
}

/* Waits for work. 0: the store is being closed and nothing is left to write. */
static int take_batch(struct store *store, struct txn_queue *batch, int64_t *ret_compact_to)
{
    size_t bytes = 0;

    queue_init(batch);
    pthread_mutex_lock(&store->mutex);
    wait_for_work(store);
    while (store->queued.first && bytes <= BATCH_BYTES_MAX) {
        bytes += store->queued.first->size;
        queue_push(batch, queue_pop(&store->queued));
    }
    *ret_compact_to = store->compact_to;
    int is_over = store->is_stopping && !batch->first && store->compact_to == 0;
    pthread_mutex_unlock(&store->mutex);
    return !is_over;
}

static void finish(struct store *store, struct txn_queue *batch)
{
    pthread_mutex_lock(&store->mutex);
    queue_move(&store->finished, batch);
    pthread_mutex_unlock(&store->mutex);
    uv_async_send(&store->async);
}

static void compact_some(struct store *store, int64_t revision)
{
    gate_enter(&store->gate, GATE_FIRST);
    int rc = writer_compact(&store->writer, revision);
    gate_leave(&store->gate);
    /* A disk that is full now: what couldn't be forgotten goes with the next compaction. */
    if (rc <= 0) {
        pthread_mutex_lock(&store->mutex);
        if (store->compact_to == revision) {
            store->compact_to = 0;
        }
        pthread_mutex_unlock(&store->mutex);
    }
}

static void checkpoint_if_calm(struct store *store, int is_calm)
{
    if (writer_wants_checkpoint(&store->writer) &&
        (is_calm || writer_needs_checkpoint(&store->writer))) {
        gate_enter(&store->gate, GATE_FIRST);
        writer_checkpoint(&store->writer);
        gate_leave(&store->gate);
    }
}

static void *write_thread(void *arg)
{
    struct store *store = arg;
    struct txn_queue batch;
    int64_t compact_to;

    while (take_batch(store, &batch, &compact_to)) {
        int is_calm = !batch.first && compact_to == 0;
        if (batch.first) {
            gate_enter(&store->gate, GATE_FIRST);
            writer_commit(&store->writer, batch.first);
            gate_leave(&store->gate);
            finish(store, &batch);
        }
        if (compact_to > 0) {
            compact_some(store, compact_to);
        }
        checkpoint_if_calm(store, is_calm);
    }
    return NULL;
}

/* Signals are for the loop's thread. */
static int start_thread(pthread_t *ret_thread, void *(*run)(void *), void *arg)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(ret_thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -rc;
}

/* --- delivery --- */

static void expect(struct store *store)
{
    if (store->pending++ == 0) {
        uv_ref((uv_handle_t *)&store->async);
    }
}

static void deliver_one(struct store *store, struct txn *txn)
{
    if (txn->rc == 0 && txn->entries_len > 0) {
        store->revision = txn->revision > store->revision ? txn->revision : store->revision;
        if (store->watch && store->watched < txn->revision) {
            store->watched = txn->revision;
            store->watch(store->watch_arg, txn->revision, txn->entries, txn->entries_len);
        }
    }
    if (--store->pending == 0 && !store->is_closed) {
        uv_unref((uv_handle_t *)&store->async);
    }
    if (txn->done) {
        txn->done(txn->arg, txn->rc, txn->revision);
    }
    txn_free(txn);
}

static void join_backup(struct store *store)
{
    struct backup *backup = store->backup;

    pthread_join(backup->thread, NULL);
    free(backup->path);
    free(backup);
    store->backup = NULL;
}

/* A callback may close the store: then the call inside delivers the rest, and this one finds
 * nothing left. The store's memory stays until the loop has closed the handle. */
static void deliver(struct store *store)
{
    struct txn *txn;

    pthread_mutex_lock(&store->mutex);
    queue_move(&store->delivering, &store->finished);
    pthread_mutex_unlock(&store->mutex);
    while ((txn = queue_pop(&store->delivering))) {
        if (store->backup && store->backup->outcome == txn) {
            join_backup(store);
        }
        deliver_one(store, txn);
    }
}

static void on_async(uv_async_t *async)
{
    deliver(async->data);
}

/* --- life --- */

static void free_store(struct store *store)
{
    gate_done(&store->gate);
    pthread_cond_destroy(&store->wake);
    pthread_mutex_destroy(&store->mutex);
    free(store);
}

static void on_closed(uv_handle_t *handle)
{
    free_store(handle->data);
}

static struct store *new_store(sqlite3 *db)
{
    struct store *store = xnew(struct store);

    store->db = db;
    store->async.data = store;
    gate_init(&store->gate);
    pthread_mutex_init(&store->mutex, NULL);
    pthread_cond_init(&store->wake, NULL);
    queue_init(&store->queued);
    queue_init(&store->finished);
    queue_init(&store->delivering);
    return store;
}

/* A compaction that was cut short goes on. */
static int load_counters(struct store *store)
{
    int64_t oldest = INT64_MAX;
    int rc = db_get_integer(store->db, "SELECT value FROM meta WHERE name = 'compacted'",
                            &store->compacted);

    rc =
        rc < 0 ? rc : db_get_integer(store->db, "SELECT id FROM log ORDER BY id LIMIT 1", &oldest);
    if (rc < 0 && rc != -ENOENT) {
        return rc;
    }
    store->compact_to = oldest >> DB_POSITION_BITS <= store->compacted ? store->compacted : 0;
    store->revision = store->writer.revision;
    return 0;
}

static int start(struct store *store, uv_loop_t *loop)
{
    int rc = writer_init(&store->writer, store->db);

    rc = rc < 0 ? rc : load_counters(store);
    rc = rc < 0 ? rc : uv_async_init(loop, &store->async, on_async);
    if (rc < 0) {
        return rc;
    }
    uv_unref((uv_handle_t *)&store->async);
    rc = start_thread(&store->thread, write_thread, store);
    if (rc < 0) {
        uv_close((uv_handle_t *)&store->async, on_closed);
    }
    return rc;
}

int store_open(uv_loop_t *loop, const char *path, struct store **ret_store, struct error *error)
{
    _cleanup_db_ sqlite3 *db = NULL;
    int rc = db_open(path, &DB_SCHEMA, &db, error);

    if (rc < 0) {
        return rc;
    }
    struct store *store = new_store(db);
    rc = start(store, loop);
    if (rc < 0) {
        error_set(error, 500, NULL, "cannot use the database %s: %s", path, strerror(-rc));
        writer_done(&store->writer);
        if (!uv_is_closing((uv_handle_t *)&store->async)) {
            free_store(store);
        }
        return rc;
    }
    (void)TAKE(db);
    *ret_store = store;
    return 0;
}

void store_close(struct store *store)
{
    if (!store || store->is_closed) {
        return;
    }
    store->is_closed = 1;
    pthread_mutex_lock(&store->mutex);
    store->is_stopping = 1;
    pthread_cond_signal(&store->wake);
    pthread_mutex_unlock(&store->mutex);
    pthread_join(store->thread, NULL);
    if (store->backup) {
        join_backup(store);
    }
    deliver(store);
    store->watch = NULL;
    writer_done(&store->writer);
    db_close(&store->db);
    uv_close((uv_handle_t *)&store->async, on_closed);
}

int64_t store_revision(const struct store *store)
{
    return store->revision;
}

/* --- changing --- */

int store_txn(struct store *store, const struct store_compare *compares, size_t compares_len,
              const struct store_op *ops, size_t ops_len, store_done_fn *done, void *arg)
{
    struct txn *txn;

    if (store->is_closed) {
        return -ESHUTDOWN;
    }
    int rc = txn_new(compares, compares_len, ops, ops_len, &txn);
    if (rc < 0) {
        return rc;
    }
    txn->done = done;
    txn->arg = arg;
    expect(store);
    pthread_mutex_lock(&store->mutex);
    queue_push(&store->queued, txn);
    pthread_cond_signal(&store->wake);
    pthread_mutex_unlock(&store->mutex);
    return 0;
}

int store_compact(struct store *store, int64_t revision)
{
    if (revision < 0 || revision > store->revision) {
        return -EINVAL;
    }
    if (store->is_closed) {
        return -ESHUTDOWN;
    }
    if (revision <= store->compacted) {
        return 0;
    }
    store->compacted = revision;
    pthread_mutex_lock(&store->mutex);
    store->compact_to = revision;
    pthread_cond_signal(&store->wake);
    pthread_mutex_unlock(&store->mutex);
    return 0;
}

static void *backup_thread(void *arg)
{
    struct backup *backup = arg;
    struct store *store = backup->store;
    struct txn *outcome = backup->outcome;
    struct txn_queue one;

    outcome->rc = copy_database(store->db, backup->path, &store->gate, &outcome->revision);
    queue_init(&one);
    queue_push(&one, outcome);
    finish(store, &one);
    return NULL;
}

int store_backup(struct store *store, const char *path, store_done_fn *done, void *arg)
{
    if (store->is_closed || store->backup) {
        return store->is_closed ? -ESHUTDOWN : -EBUSY;
    }
    /* Its outcome comes back the way of a transaction that changed nothing. */
    struct backup *backup = xnew(struct backup);
    txn_new(NULL, 0, NULL, 0, &backup->outcome);
    backup->outcome->done = done;
    backup->outcome->arg = arg;
    backup->store = store;
    backup->path = xstrdup(path);
    int rc = start_thread(&backup->thread, backup_thread, backup);
    if (rc < 0) {
        txn_free(backup->outcome);
        free(backup->path);
        free(backup);
        return rc;
    }
    store->backup = backup;
    expect(store);
    return 0;
}

/* --- reading --- */

int store_range(struct store *store, const char *prefix, store_entry_fn *each, void *arg)
{
    if (store->is_closed) {
        return -ESHUTDOWN;
    }
    gate_enter(&store->gate, GATE_FIRST);
    int rc = read_state(store->db, prefix, each, arg);
    gate_leave(&store->gate);
    return rc;
}

int store_check(struct store *store, struct error *error)
{
    if (store->is_closed) {
        return -ESHUTDOWN;
    }
    gate_enter(&store->gate, GATE_FIRST);
    int is_intact = db_is_intact(store->db);
    gate_leave(&store->gate);
    return is_intact ? 0
                     : error_set(error, 500, NULL, "the database is damaged: restore a backup");
}

static int tell_past(struct store *store, struct past *past)
{
    while (store->watch) {
        if (store->watched < store->compacted) {
            return -ESTALE;
        }
        gate_enter(&store->gate, GATE_FIRST);
        int rc = read_past(store->db, store->watched, past);
        gate_leave(&store->gate);
        if (rc < 0 || past->revision == 0) {
            return rc;
        }
        /* The writer may be ahead of what was delivered; it won't be told twice. */
        store->watched = past->revision;
        store->revision = past->revision > store->revision ? past->revision : store->revision;
        store->watch(store->watch_arg, past->revision, past->entries, past->len);
        past_clear(past);
    }
    return 0;
}

int store_watch(struct store *store, int64_t from, store_watch_fn *each, void *arg)
{
    if (store->is_closed) {
        return -ESHUTDOWN;
    }
    store->watch = NULL;
    if (!each) {
        return 0;
    }
    if (from < store->compacted || from > store->revision) {
        return -ESTALE;
    }
    store->watch = each;
    store->watch_arg = arg;
    store->watched = from;
    struct past *past = xnew(struct past);
    int rc = tell_past(store, past);
    past_clear(past);
    free(past);
    store->watch = rc < 0 ? NULL : store->watch;
    return rc;
}
