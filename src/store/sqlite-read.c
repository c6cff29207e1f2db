#include "store/sqlite-read.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

/* Columns key, value, revision or id. */
static struct store_entry row_entry(sqlite3_stmt *row)
{
    int is_null = sqlite3_column_type(row, 1) == SQLITE_NULL;
    const void *value = sqlite3_column_blob(row, 1);

    return (struct store_entry){
        .key = (const char *)sqlite3_column_text(row, 0),
        .value = is_null ? NULL
                 : value ? value
                         : "", /* no bytes isn't "deleted" */
        .size = (size_t)sqlite3_column_bytes(row, 1),
        .revision = sqlite3_column_int64(row, 2),
    };
}

int read_state(sqlite3 *db, const char *prefix, store_entry_fn *each, void *arg)
{
    _cleanup_statement_ sqlite3_stmt *rows = NULL;
    size_t prefix_size = strlen(prefix);
    int rc = sqlite3_prepare_v2(db,
                                "SELECT key, value, revision FROM state WHERE key >= ?1"
                                " ORDER BY key",
                                -1, &rows, NULL);

    if (rc != SQLITE_OK) {
        return db_errno(db, rc);
    }
    sqlite3_bind_text(rows, 1, prefix, -1, SQLITE_STATIC);
    while ((rc = sqlite3_step(rows)) == SQLITE_ROW) {
        struct store_entry entry = row_entry(rows);
        if (strncmp(entry.key, prefix, prefix_size) != 0) {
            return 0;
        }
        each(arg, &entry);
    }
    return db_errno(db, rc);
}

void past_clear(struct past *past)
{
    for (size_t i = 0; i < past->len; i++) {
        struct store_entry *entry = &past->entries[i];
        if (entry->value) {
            mem_wipe((void *)entry->value, entry->size);
        }
        free((void *)entry->value);
        free((void *)entry->key);
    }
    past->len = 0;
    past->revision = 0;
}

static void past_add(struct past *past, struct store_entry row)
{
    char *value = NULL;

    if (row.value) {
        value = xcalloc(1, row.size + 1);
        memcpy(value, row.value, row.size);
    }
    past->entries[past->len++] = (struct store_entry){
        .key = xstrdup(row.key),
        .value = value,
        .size = row.size,
        .revision = past->revision,
    };
}

int read_past(sqlite3 *db, int64_t from, struct past *past)
{
    _cleanup_statement_ sqlite3_stmt *rows = NULL;
    int rc = sqlite3_prepare_v2(db, "SELECT key, value, id FROM log WHERE id >= ?1 ORDER BY id",
                                -1, &rows, NULL);

    if (rc != SQLITE_OK) {
        return db_errno(db, rc);
    }
    sqlite3_bind_int64(rows, 1, (from + 1) << DB_POSITION_BITS);
    while ((rc = sqlite3_step(rows)) == SQLITE_ROW) {
        struct store_entry row = row_entry(rows);
        int64_t revision = row.revision >> DB_POSITION_BITS;
        if (past->revision != 0 && revision != past->revision) {
            return 0;
        }
        past->revision = revision;
        past_add(past, row);
    }
    return db_errno(db, rc);
}
