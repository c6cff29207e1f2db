/* sqlite-read.h - the present state and the past of the log, read from the connection. The caller
 * has passed the gate. Private to src/store. */
#pragma once

#include <sqlite3.h>

#include "store/sqlite-db.h"
#include "store/store.h"

/* Every key with the prefix, in byte order. */
int read_state(sqlite3 *db, const char *prefix, store_entry_fn *each, void *arg);

/* One transaction of the past, copied so that the gate is open while the watcher is told. */
struct past {
    int64_t revision; /* 0: there is none */
    size_t len;
    struct store_entry entries[1 << DB_POSITION_BITS];
};

/* The first transaction after revision `from`; `past` is empty before. */
int read_past(sqlite3 *db, int64_t from, struct past *past);
void past_clear(struct past *past);
