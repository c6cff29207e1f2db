/* omap.h - an ordered map from strings to pointers.
 *
 * The one container of the project: it finds a key, and walks keys in byte order from any point,
 * so it serves lookups, prefixes and pages alike. A treap: O(log n) for everything. Keys are
 * copied; values belong to the caller. Pointers to values stay valid until the key is removed.
 * While walking, the entry at hand may be removed, others may not:
 *
 *     omap_foreach (e, &map) { use(e->key, e->value); }
 *     for (struct omap_entry *e = omap_first_from(&map, "fact/"); e && ...; e = omap_next(&map,
 * e))
 */
#pragma once

#include <stddef.h>

struct omap_entry {
    struct omap_entry *left, *right;
    unsigned priority;
    void *value;
    char key[];
};

struct omap {
    struct omap_entry *root;
    size_t len;
    unsigned seed;
};

/* The value of `key`, or NULL. */
void *omap_get(const struct omap *map, const char *key);

/* Sets the value and returns the one that was there before, or NULL. `value` isn't NULL. */
void *omap_put(struct omap *map, const char *key, void *value);

/* Removes the key and returns its value, or NULL if it wasn't there. */
void *omap_del(struct omap *map, const char *key);

/* The first entry whose key is >= `key` ("" for the very first); NULL if none. */
struct omap_entry *omap_first_from(const struct omap *map, const char *key);

/* The first entry whose key is > `key`; NULL if none. `key` needn't be in the map. */
struct omap_entry *omap_after(const struct omap *map, const char *key);

static inline struct omap_entry *omap_next(const struct omap *map, const struct omap_entry *e)
{
    return omap_after(map, e->key);
}

#define omap_foreach(e, map)                                                                      \
    for (struct omap_entry *e = omap_first_from((map), ""), *e##_next_;                           \
         e && ((e##_next_ = omap_next((map), e)), 1); e = e##_next_)

/* Removes everything; `free_value` (NULL: values are left alone) is called for each value. */
void omap_clear(struct omap *map, void (*free_value)(void *value));
