/* api-routes.c - every route with its least role and its documentation: the one table that
 * dispatch, permissions and the OpenAPI document are made from. Routes over objects are added for
 * each kind. */
#include <string.h>

#include "server/api-internal.h"

#define TOKEN_SPEC                                                                                \
    "{\"type\":\"object\",\"required\":[\"spec\"],\"additionalProperties\":false,"                \
    "\"properties\":{\"spec\":{\"type\":\"object\",\"required\":[\"role\"],"                      \
    "\"additionalProperties\":false,\"properties\":{"                                             \
    "\"role\":{\"type\":\"string\",\"enum\":[\"metrics\",\"viewer\",\"operator\",\"admin\"],"     \
    "\"description\":\"No higher than your own.\"},"                                              \
    "\"expires\":{\"type\":\"string\",\"format\":\"date-time\",\"description\":\"Never unless "   \
    "given.\"},"                                                                                  \
    "\"description\":{\"type\":\"string\",\"maxLength\":200}}}}}"

#define TOKEN_OBJECT                                                                              \
    "{\"type\":\"object\",\"required\":[\"id\",\"revision\",\"spec\",\"status\"],"                \
    "\"properties\":{\"id\":{\"type\":\"string\"},\"revision\":{\"type\":\"integer\"},"           \
    "\"spec\":{\"type\":\"object\",\"properties\":{\"role\":{\"type\":\"string\"},"               \
    "\"expires\":{\"type\":[\"string\",\"null\"]},\"description\":{\"type\":\"string\"}}},"       \
    "\"status\":{\"type\":\"object\",\"properties\":{\"user\":{\"type\":\"string\"},"             \
    "\"created\":{\"type\":\"string\",\"format\":\"date-time\"}}},"                               \
    "\"token\":{\"type\":\"string\",\"description\":\"The secret: only in the answer that "       \
    "creates it.\"}}}"

#define SESSION                                                                                   \
    "{\"type\":\"object\",\"properties\":{\"user\":{\"type\":\"string\"},"                        \
    "\"role\":{\"type\":\"string\"},\"expires\":{\"type\":[\"string\",\"null\"]},"                \
    "\"token\":{\"type\":\"string\",\"description\":\"For the Authorization header; not with a "  \
    "cookie.\"},\"means\":{\"type\":\"string\",\"enum\":[\"session\",\"cookie\",\"api-token\"]}}" \
    "}"

#define AUTHORITIES                                                                               \
    "{\"type\":\"object\",\"properties\":{\"items\":{\"type\":\"array\",\"items\":{"              \
    "\"type\":\"object\",\"properties\":{"                                                        \
    "\"name\":{\"type\":\"string\",\"enum\":[\"server\",\"agent\",\"client\"]},"                  \
    "\"keyId\":{\"type\":\"string\",\"description\":\"SHA-256 of its public key.\"},"             \
    "\"state\":{\"type\":\"string\",\"enum\":[\"active\",\"retiring\",\"retired\"]},"             \
    "\"created\":{\"type\":\"string\",\"format\":\"date-time\"},"                                 \
    "\"expires\":{\"type\":\"string\",\"format\":\"date-time\"},"                                 \
    "\"inUse\":{\"type\":\"integer\",\"description\":\"How many hold a valid certificate of "     \
    "it.\"},\"holders\":{\"type\":\"array\",\"maxItems\":20,\"items\":{\"type\":\"string\"},"     \
    "\"description\":\"The first of them, as kind/id.\"}}}}}}"

