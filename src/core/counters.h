/* counters.h - what nodes count, in memory: totals, and how they came about.
 *
 *     agent ── "counters" ──► fleet_counters() ──► counters_put() ──► total, series
 *                                                                       └─► status, API, SSE
 *
 * A counter is a total of packets and bytes under a name of three segments, "sdn/filter/7", on a
 * node. Where several drivers count for it each has a segment of its own after that
 * ("sdn/filter/7/public"), and the total is their sum. A total never goes backwards: a part that
 * does stands still until it has caught up, and what a part that is gone had counted stays, until
 * all are gone.
 *
 * Of each total a series is kept at 5 s for the last hour and at 1 min for the last day: points
 * only where it changed, the first of them when it isn't zero any more. All series together have
 * at most COUNTERS_POINTS_MAX points; past that they become shorter. Nothing is stored: after a
 * restart the agents tell their totals again, and the series begin anew. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/omap.h"

enum {
    COUNTERS_STEP_SEC = 5,
    COUNTERS_WINDOW_SEC = 3600,
    COUNTERS_LONG_STEP_SEC = 60,
    COUNTERS_LONG_WINDOW_SEC = 86400,
    COUNTERS_POINTS_MAX = 2 << 20, /* 48 MB */
    COUNTERS_POINTS_MIN = 12,      /* that each series may have all the same */
    COUNTERS_NODE_MAX = 50000,     /* counters of one node */
    COUNTERS_PARTS_MAX = 8,        /* of one counter */
};

/* Never more than INT64_MAX, which is what JSON can say. */
struct count {
    uint64_t packets, bytes;
};

static inline uint64_t count_sum(uint64_t a, uint64_t b)
{
    return a < INT64_MAX && b < INT64_MAX - a ? a + b : INT64_MAX;
}

/* Here, since plans are linked without the counters. */
static inline struct count count_add(struct count a, struct count b)
{
    return (struct count){count_sum(a.packets, b.packets), count_sum(a.bytes, b.bytes)};
}

struct counters {
    struct omap by_name; /* name -> struct omap: node -> struct counter */
    struct omap sizes;   /* node -> size_t: how many counters it has */
    size_t points;       /* in all series */
};

/* The name without a driver's segment: the total's. The caller frees it. */
char *counters_total(const char *name);

/* The part's new value, `now_sec` being the time of day. 1: the total has changed or is new; 0:
 * not; -E2BIG: the node has too many, or the counter too many parts. */
int counters_put(struct counters *counters, const char *node, const char *name, struct count value,
                 int64_t now_sec);
/* The part is gone. 1: with it the counter. */
int counters_gone(struct counters *counters, const char *node, const char *name);
/* The counter is gone with all its parts. 1: it was there. */
int counters_drop(struct counters *counters, const char *node, const char *total);
/* The node is gone. */
void counters_forget(struct counters *counters, const char *node);
void counters_done(struct counters *counters);

/* 0, or -ENOENT and a count of zero. `name` may have a driver's segment: the total's is meant. */
int counters_get(const struct counters *counters, const char *node, const char *name,
                 struct count *ret_total);

/* How many there are, on all nodes. */
size_t counters_len(const struct counters *counters);

/* Calls `each` for every node that has the counter. Returns the sum. */
typedef void counters_each_fn(void *arg, const char *node, struct count total);
struct count counters_each(const struct counters *counters, const char *name,
                           counters_each_fn *each, void *arg);

/* {"step":5,"points":[{"time","packets","bytes"}]}: the total after the step of 5 or 60 seconds
 * that begins at that time, where it changed within the window; the first point is the total from
 * which it goes on. `node` NULL: the sum over all nodes. A new reference. */
json_t *counters_series(const struct counters *counters, const char *node, const char *name,
                        unsigned step_sec, int64_t now_sec);
