/* counting.c - what nodes count, as they tell it: kept, shown and told on. */
#include <string.h>

#include "core/deployment-internal.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    GENERATION_USEC = 1000000, /* lists are made anew for counters at most so often */
};

static int64_t now_sec(void)
{
    return clock_now_usec() / 1000000;
}

static void tell(struct deployment *d, const char *node, const json_t *totals)
{
    for (struct deployment_listener *l = d->listeners, *next; l; l = next) {
        next = l->next;
        if (l->counters_changed) {
            l->counters_changed(l->arg, node, totals);
        }
    }
}

/* Counters are of a resource that the node has ("sdn/filter/7" of sdn/filter/7/<node>), or of the
 * node itself ("sdn/node/in"): so what an agent makes up isn't kept, nor what it tells too late.
 */
static int is_known(const struct deployment *d, const char *node, const char *total)
{
    const char *slash = strchr(total, '/');

    if (slash && strncmp(slash, "/node/", 6) == 0) {
        return 1;
    }
    _cleanup_free_ char *name = xasprintf("node/%s", node);
    _cleanup_free_ char *key = xasprintf("%s/%s", total, node);
    const struct channel *channel = channels_get(&d->channels, name);

    return channel && omap_get(&channel->resources, key);
}

static void put_one(struct deployment *d, const char *node, const char *name, const json_t *value,
                    json_t *totals)
{
    _cleanup_free_ char *total = counters_total(name);
    struct count count = {
        .packets = (uint64_t)json_integer_value(json_array_get(value, 0)),
        .bytes = (uint64_t)json_integer_value(json_array_get(value, 1)),
    };
    int changed = json_is_null(value)
                      ? counters_gone(&d->counters, node, name)
                      : is_known(d, node, total) &&
                            counters_put(&d->counters, node, name, count, now_sec()) == 1;

    if (changed) {
        int there = counters_get(&d->counters, node, total, &count) == 0;
        json_object_set_new(
            totals, total,
            there ? json_pack("[I, I]", (json_int_t)count.packets, (json_int_t)count.bytes)
                  : json_null());
    }
}

void fleet_counters(struct deployment *d, const char *node, const json_t *values)
{
    json_t *totals = json_object();
    const char *name;
    json_t *value;

    json_object_foreach ((json_t *)values, name, value) {
        put_one(d, node, name, value, totals);
    }
    if (json_object_size(totals) > 0) {
        d->counted = 1;
        tell(d, node, totals);
    }
    json_decref(totals);
}

void counting_gone(struct deployment *d, const char *channel, const char *key)
{
    const char *node = strrchr(key, '/');

    if (!node || strncmp(channel, "node/", 5) != 0 || strcmp(channel + 5, node + 1) != 0) {
        return;
    }
    _cleanup_free_ char *total = xstrndup(key, (size_t)(node - key));
    if (counters_drop(&d->counters, node + 1, total)) {
        json_t *totals = json_pack("{s:n}", total);
        d->counted = 1;
        tell(d, node + 1, totals);
        json_decref(totals);
    }
}

void counting_generation(struct deployment *d)
{
    int64_t now = clock_now_usec();

    if (d->counted && (now < d->counted_usec || now - d->counted_usec >= GENERATION_USEC)) {
        d->counted = 0;
        d->counted_usec = now;
        d->generation++;
    }
}

const struct counters *deployment_counters(const struct deployment *d)
{
    return &d->counters;
}