static const struct api_route FIXED[] = {
    {.method = "POST",
     .path = "/api/v2/session",
     .body_max = 4096,
     .handler = session_create,
     .good_status = 201,
     .doc = {.summary = "Log in",
             .description = "Answers with a token for the header \"Authorization: Bearer\", or, "
                            "with \"cookie\": true, sets a cookie that a page's scripts can't "
                            "read. Sessions end 12 hours after they were last used. Too many "
                            "attempts: 429 with Retry-After.",
             .request = "{\"type\":\"object\",\"required\":[\"username\",\"password\"],"
                        "\"additionalProperties\":false,\"properties\":{"
                        "\"username\":{\"type\":\"string\",\"maxLength\":63},"
                        "\"password\":{\"type\":\"string\",\"maxLength\":128},"
                        "\"cookie\":{\"type\":\"boolean\",\"default\":false}}}",
             .response = SESSION,
             .example = "{\"username\":\"admin\",\"password\":\"correct horse\"}"}},
    {.method = "GET",
     .path = "/api/v2/session",
     .role = ROLE_METRICS,
     .handler = session_get,
     .doc = {.summary = "Who am I", .response = SESSION}},
    {.method = "DELETE",
     .path = "/api/v2/session",
     .role = ROLE_METRICS,
     .handler = session_delete,
     .good_status = 204,
     .doc = {.summary = "Log out"}},
    {.method = "GET",
     .path = "/api/v2/api-tokens",
     .role = ROLE_VIEWER,
     .handler = api_token_list,
     .doc = {.summary = "List API tokens",
             .description = "One's own; an admin sees everybody's.",
             .parameters = "[{\"name\":\"limit\",\"in\":\"query\",\"schema\":{\"type\":"
                           "\"integer\",\"minimum\":1,\"maximum\":1000,\"default\":100},"
                           "\"description\":\"How many at most.\"},{\"name\":\"cursor\",\"in\":"
                           "\"query\",\"schema\":{\"type\":\"string\"},\"description\":\"From "
                           "the last answer: the next page.\"}]",
             .response = "{\"type\":\"object\",\"properties\":{\"items\":{\"type\":\"array\","
                         "\"items\":" TOKEN_OBJECT "},\"cursor\":{\"type\":\"string\"}}}"}},
    {.method = "POST",
     .path = "/api/v2/api-tokens",
     .role = ROLE_VIEWER,
     .body_max = 4096,
     .handler = api_token_create,
     .good_status = 201,
     .doc = {.summary = "Create an API token",
             .description = "A long-lived token of the user who asks. It ends with the user, and "
                            "never has a higher role than the user has now.",
             .request = TOKEN_SPEC,
             .response = TOKEN_OBJECT,
             .example = "{\"spec\":{\"role\":\"metrics\",\"description\":\"Prometheus\"}}"}},
    {.method = "DELETE",
     .path = "/api/v2/api-tokens/{id}",
     .role = ROLE_VIEWER,
     .handler = api_token_delete,
     .good_status = 204,
     .doc = {.summary = "Revoke an API token"}},
    {.method = "GET",
     .path = "/api/v2/authorities",
     .role = ROLE_VIEWER,
     .handler = authority_list,
     .doc = {.summary = "List the certificate authorities",
             .description = "Every generation of those that sign for servers, agents and outside "
                            "clients, and who holds certificates of it.",
             .response = AUTHORITIES}},
    {.method = "POST",
     .path = "/api/v2/authorities/{id}/rollover",
     .role = ROLE_ADMIN,
     .handler = authority_rollover,
     .makes_conflicts = 1,
     .doc = {.summary = "Roll an authority over",
             .description =
                 "Makes a new generation, which signs from now on. Agents renew by themselves and "
                 "nothing is interrupted; outside clients keep their certificates until they are "
                 "made anew or expire. When nobody holds a certificate of the older one it is "
                 "retired and its key destroyed.",
             .response = AUTHORITIES}},
    {.method = "GET",
     .path = "/api/v2/watch",
     .role = ROLE_VIEWER,
     .handler = watch_begin,
     .doc = {.summary = "Follow changes",
             .description =
                 "Server-sent events. \"ready\" comes first; then \"put\" with {\"kind\", "
                 "\"object\"} and \"delete\" with {\"kind\", \"id\"}. The id of an event is its "
                 "revision; reconnect with Last-Event-ID to go on where it broke. \"resync\" says "
                 "that this isn't possible any more: read the lists again. \"counters\" has "
                 "{\"node\", "
                 "\"totals\": {\"sdn/filter/7\": [packets, bytes]}} for those that changed on a "
                 "node, and null for one that is no more.",
             .parameters = "[{\"name\":\"kinds\",\"in\":\"query\",\"description\":\"Kinds, "
                           "separated by commas, and the word counters; all that you may "
                           "read unless given.\","
                           "\"schema\":{\"type\":\"string\"},\"example\":\"nodes,events\"},"
                           "{\"name\":\"Last-Event-ID\",\"in\":\"header\",\"description\":\"The "
                           "last event's id that was received.\",\"schema\":{\"type\":"
                           "\"string\"}}]",
             .response = "text/event-stream"}},
    {.method = "GET",
     .path = "/api/v2/backup",
     .role = ROLE_ADMIN,
     .handler = system_backup,
     .doc = {.summary = "Download a backup",
             .description = "A consistent copy of the database, for \"cnsmod restore\".",
             .response = "application/vnd.sqlite3"}},
    {.method = "GET",
     .path = "/api/v2/openapi.json",
     .handler = doc_get_openapi,
     .doc = {.summary = "This document", .response = "{\"type\":\"object\"}"}},
    {.method = "GET",
     .path = "/api/v2/docs",
     .handler = doc_get_page,
     .doc = {.summary = "This document to read", .response = "text/html"}},
    {.method = "GET", .path = "/api/docs", .handler = doc_get_page, .hidden = 1},
    {.method = "GET", .path = "/api/docs.css", .handler = doc_get_style, .hidden = 1},
    {.method = "OPTIONS", .path = "/api/{rest...}", .handler = system_preflight, .hidden = 1},
    {.method = "GET",
     .path = "/healthz",
     .handler = system_healthz,
     .doc = {.summary = "Is the server alive", .response = "text/plain"}},
    {.method = "GET",
     .path = "/readyz",
     .handler = system_readyz,
     .doc = {.summary = "Can the server store changes",
             .description = "503 while the store can't be written.",
             .response = "text/plain"}},
    {.method = "GET",
     .path = "/metrics",
     .role = ROLE_METRICS,
     .loopback_free = 1,
     .handler = system_metrics,
     .doc = {.summary = "Metrics for Prometheus",
             .description = "With any token, or from the server's own machine.",
             .response = "text/plain"}},
    {.method = "POST",
     .path = "/api/v1/authenticate",
     .body_max = 4096,
     .form = FORM_V1,
     .handler = v1_authenticate,
     .doc = {.summary = "Log in (API v1)",
             .request = "{\"type\":\"object\",\"required\":[\"username\",\"password\"],"
                        "\"additionalProperties\":false,\"properties\":{"
                        "\"username\":{\"type\":\"string\"},\"password\":{\"type\":\"string\"}}}",
             .response = "{\"type\":\"object\",\"properties\":{\"token\":{\"type\":\"string\"}}}",
             .example = "{\"username\":\"admin\",\"password\":\"correct horse\"}"}},
    {.method = "GET",
     .path = "/api/v1/services/sdn/nodes",
     .role = ROLE_VIEWER,
     .form = FORM_V1,
     .handler = v1_nodes,
     .doc = {.summary = "List nodes (API v1)",
             .response = "{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{"
                         "\"instanceId\":{\"type\":\"string\"},\"vpnAddress\":{\"type\":"
                         "\"string\"},\"ipAddress\":{\"type\":\"string\"},\"services\":{\"type\":"
                         "\"string\",\"description\":\"A JSON list in a string.\"},\"cloud\":{"
                         "\"type\":\"string\"}}}}"}},
    {.method = "*",
     .path = "/api/v1/{rest...}",
     .role = ROLE_METRICS,
     .body_max = API_BODY_MAX,
     .form = FORM_V1,
     .handler = v1_unknown,
     .hidden = 1},
};

