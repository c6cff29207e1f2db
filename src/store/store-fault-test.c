/* A disk that fails, and a power cut: the store on a file system layer that does both on demand.
 *
 * The layer stands between SQLite and its own file code. It counts writes, truncations and syncs;
 * the n-th fails with a chosen code. And after every sync it keeps a copy of what is then safe,
 * beside the file with the suffix ".synced": after a power cut nothing more may be left. */
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/file.h"
#include "lib/mem.h"
#include "store/store-test.h"

/* --- the layer --- */

/* SQLite's file code is a table of functions without a place for our state: so it is static. */
static sqlite3_vfs layer;
static sqlite3_vfs *below;
static atomic_int fault_in; /* the operation that fails, counted down; <= 0: none will */
static atomic_int fault_code;
static atomic_int is_broken; /* every operation fails */
/* Of the ".synced" files: a cut finds them all as they were at one moment. */
static pthread_mutex_t synced = PTHREAD_MUTEX_INITIALIZER;

struct layer_file {
    sqlite3_file base;
    const char *name; /* SQLite's, lives as long as the file is open; NULL: temporary */
    sqlite3_file *real;
};

static int fault(void)
{
    if (is_broken || (fault_in > 0 && --fault_in == 0)) {
        return fault_code;
    }
    return SQLITE_OK;
}

static sqlite3_file *real(sqlite3_file *file)
{
    return ((struct layer_file *)file)->real;
}

static void keep_synced(sqlite3_file *file)
{
    const char *name = ((struct layer_file *)file)->name;
    _cleanup_buf_ struct buf content = BUF_INIT(64 << 20);

    if (name && file_read(name, &content) == 0) {
        _cleanup_free_ char *copy = xasprintf("%s.synced", name);
        pthread_mutex_lock(&synced);
        FILE *out = fopen(copy, "w");
        fwrite(content.data ? content.data : "", 1, content.size, out);
        fclose(out);
        pthread_mutex_unlock(&synced);
    }
}

static int layer_close(sqlite3_file *file)
{
    int rc = real(file)->pMethods->xClose(real(file));
    sqlite3_free(real(file));
    return rc;
}

static int layer_read(sqlite3_file *file, void *data, int size, sqlite3_int64 offset)
{
    return real(file)->pMethods->xRead(real(file), data, size, offset);
}

static int layer_write(sqlite3_file *file, const void *data, int size, sqlite3_int64 offset)
{
    int rc = fault();
    /* A failed write may have written a part. */
    int real_rc =
        real(file)->pMethods->xWrite(real(file), data, rc == SQLITE_OK ? size : size / 2, offset);
    return rc == SQLITE_OK ? real_rc : rc;
}

static int layer_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    int rc = fault();
    return rc == SQLITE_OK ? real(file)->pMethods->xTruncate(real(file), size) : rc;
}

static int layer_sync(sqlite3_file *file, int flags)
{
    int rc = fault();

    if (rc != SQLITE_OK) {
        return rc == SQLITE_IOERR_WRITE ? SQLITE_IOERR_FSYNC : rc;
    }
    rc = real(file)->pMethods->xSync(real(file), flags);
    keep_synced(file);
    return rc;
}

static int layer_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
    return real(file)->pMethods->xFileSize(real(file), ret_size);
}

static int layer_lock(sqlite3_file *file, int level)
{
    return real(file)->pMethods->xLock(real(file), level);
}

static int layer_unlock(sqlite3_file *file, int level)
{
    return real(file)->pMethods->xUnlock(real(file), level);
}

static int layer_check_lock(sqlite3_file *file, int *ret_is_locked)
{
    return real(file)->pMethods->xCheckReservedLock(real(file), ret_is_locked);
}

static int layer_control(sqlite3_file *file, int op, void *arg)
{
    return real(file)->pMethods->xFileControl(real(file), op, arg);
}

static int layer_sector_size(sqlite3_file *file)
{
    return real(file)->pMethods->xSectorSize(real(file));
}

