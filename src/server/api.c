#include "server/api.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "server/api-internal.h"

const char *const API_BASE = "/api/v2/";

static const char COOKIE[] = "__Host-cnsmo";

enum {
    CONNECTIONS_MAX = 1000,
    IDLE_SEC = 30,
};

/* --- replies --- */

void call_done(struct api_call *call, int status)
{
    if (status >= 100 && status < 600) {
        call->api->requests[status / 100]++;
    }
    api_unref(call->api);
    free(call);
}

void call_reply_json(struct api_call *call, int status, json_t *json)
{
    http_reply_json(call->request, status, json);
    json_decref(json);
    call_done(call, status);
}

void call_reply_text(struct api_call *call, int status, const char *type, const char *text)
{
    http_reply(call->request, status, type, text, strlen(text));
    call_done(call, status);
}

void call_reply_empty(struct api_call *call, int status)
{
    http_reply(call->request, status, NULL, NULL, 0);
    call_done(call, status);
}

void call_fail(struct api_call *call, const struct error *error)
{
    if (call->route->form == FORM_V1) {
        v1_fail(call->request, error);
    } else {
        if (error->status == 401) {
            http_set_header(call->request, "WWW-Authenticate", "Bearer");
        }
        http_reply_problem(call->request, error);
    }
    call_done(call, error->status);
}

void call_fail_later(struct api_call *call, unsigned retry_sec, const struct error *error)
{
    char text[16];

    if (retry_sec) {
        snprintf(text, sizeof text, "%u", retry_sec);
        http_set_header(call->request, "Retry-After", text);
    }
    call_fail(call, error);
}

void call_fail_stopping(struct api_call *call)
{
    struct error error;

    error_set(&error, 503, NULL, "the server is stopping");
    call_fail(call, &error);
}

void call_actor(const struct api_call *call, struct actor *ret_actor)
{
    *ret_actor = (struct actor){.name = call->who.user[0] ? call->who.user : "-",
                                .source = http_source(call->request),
                                .role = call->who.role};
}

/* --- checking input --- */

static int knows(const char *const *names, const char *name, int *ret_many)
{
    for (size_t i = 0; names[i]; i++) {
        size_t size = strlen(names[i]);
        char last = names[i][size - 1];
        *ret_many = last == '*' || last == '+';
        size -= (size_t)*ret_many;
        if (strncmp(name, names[i], size) == 0 && (last == '*' || name[size] == '\0')) {
            return 1;
        }
    }
    return 0;
}

int call_check_query(const struct api_call *call, const char *const *names, struct error *error)
{
    const char *name, *value, *other;

    for (size_t i = 0; http_query_at(call->request, i, &name, &value) == 0; i++) {
        int many;
        if (!knows(names, name, &many)) {
            return error_set(error, 400, NULL, "\"%.60s\" is not a parameter of this route", name);
        }
        for (size_t j = 0; !many && j < i; j++) {
            http_query_at(call->request, j, &other, &value);
            if (strcmp(name, other) == 0) {
                return error_set(error, 400, NULL, "\"%s\" is given twice", name);
            }
        }
    }
    return 0;
}

int call_query_number(const struct api_call *call, const char *name, int64_t min, int64_t max,
                      int64_t fallback, int64_t *ret_value, struct error *error)
{
    const char *text = http_query(call->request, name);

    if (!text) {
        *ret_value = fallback;
        return 0;
    }
    size_t size = strlen(text);
    int64_t value =
        size > 0 && size < 16 && strspn(text, "0123456789") == size ? strtoll(text, NULL, 10) : -1;
    if (value < min || value > max) {
        return error_set(error, 400, NULL, "\"%s\" must be a number from %" PRId64 " to %" PRId64,
                         name, min, max);
    }
    *ret_value = value;
    return 0;
}

int call_query_bool(const struct api_call *call, const char *name, int *ret_value,
                    struct error *error)
{
    const char *text = http_query(call->request, name);

    if (text && strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
        return error_set(error, 400, NULL, "\"%s\" must be true or false", name);
    }
    *ret_value = text && text[0] == 't';
    return 0;
}