static const char *keep(struct api *api, char *text)
{
    const char *mine = omap_get(&api->strings, text);

    if (mine) {
        free(text);
        return mine;
    }
    omap_put(&api->strings, text, text);
    return text;
}

static void add(struct api *api, struct api_route route)
{
    api->routes = xrealloc(api->routes, (api->routes_len + 2) * sizeof *api->routes);
    if (route.good_status == 0) {
        route.good_status = 200;
    }
    api->routes[api->routes_len++] = route;
}

static void add_kind(struct api *api, const struct kind *kind)
{
    const char *all = keep(api, xasprintf("%s%s", API_BASE, kind->name));
    const char *one = keep(api, xasprintf("%s%s/{id}", API_BASE, kind->name));
    struct api_route read = {.kind = kind, .role = kind->read_role, .method = "GET"};
    struct api_route write = {.kind = kind, .role = kind->write_role, .body_max = API_BODY_MAX};

    read.path = all;
    read.handler = object_list;
    read.doc.summary = keep(api, xasprintf("List %s", kind->name));
    add(api, read);
    read.path = one;
    read.handler = object_get;
    read.doc.summary = keep(api, xasprintf("Read one of %s", kind->name));
    add(api, read);
    if (kind->write_role == ROLE_NOBODY) {
        return;
    }
    write.path = one;
    write.method = "PUT";
    write.handler = object_replace;
    write.doc.summary = keep(api, xasprintf("Replace one of %s", kind->name));
    add(api, write);
    write.method = "PATCH";
    write.handler = object_patch;
    write.doc.summary = keep(api, xasprintf("Change one of %s", kind->name));
    write.doc.description = "A JSON merge patch (RFC 7396) of the object.";
    add(api, write);
    write.doc.description = NULL;
    if (kind->ids == KIND_ID_SINGLETON) {
        return;
    }
    write.method = "DELETE";
    write.handler = object_delete;
    write.body_max = 0;
    write.good_status = 204;
    write.doc.summary = keep(api, xasprintf("Delete one of %s", kind->name));
    add(api, write);
    if (kind->can_be_forced) {
        struct api_route confirm = {.kind = kind, .role = kind->write_role, .method = "POST"};
        confirm.path = keep(api, xasprintf("%s%s/{id}/confirm", API_BASE, kind->name));
        confirm.handler = object_confirm;
        confirm.doc.summary = keep(api, xasprintf("Confirm one of %s", kind->name));
        confirm.doc.description = "Ends the trial of one that was forced: it stays. 409 unless "
                                  "every node that it concerns has applied it.";
        add(api, confirm);
    }
    write.path = all;
    write.method = "POST";
    write.handler = object_create;
    write.body_max = API_BODY_MAX;
    write.good_status = 201;
    write.doc.summary = keep(api, xasprintf("Create one of %s", kind->name));
    if (!kind->one_by_one) {
        write.doc.description = "With a list of such bodies all of them are made in one "
                                "transaction, or none; the answer has their ids.";
    }
    add(api, write);
}