static int layer_characteristics(sqlite3_file *file)
{
    return real(file)->pMethods->xDeviceCharacteristics(real(file));
}

static const sqlite3_io_methods METHODS = {
    .iVersion = 1,
    .xClose = layer_close,
    .xRead = layer_read,
    .xWrite = layer_write,
    .xTruncate = layer_truncate,
    .xSync = layer_sync,
    .xFileSize = layer_size,
    .xLock = layer_lock,
    .xUnlock = layer_unlock,
    .xCheckReservedLock = layer_check_lock,
    .xFileControl = layer_control,
    .xSectorSize = layer_sector_size,
    .xDeviceCharacteristics = layer_characteristics,
};

static int layer_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                      int *ret_flags)
{
    struct layer_file *f = (struct layer_file *)file;

    f->base.pMethods = NULL;
    f->name = name;
    f->real = sqlite3_malloc(below->szOsFile);
    memset(f->real, 0, (size_t)below->szOsFile);
    int rc = below->xOpen(below, name, f->real, flags, ret_flags);
    if (rc != SQLITE_OK) {
        sqlite3_free(f->real);
        return rc;
    }
    f->base.pMethods = &METHODS;
    return SQLITE_OK;
}

static int install_layer(void **state)
{
    below = sqlite3_vfs_find(NULL);
    layer = *below;
    layer.zName = "faulty";
    layer.szOsFile = sizeof(struct layer_file);
    layer.pNext = NULL;
    layer.xOpen = layer_open;
    return sqlite3_vfs_register(&layer, 1);
}

/* --- a disk that fails --- */

static char big[20000]; /* several pages, so that a write has many operations */

static struct outcome put_pair(struct fixture *f, const char *left, const char *right)
{
    struct store_op ops[] = {{left, big, sizeof big}, {right, big, sizeof big}};
    struct outcome o = {0};

    assert_int_equal(store_txn(f->store, NULL, 0, ops, 2, note_outcome, &o), 0);
    return wait_outcome(f, &o);
}

static int has(struct fixture *f, const char *key)
{
    _cleanup_free_ char *value = get(f, key, NULL);

    return value != NULL;
}

static void check_next(void *arg, int64_t revision, const struct store_entry *entries, size_t len)
{
    int64_t *next = arg;

    assert_int_equal(revision, (*next)++);
}

/* Copies the database's files, or with `from_suffix` ".synced" what was safe of them. */
static void copy_files(struct fixture *f, const char *from_suffix, const char *to)
{
    static const char *const FILES[] = {"", "-wal"};

    for (size_t i = 0; i < ARRAY_LEN(FILES); i++) {
        _cleanup_free_ char *from = xasprintf("%s%s%s", f->path, FILES[i], from_suffix);
        _cleanup_free_ char *target = xasprintf("%s%s", to, FILES[i]);
        _cleanup_buf_ struct buf content = BUF_INIT(64 << 20);
        unlink(target);
        if (file_read(from, &content) == 0) {
            const char *data = content.data ? content.data : "";
            assert_int_equal(file_write_atomic(target, data, content.size, 0600), 0);
        }
    }
}

/* Opens a copy of the database as it would be found after a crash now. */
static void open_copy(struct fixture *f, const char *from_suffix, struct fixture *ret_copy)
{
    *ret_copy = *f;
    snprintf(ret_copy->path, sizeof ret_copy->path, "%s/left.db", f->folder);
    pthread_mutex_lock(&synced);
    copy_files(f, from_suffix, ret_copy->path);
    pthread_mutex_unlock(&synced);
    int rc = store_open(&f->loop, ret_copy->path, &ret_copy->store, &ret_copy->error);
    assert_int_equal(rc, 0);
}

static void close_copy(struct fixture *f, struct fixture *copy)
{
    store_close(copy->store);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    unlink(copy->path);
}

/* The pair is there as a whole or not at all, as the outcome said; the next one succeeds; the log
 * has no hole; and so it is after opening again. */
