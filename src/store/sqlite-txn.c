#include "store/sqlite-txn.h"

#include <errno.h>
#include <string.h>

#include "lib/mem.h"
#include "store/sqlite-db.h"

enum {
    COMPACT_SLICE = 256, /* log rows forgotten between two batches */
    JOURNAL_PAGES_CALM = 1000,
    JOURNAL_PAGES_MAX = 2000,
};

/* --- the queue's element --- */

/* One character of UTF-8 (RFC 3629); its length in bytes, or 0. */
static size_t utf8_character(const unsigned char *s)
{
    static const struct {
        unsigned char mask, lead;
        unsigned least; /* the smallest value that needs this length */
    } FORMS[] = {{0x80, 0x00, 1}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};

    for (size_t more = 0; more < ARRAY_LEN(FORMS); more++) {
        if ((s[0] & FORMS[more].mask) != FORMS[more].lead) {
            continue;
        }
        unsigned value = s[0] & (unsigned char)~FORMS[more].mask;
        for (size_t i = 1; i <= more; i++) {
            if ((s[i] & 0xc0) != 0x80) {
                return 0;
            }
            value = value << 6 | (s[i] & 0x3f);
        }
        int is_surrogate = value >= 0xd800 && value <= 0xdfff;
        return value >= FORMS[more].least && value <= 0x10ffff && !is_surrogate ? more + 1 : 0;
    }
    return 0;
}

static int key_is_valid(const char *key)
{
    size_t size = 0;

    if (!key) {
        return 0;
    }
    while (key[size] != '\0' && size <= STORE_KEY_MAX) {
        size_t step = utf8_character((const unsigned char *)key + size);
        if (step == 0) {
            return 0;
        }
        size += step;
    }
    return size > 0 && size <= STORE_KEY_MAX;
}

static int measure(const struct store_compare *compares, size_t compares_len,
                   const struct store_op *ops, size_t ops_len, size_t *ret_bytes)
{
    size_t counted = 0, bytes = 0;

    if (compares_len > STORE_OPS_MAX || ops_len > STORE_OPS_MAX) {
        return -E2BIG;
    }
    for (size_t i = 0; i < compares_len; i++) {
        if (!key_is_valid(compares[i].key) || compares[i].revision < 0) {
            return -EINVAL;
        }
        bytes += strlen(compares[i].key) + 1;
    }
    for (size_t i = 0; i < ops_len; i++) {
        if (!key_is_valid(ops[i].key)) {
            return -EINVAL;
        }
        size_t size = ops[i].value ? ops[i].size : 0;
        if (size > STORE_TXN_BYTES_MAX) {
            return -E2BIG;
        }
        counted += strlen(ops[i].key) + size;
        bytes += strlen(ops[i].key) + 1 + size;
    }
    *ret_bytes = bytes;
    return counted > STORE_TXN_BYTES_MAX ? -E2BIG : 0;
}

static const char *append(char **at, const void *data, size_t size)
{
    char *start = *at;

    if (size > 0) {
        memcpy(start, data, size);
    }
    *at += size;
    return start;
}

int txn_new(const struct store_compare *compares, size_t compares_len, const struct store_op *ops,
            size_t ops_len, struct txn **ret_txn)
{
    size_t bytes;
    int rc = measure(compares, compares_len, ops, ops_len, &bytes);

    if (rc < 0) {
        return rc;
    }
    size_t size = sizeof(struct txn) + compares_len * sizeof *compares +
                  ops_len * sizeof(struct store_entry) + bytes;
    struct txn *txn = xcalloc(1, size);
    txn->size = size;
    txn->compares = (struct store_compare *)(txn + 1);
    txn->compares_len = compares_len;
    txn->entries = (struct store_entry *)(txn->compares + compares_len);
    txn->entries_len = ops_len;
    char *at = (char *)(txn->entries + ops_len);
    for (size_t i = 0; i < compares_len; i++) {
        txn->compares[i].revision = compares[i].revision;
        txn->compares[i].key = append(&at, compares[i].key, strlen(compares[i].key) + 1);
    }
    for (size_t i = 0; i < ops_len; i++) {
        struct store_entry *entry = &txn->entries[i];
        entry->key = append(&at, ops[i].key, strlen(ops[i].key) + 1);
        if (ops[i].value) {
            entry->size = ops[i].size;
            entry->value = append(&at, ops[i].value, ops[i].size);
        }
    }
    *ret_txn = txn;
    return 0;
}

void txn_free(struct txn *txn)
{
    if (txn) {
        mem_wipe(txn, txn->size);
        free(txn);
    }
}

/* --- the writer --- */

/* In place of SQLite's own checkpoint. */
static int note_journal(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct writer *writer = arg;

    writer->journal_pages = pages;
    return SQLITE_OK;
}

