#include "store/sqlite-copy.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <string.h>
#include <unistd.h>

#include "lib/hash.h"
#include "lib/mem.h"
#include "store/sqlite-db.h"

enum {
    PAGES_PER_STEP = 64, /* copied between two chances for the writer */
};

int copy_sync(const char *path, int flags)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

char *copy_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? xstrdup(".")
                         : xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
}

int copy_sync_folder_of(const char *path)
{
    _cleanup_free_ char *folder = copy_folder_of(path);

    return copy_sync(folder, O_DIRECTORY);
}

/* --- the seal --- */

static void hash_row(gnutls_hash_hd_t hash, sqlite3_stmt *statement)
{
    for (int i = 0; i < sqlite3_column_count(statement); i++) {
        int is_null = sqlite3_column_type(statement, i) == SQLITE_NULL;
        const void *data = sqlite3_column_blob(statement, i);
        int64_t size = is_null ? -1 : sqlite3_column_bytes(statement, i);

        gnutls_hash(hash, &size, sizeof size);
        if (size > 0) {
            gnutls_hash(hash, data, (size_t)size);
        }
    }
}

static int hash_table(sqlite3 *db, gnutls_hash_hd_t hash, const char *name)
{
    _cleanup_free_ char *sql = xasprintf("SELECT * FROM \"%s\"", name);
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

    if (rc != SQLITE_OK) {
        return rc;
    }
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        hash_row(hash, statement);
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* SHA-256 over the schema and every column of every row, each with its size before it. It names
 * no table, so it serves copies of every schema version. */
static int digest_content(sqlite3 *db, char hex[SHA256_HEX_SIZE])
{
    _cleanup_statement_ sqlite3_stmt *tables = NULL;
    uint8_t digest[SHA256_SIZE];
    gnutls_hash_hd_t hash;
    int rc = sqlite3_prepare_v2(db,
                                "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND "
                                "name <> 'seal' ORDER BY name",
                                -1, &tables, NULL);

    if (rc != SQLITE_OK || gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) < 0) {
        return -EIO;
    }
    while (rc == SQLITE_OK && (rc = sqlite3_step(tables)) == SQLITE_ROW) {
        hash_row(hash, tables);
        const unsigned char *name = sqlite3_column_text(tables, 0);
        rc = name ? hash_table(db, hash, (const char *)name) : SQLITE_CORRUPT;
    }
    gnutls_hash_deinit(hash, digest);
    hex_encode(digest, sizeof digest, hex);
    return rc == SQLITE_DONE ? 0 : db_errno(db, rc);
}

static int seal(sqlite3 *db)
{
    char hex[SHA256_HEX_SIZE];
    int rc = digest_content(db, hex);

    if (rc == 0) {
        _cleanup_free_ char *sql =
            xasprintf("CREATE TABLE seal(sha256 TEXT); INSERT INTO seal VALUES('%s')", hex);
        rc = db_errno(db, db_exec(db, sql));
    }
    return rc;
}

int copy_seal_holds(sqlite3 *db)
{
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    char hex[SHA256_HEX_SIZE];
    int64_t count;

    if (db_get_integer(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'seal'", &count) < 0) {
        return 0;
    }
    if (count == 0) {
        return 1;
    }
    if (digest_content(db, hex) < 0 ||
        sqlite3_prepare_v2(db, "SELECT sha256 FROM seal", -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW) {
        return 0;
    }
    const unsigned char *sealed = sqlite3_column_text(statement, 0);
    return sealed && strcmp((const char *)sealed, hex) == 0;
}

/* --- backup --- */

static void enter(struct gate *gate)
{
    if (gate) {
        gate_enter(gate, GATE_LATER);
    }
}

static void leave(struct gate *gate)
{
    if (gate) {
        gate_leave(gate);
    }
}

static int copy_pages(sqlite3 *from, sqlite3 *to, struct gate *gate)
{
    int rc;

    enter(gate);
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    rc = backup ? SQLITE_OK : sqlite3_extended_errcode(to);
    while (rc == SQLITE_OK) {
        leave(gate);
        enter(gate);
        rc = sqlite3_backup_step(backup, PAGES_PER_STEP);
    }
    if (backup) {
        sqlite3_backup_finish(backup);
    }
    leave(gate);
    return db_errno(to, rc);
}

/* Leaves a plain file that needs no journal, so that the copy can be read anywhere. */
static int finish_copy(sqlite3 *db, int64_t *ret_revision)
{
    int64_t revision = 0;
    int rc = db_errno(db, db_exec(db, "PRAGMA journal_mode=DELETE"));

    rc = rc < 0 ? rc : seal(db);
    if (rc == 0 && ret_revision) {
        rc = db_get_integer(db, "SELECT value FROM meta WHERE name = 'revision'", &revision);
        *ret_revision = revision;
    }
    return rc;
}

static int fill_copy(sqlite3 *from, const char *path, struct gate *gate, int64_t *ret_revision)
{
    _cleanup_db_ sqlite3 *to = NULL;
    int rc = db_connect(path, &to, NULL);

    if (rc < 0) {
        return rc;
    }
    /* A crash leaves only a `.partial` file, so the copy needs no journal; we sync it once. */
    db_exec(to, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=MEMORY;"
                "PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY;");
    rc = copy_pages(from, to, gate);
    return rc < 0 ? rc : finish_copy(to, ret_revision);
}

int copy_database(sqlite3 *from, const char *path, struct gate *gate, int64_t *ret_revision)
{
    _cleanup_free_ char *partial = xasprintf("%s.partial", path);

    if (access(path, F_OK) == 0) {
        return -EEXIST;
    }
    unlink(partial);
    int rc = fill_copy(from, partial, gate, ret_revision);
    rc = rc < 0 ? rc : copy_sync(partial, 0);
    /* link(), because rename() would replace what another put there meanwhile. */
    if (rc == 0 && link(partial, path) < 0) {
        rc = -errno;
    }
    unlink(partial);
    return rc < 0 ? rc : copy_sync_folder_of(path);
}
