/* reconcile-internal.h - one driver as the reconciler sees it. Private to reconcile*.c.
 *
 * A driver is "clean" when nothing is known that should be looked at: not `whole`, no `keys`, no
 * errors. Only when all are is a revision acknowledged. */
#pragma once

#include <stdint.h>

#include "core/backend.h"
#include "core/replica.h"
#include "core/trials.h"

enum {
    WAKE_MSEC = 5,      /* wakes within this time make one pass */
    CHECK_MSEC = 60000, /* a pass even if nobody noticed a drift */
    BACKOFF_MIN_MSEC = 100,
    BACKOFF_MAX_MSEC = 30000,
    BUSY_MAX = 10,    /* so many passes may change something in a row, */
    BUSY_MSEC = 1000, /* then they come this far apart: something undoes what we do */
    ERRORS_MAX = 100, /* reported at once */
};

#define NEVER UINT64_MAX

struct reconcile_driver {
    struct reconcile *reconcile;
    const struct replica *replica;
    const struct trials *trials;
    const struct backend *backend;
    struct backend_env env;
    void *self; /* NULL: not started yet, tried again at each pass */

    int whole;               /* everything is to be looked at */
    struct omap keys;        /* to be looked at, if not everything is; the values mean nothing */
    int is_new;              /* hasn't been driven since the server changed something of it */
    uint64_t due;            /* when it is driven next, in the loop's milliseconds */
    uint64_t check;          /* when all of it must have been looked at */
    int was_woken;           /* while it was driven */
    unsigned failures, busy; /* passes in a row: that failed, that changed something */
    json_t *errors;          /* [{"key","message"}] of its last pass */
};

/* What one pass found and did. */
struct outcome {
    size_t changes; /* items that weren't as they must be */
    size_t waiting; /* RESULT_NOT_YET */
    int is_blind;   /* the driver couldn't look */
    int was_whole;  /* everything was looked at, not only some keys */
};

void reconcile_note(json_t *errors, const char *key, const char *message);

void driver_init(struct reconcile_driver *d, struct reconcile *r, const struct replica *replica,
                 const struct trials *trials, const struct backend *backend,
                 const struct backend_env *env);
void driver_done(struct reconcile_driver *d);

/* This key (NULL: everything) is to be looked at, not before `due`. */
void driver_mark(struct reconcile_driver *d, const char *key, uint64_t due);
/* Passes in a row don't count any more: what it must do is another thing now. */
void driver_renew(struct reconcile_driver *d);
int driver_is_clean(const struct reconcile_driver *d);

/* How long to wait after so many failures in a row, less one. */
uint64_t driver_backoff_msec(unsigned failures);

/* 0 if it runs already. */
int driver_start(struct reconcile_driver *d, struct error *error);

/* One pass of what is marked; sets when the next is due. */
struct outcome driver_pass(struct reconcile_driver *d);
/* One that removes all it finds. */
struct outcome driver_remove(struct reconcile_driver *d);
