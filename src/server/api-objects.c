/* api-objects.c - reading objects of any kind: one, and lists with pages and filters. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/hash.h"
#include "server/api-internal.h"

enum {
    LIMIT_DEFAULT = 100,
    LIMIT_MAX = 1000,
    FILTER_PATH_MAX = 8,
};

/* --- one object as JSON --- */

/* A copy of the value without what the schema marks writeOnly. */
static json_t *readable(const json_t *schema, const json_t *value)
{
    const json_t *properties = json_object_get(schema, "properties");
    const char *key;
    json_t *member;

    if (!json_is_object(value) || !properties) {
        return json_incref((json_t *)value);
    }
    json_t *copy = json_object();
    json_object_foreach ((json_t *)value, key, member) {
        const json_t *property = json_object_get(properties, key);
        if (!json_get_bool(property, "writeOnly", 0)) {
            json_object_set_new(copy, key, readable(property, member));
        }
    }
    return copy;
}

json_t *object_json(struct api *api, const struct kind *kind, const char *id,
                    const struct tree_entry *entry)
{
    const json_t *spec = json_object_get(entry->value, "spec");
    json_t *object = json_pack("{s:s, s:I}", "id", id, "revision", (json_int_t)entry->revision);
    json_t *status = deployment_status(api->deployment, kind->name, id);

    json_object_set_new(object, "spec", readable(deployment_schema(api->deployment, kind), spec));
    json_object_set_new(object, "status", status ? status : json_object());
    return object;
}

void object_get(struct api_call *call)
{
    static const char *const PARAMETERS[] = {NULL};
    const char *name = call->route->kind->name, *id = http_param(call->request, "id");
    _cleanup_free_ char *key = xasprintf("object/%s/%s", name, id);
    const struct tree_entry *entry = tree_get(deployment_tree(call->api->deployment), key);
    const struct kind *kind = deployment_kind(call->api->deployment, name, id);
    struct error error;
    char etag[32];

    if (call_check_query(call, PARAMETERS, &error) < 0) {
        call_fail(call, &error);
        return;
    }
    if (!entry || !kind) {
        error_set(&error, 404, NULL, "there is no %s \"%.100s\"", name, id);
        call_fail(call, &error);
        return;
    }
    snprintf(etag, sizeof etag, "\"%" PRId64 "\"", entry->revision);
    http_set_header(call->request, "ETag", etag);
    call_reply_json(call, 200, object_json(call->api, kind, id, entry));
}

/* --- filters --- */

static int value_is(const json_t *value, const char *text)
{
    size_t i;
    json_t *item;

    if (json_is_string(value)) {
        return strcmp(json_string_value(value), text) == 0;
    }
    if (json_is_boolean(value)) {
        return strcmp(json_is_true(value) ? "true" : "false", text) == 0;
    }
    if (json_is_integer(value)) {
        char number[24];
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return strcmp(number, text) == 0;
    }
    json_array_foreach ((json_t *)value, i, item) { /* a list matches if it holds the value */
        if (value_is(item, text)) {
            return 1;
        }
    }
    return 0;
}

/* The member that "a.b" names; for the schema, the schema of that member. */
static const json_t *walk(const json_t *value, const char *path, int is_schema)
{
    _cleanup_free_ char *copy = xstrdup(path);
    char *rest = copy;

    for (int i = 0; rest && value; i++) {
        char *dot = strchr(rest, '.');
        if (i == FILTER_PATH_MAX) {
            return NULL;
        }
        if (dot) {
            *dot++ = '\0';
        }
        if (is_schema) {
            const json_t *properties = json_object_get(value, "properties");
            const json_t *property = json_object_get(properties, rest);
            value = property ? property : json_object_get(value, "additionalProperties");
        } else {
            value = json_object_get(value, rest);
        }
        rest = dot;
    }
    return value;
}

static int check_filters(const struct api_call *call, struct error *error)
{
    const json_t *schema = deployment_schema(call->api->deployment, call->route->kind);
    const char *name, *value;

    for (size_t i = 0; http_query_at(call->request, i, &name, &value) == 0; i++) {
        if (strncmp(name, "spec.", 5) == 0) {
            const json_t *property = walk(schema, name + 5, 1);
            if (!json_is_object(property) || json_get_bool(property, "writeOnly", 0)) {
                return error_set(error, 400, NULL, "\"%.100s\" is not a field of %s", name,
                                 call->route->kind->name);
            }
        } else if (strcmp(name, "label") == 0 && !strchr(value, '=')) {
            return error_set(error, 400, NULL, "\"label\" must be name=value");
        }
    }
    return 0;
}

