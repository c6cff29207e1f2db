/* mirror.h - a copy of the rows and columns of a database that one has asked to follow.
 *
 * It is filled by the answer to `monitor` and kept by every `update`; ovsdb.h does that. Read it
 * like this; what is returned is borrowed and stays until the next update:
 *
 *     const char *uuid;
 *     const json_t *bridge = ovsdb_find(mirror, "Bridge", "name", "cnsmo0", &uuid);
 *     const char *type = bridge ? ovsdb_string(bridge, "datapath_type") : NULL;
 *
 * Values are as they came (RFC 7047 section 5.1); the functions below hide that a set of one is
 * written as its only member, and that what is missing is an empty set.
 *
 * Source: RFC 7047 sections 4.1.5 (monitor), 4.1.6 (update). */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "lib/error.h"
#include "lib/omap.h"

enum {
    OVSDB_ROWS_MAX = 65536, /* of all tables */
};

struct ovsdb_mirror {
    struct omap tables; /* name -> struct omap * of uuid -> json_t * */
    size_t rows_len;
};

/* A <table-updates>. -EBADMSG, and nothing more is taken, at the first thing that isn't as the RFC
 * says; -E2BIG beyond OVSDB_ROWS_MAX. */
int ovsdb_mirror_apply(struct ovsdb_mirror *mirror, const json_t *updates);
/* Empties it and frees the memory. */
void ovsdb_mirror_clear(struct ovsdb_mirror *mirror);

/* The rows of a table, by uuid, each a const json_t *; NULL if there is none. */
const struct omap *ovsdb_rows(const struct ovsdb_mirror *mirror, const char *table);
const json_t *ovsdb_row(const struct ovsdb_mirror *mirror, const char *table, const char *uuid);
/* The first row whose column is this string, and its uuid (may be NULL); NULL if none is. */
const json_t *ovsdb_find(const struct ovsdb_mirror *mirror, const char *table, const char *column,
                         const char *string, const char **ret_uuid);

/* --- columns of a row --- */

/* NULL, or the fallback, if the column is missing, empty or of another type. */
const char *ovsdb_string(const json_t *row, const char *column);
json_int_t ovsdb_integer(const json_t *row, const char *column, json_int_t fallback);
const char *ovsdb_map_get(const json_t *row, const char *column, const char *key);

size_t ovsdb_set_len(const json_t *row, const char *column);
const json_t *ovsdb_set_at(const json_t *row, const char *column, size_t index);
int ovsdb_set_has(const json_t *row, const char *column, const char *string);

/* The text of ["uuid", text], or NULL. */
const char *ovsdb_uuid(const json_t *atom);
