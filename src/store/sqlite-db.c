#include "store/sqlite-db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/mem.h"
#include "store/sqlite-copy.h"
#include "store/store.h"

/* Each migration is final once released: a change to the schema is a new function at the end. */

static int migrate_to_1(sqlite3 *db)
{
    return db_exec(db, "CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
                       "INSERT INTO meta VALUES('revision', 0), ('compacted', 0), ('failures', 0);"
                       "CREATE TABLE state(key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL,"
                       " revision INTEGER NOT NULL);"
                       "CREATE TABLE log(id INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB);");
}

static db_migrate_fn *const MIGRATIONS[] = {migrate_to_1};

_Static_assert(ARRAY_LEN(MIGRATIONS) == STORE_SCHEMA_VERSION, "one migration per version");
_Static_assert(STORE_OPS_MAX <= 1 << DB_POSITION_BITS, "a position has room in the log's id");

const struct db_schema DB_SCHEMA = {
    .migrations = MIGRATIONS,
    .version = STORE_SCHEMA_VERSION,
};

int db_errno(sqlite3 *db, int rc)
{
    int code = db ? sqlite3_system_errno(db) : 0;

    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_NOMEM:
        abort();
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_IOERR:
        if (rc == SQLITE_IOERR_NOMEM) {
            abort();
        }
        return code == ENOSPC || code == EDQUOT || code == EFBIG ? -ENOSPC : -EIO;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
        return code > 0 ? -code : -EACCES;
    default:
        return -EIO;
    }
}

int db_fail(sqlite3 *db, int rc, const char *path, struct error *error)
{
    int negative = db_errno(db, rc);

    switch (rc & 0xff) {
    case SQLITE_BUSY:
        error_set(error, 503, NULL, "%s: another process has this database open", path);
        break;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        error_set(error, 500, NULL, "%s is damaged or not a database (%s): restore a backup", path,
                  sqlite3_errmsg(db));
        break;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
        error_set(error, 500, NULL, "cannot open %s: %s", path, strerror(-negative));
        break;
    case SQLITE_FULL:
        error_set(error, 507, NULL, "%s: the disk is full", path);
        break;
    default:
        error_set(error, 500, NULL, "%s: %s", path, sqlite3_errmsg(db));
    }
    return negative;
}

int db_exec(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

int db_get_integer(sqlite3 *db, const char *sql, int64_t *ret_value)
{
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

    rc = rc == SQLITE_OK ? sqlite3_step(statement) : rc;
    if (rc != SQLITE_ROW) {
        return rc == SQLITE_DONE ? -ENOENT : db_errno(db, rc);
    }
    *ret_value = sqlite3_column_int64(statement, 0);
    return 0;
}

int db_set_meta(sqlite3 *db, const char *name, int64_t value)
{
    char sql[128];

    snprintf(sql, sizeof sql, "INSERT OR REPLACE INTO meta VALUES('%s', %lld)", name,
             (long long)value);
    return db_errno(db, db_exec(db, sql));
}

int db_is_intact(sqlite3 *db)
{
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    if (sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW) {
        return 0;
    }
    const unsigned char *text = sqlite3_column_text(statement, 0);
    return text && strcmp((const char *)text, "ok") == 0;
}

void db_close(sqlite3 **db)
{
    sqlite3_close(*db);
    *db = NULL;
}

int db_connect(const char *path, sqlite3 **ret_db, struct error *error)
{
    /* Only a file that isn't there is opened by us: closing a descriptor of one that SQLite has
     * open would drop this process's POSIX locks on it. */
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    sqlite3 *db = NULL;

    if (fd < 0 && errno != EEXIST) {
        int negative = -errno;
        error_set(error, 500, NULL, "cannot make %s: %s", path, strerror(-negative));
        return negative;
    }
    if (fd >= 0) {
        close(fd);
    }
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK) {
        rc = db_fail(db, rc, path, error);
        db_close(&db);
        return rc;
    }
    sqlite3_extended_result_codes(db, 1);
    *ret_db = db;
    return 0;
}