int writer_wants_checkpoint(const struct writer *writer)
{
    return writer->journal_pages >= JOURNAL_PAGES_CALM;
}

int writer_needs_checkpoint(const struct writer *writer)
{
    return writer->journal_pages >= JOURNAL_PAGES_MAX;
}

/* One that fails has lost nothing: the journal has it all, and the next commit asks again. */
void writer_checkpoint(struct writer *writer)
{
    writer->journal_pages = 0;
    sqlite3_wal_checkpoint_v2(writer->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

int writer_init(struct writer *writer, sqlite3 *db)
{
    const struct {
        sqlite3_stmt **statement;
        const char *sql;
    } statements[] = {
        {&writer->begin, "BEGIN IMMEDIATE"},
        {&writer->commit, "COMMIT"},
        {&writer->rollback, "ROLLBACK"},
        {&writer->get, "SELECT revision FROM state WHERE key = ?1"},
        {&writer->put,
         "INSERT INTO state(key, value, revision) VALUES(?1, ?2, ?3) ON CONFLICT(key)"
         " DO UPDATE SET value = excluded.value, revision = excluded.revision"},
        {&writer->del, "DELETE FROM state WHERE key = ?1"},
        {&writer->log, "INSERT INTO log(id, key, value) VALUES(?3, ?1, ?2)"},
        {&writer->count, "UPDATE meta SET value = ?3 WHERE name = 'revision'"},
        {&writer->touch, "UPDATE meta SET value = value + 1 WHERE name = 'failures'"},
    };
    int64_t revision;
    int rc = db_get_integer(db, "SELECT value FROM meta WHERE name = 'revision'", &revision);

    *writer = (struct writer){.db = db, .revision = rc == 0 ? revision : 0};
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(statements); i++) {
        rc = db_errno(db, sqlite3_prepare_v3(db, statements[i].sql, -1, SQLITE_PREPARE_PERSISTENT,
                                             statements[i].statement, NULL));
    }
    if (rc < 0) {
        writer_done(writer);
        return rc;
    }
    sqlite3_wal_hook(db, note_journal, writer);
    return 0;
}

void writer_done(struct writer *writer)
{
    sqlite3_stmt **all[] = {&writer->begin, &writer->commit, &writer->rollback,
                            &writer->get,   &writer->put,    &writer->del,
                            &writer->log,   &writer->count,  &writer->touch};

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        db_finalize(all[i]);
    }
}

/* Runs a statement: ?1 key and ?2 value of the entry (may be NULL), ?3 number. */
static int run(struct writer *writer, sqlite3_stmt *statement, const struct store_entry *entry,
               int64_t number)
{
    int params = sqlite3_bind_parameter_count(statement);

    if (params >= 1 && entry) {
        sqlite3_bind_text(statement, 1, entry->key, -1, SQLITE_STATIC);
    }
    if (params >= 2 && entry) {
        /* A value of no bytes isn't NULL: that would mean a deletion. */
        if (entry->value) {
            sqlite3_bind_blob64(statement, 2, entry->value, entry->size, SQLITE_STATIC);
        } else {
            sqlite3_bind_null(statement, 2);
        }
    }
    if (params >= 3) {
        sqlite3_bind_int64(statement, 3, number);
    }
    int rc = sqlite3_step(statement);
    int negative = db_errno(writer->db, rc);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return negative;
}

/* The revision of a key, 0 if it isn't there. */
static int key_revision(struct writer *writer, const char *key, int64_t *ret_revision)
{
    sqlite3_bind_text(writer->get, 1, key, -1, SQLITE_STATIC);
    int rc = sqlite3_step(writer->get);
    int negative = db_errno(writer->db, rc);
    *ret_revision = rc == SQLITE_ROW ? sqlite3_column_int64(writer->get, 0) : 0;
    sqlite3_reset(writer->get);
    sqlite3_clear_bindings(writer->get);
    return negative;
}

static int compares_hold(struct writer *writer, const struct txn *txn)
{
    for (size_t i = 0; i < txn->compares_len; i++) {
        int64_t revision;
        int rc = key_revision(writer, txn->compares[i].key, &revision);
        if (rc < 0) {
            return rc;
        }
        if (revision != txn->compares[i].revision) {
            return 0;
        }
    }
    return 1;
}

/* Marks in entry->revision whether the operation changed anything. */
static int apply_operation(struct writer *writer, struct store_entry *entry, size_t position,
                           int64_t revision)
{
    int rc = run(writer, entry->value ? writer->put : writer->del, entry, revision);

    entry->revision = 0;
    if (rc < 0 || (!entry->value && sqlite3_changes(writer->db) == 0)) {
        return rc;
    }
    entry->revision = revision;
    return run(writer, writer->log, entry, revision << DB_POSITION_BITS | (int64_t)position);
}

/* Within a disk transaction. Compares come before the first change, so one that fails has
 * nothing to undo, and a failure of the disk undoes the whole batch: no savepoints needed. */
