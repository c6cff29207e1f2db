#include "lib/omap.h"

#include <string.h>

#include "lib/mem.h"

void *omap_get(const struct omap *map, const char *key)
{
    struct omap_entry *e = map->root;

    while (e) {
        int order = strcmp(key, e->key);
        if (order == 0) {
            return e->value;
        }
        e = order < 0 ? e->left : e->right;
    }
    return NULL;
}

static void rotate(struct omap_entry **at, int to_right)
{
    struct omap_entry *old = *at;

    if (to_right) {
        *at = old->left;
        old->left = (*at)->right;
        (*at)->right = old;
    } else {
        *at = old->right;
        old->right = (*at)->left;
        (*at)->left = old;
    }
}

static unsigned draw(struct omap *map)
{
    map->seed = map->seed * 1664525u + 1013904223u;
    return map->seed ^ (map->seed >> 15);
}

static void *insert(struct omap *map, struct omap_entry **at, const char *key, void *value)
{
    struct omap_entry *e = *at;

    if (!e) {
        size_t size = strlen(key) + 1;
        e = xcalloc(1, sizeof *e + size);
        memcpy(e->key, key, size);
        e->value = value;
        e->priority = draw(map);
        *at = e;
        map->len++;
        return NULL;
    }
    int order = strcmp(key, e->key);
    if (order == 0) {
        void *before = e->value;
        e->value = value;
        return before;
    }
    struct omap_entry **child = order < 0 ? &e->left : &e->right;
    void *before = insert(map, child, key, value);
    if ((*child)->priority > e->priority) {
        rotate(at, order < 0);
    }
    return before;
}

void *omap_put(struct omap *map, const char *key, void *value)
{
    return insert(map, &map->root, key, value);
}

void *omap_del(struct omap *map, const char *key)
{
    struct omap_entry **at = &map->root;

    while (*at) {
        int order = strcmp(key, (*at)->key);
        if (order == 0) {
            break;
        }
        at = order < 0 ? &(*at)->left : &(*at)->right;
    }
    struct omap_entry *e = *at;
    if (!e) {
        return NULL;
    }
    while (e->left && e->right) {
        int to_right = e->left->priority > e->right->priority;
        rotate(at, to_right);
        at = to_right ? &(*at)->right : &(*at)->left;
    }
    *at = e->left ? e->left : e->right;
    void *value = e->value;
    free(e);
    map->len--;
    return value;
}

static struct omap_entry *bound(const struct omap *map, const char *key, int after_equal)
{
    struct omap_entry *e = map->root, *best = NULL;

    while (e) {
        int order = strcmp(e->key, key);
        if (order > 0 || (order == 0 && !after_equal)) {
            best = e;
            e = e->left;
        } else {
            e = e->right;
        }
    }
    return best;
}

struct omap_entry *omap_first_from(const struct omap *map, const char *key)
{
    return bound(map, key, 0);
}

struct omap_entry *omap_after(const struct omap *map, const char *key)
{
    return bound(map, key, 1);
}

void omap_clear(struct omap *map, void (*free_value)(void *value))
{
    while (map->root) {
        void *value = omap_del(map, map->root->key);
        if (free_value) {
            free_value(value);
        }
    }
}
