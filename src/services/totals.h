/* totals.h - what drivers have counted, in a file that outlives the agent.
 *
 * A thing that counts (a set's element, a worker) forgets its count when it is made anew. So a
 * total is a base, of those that are gone, and what the present one says; the file has both:
 *
 *     {"7":[base packets, base bytes, packets, bytes], …}
 *
 * What can't be read is logged, and counted on from zero. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/error.h"

enum {
    TOTALS_NUMBERS = 4,
    TOTALS_SIZE_MAX = 16 << 20,
};

typedef void totals_fn(void *arg, const char *name, const uint64_t numbers[TOTALS_NUMBERS]);

/* The file as JSON, a new reference; NULL: there is none, or none that can be read. */
json_t *totals_read(const char *path);
void totals_each(const json_t *totals, totals_fn *each, void *arg);

/* Adds a member to an object that is being written; *comma is "" before the first. */
int totals_write(struct buf *text, const char **comma, const char *name,
                 const uint64_t numbers[TOTALS_NUMBERS]);

/* Replaces the file; logs what fails, here or, if `rc` says so, in writing the text. */
int totals_save(const char *path, const struct buf *text, int rc);

/* No file is fine. */
int totals_remove(const char *path, struct error *error);
