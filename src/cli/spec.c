#include "cli/spec.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    SECRET_MAX = 64 << 10,
    DURATION_MAX_SEC = 3660 * 24 * 3600, /* ten years and a little */
};

int duration_parse(const char *text, int64_t *ret_sec)
{
    static const struct {
        char unit;
        int64_t sec;
    } UNITS[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 24 * 3600}, {'w', 7 * 24 * 3600}};
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > 9 || !text[digits] || text[digits + 1]) {
        return -EINVAL;
    }
    for (size_t i = 0; i < ARRAY_LEN(UNITS); i++) {
        int64_t sec = strtoll(text, NULL, 10) * UNITS[i].sec;
        if (UNITS[i].unit == text[digits] && sec <= DURATION_MAX_SEC) {
            *ret_sec = sec;
            return 0;
        }
    }
    return -EINVAL;
}

static json_t *time_value(const char *text, int64_t now_usec)
{
    char time[CLOCK_TEXT_SIZE];
    int64_t sec;

    if (duration_parse(text, &sec) < 0) {
        return json_string(text);
    }
    /* Whole seconds: nobody asked for a fraction, and it reads better in a table. */
    int64_t at = (now_usec / 1000000 + sec) * 1000000;
    clock_format(at, time);
    memcpy(time + 19, "Z", 2);
    return json_string(time);
}

static int boolean_value(const char *text, json_t **ret_value)
{
    static const char *const YES[] = {"true", "yes", "on"}, *const NO[] = {"false", "no", "off"};

    for (size_t i = 0; i < ARRAY_LEN(YES); i++) {
        if (strcmp(text, YES[i]) == 0 || strcmp(text, NO[i]) == 0) {
            *ret_value = json_boolean(strcmp(text, YES[i]) == 0);
            return 0;
        }
    }
    return -EINVAL;
}

static int number_value(const char *text, int integer, json_t **ret_value)
{
    char *end;

    if (!text[0] || isspace((unsigned char)text[0])) {
        return -EINVAL;
    }
    errno = 0;
    long long whole = strtoll(text, &end, 10);
    if (!*end && errno == 0) {
        *ret_value = json_integer(whole);
        return 0;
    }
    double real = strtod(text, &end);
    *ret_value = integer || *end ? NULL : json_real(real); /* NULL too if it isn't finite */
    return *ret_value ? 0 : -EINVAL;
}

/* One value that isn't a list or a map. */
static int scalar_value(const json_t *schema, const char *text, int64_t now_usec,
                        json_t **ret_value, struct error *error)
{
    const char *type = json_get_string(schema, "type", "");
    int rc = 0;

    if (!schema || strcmp(type, "string") == 0) {
        int is_time = strcmp(json_get_string(schema, "format", ""), "date-time") == 0;
        *ret_value = is_time ? time_value(text, now_usec) : json_string(text);
        return *ret_value ? 0 : error_set(error, 400, NULL, "is not valid UTF-8");
    }
    if (strcmp(type, "boolean") == 0) {
        rc = boolean_value(text, ret_value);
        return rc < 0 ? error_set(error, 400, NULL, "takes true or false, not \"%s\"", text) : 0;
    }
    if (strcmp(type, "integer") == 0 || strcmp(type, "number") == 0) {
        rc = number_value(text, type[0] == 'i', ret_value);
        return rc < 0 ? error_set(error, 400, NULL, "takes a%s number, not \"%s\"",
                                  type[0] == 'i' ? " whole" : "", text)
                      : 0;
    }
    return json_parse(text, strlen(text), ret_value, error);
}

/* Takes the reference to `value`. */
static int set_key(json_t *map, const char *key, json_t *value, struct error *error)
{
    if (!key[0]) {
        json_decref(value);
        return error_set(error, 400, NULL, "has an empty key");
    }
    return json_object_set_new(map, key, value) < 0
               ? error_set(error, 400, NULL, "has a key that is not valid UTF-8")
               : 0;
}

int spec_set_pair(json_t *map, const json_t *value_schema, const char *pair, struct error *error)
{
    const char *equals = strchr(pair, '=');
    size_t size = strlen(pair);
    json_t *value = NULL;

    if (!equals) {
        if (size < 2 || pair[size - 1] != '-') {
            return error_set(error, 400, NULL, "takes KEY=VALUE, or KEY- to remove; not \"%s\"",
                             pair);
        }
        _cleanup_free_ char *key = xstrndup(pair, size - 1);
        return set_key(map, key, json_null(), error);
    }
    _cleanup_free_ char *key = xstrndup(pair, (size_t)(equals - pair));
    int rc = scalar_value(value_schema, equals + 1, 0, &value, error);
    return rc < 0 ? rc : set_key(map, key, value, error);
}