static int apply(struct writer *writer, struct txn *txn, int64_t *revision)
{
    int rc = compares_hold(writer, txn);
    int is_change = 0;

    if (rc <= 0) {
        txn->rc = -ECANCELED;
        txn->revision = *revision;
        return rc;
    }
    for (size_t i = 0; i < txn->entries_len; i++) {
        rc = apply_operation(writer, &txn->entries[i], i, *revision + 1);
        if (rc < 0) {
            return rc;
        }
        is_change |= txn->entries[i].revision != 0;
    }
    *revision += is_change;
    txn->rc = 0;
    txn->revision = *revision;
    return 0;
}

static int commit_together(struct writer *writer, struct txn *list)
{
    int64_t revision = writer->revision;
    int rc = run(writer, writer->begin, NULL, 0);

    for (struct txn *txn = list; rc == 0 && txn; txn = txn->next) {
        rc = apply(writer, txn, &revision);
    }
    if (rc == 0 && revision != writer->revision) {
        rc = run(writer, writer->count, NULL, revision);
    }
    rc = rc < 0 ? rc : run(writer, writer->commit, NULL, 0);
    if (rc < 0) {
        if (!sqlite3_get_autocommit(writer->db)) {
            run(writer, writer->rollback, NULL, 0);
        }
        return rc;
    }
    writer->revision = revision;
    return 0;
}

/* A commit that failed in its last step (the sync) may have left all of itself in the journal,
 * behind its valid end: a crash now would bring it back although it was reported as failed. A
 * commit that only counts failures (one that writes no page would do nothing) takes its place.
 * When that fails too the disk is broken, and there is no more to do. */
static void overwrite_failed(struct writer *writer)
{
    int rc = run(writer, writer->begin, NULL, 0);

    rc = rc < 0 ? rc : run(writer, writer->touch, NULL, 0);
    rc = rc < 0 ? rc : run(writer, writer->commit, NULL, 0);
    if (rc < 0 && !sqlite3_get_autocommit(writer->db)) {
        run(writer, writer->rollback, NULL, 0);
    }
}

/* apply() has noted a success or a failed compare; a failure of the disk overrides both. */
static void set_outcome(struct writer *writer, struct txn *txn, int rc)
{
    if (rc < 0) {
        overwrite_failed(writer);
        txn->rc = rc == -ENOSPC ? -ENOSPC : -EIO;
        txn->revision = writer->revision;
    }
}

static void commit_alone(struct writer *writer, struct txn *txn)
{
    struct txn *next = txn->next;

    txn->next = NULL;
    int rc = commit_together(writer, txn);
    txn->next = next;
    set_outcome(writer, txn, rc);
}

static void drop_unchanged(struct txn *txn)
{
    size_t len = 0;

    for (size_t i = 0; txn->rc == 0 && i < txn->entries_len; i++) {
        if (txn->entries[i].revision != 0) {
            txn->entries[len++] = txn->entries[i];
        }
    }
    txn->entries_len = len;
}

void writer_commit(struct writer *writer, struct txn *list)
{
    int rc = commit_together(writer, list);

    if (rc < 0 && !list->next) {
        set_outcome(writer, list, rc);
    } else if (rc < 0) {
        for (struct txn *txn = list; txn; txn = txn->next) {
            commit_alone(writer, txn);
        }
    }
    for (struct txn *txn = list; txn; txn = txn->next) {
        drop_unchanged(txn);
    }
}

static int compact_slice(struct writer *writer, int64_t revision, int *ret_rows)
{
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    int rc = db_set_meta(writer->db, "compacted", revision);

    rc = rc < 0 ? rc
                : db_errno(writer->db,
                           sqlite3_prepare_v2(writer->db,
                                              "DELETE FROM log WHERE id IN (SELECT id FROM log"
                                              " WHERE id < ?1 ORDER BY id LIMIT ?2)",
                                              -1, &statement, NULL));
    if (rc < 0) {
        return rc;
    }
    sqlite3_bind_int64(statement, 1, (revision + 1) << DB_POSITION_BITS);
    sqlite3_bind_int(statement, 2, COMPACT_SLICE);
    rc = db_errno(writer->db, sqlite3_step(statement));
    *ret_rows = sqlite3_changes(writer->db);
    return rc;
}

int writer_compact(struct writer *writer, int64_t revision)
{
    int rows = 0;
    int rc = run(writer, writer->begin, NULL, 0);

    rc = rc < 0 ? rc : compact_slice(writer, revision, &rows);
    rc = rc < 0 ? rc : run(writer, writer->commit, NULL, 0);
    if (rc < 0 && !sqlite3_get_autocommit(writer->db)) {
        run(writer, writer->rollback, NULL, 0);
    }
    return rc < 0 ? rc : rows == COMPACT_SLICE;
}
