/* deployment.c - opening, and following the store: every committed transaction goes into the tree,
 * what it concerns is planned again, and the listeners hear of it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/deployment-internal.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "model/schema.h"

static const char EVENTS_PREFIX[] = "object/events/";
static const char NODES_PREFIX[] = "object/nodes/";

const struct tree *deployment_tree(const struct deployment *d)
{
    return &d->tree;
}

int64_t deployment_revision(const struct deployment *d)
{
    return d->revision;
}

uint64_t deployment_generation(const struct deployment *d)
{
    counting_generation((struct deployment *)d);
    return d->generation;
}

struct store *deployment_store(const struct deployment *d)
{
    return d->store;
}

/* --- one transaction --- */

static void touch(void *arg, const char *key)
{
    struct deployment *d = arg;

    planner_touch(&d->planner, key);
}

/* Puts one stored entry into the tree. A value that isn't JSON can only come from a damaged file:
 * it is left out, loudly. Returns the new value, borrowed. */
static json_t *mirror(struct deployment *d, const struct store_entry *entry)
{
    json_t *value = NULL;
    struct error error;
    int is_event = strncmp(entry->key, EVENTS_PREFIX, sizeof EVENTS_PREFIX - 1) == 0;
    int had = is_event && tree_get(&d->tree, entry->key);

    if (entry->value && json_parse(entry->value, entry->size, &value, &error) < 0) {
        log_error("stored value is damaged", "key", entry->key, "error", error.detail, NULL);
        return NULL;
    }
    tree_put(&d->tree, entry->key, entry->revision, value, touch, d);
    if (is_event) {
        d->events += (size_t)(value != NULL) - (size_t)had;
    }
    json_decref(value);
    return value;
}

struct concerned {
    struct deployment *d;
    struct omap *nodes;
};

static void note_members(void *arg, const char *name, const char *key, const json_t *body)
{
    struct concerned *concerned = arg;
    const struct channel *channel = channels_get(&concerned->d->channels, name);

    if (!body) {
        counting_gone(concerned->d, name, key);
    }
    if (channel) {
        omap_foreach (e, &channel->members) {
            omap_put(concerned->nodes, e->key, concerned);
        }
    }
}

static void tell_keys(struct deployment *d, int64_t revision, const struct store_entry *entries,
                      size_t len)
{
    for (struct deployment_listener *l = d->listeners, *next; l; l = next) {
        next = l->next;
        for (size_t i = 0; l->key_changed && i < len; i++) {
            l->key_changed(l->arg, entries[i].key, revision, tree_value(&d->tree, entries[i].key));
        }
    }
}

static void tell_nodes(struct deployment *d, const struct omap *nodes, int64_t revision)
{
    for (struct deployment_listener *l = d->listeners, *next; l; l = next) {
        next = l->next;
        if (l->node_changed) {
            omap_foreach (e, nodes) {
                l->node_changed(l->arg, e->key, revision);
            }
        }
    }
}

static void on_transaction(void *arg, int64_t revision, const struct store_entry *entries,
                           size_t len)
{
    struct deployment *d = arg;
    struct recent *recent = waiting_begin_recent(d, revision);
    struct concerned concerned = {.d = d, .nodes = &recent->nodes};

    for (size_t i = 0; i < len; i++) {
        mirror(d, &entries[i]);
    }
    d->revision = revision;
    for (size_t i = 0; i < len; i++) {
        if (strncmp(entries[i].key, NODES_PREFIX, sizeof NODES_PREFIX - 1) == 0) {
            const char *node = entries[i].key + sizeof NODES_PREFIX - 1;
            int changed = fleet_channels(d, node, revision);
            if (changed && entries[i].value) {
                omap_put(&recent->nodes, node, d);
            }
        }
    }
    planner_run(&d->planner, revision, note_members, &concerned);
    waiting_end_recent(d);
    omap_foreach (e, &recent->nodes) {
        fleet_concern(d, e->key, revision);
    }
    d->generation++;
    for (size_t i = 0; i < len; i++) {
        quarantine_follow(d, entries[i].key, tree_value(&d->tree, entries[i].key), revision,
                          &recent->nodes);
    }
    tell_keys(d, revision, entries, len);
    tell_nodes(d, &recent->nodes, revision);
}

/* --- opening --- */

static void load(void *arg, const struct store_entry *entry)
{
    mirror(arg, entry);
}

static void load_quarantine(struct deployment *d)
{
    for (struct omap_entry *e = tree_first(&d->tree, "claim/"), *next; e; e = next) {
        const struct tree_entry *entry = e->value;
        next = tree_next(&d->tree, e, "claim/");
        quarantine_follow(d, e->key, entry->value, entry->revision, NULL);
    }
}

struct settling {
    size_t left;
    int rc; /* the first failure */
};

static void on_settled(void *arg, int rc, int64_t revision)
{
    struct settling *settling = arg;

    settling->left--;
    settling->rc = settling->rc < 0 || rc == -ECANCELED ? settling->rc : rc;
}

