/* sqlite-db.h - the database file under the store: opening, schema, migration, error codes.
 *
 * Tables: `state` holds the present value of each key, `log` what every transaction after
 * `meta.compacted` did, `meta` the counters. A log row's id is revision << DB_POSITION_BITS plus
 * the operation's position, so the log is one B-tree in the order in which it is read.
 *
 * Private to src/store. Functions return 0 or a negative errno. */
#pragma once

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

enum {
    DB_APPLICATION_ID = 0x434e534d, /* "CNSM" in the file's header */
    DB_POSITION_BITS = 10,          /* part of the schema: room for 1024 operations */
};

/* Brings the schema from version i (its place in the table) to i + 1. Runs in a transaction. */
typedef int db_migrate_fn(sqlite3 *db);

struct db_schema {
    db_migrate_fn *const *migrations;
    int version; /* what the last migration leads to: the number of migrations */
};

/* The schema that this program works with: STORE_SCHEMA_VERSION. */
extern const struct db_schema DB_SCHEMA;

/* Opens an existing file without looking at it yet, or makes an empty one (mode 0600). */
int db_connect(const char *path, sqlite3 **ret_db, struct error *error);

/* Locks the file against everybody else until it is closed; -EBUSY if another has done so. */
int db_lock(sqlite3 *db, const char *path, struct error *error);

/* Checks that a locked file is ours and not newer than `schema`, and reads its version: 0 for an
 * empty one. */
int db_check(sqlite3 *db, const char *path, const struct db_schema *schema, int *ret_version,
             struct error *error);

/* Runs the migrations from `version` on, in one transaction. */
int db_migrate(sqlite3 *db, const char *path, const struct db_schema *schema, int version,
               struct error *error);

/* connect, lock, check, keep a copy `path.bak-vN` if there is something to migrate, migrate, and
 * set durability: WAL, synchronous=FULL. */
int db_open(const char *path, const struct db_schema *schema, sqlite3 **ret_db,
            struct error *error);

/* What a SQLite result means to a caller of the store. Out of memory ends the process. */
int db_errno(sqlite3 *db, int rc);

/* Fills *error for a failed SQLite call on the file at `path`. */
int db_fail(sqlite3 *db, int rc, const char *path, struct error *error);

/* Statements without parameters; result rows are ignored. */
int db_exec(sqlite3 *db, const char *sql);

/* The integer in the first column of the first row; -ENOENT if there is no row. */
int db_get_integer(sqlite3 *db, const char *sql, int64_t *ret_value);

int db_set_meta(sqlite3 *db, const char *name, int64_t value);

/* Reads the whole file: 1 if SQLite finds its structure sound. */
int db_is_intact(sqlite3 *db);

void db_close(sqlite3 **db);

#define _cleanup_db_ __attribute__((cleanup(db_close)))

static inline void db_finalize(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement);
    *statement = NULL;
}

#define _cleanup_statement_ __attribute__((cleanup(db_finalize)))
