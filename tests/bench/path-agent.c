/* path-agent.c - a whole agent whose drivers only say when they are called: what is measured is
 * the way of a change, from the API to a driver's apply(). For each apply() a line on stdout,
 *     {"usec":CLOCK_MONOTONIC,"items":n}
 * Two drivers in memory: one that can look at keys, for sdn, and one that can't, for all else. */
#include <stdio.h>
#include <string.h>

#include "core/backend.h"
#include "lib/clock.h"
#include "lib/mem.h"

struct memory {
    struct omap things; /* key -> body */
};

static int owns_sdn(const char *key)
{
    return strncmp(key, "sdn/", 4) == 0;
}

static int owns_rest(const char *key)
{
    return !owns_sdn(key);
}

static int start(const struct backend_env *env, void **ret_self, struct error *error)
{
    *ret_self = xnew(struct memory);
    return 0;
}

static void drop(void *body)
{
    json_decref(body);
}

static void stop(void *self)
{
    omap_clear(&((struct memory *)self)->things, drop);
    free(self);
}

static int observe(void *self, struct omap *states, struct error *error)
{
    struct memory *memory = self;

    omap_foreach (thing, &memory->things) {
        omap_put(states, thing->key, json_incref(thing->value));
    }
    return 0;
}

static const void *look(void *self, const char *key)
{
    return omap_get(&((struct memory *)self)->things, key);
}

static enum backend_match compare(void *self, const char *key, const json_t *spec,
                                  const void *state)
{
    return json_equal(spec, state) ? MATCH_SAME : MATCH_UPDATE;
}

static void keep(void *self, struct backend_item *items, size_t len)
{
    struct memory *memory = self;

    for (size_t i = 0; i < len; i++) {
        json_decref(items[i].spec ? omap_put(&memory->things, items[i].key,
                                             json_incref((json_t *)items[i].spec))
                                  : omap_del(&memory->things, items[i].key));
        items[i].result = RESULT_DONE;
    }
}

static void apply_sdn(void *self, struct backend_item *items, size_t len)
{
    printf("{\"usec\":%lld,\"items\":%zu}\n", (long long)clock_monotonic_usec(), len);
    fflush(stdout);
    keep(self, items, len);
}

static const struct backend SDN = {
    .service = "sdn",
    .name = "sdn",
    .owns = owns_sdn,
    .start = start,
    .stop = stop,
    .observe = observe,
    .free_state = drop,
    .compare = compare,
    .apply = apply_sdn,
    .look = look,
};

static const struct backend REST = {
    .service = "vpn",
    .name = "rest",
    .owns = owns_rest,
    .start = start,
    .stop = stop,
    .observe = observe,
    .free_state = drop,
    .compare = compare,
    .apply = keep,
};

const struct backend *const BACKENDS[] = {&REST, &SDN, NULL};
