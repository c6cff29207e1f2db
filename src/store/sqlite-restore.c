/* sqlite-restore.c - puts a backup in the place of the database.
 *
 *     lock the present one ─ copy the backup beside it ─ check, migrate, advance the copy ─ swap
 *
 * Whatever fails before the last step leaves the present database as it is. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/mem.h"
#include "store/sqlite-copy.h"
#include "store/sqlite-db.h"
#include "store/store.h"

enum {
    CHUNK_SIZE = 1 << 16,
    /* A restored database continues this far past the newest revision that we know of, so that
     * no revision that was ever handed out after the backup comes again for other content. */
    RESTORE_REVISION_GAP = 1 << 20,
};

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
    if (!db_is_intact(db) || !copy_seal_holds(db)) {
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
    _cleanup_free_ char *folder = copy_folder_of(r->path);
    struct stat st;

    if (geteuid() == 0 && (stat(folder, &st) < 0 || chown(r->fresh, st.st_uid, st.st_gid) < 0)) {
        int code = errno;
        error_set(error, 500, NULL, "cannot give %s to the owner of %s: %s", r->fresh, folder,
                  strerror(code));
        return -code;
    }
    return 0;
}

/* A file that was copied from a stopped or killed server's folder, rather than made as a backup,
 * may have its journal beside it: without that the newest transactions would be missing. */
static int copy_with_journal(const struct restore *r, struct error *error)
{
    _cleanup_free_ char *from = xasprintf("%s-wal", r->backup_path);
    _cleanup_free_ char *to = xasprintf("%s-wal", r->fresh);
    int rc = copy_file(r->backup_path, r->fresh, error);

    unlink(to);
    if (rc == 0 && access(from, F_OK) == 0) {
        rc = copy_file(from, to, error);
    }
    return rc;
}

static int make_fresh(const struct restore *r, struct error *error)
{
    _cleanup_db_ sqlite3 *db = NULL;
    int rc = copy_with_journal(r, error);

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
    int rc = copy_sync(r->fresh, 0);

    unlink(r->kept);
    if (rc == 0 && link(r->path, r->kept) < 0 && errno != ENOENT) {
        rc = -errno;
    }
    rc = rc < 0 ? rc : move_journal(r, "-wal");
    rc = rc < 0 ? rc : move_journal(r, "-journal");
    if (rc == 0 && rename(r->fresh, r->path) < 0) {
        rc = -errno;
    }
    return rc < 0 ? rc : copy_sync_folder_of(r->path);
}

static void remove_fresh(const struct restore *r)
{
    _cleanup_free_ char *journal = xasprintf("%s-wal", r->fresh);

    unlink(journal);
    unlink(r->fresh);
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
    remove_fresh(&r);
    return rc;
}
