/* The promises of store.h about the file: one opener, schema versions, backup and restore. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lib/buf.h"
#include "lib/file.h"
#include "lib/mem.h"
#include "store/sqlite-db.h"
#include "store/store-test.h"

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    }
    sqlite3_close(db);
}

static int64_t query(sqlite3 *db, const char *sql)
{
    int64_t value = -1;

    assert_int_equal(db_get_integer(db, sql, &value), 0);
    return value;
}

static int file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static int opening_fails(struct fixture *f)
{
    struct store *store = NULL;
    int rc = store_open(&f->loop, f->path, &store, &f->error);

    assert_null(store);
    return rc;
}

static struct outcome backup(struct fixture *f, const char *path)
{
    struct outcome o = {0};

    assert_int_equal(store_backup(f->store, path, note_outcome, &o), 0);
    return wait_outcome(f, &o);
}

/* --- opening --- */

static void the_file_is_durable_and_private(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *wal = fixture_file(f, "cnsmod.db-wal");
    sqlite3 *db;
    struct stat st;

    put(f, "a", "1");
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    fixture_close(f);
    assert_int_equal(db_open(f->path, &DB_SCHEMA, &db, &f->error), 0);
    assert_int_equal(query(db, "PRAGMA synchronous"), 2);
    assert_int_equal(query(db, "SELECT journal_mode = 'wal' FROM pragma_journal_mode"), 1);
    assert_int_equal(query(db, "SELECT locking_mode = 'exclusive' FROM pragma_locking_mode"), 1);
    db_close(&db);
}

static void a_second_opener_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(opening_fails(f), -EBUSY);
    assert_non_null(strstr(f->error.detail, "another process"));

    pid_t pid = fork();
    if (pid == 0) {
        uv_loop_t loop;
        struct store *store;
        uv_loop_init(&loop);
        int rc = store_open(&loop, f->path, &store, NULL);
        _exit(rc == -EBUSY ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);

    /* The refused ones didn't loosen the lock. */
    assert_int_equal(opening_fails(f), -EBUSY);
    assert_int_equal(put(f, "a", "1").rc, 0);
}

static void a_newer_schema_is_refused(void **state)
{
    struct fixture *f = *state;
    _cleanup_buf_ struct buf before = BUF_INIT(1 << 20), after = BUF_INIT(1 << 20);

    put(f, "a", "1");
    fixture_close(f);
    run_sql(f->path, "PRAGMA journal_mode=DELETE; PRAGMA user_version=2");
    file_read(f->path, &before);
    assert_int_equal(opening_fails(f), -EINVAL);
    assert_non_null(strstr(f->error.detail, "schema version 2"));
    assert_non_null(strstr(f->error.detail, "up to 1"));
    file_read(f->path, &after);
    assert_int_equal(before.size, after.size);
    assert_memory_equal(before.data, after.data, before.size);
}

static void other_files_are_refused(void **state)
{
    static const char TEXT[] = "This is no database at all, but it is long enough to be one.\n";
    struct fixture *f = *state;
    _cleanup_free_ char *other = fixture_file(f, "other.db");

    fixture_close(f);
    strcpy(f->path, other);
    run_sql(other, "CREATE TABLE t(a); PRAGMA user_version=1");
    assert_int_equal(opening_fails(f), -EINVAL);
    assert_non_null(strstr(f->error.detail, "not a database of cnsmod"));

    _cleanup_buf_ struct buf text = BUF_INIT(1 << 16);
    for (int i = 0; i < 100; i++) {
        buf_append(&text, TEXT, strlen(TEXT));
    }
    assert_int_equal(file_write_atomic(other, text.data, text.size, 0600), 0);
    assert_int_equal(opening_fails(f), -EIO);
    assert_non_null(strstr(f->error.detail, "restore a backup"));

    snprintf(f->path, sizeof f->path, "%s", f->folder);
    assert_true(opening_fails(f) < 0);
    strcat(f->path, "/absent/cnsmod.db");
    assert_int_equal(opening_fails(f), -ENOENT);
    assert_non_null(strstr(f->error.detail, "No such file"));
}

static void damage_is_found(void **state)
{
    struct fixture *f = *state;
    _cleanup_buf_ struct buf file = BUF_INIT(16 << 20);
    static char value[3000];

    memset(value, 'v', sizeof value - 1);
    for (int i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%d", i);
        put(f, key, value);
    }
    assert_int_equal(store_check(f->store, &f->error), 0);
    fixture_close(f);
    assert_int_equal(file_read(f->path, &file), 0);
    memset(file.data + file.size - 4096, 0xee, 16); /* the last page's header */
    assert_int_equal(file_write_atomic(f->path, file.data, file.size, 0600), 0);
    fixture_open(f);
    assert_int_equal(store_check(f->store, &f->error), -EIO);
    assert_non_null(strstr(f->error.detail, "restore a backup"));
}

