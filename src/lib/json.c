#include "lib/json.h"

#include <string.h>

#include "lib/mem.h"

/* jansson recurses per level; a document made of brackets must not reach our stack's end. */
static int check_depth(const char *text, size_t size)
{
    int depth = 0, in_string = 0;

    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_string = 0;
            }
        } else if (c == '"') {
            in_string = 1;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX) {
                return 0;
            }
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return 1;
}

int json_parse(const char *text, size_t size, json_t **ret_json, struct error *error)
{
    json_error_t why;

    if (!check_depth(text, size)) {
        return error_set(error, 400, NULL, "JSON is nested deeper than %d levels", JSON_DEPTH_MAX);
    }
    json_t *json =
        json_loadb(text ? text : "", size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (!json) {
        return error_set(error, 400, NULL, "not valid JSON: %s (line %d, column %d)", why.text,
                         why.line, why.column);
    }
    *ret_json = json;
    return 0;
}

char *json_canonical(const json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);

    if (!text) {
        abort(); /* only out of memory: trees of ours hold valid UTF-8 */
    }
    return text;
}

json_t *json_merge_patch(const json_t *target, const json_t *patch)
{
    const char *key;
    json_t *value;

    if (!json_is_object(patch)) {
        return json_deep_copy(patch);
    }
    json_t *result = json_is_object(target) ? json_copy((json_t *)target) : json_object();
    json_object_foreach ((json_t *)patch, key, value) {
        if (json_is_null(value)) {
            json_object_del(result, key);
        } else {
            json_object_set_new(result, key,
                                json_merge_patch(json_object_get(result, key), value));
        }
    }
    return result;
}

const char *json_get_string(const json_t *object, const char *key, const char *fallback)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : fallback;
}

json_int_t json_get_integer(const json_t *object, const char *key, json_int_t fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

int json_get_bool(const json_t *object, const char *key, int fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

int json_array_has(const json_t *array, const char *string)
{
    size_t i;
    json_t *value;

    json_array_foreach ((json_t *)array, i, value) {
        if (json_is_string(value) && strcmp(json_string_value(value), string) == 0) {
            return 1;
        }
    }
    return 0;
}
