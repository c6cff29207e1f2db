#include <errno.h>
#include <string.h>
#include <strings.h>

#include "http/internal.h"
#include "http/router.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    EXCESS_MAX = 1 << 20, /* bytes that nobody wants but that we still read, to be polite */
};

void *http_on_target(void *cls, const char *target, struct MHD_Connection *connection)
{
    struct http_server *server = cls;
    struct http_request *request = xnew(struct http_request);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    request->server = server;
    request->connection = connection;
    request->peer = info ? info->socket_context : NULL;
    if (request->peer) {
        memcpy(request->source, request->peer->source, sizeof request->source);
    }
    request->target = xstrdup(target);
    request->path = xstrndup(target, strcspn(target, "?"));
    request->next = server->requests;
    if (request->next) {
        request->next->previous = request;
    }
    server->requests = request;
    return request;
}

static void detach(struct http_request *request)
{
    if (request->next) {
        request->next->previous = request->previous;
    }
    *(request->previous ? &request->previous->next : &request->server->requests) = request->next;
    request->previous = request->next = NULL;
    request->server = NULL;
    request->connection = NULL;
    request->peer = NULL;
}

void http_request_free(struct http_request *request)
{
    if (request->server) {
        detach(request);
    }
    if (request->response) {
        MHD_destroy_response(request->response);
    }
    free(request->method);
    free(request->target);
    free(request->path);
    free(request->cookie);
    http_pairs_done(&request->segments);
    http_pairs_done(&request->params);
    http_pairs_done(&request->query);
    http_pairs_done(&request->headers);
    if (request->body.data) {
        mem_wipe(request->body.data, request->body.size); /* it may hold a password */
    }
    buf_done(&request->body);
    free(request);
}

void http_on_completed(void *cls, struct MHD_Connection *connection, void **context,
                       enum MHD_RequestTerminationCode code)
{
    struct http_request *request = *context;

    if (!request) {
        return;
    }
    *context = NULL;
    if (request->peer) {
        request->peer->since_usec = clock_monotonic_usec();
    }
    if (request->stream) {
        http_stream_lost(request->stream);
        request->stream = NULL;
    }
    if (request->state == HTTP_HANDLING) {
        detach(request);
    } else {
        http_request_free(request);
    }
}

void http_request_abandon(struct http_request *request)
{
    if (request->suspended) {
        request->suspended = 0;
        MHD_resume_connection(request->connection);
    }
}

/* --- framing (RFC 9112 section 6.3) --- */

struct framing {
    unsigned lengths, encodings, hosts;
    int bad;
    uint64_t length;
};

static enum MHD_Result note_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    struct framing *framing = cls;

    if (strcasecmp(name, "Content-Length") == 0) {
        size_t size = value ? strlen(value) : 0;
        framing->lengths++;
        framing->bad |= size == 0 || size > 18 || strspn(value, "0123456789") != size;
        framing->length = framing->bad ? 0 : strtoull(value, NULL, 10);
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        framing->encodings++;
        framing->bad |= !value || strcasecmp(value, "chunked") != 0;
    } else if (strcasecmp(name, "Host") == 0) {
        framing->hosts++;
    }
    /* A blank before the colon or a folded line is read differently by different programs. */
    framing->bad |= strpbrk(name, " \t") != NULL;
    return MHD_YES;
}

static int check_framing(struct http_request *request, int is_1_1, struct framing *framing,
                         struct error *error)
{
    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, note_header, framing);
    if (framing->bad || framing->lengths > 1 || framing->encodings > 1 ||
        (framing->lengths && framing->encodings) || (framing->encodings && !is_1_1)) {
        return error_set(error, 400, NULL, "the framing of the request is ambiguous");
    }
    if (framing->hosts > 1 || (framing->hosts == 0 && is_1_1)) {
        return error_set(error, 400, NULL, "the request must have one \"Host\" header");
    }
    return 0;
}

/* --- routing --- */

/* Of a path that can't be taken apart: whose it would be, for its form of errors. */
static const struct http_route *find_rest(const struct http_request *request)
{
    const struct http_route *found = NULL;
    size_t longest = 0;

    for (const struct http_route *route = request->server->routes; route->method; route++) {
        const char *rest = strstr(route->path, "{rest...}");
        size_t size = rest ? (size_t)(rest - route->path) : 0;
        int fits = (route->fold_case ? strncasecmp(request->target, route->path, size)
                                     : strncmp(request->target, route->path, size)) == 0;
        if (size > longest && fits) {
            found = route;
            longest = size;
        }
    }
    return found;
}

static int find_route(struct http_request *request, struct error *error)
{
    const struct http_route *near = NULL;
    _cleanup_free_ char *allow = NULL;
    const char *query = strchr(request->target, '?');

    if (router_split(request->target, &request->segments) < 0) {
        request->route = find_rest(request);
        return error_set(error, 400, NULL, "the path is malformed");
    }
    int rc = router_match(request->server->routes, request->method, &request->segments,
                          &request->route, &near, &request->params, &allow);
    if (rc < 0) {
        request->route = near; /* for its form of errors */
    }
    if (rc == -ENOENT) {
        return error_set(error, 404, NULL, "there is nothing at this path");
    }
    if (rc < 0) {
        http_set_header(request, "Allow", allow);
        return error_set(error, 405, NULL, "%s is not possible here; possible: %s",
                         strlen(request->method) < 16 ? request->method : "this method", allow);
    }
    if (query && http_pairs_parse(&request->query, query + 1) < 0) {
        return error_set(error, 400, NULL, "the query string is malformed or too long");
    }
    return 0;
}