static int one_fault(struct fixture *f, int n, int code, int outcome_rc)
{
    int64_t next = store_revision(f->store) + 1, first = next;
    struct fixture copy;

    fault_code = code;
    fault_in = n;
    struct outcome o = put_pair(f, "left", "right");
    int is_hit = fault_in == 0;
    fault_in = 0;
    assert_true(o.rc == 0 || o.rc == outcome_rc);
    assert_int_equal(has(f, "left"), o.rc == 0);
    assert_int_equal(has(f, "right"), o.rc == 0);
    open_copy(f, "", &copy); /* kill -9 here brings nothing back that was said to have failed */
    assert_int_equal(has(&copy, "left"), o.rc == 0);
    assert_int_equal(has(&copy, "right"), o.rc == 0);
    close_copy(f, &copy);
    assert_int_equal(put(f, "after", "x").rc, 0);
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(has(f, "left"), o.rc == 0);
    assert_int_equal(has(f, "right"), o.rc == 0);
    assert_int_equal(has(f, "after"), 1);
    assert_int_equal(store_watch(f->store, first - 1, check_next, &next), 0);
    assert_int_equal(next, first + 1 + (o.rc == 0));
    store_watch(f->store, 0, NULL, NULL);
    put(f, "left", NULL);
    put(f, "right", NULL);
    return is_hit ? o.rc : 1;
}

static void each_operation_may_fail(struct fixture *f, int code, int outcome_rc)
{
    int failures = 0, n = 1, rc;

    put(f, "before", "x");
    while ((rc = one_fault(f, n, code, outcome_rc)) != 1) {
        failures += rc < 0;
        n++;
        assert_in_range(n, 1, 500);
    }
    assert_in_range(failures, 5, 500);
}

static void a_full_disk_at_any_moment(void **state)
{
    each_operation_may_fail(*state, SQLITE_FULL, -ENOSPC);
}

static void an_io_error_at_any_moment(void **state)
{
    each_operation_may_fail(*state, SQLITE_IOERR_WRITE, -EIO);
}

/* While the disk is broken everything fails, with one callback each; then everything goes on. */
static void a_broken_disk_recovers(void **state)
{
    struct fixture *f = *state;
    struct outcome outcomes[50] = {0};
    struct store_op op = {"k", "v", 1};

    put(f, "a", "1");
    fault_code = SQLITE_FULL;
    is_broken = 1;
    for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
        store_txn(f->store, NULL, 0, &op, 1, note_outcome, &outcomes[i]);
    }
    wait_outcome(f, &outcomes[ARRAY_LEN(outcomes) - 1]);
    for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
        assert_int_equal(outcomes[i].calls, 1);
        assert_int_equal(outcomes[i].rc, -ENOSPC);
        assert_int_equal(outcomes[i].revision, 1);
    }
    /* Reading goes on, and a compare that fails needs no disk. */
    struct store_compare wrong = {"a", 9};
    struct outcome o = {0};
    store_txn(f->store, &wrong, 1, &op, 1, note_outcome, &o);
    assert_int_equal(wait_outcome(f, &o).rc, -ECANCELED);
    assert_int_equal(has(f, "a"), 1);
    assert_int_equal(store_compact(f->store, 1), 0);
    is_broken = 0;
    o = put(f, "k", "v");
    assert_int_equal(o.rc, 0);
    assert_int_equal(o.revision, 2);
}

static void a_backup_that_fails_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *copy = fixture_file(f, "copy"),
                        *partial = fixture_file(f, "copy.partial");

    put(f, "a", big);
    fault_code = SQLITE_FULL;
    for (int n = 1;; n++) {
        struct outcome o = {0};
        fault_in = n;
        assert_int_equal(store_backup(f->store, copy, note_outcome, &o), 0);
        wait_outcome(f, &o);
        int is_hit = fault_in == 0;
        fault_in = 0;
        assert_int_equal(access(partial, F_OK), -1);
        assert_int_equal(access(copy, F_OK), o.rc == 0 ? 0 : -1);
        unlink(copy);
        if (!is_hit) {
            assert_int_equal(o.rc, 0);
            break;
        }
        assert_true(o.rc == -ENOSPC || o.rc == 0);
        assert_in_range(n, 1, 200);
    }
    assert_int_equal(put(f, "b", "2").rc, 0);
}