/* Settings always exist: what is missing is stored with its defaults before we go on. */
static int put_missing_settings(struct deployment *d)
{
    struct settling settling = {0};

    for (size_t i = 0; d->kinds[i]; i++) {
        const struct kind *kind = d->kinds[i];
        if (kind->ids != KIND_ID_SINGLETON ||
            tree_spec(&d->tree, kind->name, kind->singleton_id)) {
            continue;
        }
        _cleanup_free_ char *key = xasprintf("object/%s/%s", kind->name, kind->singleton_id);
        json_t *none = json_object();
        json_t *spec = schema_fill(deployment_schema(d, kind), none);
        json_t *value = write_value(spec, NULL);
        struct change *change = change_new(d);
        change_expect(change, key);
        change_put(change, key, value);
        settling.left++;
        change_commit(change, on_settled, &settling);
        json_decref(value);
        json_decref(spec);
        json_decref(none);
    }
    while (settling.left > 0) {
        uv_run(d->loop, UV_RUN_ONCE);
    }
    return settling.rc;
}

static void plan_everything(struct deployment *d)
{
    for (struct omap_entry *e = tree_first(&d->tree, NODES_PREFIX); e;
         e = tree_next(&d->tree, e, NODES_PREFIX)) {
        fleet_channels(d, e->key + sizeof NODES_PREFIX - 1, d->revision);
        fleet_concern(d, e->key + sizeof NODES_PREFIX - 1, d->revision);
    }
    planner_run(&d->planner, d->revision, NULL, NULL);
}

int deployment_open(uv_loop_t *loop, struct store *store, const struct service *const *services,
                    struct deployment **ret_deployment, struct error *error)
{
    struct deployment *d = xnew(struct deployment);

    d->loop = loop;
    d->store = store;
    d->services = services;
    d->revision = store_revision(store);
    d->channels.floor = d->revision;
    d->planner =
        (struct planner){.tree = &d->tree, .services = services, .channels = &d->channels};
    int rc = kinds_register(d, error);
    if (rc == 0) {
        rc = store_range(store, "", load, d);
        if (rc < 0) {
            change_error(rc, error);
        }
    }
    if (rc == 0) {
        struct omap_entry *e;
        for (e = tree_first(&d->tree, EVENTS_PREFIX); e;
             e = tree_next(&d->tree, e, EVENTS_PREFIX)) {
            d->last_event = strtoll(e->key + sizeof EVENTS_PREFIX - 1, NULL, 10);
        }
        plan_everything(d);
        rc = store_watch(store, d->revision, on_transaction, d);
        rc = rc < 0 ? change_error(rc, error) : 0;
    }
    if (rc == 0) {
        rc = put_missing_settings(d);
        rc = rc < 0 ? change_error(rc, error) : 0;
    }
    if (rc < 0) {
        store_watch(store, 0, NULL, NULL);
        deployment_close(d);
        return rc;
    }
    load_quarantine(d);
    node_sweep(d, "fact/");
    *ret_deployment = d;
    return 0;
}

void deployment_close(struct deployment *d)
{
    if (!d) {
        return;
    }
    planner_done(&d->planner);
    channels_done(&d->channels);
    waiting_done(d);
    fleet_done(d);
    counters_done(&d->counters);
    quarantine_done(d);
    tree_done(&d->tree);
    kinds_done(d);
    free(d);
}

void deployment_listen(struct deployment *d, struct deployment_listener *listener)
{
    listener->next = d->listeners;
    d->listeners = listener;
}

void deployment_unlisten(struct deployment *d, struct deployment_listener *listener)
{
    for (struct deployment_listener **at = &d->listeners; *at; at = &(*at)->next) {
        if (*at == listener) {
            *at = listener->next;
            return;
        }
    }
}

/* --- what a node must have --- */

size_t deployment_snapshot(const struct deployment *d, const char *node, resource_fn *each,
                           void *arg)
{
    return channels_snapshot(&d->channels, node, each, arg);
}

int deployment_deltas(const struct deployment *d, const char *node, int64_t revision,
                      resource_fn *each, void *arg)
{
    return revision > d->revision ? -ESTALE
                                  : channels_deltas(&d->channels, node, revision, each, arg);
}

const char *deployment_digest(const struct deployment *d, const char *node,
                              char hex[DIGEST_HEX_SIZE])
{
    return digest_format(channels_digest(&d->channels, node), hex);
}

/* --- the law: incremental equals recomputed --- */

static int same_channel(const struct channel *a, const struct channel *b, struct error *error)
{
    omap_foreach (e, &a->resources) {
        const struct resource *mine = e->value;
        const struct resource *theirs = b ? omap_get(&b->resources, e->key) : NULL;
        if (!theirs || !json_equal(mine->body, theirs->body)) {
            return error_set(error, 500, NULL, "resource %s on %s differs when recomputed", e->key,
                             a->name);
        }
    }
    return 0;
}

static int same_channels(const struct channels *a, const struct channels *b, struct error *error)
{
    omap_foreach (e, &a->by_name) {
        int rc = same_channel(e->value, channels_get(b, e->key), error);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int deployment_recompute(struct deployment *d, struct error *error)
{
    struct channels channels = {0};
    struct planner planner = {.tree = &d->tree, .services = d->services, .channels = &channels};

    omap_foreach (e, &d->tree.entries) {
        planner_touch(&planner, e->key);
    }
    planner_run(&planner, d->revision, NULL, NULL);
    int rc = same_channels(&d->channels, &channels, error);
    rc = rc < 0 ? rc : same_channels(&channels, &d->channels, error);
    planner_done(&planner);
    channels_done(&channels);
    return rc;
}
