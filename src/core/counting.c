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

/* "sdn/node/in": what the node itself counts, if it runs that service. */
static int is_of_node(const struct channel *channel, const char *total)
{
    static const char SERVICE[] = "service/";
    size_t size = strcspn(total, "/");

    return strncmp(total + size, "/node/", 6) == 0 &&
           strncmp(channel->name, SERVICE, sizeof SERVICE - 1) == 0 &&
           strlen(channel->name) == sizeof SERVICE - 1 + size &&
           strncmp(channel->name + sizeof SERVICE - 1, total, size) == 0;
}

/* Else counters are of a resource that the node has ("sdn/filter/7" of sdn/filter/7 or
 * sdn/filter/7/<node>): so what an agent makes up isn't kept, nor what it tells too late. */
static int is_known(const struct deployment *d, const char *node, const char *total)
{
    const struct member *member = channels_member(&d->channels, node);
    _cleanup_free_ char *own = xasprintf("%s/%s", total, node);

    for (size_t i = 0; member && i < member->len; i++) {
        const struct channel *channel = member->channels[i].channel;
        if (member->channels[i].until == 0 &&
            (omap_get(&channel->resources, own) || omap_get(&channel->resources, total) ||
             is_of_node(channel, total))) {
            return 1;
        }
    }
    return 0;
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

static void drop(struct deployment *d, const char *node, const char *total)
{
    if (counters_drop(&d->counters, node, total)) {
        json_t *totals = json_pack("{s:n}", total);
        d->counted = 1;
        tell(d, node, totals);
        json_decref(totals);
    }
}

static void note_node(void *arg, const char *node, struct count total)
{
    omap_put(arg, node, arg);
}

void counting_gone(struct deployment *d, const char *channel, const char *key)
{
    const char *node = strrchr(key, '/');
    struct omap nodes = {0};

    if (node && strncmp(channel, "node/", 5) == 0 && strcmp(channel + 5, node + 1) == 0) {
        _cleanup_free_ char *total = xstrndup(key, (size_t)(node - key));
        drop(d, node + 1, total);
    }
    counters_each(&d->counters, key, note_node, &nodes); /* one that several nodes have */
    omap_foreach (e, &nodes) {
        drop(d, e->key, key);
    }
    omap_clear(&nodes, NULL);
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