/* A first start that fails leaves nothing that a second one stumbles over. */
static void opening_may_fail(void **state)
{
    struct fixture *f = *state;

    fault_code = SQLITE_FULL;
    for (int n = 1;; n++) {
        _cleanup_free_ char *wal = xasprintf("%s-wal", f->path);
        fixture_close(f);
        unlink(f->path);
        unlink(wal);
        fault_in = n;
        int rc = store_open(&f->loop, f->path, &f->store, &f->error);
        int is_hit = fault_in == 0;
        fault_in = 0;
        if (rc < 0) {
            assert_int_equal(rc, -ENOSPC);
            assert_non_null(strstr(f->error.detail, "the disk is full"));
            fixture_open(f);
        }
        assert_int_equal(put(f, "a", "1").revision, 1);
        if (!is_hit) {
            assert_in_range(n, 5, 200);
            break;
        }
    }
}

/* A restore that fails leaves the present database, one that succeeds the other. */
static void a_restore_may_fail(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *copy = fixture_file(f, "copy"),
                        *rest = xasprintf("%s.restoring", f->path);
    struct outcome o = {0};
    int failures = 0;

    put(f, "a", "from the backup");
    store_backup(f->store, copy, note_outcome, &o);
    wait_outcome(f, &o);
    fault_code = SQLITE_FULL;
    for (int n = 1;; n++) {
        put(f, "a", "present");
        fixture_close(f);
        fault_in = n;
        int rc = store_restore(copy, f->path, &f->error);
        int is_hit = fault_in == 0;
        fault_in = 0;
        assert_int_equal(access(rest, F_OK), -1);
        fixture_open(f);
        _cleanup_free_ char *value = get(f, "a", NULL);
        assert_string_equal(value, rc < 0 ? "present" : "from the backup");
        failures += rc < 0;
        if (!is_hit) {
            assert_int_equal(rc, 0);
            break;
        }
    }
    assert_in_range(failures, 3, 200);
}

/* --- a power cut --- */

/* What is left after a cut right now must have everything up to `number`. */
static void cut_power(struct fixture *f, int number)
{
    struct fixture copy;
    char key[16];

    open_copy(f, ".synced", &copy);
    assert_int_equal(store_revision(copy.store), number + 1);
    for (int i = 0; i <= number; i++) {
        snprintf(key, sizeof key, "key%03d", i);
        assert_int_equal(has(&copy, key), 1);
    }
    close_copy(f, &copy);
}

/* Enough to pass several checkpoints of the journal; compaction in between. */
static void acknowledged_is_synced(void **state)
{
    struct fixture *f = *state;
    char key[16];

    for (int i = 0; i < 240; i++) {
        struct outcome o = {0};
        snprintf(key, sizeof key, "key%03d", i);
        struct store_op op = {key, big, sizeof big};
        store_txn(f->store, NULL, 0, &op, 1, note_outcome, &o);
        assert_int_equal(wait_outcome(f, &o).rc, 0);
        if (i % 50 == 49) {
            store_compact(f->store, store_revision(f->store) - 10);
        }
        if (i % 12 == 0 || i > 230) {
            cut_power(f, i);
        }
    }
}

#define T(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_full_disk_at_any_moment), T(an_io_error_at_any_moment),
        T(a_broken_disk_recovers),    T(a_backup_that_fails_leaves_nothing),
        T(opening_may_fail),          T(a_restore_may_fail),
        T(acknowledged_is_synced),
    };

    memset(big, 'b', sizeof big - 1);
    return cmocka_run_group_tests_name("store-fault", tests, install_layer, NULL);
}
