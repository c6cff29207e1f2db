/* api-doc.c - the OpenAPI 3.1 document, made from the table of routes and the kinds' schemas. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "server/api-internal.h"

static json_t *parse(const char *text)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);

    if (!json) {
        abort(); /* a text of ours */
    }
    return json;
}

static json_t *reference(const char *name)
{
    _cleanup_free_ char *text = xasprintf("#/components/schemas/%s", name);

    return json_pack("{s:s}", "$ref", text);
}

/* "sdn/filters" to "sdn.filters": a component's name; singletons are named with their id. */
static char *component(const struct kind *kind)
{
    char *name = kind->singleton_id ? xasprintf("%s.%s", kind->name, kind->singleton_id)
                                    : xstrdup(kind->name);

    for (char *c = name; *c; c++) {
        *c = *c == '/' ? '.' : *c;
    }
    return name;
}

/* --- schemas --- */

static json_t *spec_schema(const struct api *api, const struct kind *kind)
{
    json_t *schema = json_deep_copy(deployment_schema(api->deployment, kind));

    json_object_del(schema, "$schema");
    json_object_del(schema, "$id");
    return schema;
}

static json_t *object_schema(const char *spec_name, const struct kind *kind)
{
    json_t *spec = reference(spec_name);
    json_t *status = json_pack("{s:s, s:b, s:s}", "type", "object", "readOnly", 1, "description",
                               "Computed by the server.");
    json_t *schema =
        json_pack("{s:s, s:s, s:[s,s,s], s:{s:{s:s, s:s}, s:{s:s, s:b, s:s}, s:o, s:o}}", "type",
                  "object", "description", kind->summary, "required", "id", "revision", "spec",
                  "properties", "id", "type", "string", "description",
                  "Name, unique among its kind.", "revision", "type", "integer", "readOnly", 1,
                  "description", "Of its last change; the ETag.", "spec", spec, "status", status);

    return schema;
}

static void add_kind_schemas(const struct api *api, const struct kind *kind, json_t *schemas)
{
    _cleanup_free_ char *name = component(kind);
    _cleanup_free_ char *spec_name = xasprintf("%s.spec", name);
    json_t *object = object_schema(spec_name, kind);

    if (strcmp(kind->name, "tokens") == 0) {
        json_object_set_new(
            json_object_get(object, "properties"), "token",
            json_pack("{s:s, s:b, s:s}", "type", "string", "readOnly", 1, "description",
                      "For \"cnsmo-agent join\": only in the answer that creates it."));
    }
    json_object_set_new(schemas, spec_name, spec_schema(api, kind));
    json_object_set_new(schemas, name, object);
}

static json_t *make_schemas(const struct api *api)
{
    json_t *schemas = json_object();

    json_object_set_new(
        schemas, "Problem",
        parse("{\"type\":\"object\",\"description\":\"RFC 9457.\",\"required\":[\"title\","
              "\"status\",\"detail\"],\"properties\":{\"type\":{\"type\":\"string\"},\"title\":{"
              "\"type\":\"string\"},\"status\":{\"type\":\"integer\"},\"detail\":{\"type\":"
              "\"string\",\"description\":\"What is wrong, in a sentence.\"},\"pointer\":{"
              "\"type\":\"string\",\"description\":\"JSON pointer to the field.\"}}}"));
    json_object_set_new(
        schemas, "ProblemV1",
        parse("{\"type\":\"object\",\"properties\":{\"code\":{\"type\":\"integer\"},\"message\":{"
              "\"type\":\"string\"},\"errors\":{\"type\":\"string\"}}}"));
    json_object_set_new(
        schemas, "Applied",
        parse("{\"type\":\"object\",\"properties\":{\"nodes\":{\"type\":\"integer\"},"
              "\"applied\":{\"type\":\"integer\"},\"pending\":{\"type\":\"array\",\"items\":{"
              "\"type\":\"object\"}},\"errors\":{\"type\":\"array\",\"items\":{\"type\":"
              "\"object\"}}}}"));
    for (size_t i = 0; deployment_kind_at(api->deployment, i); i++) {
        add_kind_schemas(api, deployment_kind_at(api->deployment, i), schemas);
    }
    return schemas;
}

/* One of the kinds of that name ("settings" has several). */
static json_t *object_reference(const struct api *api, const struct kind *kind)
{
    json_t *all = json_array();

    for (size_t i = 0; deployment_kind_at(api->deployment, i); i++) {
        const struct kind *other = deployment_kind_at(api->deployment, i);
        if (strcmp(other->name, kind->name) == 0) {
            _cleanup_free_ char *name = component(other);
            json_array_append_new(all, reference(name));
        }
    }
    if (json_array_size(all) == 1) {
        json_t *one = json_incref(json_array_get(all, 0));
        json_decref(all);
        return one;
    }
    return json_pack("{s:o}", "oneOf", all);
}

