#include "model/schema.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "model/schema-value.h"

static const char *const KEYWORDS[] = {
    "$id",      "$schema",     "additionalProperties",
    "default",  "description", "enum",
    "examples", "format",      "items",
    "maxItems", "maxLength",   "maxProperties",
    "maximum",  "minItems",    "minLength",
    "minimum",  "pattern",     "properties",
    "readOnly", "required",    "title",
    "type",     "uniqueItems", "writeOnly",
};

static const char *const TYPES[] = {"object",  "array",  "string", "integer",
                                    "boolean", "number", "null"};

static int in_list(const char *const *list, size_t len, const char *word)
{
    for (size_t i = 0; i < len; i++) {
        if (strcmp(list[i], word) == 0) {
            return 1;
        }
    }
    return 0;
}

static int check_children(const json_t *schema, struct error *error)
{
    const char *name;
    json_t *child;

    json_object_foreach (json_object_get(schema, "properties"), name, child) {
        int rc = schema_check(child, error);
        if (rc < 0) {
            char prefix[200];
            snprintf(prefix, sizeof prefix, "/properties/%s", name);
            error_prefix(error, prefix);
            return rc;
        }
    }
    child = json_object_get(schema, "items");
    if (child && schema_check(child, error) < 0) {
        error_prefix(error, "/items");
        return -EINVAL;
    }
    child = json_object_get(schema, "additionalProperties");
    if (json_is_object(child) && schema_check(child, error) < 0) {
        error_prefix(error, "/additionalProperties");
        return -EINVAL;
    }
    return 0;
}

int schema_check(const json_t *schema, struct error *error)
{
    const char *keyword;
    json_t *value;

    if (!json_is_object(schema)) {
        return error_set(error, 400, NULL, "a schema must be an object");
    }
    json_object_foreach ((json_t *)schema, keyword, value) {
        if (!in_list(KEYWORDS, ARRAY_LEN(KEYWORDS), keyword)) {
            return error_set(error, 400, NULL, "keyword \"%s\" isn't in the subset", keyword);
        }
    }
    const char *type = json_get_string(schema, "type", "");
    if (!in_list(TYPES, ARRAY_LEN(TYPES), type)) {
        return error_set(error, 400, "/type", "\"%s\" isn't a type", type);
    }
    const char *format = json_get_string(schema, "format", NULL);
    if (format && !schema_format_is_known(format)) {
        return error_set(error, 400, "/format", "\"%s\" isn't a format we know", format);
    }
    const char *pattern = json_get_string(schema, "pattern", NULL);
    if (pattern && schema_pattern_matches(pattern, "") < 0) {
        return error_set(error, 400, "/pattern", "\"%s\" isn't a POSIX ERE", pattern);
    }
    if (strcmp(type, "object") == 0 && !json_object_get(schema, "additionalProperties")) {
        return error_set(error, 400, NULL, "an object must say additionalProperties");
    }
    value = json_object_get(schema, "default");
    if (value && schema_validate(schema, value, error) < 0) {
        error_prefix(error, "/default");
        return -EINVAL;
    }
    return check_children(schema, error);
}

static void push(char *pointer, size_t size, const char *segment)
{
    size_t at = strlen(pointer);

    if (at + 1 < size) {
        pointer[at++] = '/';
    }
    /* RFC 6901 section 3: ~ and / are escaped. */
    for (; *segment && at + 3 < size; segment++) {
        if (*segment == '~' || *segment == '/') {
            pointer[at++] = '~';
            pointer[at++] = *segment == '~' ? '0' : '1';
        } else {
            pointer[at++] = *segment;
        }
    }
    pointer[at] = '\0';
}

struct place {
    char pointer[sizeof((struct error *)0)->pointer];
    const char *name; /* of the innermost member; for the sentence */
};

static int validate(const json_t *schema, const json_t *value, struct place *place,
                    struct error *error);

static int validate_member(const json_t *schema, const char *name, const json_t *value,
                           struct place *place, struct error *error)
{
    size_t length = strlen(place->pointer);
    const char *outer = place->name;

    push(place->pointer, sizeof place->pointer, name);
    place->name = name;
    int rc = validate(schema, value, place, error);
    if (rc == 0) {
        place->pointer[length] = '\0';
        place->name = outer;
    }
    return rc;
}

static int fail_member(struct place *place, const char *name, const char *what,
                       struct error *error)
{
    push(place->pointer, sizeof place->pointer, name);
    return error_set(error, 400, place->pointer, "\"%.200s\" %s", name, what);
}

static int validate_known(const json_t *schema, const json_t *value, struct place *place,
                          struct error *error)
{
    const char *name;
    json_t *child;
    const json_t *required = json_object_get(schema, "required");

