/* backend.h - a network service, the agent's half: drivers that make the host match resources.
 *
 * A driver owns some kinds of resources and the part of the host that they describe. The
 * reconciler (reconcile.h) drives it, always in this cycle, on the loop's thread:
 *
 *     observe  What of ours is on the host? One state per resource key: found by our mark, not by
 *              memory, so that it works after any restart. Things of ours that no resource names
 *              get a state too, under the key they would have.
 *     compare  Does a state match its resource?  same / update / replace
 *     apply    All differences of the driver at once, one item each: create (no state), update,
 *              replace, or remove (no resource). Idempotent. Removals come first.
 *     observe  again, until everything is `same` or failed; failed items are tried again with
 *              back-off.
 *     watch    The driver calls reconcile_wake() when the host drifts or its own timers say so:
 *              then it alone is driven again.
 *
 * A driver with many resources, or one whose observe is slow, can have `look` too. Then a change
 * of some resources costs what they are, whatever else there is:
 *
 *     look     What would observe say of this one key?
 *     compare, apply, look    for the keys that changed, until they are `same`. One that answered
 *              "not yet" is looked at again when the driver calls reconcile_wake_key().
 *
 * Nothing that doesn't carry the driver's mark is ever changed. A driver blocks no longer than a
 * local command takes; a helper that could hang has a deadline (lib/spawn.h). */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <uv.h>

#include "lib/error.h"
#include "lib/omap.h"

struct reconcile_driver;

enum backend_match {
    MATCH_SAME,
    MATCH_UPDATE,
    MATCH_REPLACE,
};

enum backend_result {
    RESULT_DONE,
    RESULT_NOT_YET, /* waits for something; not an error; try again soon */
    RESULT_FAILED,  /* `error` says why */
};

struct backend_item {
    const char *key;
    const json_t *spec; /* the resource's body; NULL: remove */
    const void *state;  /* as observed; NULL: create */
    enum backend_match match;
    enum backend_result result; /* the driver sets it */
    struct error error;
};

/* What a driver gets from the agent at start. Lives as long as the driver. */
struct backend_env {
    uv_loop_t *loop;
    const char *node;      /* our id */
    const char *state_dir; /* durable, 0700: private keys, what to put back on leave */
    const char *run_dir;   /* until reboot: pids, sockets, configurations */
    const char *log_dir;   /* children's logs */
    struct reconcile_driver *reconcile; /* for reconcile_wake(): this driver, not the others */
    /* Tells the server a fact; NULL value: no more. Kept and sent again after a reconnect;
     * unchanged ones cost nothing. */
    void (*report)(void *arg, const char *name, json_t *value);
    void *report_arg;
    /* Tells the server a counter's new total, "sdn/filter/7"; it never goes backwards. Sent in
     * batches, and all again after a reconnect. Either may be NULL. */
    void (*count)(void *arg, const char *name, uint64_t packets, uint64_t bytes);
    void (*count_gone)(void *arg, const char *name);
    void *count_arg;
};

/* The answer to a question, once: a borrowed body, or NULL and the error. */
typedef void backend_answer_fn(void *arg, const json_t *body, const struct error *error);

struct backend {
    const char *service; /* "vpn" */
    const char *name;    /* "wireguard" */

    /* Is this resource ours? By the key's beginning. Two drivers may both say so: each then has
     * an own state for it, and makes its own part of the host match. */
    int (*owns)(const char *key);

    /* Makes the driver's memory; touches the host only to read. */
    int (*start)(const struct backend_env *env, void **ret_self, struct error *error);
    /* Frees it; leaves the host as it is (children go on). */
    void (*stop)(void *self);

    /* Is it still finding out how the host is, by an answer that the loop will bring? Then
     * observe() says -EAGAIN, and those who make passes outside of the loop (`leave`, tests) run
     * it for a moment first. May be NULL. */
    int (*is_looking)(void *self);

    /* Fills `states`: key -> a state that free_state frees. -EAGAIN: not known yet, soon. */
    int (*observe)(void *self, struct omap *states, struct error *error);
    void (*free_state)(void *state);
    enum backend_match (*compare)(void *self, const char *key, const json_t *spec,
                                  const void *state);
    void (*apply)(void *self, struct backend_item *items, size_t len);

    /* What observe() would say of this key alone: borrowed, until apply() or observe() is called;
     * NULL: nothing of it is on the host. Without an observe() before, and cheap. Who has it says
     * with it that what apply() does for a key changes nothing that other keys, or other drivers,
     * are compared with (or it wakes them): they aren't looked at again for that. NULL if the
     * driver has no such thing: then any change makes it observe all of its part, twice. */
    const void *(*look)(void *self, const char *key);

    /* Puts back everything on the host that isn't an item (used by `leave`, after all items are
     * removed). May be NULL. */
    int (*restore)(void *self, struct error *error);

    /* {"state":"running"|"starting"|"degraded"|"failed","message":...,...}; a new reference. Of
     * several drivers of one service the first tells state and message, the others only what they
     * add, or NULL for nothing. */
    json_t *(*status)(void *self);

    /* A question about how the host is now ("sdn/flows"): 0, and done() comes, at once or later
     * and before stop() has ended; -ENOENT if it isn't for this driver. May be NULL. */
    int (*ask)(void *self, const char *what, backend_answer_fn *done, void *arg);
};

/* All backends built in, NULL-terminated, in the order in which they build on each other. Made by
 * src/services/meson.build. */
extern const struct backend *const BACKENDS[];
