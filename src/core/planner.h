/* planner.h - keeps resources up to date with the least work: plans again what read what changed.
 *
 * A unit is one object seen by one service that plans its kind. Planning it notes every key and
 * prefix it read; planner_touch() marks the units that a changed key concerns, planner_run() plans
 * them and hands the differences to the channels. */
#pragma once

#include <stdint.h>

#include "core/channels.h"
#include "core/service.h"
#include "lib/omap.h"
#include "model/tree.h"

struct unit {
    const struct service *service;
    char *kind, *id;
    struct omap resources; /* key -> char *channel */
    struct omap reads;     /* keys and prefixes */
};

struct planner {
    const struct tree *tree;
    const struct service *const *services;
    struct channels *channels;
    struct omap units;   /* "<service> <kind>/<id>" -> struct unit */
    struct omap readers; /* key or prefix -> struct omap *: unit names */
    struct omap dirty;   /* unit names */
};

void planner_done(struct planner *planner);

/* A key of the tree was put or deleted. */
void planner_touch(struct planner *planner, const char *key);

/* Plans what is dirty; `touched` (may be NULL) is called for every resource that changed, with no
 * body if it is gone. */
typedef void planner_difference_fn(void *arg, const char *channel, const char *key,
                                   const json_t *body);
void planner_run(struct planner *planner, int64_t revision, planner_difference_fn *touched,
                 void *arg);

/* The unit of an object under a service, or NULL. */
const struct unit *planner_unit(const struct planner *planner, const struct service *service,
                                const char *kind, const char *id);

/* What the dirty units would give now, as differences to what is: nothing is changed but the
 * marks, which are gone afterwards. */
void planner_preview(struct planner *planner, planner_difference_fn *each, void *arg);