    json_object_foreach (json_object_get(schema, "properties"), name, child) {
        const json_t *member = json_object_get(value, name);
        if (!member && json_array_has(required, name)) {
            return fail_member(place, name, "is required", error);
        }
        int rc = member ? validate_member(child, name, member, place, error) : 0;
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int validate_object(const json_t *schema, const json_t *value, struct place *place,
                           struct error *error)
{
    const json_t *properties = json_object_get(schema, "properties");
    const json_t *additional = json_object_get(schema, "additionalProperties");
    json_int_t most = json_get_integer(schema, "maxProperties", 1024);
    const char *name;
    json_t *member;

    int rc = validate_known(schema, value, place, error);
    if (rc < 0) {
        return rc;
    }
    if ((json_int_t)json_object_size(value) > most) {
        return error_set(error, 400, place->pointer, "\"%s\" must have at most %lld members",
                         place->name, (long long)most);
    }
    json_object_foreach ((json_t *)value, name, member) {
        if (json_object_get(properties, name)) {
            continue;
        }
        if (!json_is_object(additional)) {
            return fail_member(place, name, "is not allowed", error);
        }
        if (*name == '\0' || strlen(name) > SCHEMA_NAME_MAX) {
            return error_set(error, 400, place->pointer,
                             "\"%s\" has a member whose name isn't 1 to %d bytes long",
                             place->name, SCHEMA_NAME_MAX);
        }
        rc = validate_member(additional, name, member, place, error);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int validate_array(const json_t *schema, const json_t *value, struct place *place,
                          struct error *error)
{
    size_t len = json_array_size(value), i, j;
    json_int_t least = json_get_integer(schema, "minItems", 0);
    json_int_t most = json_get_integer(schema, "maxItems", 10000);
    const json_t *items = json_object_get(schema, "items");
    json_t *item;

    if ((json_int_t)len < least || (json_int_t)len > most) {
        return error_set(error, 400, place->pointer, "\"%s\" must have %lld to %lld items",
                         place->name, (long long)least, (long long)most);
    }
    json_array_foreach ((json_t *)value, i, item) {
        char index[24];
        snprintf(index, sizeof index, "%zu", i);
        int rc = items ? validate_member(items, index, item, place, error) : 0;
        if (rc < 0) {
            return rc;
        }
        for (j = 0; json_get_bool(schema, "uniqueItems", 0) && j < i; j++) {
            if (json_equal(item, json_array_get(value, j))) {
                return error_set(error, 400, place->pointer, "\"%s\" has the same item twice",
                                 place->name);
            }
        }
    }
    return 0;
}

static int validate_enum(const json_t *schema, const json_t *value, struct place *place,
                         struct error *error)
{
    const json_t *allowed = json_object_get(schema, "enum");
    char list[300] = "";
    size_t i;
    json_t *item;

    if (!allowed) {
        return 0;
    }
    json_array_foreach ((json_t *)allowed, i, item) {
        if (json_equal(item, value)) {
            return 0;
        }
        const char *word = json_string_value(item);
        size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", word ? word : "?");
    }
    return error_set(error, 400, place->pointer, "\"%s\" must be one of %s", place->name, list);
}

static int validate(const json_t *schema, const json_t *value, struct place *place,
                    struct error *error)
{
    const char *type = json_get_string(schema, "type", "");

    if (!schema_type_matches(type, value)) {
        return error_set(error, 400, place->pointer, "\"%s\" must be %s %s", place->name,
                         strchr("aeiou", type[0]) ? "an" : "a", type);
    }
    int rc = validate_enum(schema, value, place, error);
    if (rc < 0) {
        return rc;
    }
    if (json_is_object(value)) {
        return validate_object(schema, value, place, error);
    }
    if (json_is_array(value)) {
        return validate_array(schema, value, place, error);
    }
    char problem[300];
    if (schema_scalar_problem(schema, value, problem, sizeof problem)) {
        return error_set(error, 400, place->pointer, "\"%s\" %s", place->name, problem);
    }
    return 0;
}

int schema_validate(const json_t *schema, const json_t *value, struct error *error)
{
    struct place place = {.pointer = "", .name = "value"};

    return validate(schema, value, &place, error);
}

static json_t *fill_object(const json_t *schema, const json_t *value)
{
    json_t *result = json_copy((json_t *)value);
    const char *name;
    json_t *child, *member;

    json_object_foreach (json_object_get(schema, "properties"), name, child) {
        const json_t *fallback = json_object_get(child, "default");
        member = json_object_get(result, name);
        if (member) {
            json_object_set_new(result, name, schema_fill(child, member));
        } else if (fallback) {
            json_object_set_new(result, name, json_deep_copy(fallback));
        }
    }
    return result;
}

json_t *schema_fill(const json_t *schema, const json_t *value)
{
    const json_t *items = json_object_get(schema, "items");
    size_t i;
    json_t *item;

    if (json_is_object(value)) {
        return fill_object(schema, value);
    }
    if (!json_is_array(value) || !items) {
        return json_deep_copy(value);
    }
    json_t *result = json_array();
    json_array_foreach ((json_t *)value, i, item) {
        json_array_append_new(result, schema_fill(items, item));
    }
    return result;
}