/* --- migration --- */

static int add_colour(sqlite3 *db)
{
    return db_exec(db, "ALTER TABLE state ADD COLUMN colour TEXT DEFAULT 'grey'");
}

static int add_shape(sqlite3 *db)
{
    return db_exec(db, "CREATE TABLE shape(name TEXT); INSERT INTO shape VALUES('round')");
}

static int half_then_fail(sqlite3 *db)
{
    return db_exec(db, "DELETE FROM state; SELECT * FROM absent");
}

static void an_older_schema_is_migrated(void **state)
{
    struct fixture *f = *state;
    db_migrate_fn *const migrations[] = {DB_SCHEMA.migrations[0], add_colour, add_shape};
    const struct db_schema newer = {.migrations = migrations, .version = 3};
    _cleanup_free_ char *copy = fixture_file(f, "cnsmod.db.bak-v1");
    sqlite3 *db;

    put(f, "a", "1");
    fixture_close(f);
    assert_int_equal(db_open(f->path, &newer, &db, &f->error), 0);
    assert_int_equal(query(db, "PRAGMA user_version"), 3);
    assert_int_equal(query(db, "SELECT count(*) FROM state WHERE colour = 'grey'"), 1);
    assert_int_equal(query(db, "SELECT count(*) FROM shape"), 1);
    db_close(&db);

    /* The old program refuses the migrated file; the copy brings back what was. */
    assert_int_equal(opening_fails(f), -EINVAL);
    assert_int_equal(store_restore(copy, f->path, &f->error), 0);
    fixture_open(f);
    _cleanup_free_ char *text = dump(f);
    assert_string_equal(text, "a=1@1 ");
}

static void a_copy_from_before_is_restorable(void **state)
{
    struct fixture *f = *state;
    db_migrate_fn *const migrations[] = {DB_SCHEMA.migrations[0], add_colour};
    const struct db_schema newer = {.migrations = migrations, .version = 2};
    _cleanup_free_ char *copy = fixture_file(f, "cnsmod.db.bak-v1");
    sqlite3 *db;

    put(f, "a", "1");
    fixture_close(f);
    assert_int_equal(db_open(f->path, &newer, &db, &f->error), 0);
    db_close(&db);
    strcpy(f->path, copy);
    fixture_open(f);
    _cleanup_free_ char *value = get(f, "a", NULL);
    assert_string_equal(value, "1");
}

static void a_failed_migration_changes_nothing(void **state)
{
    struct fixture *f = *state;
    db_migrate_fn *const migrations[] = {DB_SCHEMA.migrations[0], add_colour, half_then_fail};
    const struct db_schema newer = {.migrations = migrations, .version = 3};
    sqlite3 *db = NULL;

    put(f, "a", "1");
    fixture_close(f);
    /* Twice: what the first attempt left must not stop the second. */
    assert_true(db_open(f->path, &newer, &db, &f->error) < 0);
    assert_true(db_open(f->path, &newer, &db, &f->error) < 0);
    assert_null(db);
    assert_non_null(strstr(f->error.detail, "absent"));
    fixture_open(f);
    _cleanup_free_ char *text = dump(f);
    assert_string_equal(text, "a=1@1 ");
}

/* --- backup and restore --- */