int call_body(struct api_call *call, const char *const *members, json_t **ret_body,
              struct error *error)
{
    json_t *body, *value;
    const char *key;
    int rc = http_body_json(call->request, &body, error);

    if (rc < 0) {
        return rc;
    }
    if (!json_is_object(body)) {
        json_decref(body);
        return error_set(error, 400, "", "the body must be a JSON object");
    }
    json_object_foreach (body, key, value) {
        size_t i = 0;
        while (members[i] && strcmp(members[i], key) != 0) {
            i++;
        }
        if (!members[i]) {
            _cleanup_free_ char *pointer = xasprintf("/%.100s", key);
            rc = error_set(error, 400, pointer, "\"%.100s\" is not allowed", key);
            json_decref(body);
            return rc;
        }
    }
    *ret_body = body;
    return 0;
}

int call_has_list(const struct api_call *call)
{
    size_t size, at = 0;
    const char *body = http_body(call->request, &size);

    while (at < size && memchr(" \t\r\n", body[at], 4)) {
        at++;
    }
    return at < size && body[at] == '[';
}

/* --- who is it, and may they? --- */

static int is_loopback(const char *source)
{
    return strncmp(source, "127.", 4) == 0 || strcmp(source, "::1") == 0;
}

/* A browser sends the cookie whoever made it ask, so a write must show that our own page did. */
static int check_same_origin(const struct api_call *call, struct error *error)
{
    const char *method = http_method(call->request);
    const char *origin = http_header(call->request, "Origin");
    const char *host = http_header(call->request, "Host");
    const char *mark = http_header(call->request, "X-CNSMO-Request");

    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
        return 0;
    }
    if (!origin || !host || strncmp(origin, "https://", 8) != 0 ||
        strcasecmp(origin + 8, host) != 0) {
        return error_set(error, 403, NULL, "the \"Origin\" header must be this server's");
    }
    if (!mark || strcmp(mark, "1") != 0) {
        return error_set(error, 403, NULL, "the header \"X-CNSMO-Request: 1\" is missing");
    }
    return 0;
}

static int authenticate(struct api_call *call, struct error *error)
{
    const char *header = http_header(call->request, "Authorization");
    const char *cookie = call->route->form == FORM_V1 ? NULL : http_cookie(call->request, COOKIE);

    if (header) {
        if (strncasecmp(header, "Bearer ", 7) == 0 &&
            auth_check(call->api->auth, header + 7 + strspn(header + 7, " "), 0, &call->who) ==
                0) {
            return 0;
        }
        return error_set(error, 401, NULL, "the token is unknown, expired or revoked");
    }
    if (!cookie) {
        return error_set(error, 401, NULL, "log in first: a token or session is required");
    }
    if (auth_check(call->api->auth, cookie, 1, &call->who) < 0) {
        return error_set(error, 401, NULL, "the session is unknown, expired or ended");
    }
    return check_same_origin(call, error);
}

static int permit(struct api_call *call, struct error *error)
{
    const struct api_route *route = call->route;

    if (route->role == ROLE_NONE ||
        (route->loopback_free && is_loopback(http_source(call->request)))) {
        return 0;
    }
    int rc = authenticate(call, error);
    if (rc < 0) {
        return rc;
    }
    if (call->who.role < route->role) {
        return error_set(error, 403, NULL, "this needs the role %s; %s has %s",
                         auth_role_name(route->role), call->who.user,
                         auth_role_name(call->who.role));
    }
    return 0;
}

static void allow_origin(const struct api_call *call)
{
    const char *origin = http_header(call->request, "Origin");

    if (call->api->cors_origin && origin && strcmp(origin, call->api->cors_origin) == 0) {
        http_set_header(call->request, "Access-Control-Allow-Origin", origin);
        http_set_header(call->request, "Access-Control-Expose-Headers", "ETag, Location");
        http_set_header(call->request, "Vary", "Origin");
    }
}

/* Routes over objects and streams look at their parameters themselves; v1's clients may add any.
 */
