/* api-v1.c - API v1, the contract of the 2017 platform (CYCLONE D5.3 Annex 1): a façade over the
 * objects of v2 without logic of its own. Paths match whatever their case, with or without a slash
 * at the end. Every error is {"code","message","errors"}. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/api-internal.h"

static void reply_v1(struct http_request *request, int status, const char *message)
{
    json_t *text = json_string(message);
    json_t *body = json_pack("{s:i, s:o, s:s}", "code", status, "message",
                             text ? text : json_string("not readable"), "errors",
                             text ? message : "not readable");

    http_reply_json(request, status, body);
    json_decref(body);
}

void v1_fail(struct http_request *request, const struct error *error)
{
    /* The 2017 GUI compares this string. */
    reply_v1(request, error->status ? error->status : 500,
             error->status == 401 ? "Invalid Token" : error->detail);
}

void v1_unknown(struct api_call *call)
{
    struct error error;

    error_set(&error, 404, NULL, "there is no such route");
    call_fail(call, &error);
}

/* --- POST /authenticate --- */

static void on_login(void *arg, int rc, const struct login *login, unsigned retry_sec,
                     const struct error *error)
{
    struct api_call *call = arg;

    if (rc == 0) {
        call_reply_json(call, 200, json_pack("{s:s}", "token", login->token));
    } else if (error->status == 401) {
        reply_v1(call->request, 401, "Username or password not valid!");
        call_done(call, 401);
    } else {
        call_fail_later(call, retry_sec, error);
    }
}

int v1_read_text(const json_t *body, const char *name, const char **ret_text, struct error *error)
{
    const json_t *value = json_object_get(body, name);

    if (!value) {
        return error_set(error, 400, NULL, "\"%s\" is required", name);
    }
    if (!json_is_string(value)) {
        return error_set(error, 400, NULL, "\"%s\" must be a string", name);
    }
    if (json_string_length(value) == 0) {
        return error_set(error, 400, NULL, "\"%s\" is not allowed to be empty", name);
    }
    *ret_text = json_string_value(value);
    return 0;
}

static int check_member(const json_t *body, const char *name, struct error *error)
{
    const char *text;
    int rc = v1_read_text(body, name, &text, error);

    if (rc < 0) {
        return rc;
    }
    if (json_string_length(json_object_get(body, name)) > 4 * AUTH_PASSWORD_MAX) {
        return error_set(error, 400, NULL, "\"%s\" is too long", name);
    }
    return 0;
}

static int read_credentials(struct api_call *call, json_t **ret_body, struct error *error)
{
    json_t *body, *value;
    const char *key;
    int rc = http_body_json(call->request, &body, error);

    if (rc < 0) {
        return rc;
    }
    rc = json_is_object(body) ? 0 : error_set(error, 400, NULL, "\"value\" must be an object");
    rc = rc < 0 ? rc : check_member(body, "username", error);
    rc = rc < 0 ? rc : check_member(body, "password", error);
    json_object_foreach (body, key, value) {
        if (rc == 0 && strcmp(key, "username") != 0 && strcmp(key, "password") != 0) {
            rc = error_set(error, 400, NULL, "\"%.100s\" is not allowed", key);
        }
    }
    if (rc < 0) {
        json_decref(body);
        return rc;
    }
    *ret_body = body;
    return 0;
}

void v1_authenticate(struct api_call *call)
{
    struct error error;
    json_t *body;

    if (read_credentials(call, &body, &error) < 0) {
        call_fail(call, &error);
        return;
    }
    auth_login(call->api->auth, json_get_string(body, "username", ""),
               json_get_string(body, "password", ""), http_source(call->request), 0, on_login,
               call);
    json_decref(body);
}

/* --- GET /services/sdn/nodes --- */

/* The 2017 dashboard hangs on any other name. */
static int is_known_service(const char *name)
{
    static const char *const NAMES[] = {"vpn", "sdn", "dns", "lb"};

    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        if (strcmp(NAMES[i], name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* A string that holds a JSON list, as it was: "[\"vpn\", \"sdn\"]". */
static json_t *services_text(const json_t *spec)
{
    json_t *names = json_array(), *value;
    size_t i;

    json_array_foreach (json_object_get(spec, "services"), i, value) {
        const char *name = json_string_value(value);
        if (name && is_known_service(name)) {
            json_array_append(names, value);
        }
    }
    char *text = json_dumps(names, 0);
    json_t *result = json_string(text);
    free(text);
    json_decref(names);
    return result;
}

static json_t *node_json(struct api *api, const char *id)
{
    const json_t *spec = tree_spec(deployment_tree(api->deployment), "nodes", id);
    json_t *status = deployment_status(api->deployment, "nodes", id);
    const char *endpoint = json_get_string(spec, "endpoint", "");
    _cleanup_free_ char *declared = xstrndup(endpoint, strcspn(endpoint, ":"));
    const char *public = json_get_string(status, "publicAddress", "");
    json_t *node = json_pack("{s:s, s:s, s:s, s:o, s:s}", "instanceId", id, "vpnAddress",
                             json_get_string(spec, "address", ""), "ipAddress",
                             declared[0] ? declared : public, "services", services_text(spec),
                             "cloud", json_get_string(spec, "cloud", ""));

    json_decref(status);
    return node;
}

void v1_nodes(struct api_call *call)
{
    static const char PREFIX[] = "object/nodes/";
    const struct tree *tree = deployment_tree(call->api->deployment);
    json_t *nodes;

    if (call_reply_cached(call)) {
        return;
    }
    nodes = json_array();
    for (struct omap_entry *e = tree_first(tree, PREFIX); e; e = tree_next(tree, e, PREFIX)) {
        json_array_append_new(nodes, node_json(call->api, e->key + sizeof PREFIX - 1));
    }
    call_reply_and_keep(call, nodes);
}