void api_routes_make(struct api *api)
{
    for (size_t i = 0; i < ARRAY_LEN(FIXED); i++) {
        if (FIXED[i].handler != system_preflight || api->cors_origin) {
            add(api, FIXED[i]);
        }
    }
    for (size_t i = 0; CLIENT_ROUTES[i].method; i++) {
        add(api, CLIENT_ROUTES[i]);
    }
    for (size_t i = 0; LB_ROUTES[i].method; i++) {
        add(api, LB_ROUTES[i]);
    }
    for (size_t i = 0; COUNTER_ROUTES[i].method; i++) {
        add(api, COUNTER_ROUTES[i]);
    }
    for (size_t i = 0; V1_SDN_ROUTES[i].method; i++) {
        add(api, V1_SDN_ROUTES[i]);
    }
    for (size_t i = 0; V1_FW_ROUTES[i].method; i++) {
        add(api, V1_FW_ROUTES[i]);
    }
    for (size_t i = 0; V1_DNS_ROUTES[i].method; i++) {
        add(api, V1_DNS_ROUTES[i]);
    }
    for (size_t i = 0; V1_CERT_ROUTES[i].method; i++) {
        add(api, V1_CERT_ROUTES[i]);
    }
    for (size_t i = 0; deployment_kind_at(api->deployment, i); i++) {
        const struct kind *kind = deployment_kind_at(api->deployment, i);
        if (deployment_kind(api->deployment, kind->name, NULL) == kind) { /* once for a name */
            add_kind(api, kind);
        }
    }
}

void api_routes_free(struct api *api)
{
    omap_clear(&api->strings, free);
    free(api->routes);
    free(api->http_routes);
}