static int check_no_query(const struct api_call *call, struct error *error)
{
    static const char *const NONE[] = {NULL};
    const struct api_route *route = call->route;

    if (route->kind || route->doc.parameters || route->form == FORM_V1) {
        return 0;
    }
    return call_check_query(call, NONE, error);
}

static void on_request(struct http_request *request, void *arg)
{
    struct api *api = arg;
    struct api_call *call = xnew(struct api_call);
    struct error error = {0};

    *call = (struct api_call){.api = api_ref(api),
                              .request = request,
                              .route = &api->routes[http_matched(request) - api->http_routes]};
    allow_origin(call);
    if (permit(call, &error) < 0 || check_no_query(call, &error) < 0) {
        call_fail(call, &error);
        return;
    }
    call->route->handler(call);
}

/* --- life --- */

struct api *api_ref(struct api *api)
{
    api->refs++;
    return api;
}

void api_unref(struct api *api)
{
    if (--api->refs > 0) {
        return;
    }
    for (size_t i = 0; api->advertise[i]; i++) {
        free(api->advertise[i]);
    }
    for (size_t i = 0; i < API_RECENT_MAX; i++) {
        free(api->recent[i].key);
    }
    free(api->advertise);
    free(api->cors_origin);
    free(api->scratch_dir);
    api_routes_free(api);
    cache_done(api);
    json_decref(api->document);
    free(api);
}

static struct api *make(uv_loop_t *loop, struct deployment *deployment, struct pki *pki,
                        const struct api_config *config)
{
    struct api *api = xnew(struct api);
    size_t len = 0;

    while (config->advertise && config->advertise[len]) {
        len++;
    }
    api->loop = loop;
    api->deployment = deployment;
    api->pki = pki;
    api->refs = 1;
    api->advertise = xcalloc(len + 1, sizeof *api->advertise);
    for (size_t i = 0; i < len; i++) {
        api->advertise[i] = xstrdup(config->advertise[i]);
    }
    api->authorities = config->authorities;
    api->agents = config->agents;
    api->link_port = config->link_port;
    api->cors_origin = config->cors_origin ? xstrdup(config->cors_origin) : NULL;
    api->scratch_dir = xstrdup(config->scratch_dir ? config->scratch_dir : "/tmp");
    api_routes_make(api);
    api->http_routes = xcalloc(api->routes_len + 1, sizeof *api->http_routes);
    for (size_t i = 0; i < api->routes_len; i++) {
        const struct api_route *route = &api->routes[i];
        api->http_routes[i] =
            (struct http_route){.method = route->method,
                                .path = route->path,
                                .body_max = route->body_max,
                                .fold_case = route->form == FORM_V1,
                                .refuse = route->form == FORM_V1 ? v1_fail : NULL,
                                .handler = on_request};
    }
    return api;
}

int api_new(uv_loop_t *loop, struct deployment *deployment, struct pki *pki,
            const struct api_config *config, struct api **ret_api, struct error *error)
{
    struct api *api = make(loop, deployment, pki, config);
    unsigned connections = config->connections_max ? config->connections_max : CONNECTIONS_MAX;
    struct http_config http = {.address = config->address,
                               .port = config->port,
                               .certificate_pem = config->certificate_pem,
                               .key_pem = config->key_pem,
                               .connections_max = connections,
                               .connections_per_source_max = connections / 4 + 1,
                               .idle_sec = IDLE_SEC};
    int rc = auth_new(loop, deployment, &api->auth, error);

    if (rc == 0) {
        rc = http_server_new(loop, &http, api->http_routes, api, &api->http, error);
    }
    if (rc < 0) {
        auth_free(api->auth);
        api_unref(api);
        return rc;
    }
    watch_init(api);
    *ret_api = api;
    return 0;
}

void api_free(struct api *api)
{
    if (!api) {
        return;
    }
    api->freed = 1;
    watch_done(api);
    http_server_free(api->http);
    auth_free(api->auth);
    api_unref(api);
}

uint16_t api_port(const struct api *api)
{
    return http_server_port(api->http);
}

int api_certificate(struct api *api, const char *certificate_pem, const char *key_pem,
                    struct error *error)
{
    return http_server_certificate(api->http, certificate_pem, key_pem, error);
}