/* --- parameters --- */

static void add_parameter(json_t *list, const char *name, const char *in, const char *schema,
                          const char *description)
{
    json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:o, s:s}", "name", name, "in", in,
                                          "required", strcmp(in, "path") == 0, "schema",
                                          parse(schema), "description", description));
}

static void add_object_parameters(const struct api_route *route, json_t *list)
{
    static const char TEXT[] = "{\"type\":\"string\"}";

    if (route->handler == object_list) {
        add_parameter(list, "limit", "query",
                      "{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000,\"default\":100}",
                      "How many at most.");
        add_parameter(list, "cursor", "query", TEXT, "From the last answer: the next page.");
        add_parameter(list, "spec.<field>", "query", TEXT,
                      "Only objects whose field has this value; a list, if it holds it.");
        add_parameter(list, "label", "query", TEXT, "name=value; only objects with this label.");
    } else if (route->handler != object_get) {
        add_parameter(list, "dryRun", "query", "{\"type\":\"boolean\",\"default\":false}",
                      "Answer what would change on which node, and change nothing.");
        add_parameter(list, "wait", "query", "{\"type\":\"string\",\"enum\":[\"applied\"]}",
                      "Answer when every node concerned has applied it; 202 if not in time.");
        add_parameter(list, "timeout", "query",
                      "{\"type\":\"integer\",\"minimum\":1,\"maximum\":60,\"default\":10}",
                      "How many seconds to wait.");
        if (route->handler != object_delete && route->handler != object_confirm &&
            route->kind->can_be_forced) {
            add_parameter(list, "force", "query", "{\"type\":\"boolean\",\"default\":false}",
                          "Do it even if it could cut somebody off: on trial. Unless it is "
                          "confirmed within 60 s it is undone.");
        }
        if (route->handler != object_create) {
            add_parameter(list, "If-Match", "header", TEXT,
                          "The ETag that the object must have, else 412.");
        }
    }
}

static json_t *make_parameters(const struct api_route *route)
{
    json_t *list = route->doc.parameters ? parse(route->doc.parameters) : json_array();

    if (strstr(route->path, "{id}")) {
        add_parameter(list, "id", "path", "{\"type\":\"string\"}", "Which one.");
    }
    if (route->kind) {
        add_object_parameters(route, list);
    }
    return list;
}

/* --- bodies and answers --- */

static json_t *content(const char *type, json_t *schema, json_t *example)
{
    json_t *media = json_pack("{s:o}", "schema", schema);

    if (example) {
        json_object_set_new(media, "example", example);
    }
    return json_pack("{s:o}", type, media);
}

/* What the schema's examples and defaults say of a good spec. */
static json_t *example_spec(const json_t *schema)
{
    json_t *spec = json_object(), *property;
    const char *name;

    json_object_foreach (json_object_get(schema, "properties"), name, property) {
        json_t *value = json_array_get(json_object_get(property, "examples"), 0);
        if (!value && json_array_has(json_object_get(schema, "required"), name)) {
            value = json_array_get(json_object_get(property, "enum"), 0);
        }
        if (value) {
            json_object_set(spec, name, value);
        } else if (json_get_bool(property, "writeOnly", 0)) {
            json_object_set_new(spec, name, json_string("correct horse"));
        }
    }
    return spec;
}

static json_t *object_request(const struct api *api, const struct api_route *route)
{
    const struct kind *kind = route->kind;
    _cleanup_free_ char *name = component(kind);
    _cleanup_free_ char *spec_name = xasprintf("%s.spec", name);
    json_t *schema = json_pack("{s:s, s:[s], s:{s:o}}", "type", "object", "required", "spec",
                               "properties", "spec", reference(spec_name));
    json_t *example =
        json_pack("{s:o}", "spec", example_spec(deployment_schema(api->deployment, kind)));

    if (route->handler == object_create && kind->ids == KIND_ID_NAMED) {
        json_object_set_new(json_object_get(schema, "properties"), "id",
                            json_pack("{s:s}", "type", "string"));
        json_array_append_new(json_object_get(schema, "required"), json_string("id"));
        json_object_set_new(example, "id", json_string("example"));
    }
    if (route->handler == object_create && !kind->one_by_one) {
        json_t *list = json_pack("{s:s, s:O, s:i, s:i}", "type", "array", "items", schema,
                                 "minItems", 1, "maxItems", API_LIST_MAX);
        schema = json_pack("{s:[o, o]}", "oneOf", schema, list);
    }
    return content(route->handler == object_patch ? "application/merge-patch+json"
                                                  : "application/json",
                   schema, example);
}

