#include "model/tree.h"

#include <stdio.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"

static void free_entry(void *value)
{
    struct tree_entry *entry = value;

    if (entry) {
        json_decref(entry->value);
        free(entry);
    }
}

static void put_one(struct tree *tree, const char *key, int64_t revision, json_t *value,
                    tree_changed_fn *changed, void *arg)
{
    struct tree_entry *entry = NULL;

    if (value) {
        entry = xnew(struct tree_entry);
        entry->revision = revision;
        entry->value = json_incref(value);
        free_entry(omap_put(&tree->entries, key, entry));
    } else {
        free_entry(omap_del(&tree->entries, key));
    }
    if (changed) {
        changed(arg, key);
    }
}

/* The index keys that a node's spec implies: calls put_one for those that `spec` has and `other`
 * hasn't (or has with another content: never, they are all `true`). */
static void index_difference(struct tree *tree, const char *id, const json_t *spec,
                             const json_t *other, int64_t revision, json_t *value,
                             tree_changed_fn *changed, void *arg)
{
    const char *name;
    json_t *item;
    size_t i;

    json_object_foreach (json_object_get(spec, "labels"), name, item) {
        const char *text = json_string_value(item);
        const char *theirs = json_get_string(json_object_get(other, "labels"), name, NULL);
        if (text && (!theirs || strcmp(text, theirs) != 0)) {
            _cleanup_free_ char *key = xasprintf("index/label/%s=%s/%s", name, text, id);
            put_one(tree, key, revision, value, changed, arg);
        }
    }
    json_array_foreach (json_object_get(spec, "services"), i, item) {
        const char *service = json_string_value(item);
        if (service && !json_array_has(json_object_get(other, "services"), service)) {
            _cleanup_free_ char *key = xasprintf("index/service/%s/%s", service, id);
            put_one(tree, key, revision, value, changed, arg);
        }
    }
    if (json_get_bool(spec, "hub", 0) && !json_get_bool(other, "hub", 0)) {
        _cleanup_free_ char *key = xasprintf("index/hub/%s", id);
        put_one(tree, key, revision, value, changed, arg);
    }
}

/* One node more (`step` 1) or less (-1) runs the service. */
static void resize(struct tree *tree, const char *service, int step, int64_t revision,
                   tree_changed_fn *changed, void *arg)
{
    _cleanup_free_ char *key = xasprintf("index/large/%s", service);
    size_t *size = omap_get(&tree->sizes, service);

    if (!size) {
        size = xnew(size_t);
        omap_put(&tree->sizes, service, size);
    }
    int was_large = *size > TREE_LARGE;
    *size = step > 0 ? *size + 1 : *size - 1;
    if ((*size > TREE_LARGE) != was_large) {
        put_one(tree, key, revision, was_large ? NULL : json_true(), changed, arg);
    }
}

/* Counts the services of `spec` that `other` doesn't have. */
static void size_difference(struct tree *tree, const json_t *spec, const json_t *other, int step,
                            int64_t revision, tree_changed_fn *changed, void *arg)
{
    json_t *item;
    size_t i;

    json_array_foreach (json_object_get(spec, "services"), i, item) {
        const char *service = json_string_value(item);
        if (service && !json_array_has(json_object_get(other, "services"), service)) {
            resize(tree, service, step, revision, changed, arg);
        }
    }
}

void tree_put(struct tree *tree, const char *key, int64_t revision, json_t *value,
              tree_changed_fn *changed, void *arg)
{
    static const char NODES[] = "object/nodes/";
    json_t *before = NULL;
    int is_node = strncmp(key, NODES, sizeof NODES - 1) == 0;

    if (is_node) {
        before = json_incref(json_object_get(tree_value(tree, key), "spec"));
    }
    put_one(tree, key, revision, value, changed, arg);
    if (is_node) {
        const char *id = key + sizeof NODES - 1;
        const json_t *after = json_object_get(value, "spec");
        index_difference(tree, id, before, after, revision, NULL, changed, arg);
        index_difference(tree, id, after, before, revision, json_true(), changed, arg);
        size_difference(tree, before, after, -1, revision, changed, arg);
        size_difference(tree, after, before, 1, revision, changed, arg);
    }
    json_decref(before);
}

const struct tree_entry *tree_get(const struct tree *tree, const char *key)
{
    return omap_get(&tree->entries, key);
}

const json_t *tree_value(const struct tree *tree, const char *key)
{
    const struct tree_entry *entry = tree_get(tree, key);
    return entry ? entry->value : NULL;
}

const json_t *tree_spec(const struct tree *tree, const char *kind, const char *id)
{
    _cleanup_free_ char *key = xasprintf("object/%s/%s", kind, id);
    return json_object_get(tree_value(tree, key), "spec");
}

void tree_done(struct tree *tree)
{
    omap_clear(&tree->entries, free_entry);
    omap_clear(&tree->sizes, free);
}

static struct omap_entry *within(struct omap_entry *e, const char *prefix)
{
    return e && strncmp(e->key, prefix, strlen(prefix)) == 0 ? e : NULL;
}

struct omap_entry *tree_first(const struct tree *tree, const char *prefix)
{
    return within(omap_first_from(&tree->entries, prefix), prefix);
}

struct omap_entry *tree_next(const struct tree *tree, const struct omap_entry *e,
                             const char *prefix)
{
    return within(omap_next(&tree->entries, e), prefix);
}
