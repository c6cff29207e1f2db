/* json.h - what jansson doesn't give: limits at the border, canonical text, RFC 7396.
 *
 * Everything that comes from outside passes json_parse() once: it refuses more than the given
 * nesting, duplicate keys, NUL characters, bad UTF-8 and trailing bytes, and names the place.
 * Inside the program json_t trees are immutable once shared: copy before changing. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "lib/error.h"

enum {
    JSON_DEPTH_MAX = 32, /* nesting that a document from outside may have */
};

/* Parses `size` bytes. 0 and a new reference, or -EINVAL with the reason and place in *error. */
int json_parse(const char *text, size_t size, json_t **ret_json, struct error *error);

/* Keys sorted, no blanks: equal values have equal text. The caller frees it. */
char *json_canonical(const json_t *json);

/* RFC 7396: a new tree that is `target` (may be NULL) changed by `patch`. */
json_t *json_merge_patch(const json_t *target, const json_t *patch);

/* The string, integer or boolean member `key` of an object, or the given default. */
const char *json_get_string(const json_t *object, const char *key, const char *fallback);
json_int_t json_get_integer(const json_t *object, const char *key, json_int_t fallback);
int json_get_bool(const json_t *object, const char *key, int fallback);

/* True if `array` is an array that holds the string. */
int json_array_has(const json_t *array, const char *string);
