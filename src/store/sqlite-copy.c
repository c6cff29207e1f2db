#include "store/sqlite-copy.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/hash.h"
#include "lib/mem.h"
#include "store/sqlite-db.h"
#include "store/store.h"

enum {
    PAGES_PER_STEP = 64, /* copied between two chances for the writer */
    CHUNK_SIZE = 1 << 16,
    /* A restored database continues this far past the newest revision that we know of, so that
     * no revision that was ever handed out after the backup comes again for other content. */
    RESTORE_REVISION_GAP = 1 << 20,
};

static int sync_path(const char *path, int flags)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? xstrdup(".")
                         : xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static int sync_folder_of(const char *path)
{
    _cleanup_free_ char *folder = folder_of(path);

    return sync_path(folder, O_DIRECTORY);
}

/* --- the seal ------------------------------------------------------------------------------- */

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

/* 1 if the content is what was sealed, or no seal is there (a copy made by other tools). */
static int seal_holds(sqlite3 *db)
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

/* --- backup --------------------------------------------------------------------------------- */

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
    rc = rc < 0 ? rc : sync_path(partial, 0);
    /* link(), because rename() would replace what another put there meanwhile. */
    if (rc == 0 && link(partial, path) < 0) {
        rc = -errno;
    }
    unlink(partial);
    return rc < 0 ? rc : sync_folder_of(path);
}

/* --- restore -------------------------------------------------------------------------------- */

struct restore {
    const char *backup_path;
    const char *path;
    char *fresh;    /* path.restoring: the checked copy that will be the database */
    char *kept;     /* path.before-restore */
    int64_t newest; /* revision of the present database; 0 if it can't be read */
};

static int copy_bytes(int from, int to)
{
    _cleanup_free_ char *chunk = xcalloc(1, CHUNK_SIZE);

    for (;;) {
        ssize_t size = read(from, chunk, CHUNK_SIZE);
        if (size <= 0) {
            return size < 0 ? -errno : 0;
        }
        for (ssize_t written, done = 0; done < size; done += written) {
            written = write(to, chunk + done, (size_t)(size - done));
            if (written < 0) {
                return -errno;
            }
        }
    }
}

