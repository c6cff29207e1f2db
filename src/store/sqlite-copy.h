/* sqlite-copy.h - copies of a database, made while it is written to and sealed with a digest.
 * Private to src/store. */
#pragma once

#include <sqlite3.h>
#include <stdint.h>

#include "store/gate.h"

/* Copies an open database to a new file `path` (mode 0600, one file without a journal): complete
 * and synced to disk, or not there at all. The content's SHA-256 goes into the copy, so that a
 * restore finds any damage, not only what breaks the file's structure.
 *
 * Every use of `from` is made inside `gate` (NULL: the caller is alone), a few pages at a time;
 * what is committed meanwhile is in the copy. -EEXIST if `path` is there. */
int copy_database(sqlite3 *from, const char *path, struct gate *gate, int64_t *ret_revision);

/* 1 if the content is what was sealed, or no seal is there (a copy made by other tools). */
int copy_seal_holds(sqlite3 *db);

/* fsync of a file, or of a folder (flags: O_DIRECTORY). */
int copy_sync(const char *path, int flags);

/* The folder that a file is in; the caller frees it. And its fsync. */
char *copy_folder_of(const char *path);
int copy_sync_folder_of(const char *path);