static int refuse(const char *path, const struct db_schema *schema, int64_t application,
                  int64_t version, int64_t tables, struct error *error)
{
    int is_empty = application == 0 && version == 0 && tables == 0;

    if (!is_empty && (application != DB_APPLICATION_ID || version < 1)) {
        return error_set(error, 400, NULL, "%s is not a database of cnsmod", path);
    }
    if (version > schema->version) {
        return error_set(error, 400, NULL,
                         "%s has schema version %lld and this program knows versions up to %d: "
                         "use the newer program, or restore a backup made before the upgrade",
                         path, (long long)version, schema->version);
    }
    return 0;
}

int db_lock(sqlite3 *db, const char *path, struct error *error)
{
    /* The read makes SQLite look at the file's header. */
    int rc = db_exec(db, "PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE;"
                         "SELECT count(*) FROM sqlite_schema; COMMIT;");

    return rc == SQLITE_OK ? 0 : db_fail(db, rc, path, error);
}

int db_check(sqlite3 *db, const char *path, const struct db_schema *schema, int *ret_version,
             struct error *error)
{
    int64_t application, version, tables;

    if (db_get_integer(db, "PRAGMA application_id", &application) < 0 ||
        db_get_integer(db, "PRAGMA user_version", &version) < 0 ||
        db_get_integer(db, "SELECT count(*) FROM sqlite_schema", &tables) < 0) {
        return db_fail(db, sqlite3_extended_errcode(db), path, error);
    }
    int rc = refuse(path, schema, application, version, tables, error);
    if (rc == 0) {
        *ret_version = (int)version;
    }
    return rc;
}

int db_migrate(sqlite3 *db, const char *path, const struct db_schema *schema, int version,
               struct error *error)
{
    char sql[96];
    int rc = db_exec(db, "BEGIN EXCLUSIVE");

    for (int v = version; rc == SQLITE_OK && v < schema->version; v++) {
        rc = schema->migrations[v](db);
    }
    snprintf(sql, sizeof sql, "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
             DB_APPLICATION_ID, schema->version);
    rc = rc == SQLITE_OK ? db_exec(db, sql) : rc;
    if (rc != SQLITE_OK) {
        rc = db_fail(db, rc, path, error);
        db_exec(db, "ROLLBACK");
    }
    return rc;
}

static int keep_copy(sqlite3 *db, const char *path, int version, struct error *error)
{
    _cleanup_free_ char *copy = xasprintf("%s.bak-v%d", path, version);
    _cleanup_free_ char *fresh = xasprintf("%s.new", copy);

    /* An older copy gives way only when the new one is there. */
    unlink(fresh);
    int rc = copy_database(db, fresh, NULL, NULL);
    if (rc == 0 && rename(fresh, copy) < 0) {
        rc = -errno;
    }
    if (rc < 0) {
        error_set(error, error_status(rc), NULL,
                  "cannot keep %s before the schema is migrated: %s", copy, strerror(-rc));
    }
    return rc;
}

int db_open(const char *path, const struct db_schema *schema, sqlite3 **ret_db,
            struct error *error)
{
    _cleanup_db_ sqlite3 *db = NULL;
    int version = 0;
    int rc = db_connect(path, &db, error);

    rc = rc < 0 ? rc : db_lock(db, path, error);
    rc = rc < 0 ? rc : db_check(db, path, schema, &version, error);
    if (rc == 0 && version > 0 && version < schema->version) {
        rc = keep_copy(db, path, version, error);
    }
    if (rc == 0 && version < schema->version) {
        rc = db_migrate(db, path, schema, version, error);
    }
    if (rc < 0) {
        return rc;
    }
    /* temp_store: no temporary files whose disk could be full. journal_size_limit: one big
     * transaction doesn't leave a big file behind. */
    rc = db_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY;"
                     "PRAGMA journal_size_limit=16777216; PRAGMA cache_size=-2000;");
    if (rc != SQLITE_OK) {
        return db_fail(db, rc, path, error);
    }
    *ret_db = TAKE(db);
    return 0;
}