static int has_label(const json_t *spec, const char *pair)
{
    size_t size = strcspn(pair, "=");
    _cleanup_free_ char *name = xstrndup(pair, size);
    const char *value = json_get_string(json_object_get(spec, "labels"), name, NULL);

    return value && strcmp(value, pair + size + 1) == 0;
}

static int matches(const struct api_call *call, const json_t *spec)
{
    const char *name, *value;

    for (size_t i = 0; http_query_at(call->request, i, &name, &value) == 0; i++) {
        if (strncmp(name, "spec.", 5) == 0 && !value_is(walk(spec, name + 5, 0), value)) {
            return 0;
        }
        if (strcmp(name, "label") == 0 && !has_label(spec, value)) {
            return 0;
        }
    }
    return 1;
}

/* --- lists --- */

/* Keys of the kind, in the order of the list: events newest first. */
struct keys {
    const char **items;
    size_t len;
};

static void collect(const struct api_call *call, const char *prefix, const char *cursor,
                    int newest_first, struct keys *keys)
{
    const struct tree *tree = deployment_tree(call->api->deployment);
    size_t prefix_size = strlen(prefix), capacity = 0;

    for (struct omap_entry *e = tree_first(tree, prefix); e; e = tree_next(tree, e, prefix)) {
        const char *id = e->key + prefix_size;
        int order = cursor ? strcmp(id, cursor) : 0;
        if (cursor && (newest_first ? order >= 0 : order <= 0)) {
            continue;
        }
        if (keys->len == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            keys->items = xrealloc(keys->items, capacity * sizeof *keys->items);
        }
        keys->items[keys->len++] = e->key;
    }
    for (size_t i = 0; newest_first && i < keys->len / 2; i++) {
        const char *other = keys->items[keys->len - 1 - i];
        keys->items[keys->len - 1 - i] = keys->items[i];
        keys->items[i] = other;
    }
}

int call_read_page(const struct api_call *call, size_t *ret_limit, char **ret_cursor,
                   struct error *error)
{
    const char *text = http_query(call->request, "cursor");
    int64_t limit;
    uint8_t *data;
    size_t size;

    if (call_query_number(call, "limit", 1, LIMIT_MAX, LIMIT_DEFAULT, &limit, error) < 0) {
        return -EINVAL;
    }
    *ret_limit = (size_t)limit;
    if (!text) {
        return 0;
    }
    if (strlen(text) > 128 || base64url_decode(text, &data, &size) < 0) {
        return error_set(error, 400, NULL, "\"cursor\" is not one that this server gave");
    }
    *ret_cursor = xstrndup((char *)data, size);
    free(data);
    return 0;
}

void page_add_cursor(json_t *answer, const char *last)
{
    char *cursor = base64url_encode(last, strlen(last));

    json_object_set_new(answer, "cursor", json_string(cursor));
    free(cursor);
}

static json_t *page(struct api_call *call, const char *prefix, const struct keys *keys,
                    size_t limit)
{
    const struct tree *tree = deployment_tree(call->api->deployment);
    json_t *items = json_array(), *answer = json_pack("{s:o}", "items", items);
    const char *last = NULL;

    for (size_t i = 0; i < keys->len; i++) {
        const struct tree_entry *entry = tree_get(tree, keys->items[i]);
        const char *id = keys->items[i] + strlen(prefix);
        const struct kind *kind =
            deployment_kind(call->api->deployment, call->route->kind->name, id);
        if (!kind || !matches(call, json_object_get(entry->value, "spec"))) {
            continue;
        }
        if (json_array_size(items) == limit) {
            page_add_cursor(answer, last);
            break;
        }
        json_array_append_new(items, object_json(call->api, kind, id, entry));
        last = id;
    }
    return answer;
}

void object_list(struct api_call *call)
{
    static const char *const PARAMETERS[] = {"limit", "cursor", "spec.*", "label+", NULL};
    _cleanup_free_ char *prefix = xasprintf("object/%s/", call->route->kind->name);
    _cleanup_free_ char *cursor = NULL;
    struct keys keys = {0};
    struct error error;
    size_t limit;
    /* Others may show what the clock alone changes: a token that expires. */
    int is_cacheable = strcmp(call->route->kind->name, "nodes") == 0;

    if (is_cacheable && call_reply_cached(call)) {
        return;
    }
    if (call_check_query(call, PARAMETERS, &error) < 0 || check_filters(call, &error) < 0 ||
        call_read_page(call, &limit, &cursor, &error) < 0) {
        call_fail(call, &error);
        return;
    }
    collect(call, prefix, cursor, strcmp(call->route->kind->name, "events") == 0, &keys);
    json_t *answer = page(call, prefix, &keys, limit);
    free(keys.items);
    if (is_cacheable) {
        call_reply_and_keep(call, answer);
    } else {
        call_reply_json(call, 200, answer);
    }
}