static void refuse(struct http_request *request, const struct error *error)
{
    if (request->route && request->route->refuse) {
        request->route->refuse(request, error);
    } else {
        http_reply_problem(request, error);
    }
}

static void refuse_and_close(struct http_request *request, const struct error *error)
{
    http_set_header(request, "Connection", "close");
    refuse(request, error);
}

static void on_headers(struct http_request *request, const char *method, const char *version)
{
    struct framing framing = {0};
    struct error error = {0};

    request->method = xstrdup(method);
    if (check_framing(request, strcmp(version, "HTTP/1.1") == 0, &framing, &error) < 0) {
        refuse_and_close(request, &error); /* what follows can't be told from a request */
        return;
    }
    if (find_route(request, &error) == 0) {
        request->body.limit = request->route->body_max;
        if (framing.length > request->route->body_max) {
            error_set(&error, 413, NULL, "the body has %llu bytes; at most %zu are taken",
                      (unsigned long long)framing.length, request->route->body_max);
        }
    }
    if (error.status == 0) {
        return;
    }
    if (framing.length > EXCESS_MAX || http_header(request, "Expect")) {
        refuse_and_close(request, &error);
        return;
    }
    request->refusal = error;
}

static enum MHD_Result on_data(struct http_request *request, const char *data, size_t *size)
{
    if (request->refusal.status || request->excess ||
        buf_append(&request->body, data, *size) < 0) {
        request->excess += *size > EXCESS_MAX ? EXCESS_MAX : (int)*size;
        if (request->excess > EXCESS_MAX) {
            return MHD_NO;
        }
    }
    *size = 0;
    return MHD_YES;
}

static void on_whole(struct http_request *request)
{
    if (request->peer) {
        request->peer->since_usec = 0;
    }
    if (request->excess && !request->refusal.status) {
        error_set(&request->refusal, 413, NULL, "the body has more than %zu bytes",
                  request->route->body_max);
    }
    if (request->refusal.status == 400) { /* a client that can't be trusted to frame the next */
        refuse_and_close(request, &request->refusal);
        return;
    }
    if (request->refusal.status) {
        refuse(request, &request->refusal);
        return;
    }
    request->state = HTTP_HANDLING;
    request->route->handler(request, request->server->arg);
}

enum MHD_Result http_on_access(void *cls, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *data,
                               size_t *data_size, void **context)
{
    struct http_request *request = *context;

    if (!request) {
        return MHD_NO;
    }
    if (*data_size > 0) {
        return on_data(request, data, data_size);
    }
    request->in_callback = 1;
    if (!request->begun) {
        request->begun = 1;
        on_headers(request, method, version);
    } else if (request->state == HTTP_ARRIVING) {
        on_whole(request);
    }
    request->in_callback = 0;
    if (request->state == HTTP_ANSWERED) {
        return MHD_queue_response(connection, (unsigned)request->status, request->response);
    }
    if (request->state == HTTP_HANDLING) {
        request->suspended = 1;
        MHD_suspend_connection(connection);
    }
    return MHD_YES;
}

/* --- reading a request --- */

const struct http_route *http_matched(const struct http_request *request)
{
    return request->route;
}

const char *http_method(const struct http_request *request)
{
    return request->method;
}

const char *http_path(const struct http_request *request)
{
    return request->path;
}

const char *http_target(const struct http_request *request)
{
    return request->target;
}

const char *http_param(const struct http_request *request, const char *name)
{
    return http_pairs_get(&request->params, name);
}

const char *http_query(const struct http_request *request, const char *name)
{
    return http_pairs_get(&request->query, name);
}

int http_query_at(const struct http_request *request, size_t i, const char **ret_name,
                  const char **ret_value)
{
    if (i >= request->query.len) {
        return -ENOENT;
    }
    *ret_name = request->query.items[i].name;
    *ret_value = request->query.items[i].value;
    return 0;
}

const char *http_header(const struct http_request *request, const char *name)
{
    return request->connection
               ? MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name)
               : NULL;
}

const char *http_cookie(const struct http_request *request, const char *name)
{
    const char *header = http_header(request, "Cookie");
    char *value;

    if (!header || http_cookie_find(header, name, &value) < 0) {
        return NULL;
    }
    struct http_request *mine = (struct http_request *)request; /* only remembers what to free */
    free(mine->cookie);
    mine->cookie = value;
    return value;
}

const char *http_source(const struct http_request *request)
{
    return request->source;
}

const void *http_body(const struct http_request *request, size_t *ret_size)
{
    *ret_size = request->body.size;
    return request->body.data;
}

static int is_json_type(const char *type)
{
    size_t size = strcspn(type, "; ");

    return (size == 16 && strncasecmp(type, "application/json", size) == 0) ||
           (size > 17 && strncasecmp(type, "application/", 12) == 0 &&
            strncasecmp(type + size - 5, "+json", 5) == 0);
}

int http_body_json(struct http_request *request, json_t **ret_json, struct error *error)
{
    const char *type = http_header(request, "Content-Type");

    if (!type || !is_json_type(type)) {
        return error_set(error, 415, NULL, "the body must be sent as \"application/json\"");
    }
    return json_parse(request->body.data, request->body.size, ret_json, error);
}