static json_t *list_schema(const struct api *api, const struct kind *kind)
{
    return json_pack("{s:s, s:{s:{s:s, s:o}, s:{s:s, s:s}}}", "type", "object", "properties",
                     "items", "type", "array", "items", object_reference(api, kind), "cursor",
                     "type", "string", "description", "There is more: ask again with it.");
}

/* One object, or what there is to say of a list. */
static json_t *created_schema(const struct api *api, const struct kind *kind)
{
    return json_pack("{s:[o, {s:s, s:[s, s], s:{s:{s:s, s:{s:s}}, s:{s:s}}}]}", "oneOf",
                     object_reference(api, kind), "type", "object", "required", "ids", "revision",
                     "properties", "ids", "type", "array", "items", "type", "string", "revision",
                     "type", "integer");
}

static json_t *good_schema(const struct api *api, const struct api_route *route)
{
    if (route->handler == object_list) {
        return list_schema(api, route->kind);
    }
    return route->handler == object_create && !route->kind->one_by_one
               ? created_schema(api, route->kind)
               : object_reference(api, route->kind);
}

static json_t *good_content(const struct api *api, const struct api_route *route)
{
    if (route->kind) {
        return content("application/json", good_schema(api, route), NULL);
    }
    if (!route->doc.response) {
        return NULL;
    }
    if (route->doc.response[0] != '{') { /* a media type */
        return content(route->doc.response, json_pack("{s:s}", "type", "string"), NULL);
    }
    return content("application/json", parse(route->doc.response), NULL);
}

static void add_error(json_t *responses, int status, const char *description, enum api_form form)
{
    char key[8];

    snprintf(key, sizeof key, "%d", status);
    json_t *body = content(form == FORM_V1 ? "application/json" : "application/problem+json",
                           reference(form == FORM_V1 ? "ProblemV1" : "Problem"), NULL);
    json_object_set_new(responses, key,
                        json_pack("{s:s, s:o}", "description", description, "content", body));
}

static void add_errors(const struct api_route *route, json_t *responses)
{
    int writes = route->kind && route->handler != object_get && route->handler != object_list;

    add_error(responses, 400, "Invalid: the pointer names the field.", route->form);
    if (route->role != ROLE_NONE) {
        add_error(responses, 401, "Not logged in.", route->form);
        add_error(responses, 403, "The role doesn't allow it.", route->form);
    }
    if (strstr(route->path, "{id}") || route->asks_node) {
        add_error(responses, 404, "There is no such object.", route->form);
    }
    if (writes || route->makes_conflicts) {
        add_error(responses, 409, "It clashes with what is there.", route->form);
    }
    if (writes) {
        add_error(responses, 412, "The object isn't at the revision of If-Match.", route->form);
    }
    if (writes || (route->role >= ROLE_OPERATOR && strcmp(route->method, "GET") != 0)) {
        add_error(responses, 507, "The server's disk is full.", route->form);
    }
    if (route->body_max) {
        add_error(responses, 413, "The body is too large.", route->form);
        add_error(responses, 415, "The body isn't JSON.", route->form);
    }
    if (route->handler == session_create || route->handler == v1_authenticate) {
        add_error(responses, 401, "User name or password are wrong.", route->form);
        add_error(responses, 429, "Too many attempts; see Retry-After.", route->form);
    }
    if (route->asks_node) {
        add_error(responses, 503, "The node is away, or doesn't answer in time.", route->form);
    }
    if (route->handler == system_readyz) {
        add_error(responses, 503, "The store can't be written.", route->form);
    }
}

static json_t *make_responses(const struct api *api, const struct api_route *route)
{
    json_t *responses = json_object();
    json_t *good = json_pack("{s:s}", "description", "It is done.");
    json_t *body = route->good_status == 204 ? NULL : good_content(api, route);
    char key[8];

    if (body) {
        json_object_set_new(good, "content", body);
    }
    snprintf(key, sizeof key, "%d", route->good_status);
    json_object_set_new(responses, key, good);
    if (route->kind && route->role == route->kind->write_role && route->handler != object_get &&
        route->handler != object_list) {
        json_object_set_new(
            responses, "202",
            json_pack("{s:s, s:o}", "description",
                      "Stored, but not every node has applied it (with wait=applied).", "content",
                      content("application/json",
                              json_pack("{s:s, s:{s:o}}", "type", "object", "properties",
                                        "applied", reference("Applied")),
                              NULL)));
    }
    add_errors(route, responses);
    return responses;
}