/* Calls `each` for the parts between commas; "" has none. */
static int split(const char *text, int (*each)(void *arg, const char *part, struct error *error),
                 void *arg, struct error *error)
{
    int rc = 0;

    while (*text && rc == 0) {
        size_t size = strcspn(text, ",");
        _cleanup_free_ char *part = xstrndup(text, size);
        rc = each(arg, part, error);
        text += size + (text[size] == ',');
    }
    return rc;
}

struct sink {
    json_t *value;        /* array or map */
    const json_t *schema; /* of its items */
    int64_t now_usec;
};

static int add_item(void *arg, const char *part, struct error *error)
{
    struct sink *sink = arg;
    json_t *item = NULL;
    int rc = scalar_value(sink->schema, part, sink->now_usec, &item, error);

    if (rc == 0) {
        json_array_append_new(sink->value, item);
    }
    return rc;
}

static int add_pair(void *arg, const char *part, struct error *error)
{
    struct sink *sink = arg;
    return spec_set_pair(sink->value, sink->schema, part, error);
}

/* The object that holds the last segment of `path`; parents are made. Gives the segment. */
static json_t *parent_of(json_t *spec, const char *path, const char **ret_name)
{
    const char *slash;

    while ((slash = strchr(path, '/'))) {
        _cleanup_free_ char *name = xstrndup(path, (size_t)(slash - path));
        if (!json_is_object(json_object_get(spec, name))) {
            json_object_set_new(spec, name, json_object());
        }
        spec = json_object_get(spec, name);
        path = slash + 1;
    }
    *ret_name = path;
    return spec;
}

static int set_many(json_t *parent, const char *name, const struct option *option,
                    const char *value, int64_t now_usec, struct error *error)
{
    int is_array = schema_type_is(option->schema, "array");
    const char *of = is_array ? "items" : "additionalProperties";
    json_t *many = json_object_get(parent, name);

    if (!many) {
        many = is_array ? json_array() : json_object();
        json_object_set_new(parent, name, many);
    }
    struct sink sink = {
        .value = many, .schema = json_object_get(option->schema, of), .now_usec = now_usec};
    if (is_array &&
        (schema_type_is(sink.schema, "object") || schema_type_is(sink.schema, "array"))) {
        return add_item(&sink, value, error); /* JSON: its commas are its own */
    }
    return split(value, is_array ? add_item : add_pair, &sink, error);
}

/* A secret is a line; PEM is all of the file. */
static int read_secret(const char *path, int is_pem, json_t **ret_value, struct error *error)
{
    _cleanup_buf_ struct buf text = BUF_INIT(SECRET_MAX);
    int rc = file_read(strcmp(path, "-") == 0 ? "/dev/stdin" : path, &text);

    if (rc < 0) {
        return error_set(error, 400, NULL, "cannot read %s: %s", path, strerror(-rc));
    }
    size_t size = is_pem ? text.size : text.data ? strcspn(text.data, "\r\n") : 0;
    *ret_value = json_stringn(text.data ? text.data : "", size);
    mem_wipe(text.data, text.size);
    return *ret_value ? 0 : error_set(error, 400, NULL, "%s is not valid UTF-8", path);
}

static int set_value(json_t *spec, const struct option *option, const char *value,
                     int64_t now_usec, struct error *error)
{
    const char *name;
    json_t *parent = parent_of(spec, option->path, &name), *json = NULL;

    if (schema_type_is(option->schema, "array") || schema_type_is(option->schema, "object")) {
        return set_many(parent, name, option, value, now_usec, error);
    }
    int rc = 0;
    if (option->negated || !value) {
        json = json_boolean(!option->negated);
    } else if (option->from_file) {
        int is_pem = strcmp(json_get_string(option->schema, "format", ""), "pem") == 0;
        rc = read_secret(value, is_pem, &json, error);
    } else {
        rc = scalar_value(option->schema, value, now_usec, &json, error);
    }
    return rc < 0 ? rc : json_object_set_new(parent, name, json);
}

int spec_set(json_t *spec, const struct option *option, const char *value, int64_t now_usec,
             struct error *error)
{
    struct error why = {0};
    int rc = set_value(spec, option, value, now_usec, &why);

    return rc < 0 ? error_set(error, 400, option->path, "--%s %s", option->name, why.detail) : 0;
}
