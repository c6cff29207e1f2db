#include "ovsdb/mirror.h"

#include <errno.h>
#include <string.h>

#include "lib/mem.h"

/* --- keeping it --- */

static void free_row(void *row)
{
    json_decref(row);
}

static void free_table(void *table)
{
    omap_clear(table, free_row);
    free(table);
}

void ovsdb_mirror_clear(struct ovsdb_mirror *mirror)
{
    omap_clear(&mirror->tables, free_table);
    mirror->rows_len = 0;
}

static struct omap *table_of(struct ovsdb_mirror *mirror, const char *name)
{
    struct omap *table = omap_get(&mirror->tables, name);

    if (!table) {
        table = xnew(struct omap);
        omap_put(&mirror->tables, name, table);
    }
    return table;
}

/* "new" is the whole row, of the columns asked for, also when only one of them changed. */
static int apply_row(struct ovsdb_mirror *mirror, struct omap *table, const char *uuid,
                     const json_t *update)
{
    json_t *new = json_object_get(update, "new");

    if (!json_is_object(update) || (new && !json_is_object(new) && !json_is_null(new))) {
        return -EBADMSG;
    }
    if (!json_is_object(new)) {
        json_t *old = omap_del(table, uuid);
        mirror->rows_len -= old != NULL;
        json_decref(old);
        return 0;
    }
    if (!omap_get(table, uuid) && mirror->rows_len >= OVSDB_ROWS_MAX) {
        return -E2BIG;
    }
    json_t *old = omap_put(table, uuid, json_incref(new));
    mirror->rows_len += old == NULL;
    json_decref(old);
    return 0;
}

int ovsdb_mirror_apply(struct ovsdb_mirror *mirror, const json_t *updates)
{
    const char *name, *uuid;
    json_t *rows, *update;

    if (!json_is_object(updates)) {
        return -EBADMSG;
    }
    json_object_foreach ((json_t *)updates, name, rows) {
        if (!json_is_object(rows)) {
            return -EBADMSG;
        }
        struct omap *table = table_of(mirror, name);
        json_object_foreach (rows, uuid, update) {
            int rc = apply_row(mirror, table, uuid, update);
            if (rc < 0) {
                return rc;
            }
        }
    }
    return 0;
}

/* --- rows --- */

const struct omap *ovsdb_rows(const struct ovsdb_mirror *mirror, const char *table)
{
    return omap_get(&mirror->tables, table);
}

const json_t *ovsdb_row(const struct ovsdb_mirror *mirror, const char *table, const char *uuid)
{
    const struct omap *rows = ovsdb_rows(mirror, table);

    return rows && uuid ? omap_get(rows, uuid) : NULL;
}

const json_t *ovsdb_find(const struct ovsdb_mirror *mirror, const char *table, const char *column,
                         const char *string, const char **ret_uuid)
{
    const struct omap *rows = ovsdb_rows(mirror, table);

    for (struct omap_entry *e = rows ? omap_first_from(rows, "") : NULL; e;
         e = omap_next(rows, e)) {
        const char *value = ovsdb_string(e->value, column);
        if (value && strcmp(value, string) == 0) {
            if (ret_uuid) {
                *ret_uuid = e->key;
            }
            return e->value;
        }
    }
    return NULL;
}

/* --- columns --- */

/* The members of ["set", […]] or ["map", […]]; NULL if it isn't that. */
static const json_t *members(const json_t *value, const char *kind)
{
    const char *word = json_string_value(json_array_get(value, 0));
    const json_t *list = json_array_get(value, 1);

    return json_array_size(value) == 2 && word && strcmp(word, kind) == 0 && json_is_array(list)
               ? list
               : NULL;
}

size_t ovsdb_set_len(const json_t *row, const char *column)
{
    const json_t *value = json_object_get(row, column);
    const json_t *list = members(value, "set");

    return list ? json_array_size(list) : value != NULL;
}

const json_t *ovsdb_set_at(const json_t *row, const char *column, size_t index)
{
    const json_t *value = json_object_get(row, column);
    const json_t *list = members(value, "set");

    return list ? json_array_get(list, index) : index == 0 ? value : NULL;
}

int ovsdb_set_has(const json_t *row, const char *column, const char *string)
{
    for (size_t i = 0; i < ovsdb_set_len(row, column); i++) {
        const char *member = json_string_value(ovsdb_set_at(row, column, i));
        if (member && strcmp(member, string) == 0) {
            return 1;
        }
    }
    return 0;
}

const char *ovsdb_string(const json_t *row, const char *column)
{
    return json_string_value(ovsdb_set_at(row, column, 0));
}

json_int_t ovsdb_integer(const json_t *row, const char *column, json_int_t fallback)
{
    const json_t *value = ovsdb_set_at(row, column, 0);

    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

const char *ovsdb_map_get(const json_t *row, const char *column, const char *key)
{
    const json_t *list = members(json_object_get(row, column), "map");
    json_t *pair;
    size_t i;

    json_array_foreach (list, i, pair) {
        const char *name = json_string_value(json_array_get(pair, 0));
        if (name && strcmp(name, key) == 0) {
            return json_string_value(json_array_get(pair, 1));
        }
    }
    return NULL;
}

const char *ovsdb_uuid(const json_t *atom)
{
    const char *word = json_string_value(json_array_get(atom, 0));

    return json_array_size(atom) == 2 && word && strcmp(word, "uuid") == 0
               ? json_string_value(json_array_get(atom, 1))
               : NULL;
}