/* --- the document --- */

/* "GET /api/v2/sdn/filters/{id}" is getSdnFiltersId; of v1 getV1...: what generated clients call
 * it.
 */
static char *operation_id(const struct api_route *route)
{
    const char *path = route->path;
    struct buf name = BUF_INIT(256);
    int upper = 1;

    if (strncmp(path, API_BASE, strlen(API_BASE)) == 0) {
        path += strlen(API_BASE);
    } else if (strncmp(path, "/api", 4) == 0) {
        path += 4;
    }
    for (const char *c = route->method; *c; c++) {
        buf_printf(&name, "%c", tolower((unsigned char)*c));
    }
    for (; *path; path++) {
        if (isalnum((unsigned char)*path)) {
            buf_printf(&name, "%c", upper ? toupper((unsigned char)*path) : *path);
            upper = 0;
        } else {
            upper = 1;
        }
    }
    return name.data;
}

static json_t *make_operation(const struct api *api, const struct api_route *route)
{
    _cleanup_free_ char *id = operation_id(route);
    _cleanup_free_ char *role =
        xasprintf("%s%sLeast role: %s.", route->doc.description ? route->doc.description : "",
                  route->doc.description ? " " : "",
                  route->role == ROLE_NONE ? "none" : auth_role_name(route->role));
    json_t *operation =
        json_pack("{s:s, s:s, s:s, s:[s], s:o, s:o, s:s}", "operationId", id, "summary",
                  route->doc.summary, "description", role, "tags",
                  route->doc.tag           ? route->doc.tag
                  : route->kind            ? route->kind->name
                  : route->form == FORM_V1 ? "v1"
                                           : "server",
                  "parameters", make_parameters(route), "responses", make_responses(api, route),
                  "x-cnsmo-role", route->role == ROLE_NONE ? "none" : auth_role_name(route->role));
    json_t *body = NULL;

    if (route->kind && route->body_max) {
        body = object_request(api, route);
    } else if (route->doc.request) {
        body = content("application/json", parse(route->doc.request), parse(route->doc.example));
    }
    if (body) {
        json_object_set_new(operation, "requestBody",
                            json_pack("{s:b, s:o}", "required", 1, "content", body));
    }
    if (route->role == ROLE_NONE) {
        json_object_set_new(operation, "security", json_array());
    }
    return operation;
}

static json_t *make_paths(const struct api *api)
{
    static const char *const METHODS[][2] = {{"GET", "get"},
                                             {"POST", "post"},
                                             {"PUT", "put"},
                                             {"PATCH", "patch"},
                                             {"DELETE", "delete"}};
    json_t *paths = json_object();

    for (size_t i = 0; i < api->routes_len; i++) {
        const struct api_route *route = &api->routes[i];
        json_t *path = json_object_get(paths, route->path);
        for (size_t j = 0; !route->hidden && j < ARRAY_LEN(METHODS); j++) {
            if (strcmp(METHODS[j][0], route->method) != 0) {
                continue;
            }
            if (!path) {
                path = json_object();
                json_object_set_new(paths, route->path, path);
            }
            json_object_set_new(path, METHODS[j][1], make_operation(api, route));
        }
    }
    return paths;
}

const json_t *doc_openapi(struct api *api)
{
    if (!api->document) {
        api->document = json_pack(
            "{s:s, s:[{s:s}], s:{s:s, s:s, s:s, s:{s:s, s:s}}, s:[{s:o}, {s:o}], s:o, "
            "s:{s:o, s:o}}",
            "openapi", "3.1.0", "servers", "url", "/", "info", "title", "CNSMO", "version",
            CNSMO_VERSION, "description",
            "Network services across clouds. Objects have an id, a revision, a spec that you "
            "write and a status that the server computes.",
            "license", "name", "Apache-2.0", "identifier", "Apache-2.0", "security", "bearer",
            json_array(), "cookie", json_array(), "paths", make_paths(api), "components",
            "schemas", make_schemas(api), "securitySchemes",
            parse("{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\"},\"cookie\":{\"type\":"
                  "\"apiKey\",\"in\":\"cookie\",\"name\":\"__Host-cnsmo\",\"description\":"
                  "\"Writes also need an Origin that is the server's and the header "
                  "X-CNSMO-Request: 1.\"}}"));
        if (!api->document) {
            abort();
        }
    }
    return api->document;
}

void doc_get_openapi(struct api_call *call)
{
    call_reply_json(call, 200, json_incref((json_t *)doc_openapi(call->api)));
}
