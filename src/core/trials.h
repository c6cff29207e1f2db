/* trials.h - resources that are undone by themselves unless somebody confirms them in time.
 *
 * A change that can cut somebody off is put in force on trial: its resource has the member
 * "confirmWithin", in seconds. Confirmed, it comes again without. Else, when the time is over, it
 * counts as being what its member "otherwise" says, or as not being there if it has none, and an
 * error says so; that lasts until the server sends another.
 * The time runs from when this agent took the resource over, by the loop's clock: so it doesn't
 * matter whether the machine's is right, nor whether the server can still be reached. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "lib/omap.h"

struct trials {
    struct omap by_key; /* key -> struct trial */
};

/* The resource is this now; NULL: gone. `now` in the loop's milliseconds. */
void trials_put(struct trials *trials, const char *key, const char *body, uint64_t now);

/* Was it undone? */
int trials_is_over(const struct trials *trials, const char *key);

/* What one that was undone is now, a new reference; NULL: not there. */
json_t *trials_otherwise(const struct trials *trials, const char *key);

/* When the next one is over; UINT64_MAX: none. */
uint64_t trials_due(const struct trials *trials);

/* Ends those whose time is over, and calls `each` for them. */
void trials_end(struct trials *trials, uint64_t now, void (*each)(void *arg, const char *key),
                void *arg);

void trials_done(struct trials *trials);
