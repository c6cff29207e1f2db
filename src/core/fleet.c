/* fleet.c - the live state of nodes: who is connected, and what they have applied. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/deployment-internal.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"

struct live *fleet_live(const struct deployment *d, const char *node)
{
    return omap_get(&d->live, node);
}

static struct live *make_live(struct deployment *d, const char *node)
{
    struct live *live = fleet_live(d, node);

    if (!live) {
        live = xnew(struct live);
        omap_put(&d->live, node, live);
    }
    return live;
}

/* --- statuses --- */

const json_t *fleet_reported(struct deployment *d, const struct live *live)
{
    if (!live || !live->status) {
        return NULL;
    }
    for (size_t i = 0; i < REPORTED_MAX; i++) {
        if (d->reported[i].live == live) {
            return d->reported[i].status;
        }
    }
    struct reported *slot = &d->reported[d->reported_at++ % REPORTED_MAX];
    json_decref(slot->status);
    *slot = (struct reported){.live = live, .status = json_loads(live->status, 0, NULL)};
    return slot->status;
}

/* What was kept of it isn't so any more. */
static void drop_reported(struct deployment *d, const struct live *live)
{
    for (size_t i = 0; i < REPORTED_MAX; i++) {
        if (d->reported[i].live == live) {
            json_decref(d->reported[i].status);
            d->reported[i] = (struct reported){0};
        }
    }
}

static void free_live(void *value)
{
    struct live *live = value;

    if (live) {
        free(live->address);
        json_decref(live->errors);
        free(live->status);
        free(live);
    }
}

static void tell(struct deployment *d, const char *node)
{
    d->generation++;
    for (struct deployment_listener *l = d->listeners, *next; l; l = next) {
        next = l->next;
        if (l->fleet_changed) {
            l->fleet_changed(l->arg, node);
        }
    }
}

/* --- who is behind --- */

/* A node is behind until it has acknowledged all that concerns it, without errors: only those need
 * to be looked at for what isn't in force yet. */
static void settle(struct deployment *d, const char *node, struct live *live)
{
    if (live->acked < live->concerned || live->errors) {
        omap_put(&d->behind, node, live);
    } else {
        omap_del(&d->behind, node);
    }
}

void fleet_concern(struct deployment *d, const char *node, int64_t revision)
{
    struct live *live = make_live(d, node);

    live->concerned = revision;
    settle(d, node, live);
}

/* --- channels --- */

char **fleet_channel_names(const char *node, const json_t *spec)
{
    const json_t *services = json_object_get(spec, "services");
    int hub = json_get_bool(spec, "hub", 0);
    char **names = xcalloc(2 * json_array_size(services) + 2, sizeof *names);
    size_t i, at = 0;
    json_t *name;

    if (spec) {
        names[at++] = xasprintf("node/%s", node);
    }
    json_array_foreach ((json_t *)services, i, name) {
        names[at++] = xasprintf("service/%s", json_string_value(name));
        if (hub) {
            names[at++] = xasprintf("hub/%s", json_string_value(name));
        }
    }
    return names;
}

void fleet_free_names(char **names)
{
    for (char **name = names; *name; name++) {
        free(*name);
    }
    free(names);
}

int fleet_channels(struct deployment *d, const char *node, int64_t revision)
{
    char **names = fleet_channel_names(node, tree_spec(&d->tree, "nodes", node));
    int changed = channels_join(&d->channels, node, (const char *const *)names, revision);

    fleet_free_names(names);
    return changed;
}

/* --- what agents say --- */

void fleet_connected(struct deployment *d, const char *node, const char *address)
{
    struct live *live = make_live(d, node);

    live->connected = 1;
    live->last_seen_usec = clock_now_usec();
    free(live->address);
    live->address = xstrdup(address);
    tell(d, node);
}

void fleet_disconnected(struct deployment *d, const char *node, const char *why)
{
    struct live *live = fleet_live(d, node);

    if (live && live->connected) {
        live->connected = 0;
        live->last_seen_usec = clock_now_usec();
        waiting_check(d, node);
        tell(d, node);
    }
}

int fleet_is_connected(const struct deployment *d, const char *node)
{
    const struct live *live = fleet_live(d, node);

    return live && live->connected;
}

void fleet_acked(struct deployment *d, const char *node, int64_t revision, const json_t *errors)
{
    struct live *live = make_live(d, node);

    live->acked = revision;
    live->last_seen_usec = clock_now_usec();
    json_decref(live->errors);
    live->errors = json_array_size(errors) > 0 ? json_deep_copy(errors) : NULL;
    settle(d, node, live);
    quarantine_acked(d, node, revision);
    waiting_check(d, node);
    tell(d, node);
}

void fleet_status(struct deployment *d, const char *node, const json_t *status)
{
    struct live *live = make_live(d, node);

    drop_reported(d, live);
    free(live->status);
    live->status = json_dumps(status, JSON_COMPACT);
    live->last_seen_usec = clock_now_usec();
    tell(d, node);
}

void fleet_forget(struct deployment *d, const char *node)
{
    quarantine_acked(d, node, INT64_MAX);
    omap_del(&d->behind, node);
    counters_forget(&d->counters, node);
    struct live *live = omap_del(&d->live, node);
    if (live) {
        drop_reported(d, live);
        free_live(live);
    }
    waiting_check(d, node);
    tell(d, node);
}

const char *fleet_problem(const struct deployment *d, const char *node, const char *key,
                          int64_t revision)
{
    const struct live *live = fleet_live(d, node);
    size_t i;
    json_t *item;

    if (!live || live->acked < revision) {
        return live && live->connected ? "hasn't applied it yet" : "is away";
    }
    json_array_foreach (live->errors, i, item) {
        if (strcmp(json_get_string(item, "key", ""), key) == 0) {
            return json_get_string(item, "message", "failed");
        }
    }
    return "";
}

void fleet_done(struct deployment *d)
{
    omap_clear(&d->behind, NULL);
    for (size_t i = 0; i < REPORTED_MAX; i++) {
        json_decref(d->reported[i].status);
    }
    omap_clear(&d->live, free_live);
}
