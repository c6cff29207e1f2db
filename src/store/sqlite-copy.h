/* sqlite-copy.h - copies of a database: made while it is written to, sealed with a digest, and
 * put back. Private to src/store. */
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
