/* auth-limit.h - token buckets by name: how often somebody may try. Pure; the caller tells the
 * time. Memory is bounded: full buckets are forgotten, and past LIMIT_NAMES_MAX names share one.
 */
#pragma once

#include <stdint.h>

#include "lib/omap.h"

enum {
    LIMIT_NAMES_MAX = 10000,
};

struct limit {
    unsigned burst;
    unsigned refill_sec; /* one more try after so long */
    struct omap buckets; /* name -> struct bucket */
};

/* Takes one try. 0, or the seconds (at least 1) after which there is one. */
unsigned limit_take(struct limit *limit, const char *name, int64_t now_usec);

/* Gives one back: the try was a good one. */
void limit_refund(struct limit *limit, const char *name, int64_t now_usec);

/* Forgets those that are full again. */
void limit_purge(struct limit *limit, int64_t now_usec);

void limit_done(struct limit *limit);
