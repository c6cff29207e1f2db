/* api-v1-certs.c - API v1's certificates of VPN clients: a façade over vpn/clients of v2, under
 * both spellings of the specification. */
#include <stdio.h>
#include <string.h>

#include "server/api-internal.h"

enum {
    BODY_MAX = 4096, /* the 2017 clients may send one; it means nothing */
};

/* v1 calls the id a name. */
static void fail_named(struct api_call *call, const struct error *error)
{
    static const char ID[] = "\"id\"";
    struct error named = *error;

    if (strncmp(error->detail, ID, sizeof ID - 1) == 0) {
        snprintf(named.detail, sizeof named.detail, "\"name\"%s", error->detail + sizeof ID - 1);
    }
    call_fail(call, &named);
}

static void on_created(void *arg, int rc, const struct write_result *result,
                       const struct error *error)
{
    if (rc < 0) {
        fail_named(arg, error);
    } else {
        call_reply_empty(arg, 204);
    }
}

static void v1_cert_create(struct api_call *call)
{
    const char *name = http_param(call->request, "id");
    struct client_change change = {.verb = WRITE_CREATE, .id = name, .spec = json_object()};
    struct error error;
    struct actor actor;

    if (client_prepare(call->api, &change, &error) < 0) {
        fail_named(call, &error);
    } else {
        struct write write = {.verb = WRITE_CREATE,
                              .kind = "vpn/clients",
                              .id = name,
                              .spec = change.spec,
                              .sealed = change.sealed};
        call_actor(call, &actor);
        deployment_write(call->api->deployment, &actor, &write, on_created, call);
    }
    json_decref(change.spec);
    json_decref(change.sealed);
}

static void v1_cert_file(struct api_call *call)
{
    struct buf out = BUF_INIT(API_BODY_MAX);
    struct error error;

    if (client_read_file(call, http_param(call->request, "id"),
                         strrchr(call->route->path, '/') + 1, &out, &error) < 0) {
        call_fail(call, &error);
    } else {
        call_reply_json(call, 200,
                        json_pack("{s:s%, s:i}", "data", out.data, out.size, "statusCode", 200));
        mem_wipe(out.data, out.size);
    }
    buf_done(&out);
}

#define CREATE_ROUTE(base_, hidden_)                                                              \
    {                                                                                             \
        .method = "POST", .path = base_ "/{id}", .role = ROLE_OPERATOR, .body_max = BODY_MAX,     \
        .form = FORM_V1, .handler = v1_cert_create, .hidden = (hidden_), .makes_conflicts = 1,    \
        .good_status = 204, .doc = {                                                              \
            .summary = "Make a VPN client (API v1)",                                              \
            .description = "Key, certificate and configuration; see vpn/clients. A body is "      \
                           "ignored."                                                             \
        }                                                                                         \
    }
#define FILE_ROUTE(base_, file_, role_, summary_, hidden_)                                        \
    {                                                                                             \
        .method = "GET", .path = base_ "/{id}/" file_, .role = (role_), .form = FORM_V1,          \
        .handler = v1_cert_file, .hidden = (hidden_), .makes_conflicts = 1, .doc = {              \
            .summary = summary_ " (API v1)",                                                      \
            .response = "{\"type\":\"object\",\"properties\":{\"data\":{\"type\":\"string\"},"    \
                        "\"statusCode\":{\"type\":\"integer\"}}}"                                 \
        }                                                                                         \
    }
#define ROUTES(base_, hidden_)                                                                    \
    CREATE_ROUTE(base_, hidden_),                                                                 \
        FILE_ROUTE(base_, "key", ROLE_OPERATOR, "A VPN client's private key", hidden_),           \
        FILE_ROUTE(base_, "cert", ROLE_VIEWER, "A VPN client's certificate", hidden_),            \
        FILE_ROUTE(base_, "config", ROLE_VIEWER, "A VPN client's OpenVPN configuration",          \
                   hidden_),                                                                      \
        FILE_ROUTE(base_, "ca", ROLE_VIEWER, "The authority's certificate", hidden_)

const struct api_route V1_CERT_ROUTES[] = {
    ROUTES("/api/v1/certs/clients", 0),
    ROUTES("/api/v1/services/certs/clients", 1),
    {.method = NULL},
};