static int copy_file(const char *from_path, const char *to_path, struct error *error)
{
    _cleanup_close_ int from = open(from_path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (from < 0 || fstat(from, &st) < 0 || !S_ISREG(st.st_mode)) {
        int code = from < 0 ? errno : EINVAL;
        error_set(error, code == ENOENT ? 404 : 400, NULL, "cannot read the backup %s: %s",
                  from_path, from < 0 ? strerror(code) : "not a file");
        return -code;
    }
    unlink(to_path);
    _cleanup_close_ int to = open(to_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rc = to < 0 ? -errno : copy_bytes(from, to);
    if (rc < 0) {
        error_set(error, error_status(rc), NULL, "cannot copy the backup to %s: %s", to_path,
                  strerror(-rc));
    }
    return rc;
}

static int integrity_holds(sqlite3 *db)
{
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    if (sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW) {
        return 0;
    }
    const unsigned char *text = sqlite3_column_text(statement, 0);
    return text && strcmp((const char *)text, "ok") == 0;
}

static int check_copy(sqlite3 *db, const struct restore *r, struct error *error)
{
    int version;
    int rc = db_lock(db, r->backup_path, error);

    rc = rc < 0 ? rc : db_check(db, r->backup_path, &DB_SCHEMA, &version, error);
    if (rc < 0) {
        return rc;
    }
    if (version == 0) {
        return error_set(error, 400, NULL, "%s is empty, not a backup", r->backup_path);
    }
    if (!integrity_holds(db) || !seal_holds(db)) {
        return error_set(error, 400, NULL, "%s is damaged: its content isn't what was backed up",
                         r->backup_path);
    }
    /* An older backup is migrated here rather than at the next start, so that a failure shows
     * while the present database is still in its place. */
    return db_migrate(db, r->backup_path, &DB_SCHEMA, version, error);
}

/* Agents and clients remember revisions; see RESTORE_REVISION_GAP. The log is of no use then. */
static int advance(sqlite3 *db, const struct restore *r, struct error *error)
{
    int64_t revision = 0;
    int rc = db_exec(db, "PRAGMA journal_mode=DELETE; BEGIN; DELETE FROM log;"
                         "DROP TABLE IF EXISTS seal;");

    if (rc == SQLITE_OK &&
        db_get_integer(db, "SELECT value FROM meta WHERE name = 'revision'", &revision) == 0) {
        revision = (revision > r->newest ? revision : r->newest) + RESTORE_REVISION_GAP;
        rc =
            db_set_meta(db, "revision", revision) < 0 || db_set_meta(db, "compacted", revision) < 0
                ? sqlite3_extended_errcode(db)
                : db_exec(db, "COMMIT");
    }
    return rc == SQLITE_OK ? 0 : db_fail(db, rc, r->fresh, error);
}

/* A restore is run by root, the server isn't: the new file belongs to whom its folder does. */
static int give_to_owner(const struct restore *r, struct error *error)
{
    _cleanup_free_ char *folder = folder_of(r->path);
    struct stat st;

    if (geteuid() == 0 && (stat(folder, &st) < 0 || chown(r->fresh, st.st_uid, st.st_gid) < 0)) {
        int code = errno;
        error_set(error, 500, NULL, "cannot give %s to the owner of %s: %s", r->fresh, folder,
                  strerror(code));
        return -code;
    }
    return 0;
}

static int make_fresh(const struct restore *r, struct error *error)
{
    _cleanup_db_ sqlite3 *db = NULL;
    int rc = copy_file(r->backup_path, r->fresh, error);

    rc = rc < 0 ? rc : db_connect(r->fresh, &db, error);
    rc = rc < 0 ? rc : check_copy(db, r, error);
    rc = rc < 0 ? rc : advance(db, r, error);
    return rc < 0 ? rc : give_to_owner(r, error);
}

/* Locks the present database, so that no server starts on it meanwhile, and turns it into one
 * file without a journal. One that is damaged can't be locked, and mustn't stop a restore. */
static int lock_present(struct restore *r, sqlite3 **ret_db, struct error *error)
{
    _cleanup_db_ sqlite3 *db = NULL;

    if (access(r->path, F_OK) < 0) {
        return 0;
    }
    int rc = db_connect(r->path, &db, error);
    rc = rc < 0 ? rc : db_lock(db, r->path, NULL);
    if (rc == -EBUSY) {
        error_set(error, 503, NULL, "%s is in use: stop the server first", r->path);
        return rc;
    }
    if (rc == 0) {
        db_get_integer(db, "SELECT value FROM meta WHERE name = 'revision'", &r->newest);
    }
    if (rc == 0 && db_exec(db, "PRAGMA journal_mode=DELETE") == SQLITE_OK) {
        *ret_db = TAKE(db);
    }
    return 0;
}

static int move_journal(const struct restore *r, const char *suffix)
{
    _cleanup_free_ char *from = xasprintf("%s%s", r->path, suffix);
    _cleanup_free_ char *to = xasprintf("%s%s", r->kept, suffix);

    unlink(to);
    return rename(from, to) < 0 && errno != ENOENT ? -errno : 0;
}

/* `path` is there at every moment: first it gets a second name, then it is replaced. A journal of
 * the old file must not be taken for the new one's. */
static int swap(const struct restore *r)
{
    int rc = sync_path(r->fresh, 0);

    unlink(r->kept);
    if (rc == 0 && link(r->path, r->kept) < 0 && errno != ENOENT) {
        rc = -errno;
    }
    rc = rc < 0 ? rc : move_journal(r, "-wal");
    rc = rc < 0 ? rc : move_journal(r, "-journal");
    if (rc == 0 && rename(r->fresh, r->path) < 0) {
        rc = -errno;
    }
    return rc < 0 ? rc : sync_folder_of(r->path);
}

int store_restore(const char *backup_path, const char *path, struct error *error)
{
    _cleanup_free_ char *fresh = xasprintf("%s.restoring", path);
    _cleanup_free_ char *kept = xasprintf("%s.before-restore", path);
    _cleanup_db_ sqlite3 *present = NULL;
    struct restore r = {.backup_path = backup_path, .path = path, .fresh = fresh, .kept = kept};
    int rc = lock_present(&r, &present, error);

    rc = rc < 0 ? rc : make_fresh(&r, error);
    if (rc == 0) {
        rc = swap(&r);
        if (rc < 0) {
            error_set(error, error_status(rc), NULL,
                      "cannot put the backup in the place of %s: %s", path, strerror(-rc));
        }
    }
    unlink(fresh);
    return rc;
}