static void a_backup_comes_back(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *copy = fixture_file(f, "copy"), *kept_path = NULL;
    struct stat st;

    put(f, "a", "1");
    put(f, "b", "2");
    struct outcome o = backup(f, copy);
    assert_int_equal(o.rc, 0);
    assert_int_equal(o.revision, 2);
    assert_int_equal(stat(copy, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    put(f, "a", "later");
    put(f, "c", "later");

    assert_int_equal(store_restore(copy, f->path, &f->error), -EBUSY);
    assert_non_null(strstr(f->error.detail, "stop the server"));
    fixture_close(f);
    assert_int_equal(store_restore(copy, f->path, &f->error), 0);
    fixture_open(f);
    _cleanup_free_ char *text = dump(f);
    assert_string_equal(text, "a=1@1 b=2@2 ");
    /* No revision that was seen before comes again. */
    assert_true(store_revision(f->store) > 4);
    assert_int_equal(store_watch(f->store, 4, NULL, NULL), 0);
    assert_true(put(f, "d", "4").revision > 5);
    fixture_close(f);

    kept_path = fixture_file(f, "cnsmod.db.before-restore");
    strcpy(f->path, kept_path);
    fixture_open(f);
    _cleanup_free_ char *kept = dump(f);
    assert_string_equal(kept, "a=later@3 b=2@2 c=later@4 ");
}

static void copy_bytes(const char *from, const char *to)
{
    _cleanup_buf_ struct buf content = BUF_INIT(16 << 20);

    assert_int_equal(file_read(from, &content), 0);
    assert_int_equal(file_write_atomic(to, content.data, content.size, 0600), 0);
}

/* The folder of a server that was killed, copied as it is: the journal comes along. */
static void a_plain_copy_with_its_journal_is_restorable(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *copy = fixture_file(f, "copy"), *journal = fixture_file(f, "copy-wal");
    _cleanup_free_ char *wal = fixture_file(f, "cnsmod.db-wal");
    _cleanup_free_ char *rest = fixture_file(f, "cnsmod.db.restoring-wal");

    put(f, "a", "1");
    put(f, "b", "2");
    copy_bytes(f->path, copy);
    copy_bytes(wal, journal);
    put(f, "c", "3");
    fixture_close(f);
    assert_int_equal(store_restore(copy, f->path, &f->error), 0);
    assert_false(file_exists(rest));
    fixture_open(f);
    _cleanup_free_ char *text = dump(f);
    assert_string_equal(text, "a=1@1 b=2@2 ");
}

static void ignore_change(void *arg, int64_t revision, const struct store_entry *entries,
                          size_t len)
{
}

static void what_was_before_a_restore_is_stale(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *copy = fixture_file(f, "copy");

    put(f, "a", "1");
    put(f, "a", "2");
    backup(f, copy);
    fixture_close(f);
    assert_int_equal(store_restore(copy, f->path, &f->error), 0);
    fixture_open(f);
    assert_int_equal(store_watch(f->store, 1, ignore_change, NULL), -ESTALE);
    assert_int_equal(store_watch(f->store, 2, ignore_change, NULL), -ESTALE);
    assert_int_equal(store_watch(f->store, store_revision(f->store), ignore_change, NULL), 0);
}

static void a_restore_needs_no_present_database(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *copy = fixture_file(f, "copy");

    put(f, "a", "1");
    backup(f, copy);
    fixture_close(f);
    unlink(f->path);
    assert_int_equal(store_restore(copy, f->path, &f->error), 0);
    fixture_open(f);
    fixture_close(f);
    /* Nor does a damaged one stop it. */
    assert_int_equal(file_write_atomic(f->path, "damaged, damaged", 16, 0600), 0);
    assert_int_equal(opening_fails(f) < 0, 1);
    assert_int_equal(store_restore(copy, f->path, &f->error), 0);
    fixture_open(f);
    _cleanup_free_ char *text = dump(f);
    assert_string_equal(text, "a=1@1 ");
}

/* Writes the file back with one bit changed. */
static void flip(const char *path, const struct buf *good, size_t at)
{
    good->data[at] ^= 0x10;
    assert_int_equal(file_write_atomic(path, good->data, good->size, 0600), 0);
    good->data[at] ^= 0x10;
}

/* Every page is damaged in turn, inside values too, where the file's structure stays sound. */
static void a_damaged_backup_is_refused(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *copy = fixture_file(f, "copy"), *damaged = fixture_file(f, "damaged");
    _cleanup_buf_ struct buf good = BUF_INIT(1 << 20);
    static char value[3000];
    unsigned refused = 0;

    memset(value, 'v', sizeof value - 1);
    for (int i = 0; i < 10; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%d", i);
        put(f, key, value);
    }
    backup(f, copy);
    fixture_close(f);
    assert_int_equal(file_read(copy, &good), 0);
    for (size_t at = 2000; at < good.size; at += 4096) {
        if (good.data[at] != 'v') {
            continue; /* may be space that nothing uses */
        }
        flip(damaged, &good, at);
        assert_true(store_restore(damaged, f->path, &f->error) < 0);
        assert_non_null(strstr(f->error.detail, "damaged"));
        refused++;
    }
    assert_in_range(refused, 5, 100);
    /* Cut off, emptied, and absent. */
    assert_int_equal(file_write_atomic(damaged, good.data, good.size / 2, 0600), 0);
    assert_true(store_restore(damaged, f->path, &f->error) < 0);
    assert_int_equal(file_write_atomic(damaged, "", 0, 0600), 0);
    assert_int_equal(store_restore(damaged, f->path, &f->error), -EINVAL);
    unlink(damaged);
    assert_int_equal(store_restore(damaged, f->path, &f->error), -ENOENT);

    /* The present database is as it was, and nothing was left behind. */
    fixture_open(f);
    assert_int_equal(store_revision(f->store), 10);
    _cleanup_free_ char *rest = fixture_file(f, "cnsmod.db.restoring");
    assert_false(file_exists(rest));
}

static void a_foreign_or_newer_backup_is_refused(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *copy = fixture_file(f, "copy"), *other = fixture_file(f, "other");

    put(f, "a", "1");
    backup(f, copy);
    fixture_close(f);
    run_sql(other, "CREATE TABLE t(a)");
    assert_int_equal(store_restore(other, f->path, &f->error), -EINVAL);
    run_sql(copy, "PRAGMA user_version=9");
    assert_int_equal(store_restore(copy, f->path, &f->error), -EINVAL);
    assert_non_null(strstr(f->error.detail, "schema version 9"));
    fixture_open(f);
    assert_int_equal(store_revision(f->store), 1);
}

static void a_backup_replaces_no_file(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *copy = fixture_file(f, "copy"), *deep = fixture_file(f, "no/copy");
    _cleanup_free_ char *partial = fixture_file(f, "copy.partial");

    assert_int_equal(file_write_atomic(copy, "mine", 4, 0600), 0);
    assert_int_equal(backup(f, copy).rc, -EEXIST);
    unlink(copy);
    assert_int_equal(backup(f, deep).rc, -ENOENT);
    /* What a crash left of an earlier backup is no obstacle. */
    assert_int_equal(file_write_atomic(partial, "rest", 4, 0600), 0);
    assert_int_equal(backup(f, copy).rc, 0);
    assert_false(file_exists(partial));
}

/* Pairs are written in one transaction each, so a consistent copy has equal halves. */
static void a_backup_under_writes_is_consistent(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *copy = fixture_file(f, "copy");
    struct outcome backed = {0}, other = {0};
    static char filler[200000];

    for (int i = 0; i < 40; i++) {
        char key[16];
        snprintf(key, sizeof key, "fill%02d", i);
        struct store_op op = {key, filler, sizeof filler};
        store_txn(f->store, NULL, 0, &op, 1, NULL, NULL);
    }
    put(f, "start", "x");
    assert_int_equal(store_backup(f->store, copy, note_outcome, &backed), 0);
    assert_int_equal(store_backup(f->store, copy, note_outcome, &other), -EBUSY);
    int writes = 0;
    while (backed.calls == 0) {
        char text[16];
        snprintf(text, sizeof text, "%d", writes++);
        struct store_op pair[] = {{"left", text, strlen(text)}, {"right", text, strlen(text)}};
        struct outcome one = {0};
        assert_int_equal(store_txn(f->store, NULL, 0, pair, 2, note_outcome, &one), 0);
        assert_int_equal(wait_outcome(f, &one).rc, 0);
    }
    assert_int_equal(backed.rc, 0);
    assert_int_equal(other.calls, 0);
    assert_int_equal(put(f, "end", "x").rc, 0);
    fixture_close(f);
    assert_int_equal(store_restore(copy, f->path, &f->error), 0);
    fixture_open(f);
    _cleanup_free_ char *left = get(f, "left", NULL), *right = get(f, "right", NULL);
    assert_true(left == NULL ? right == NULL : strcmp(left, right) == 0);
}

static void close_finishes_a_backup(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *copy = fixture_file(f, "copy");
    struct outcome o = {0};

    put(f, "a", "1");
    assert_int_equal(store_backup(f->store, copy, note_outcome, &o), 0);
    fixture_close(f);
    assert_int_equal(o.calls, 1);
    assert_int_equal(o.rc, 0);
    assert_int_equal(store_restore(copy, f->path, &f->error), 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_file_is_durable_and_private),
        T(a_second_opener_is_refused),
        T(a_newer_schema_is_refused),
        T(other_files_are_refused),
        T(damage_is_found),
        T(an_older_schema_is_migrated),
        T(a_copy_from_before_is_restorable),
        T(a_failed_migration_changes_nothing),
        T(a_backup_comes_back),
        T(a_plain_copy_with_its_journal_is_restorable),
        T(what_was_before_a_restore_is_stale),
        T(a_restore_needs_no_present_database),
        T(a_damaged_backup_is_refused),
        T(a_foreign_or_newer_backup_is_refused),
        T(a_backup_replaces_no_file),
        T(a_backup_under_writes_is_consistent),
        T(close_finishes_a_backup),
    };

    return cmocka_run_group_tests_name("store-file", tests, NULL, NULL);
}
