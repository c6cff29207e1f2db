/* preview.c - what would change on which node: the tree is changed, planned, and changed back. */
#include <string.h>

#include "core/deployment-internal.h"
#include "lib/json.h"
#include "lib/mem.h"

struct preview {
    struct deployment *d;
    const char *node; /* the node that is being changed, or NULL */
    char **channels;  /* those it would be on */
    json_t *deltas;
};

static void add_delta(struct preview *p, const char *node, const char *key, const json_t *body)
{
    json_t *delta =
        json_pack("{s:s, s:s, s:s}", "node", node, "key", key, "action", body ? "put" : "delete");

    if (json_object_get(body, PLAN_SECRET)) {
        json_t *shown = json_copy((json_t *)body);
        json_object_del(shown, PLAN_SECRET);
        json_object_set_new(delta, "body", shown);
    } else if (body) {
        json_object_set(delta, "body", (json_t *)body);
    }
    json_array_append_new(p->deltas, delta);
}

static int has_name(char **names, const char *name)
{
    for (; names && *names; names++) {
        if (strcmp(*names, name) == 0) {
            return 1;
        }
    }
    return 0;
}

static void on_difference(void *arg, const char *name, const char *key, const json_t *body)
{
    struct preview *p = arg;
    const struct channel *channel = channels_get(&p->d->channels, name);
    int joins = p->node && has_name(p->channels, name) &&
                !(channel && omap_get(&channel->members, p->node));

    if (channel) {
        omap_foreach (e, &channel->members) {
            add_delta(p, e->key, key, body);
        }
    }
    if (joins && body) {
        add_delta(p, p->node, key, body);
    }
}

/* A node that changes its services gets or loses whole channels. */
static void preview_channels(struct preview *p, const json_t *before)
{
    char **old = fleet_channel_names(p->node, before);

    for (char **name = old; *name; name++) {
        const struct channel *channel = channels_get(&p->d->channels, *name);
        if (channel && !has_name(p->channels, *name)) {
            omap_foreach (e, &channel->resources) {
                add_delta(p, p->node, e->key, NULL);
            }
        }
    }
    for (char **name = p->channels; *name; name++) {
        const struct channel *channel = channels_get(&p->d->channels, *name);
        if (channel && !has_name(old, *name)) {
            omap_foreach (e, &channel->resources) {
                add_delta(p, p->node, e->key, ((struct resource *)e->value)->body);
            }
        }
    }
    fleet_free_names(old);
}

static void touch(void *arg, const char *key)
{
    planner_touch(arg, key);
}

json_t *preview_deltas(struct deployment *d, const char *key, json_t *value)
{
    static const char NODES[] = "object/nodes/";
    struct preview p = {.d = d, .deltas = json_array()};
    const struct tree_entry *entry = tree_get(&d->tree, key);
    int64_t revision = entry ? entry->revision : 0;
    json_t *before = json_incref(entry ? entry->value : NULL);

    if (strncmp(key, NODES, sizeof NODES - 1) == 0) {
        p.node = key + sizeof NODES - 1;
        p.channels = fleet_channel_names(p.node, json_object_get(value, "spec"));
    }
    tree_put(&d->tree, key, revision, value, touch, &d->planner);
    planner_preview(&d->planner, on_difference, &p);
    tree_put(&d->tree, key, revision, before, NULL, NULL);
    if (p.node) {
        preview_channels(&p, json_object_get(before, "spec"));
        fleet_free_names(p.channels);
    }
    json_decref(before);
    return p.deltas;
}
