/* http.h - HTTPS for people: libmicrohttpd with GnuTLS inside our loop, a router, and SSE.
 *
 * A request arrives whole (body up to the route's limit; larger: 413, and none of it is kept) in
 * its route's handler, which answers with http_reply() at once or later. Requests that are
 * answered later suspend their connection and cost nothing meanwhile. Requests whose framing is
 * ambiguous (differing Content-Length, or one with Transfer-Encoding: RFC 9112 section 6.3) are
 * refused. Errors are RFC 9457 problem documents. Slow and silent clients are cut after a time. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/error.h"

struct http_server;
struct http_request;
struct http_stream;

struct http_config {
    const char *address;
    uint16_t port;
    const char *certificate_pem;
    const char *key_pem;
    unsigned connections_max;
    unsigned connections_per_source_max;
    unsigned idle_sec; /* cut a connection after so long without a byte */
};

/* Handles a request; must lead to exactly one http_reply*() or http_stream_begin(). The request
 * stays valid until then, also when its client or the server is gone meanwhile (the answer is
 * dropped then, and headers can't be read any more). */
typedef void http_handler_fn(struct http_request *request, void *arg);

/* Segments in braces match one segment: "/api/v2/nodes/{id}"; "{rest...}" at the end matches the
 * remainder with its slashes. The longest literal match wins. `method` "*" takes any. */
struct http_route {
    const char *method;
    const char *path;
    size_t body_max; /* bytes; 0: no body */
    int fold_case;   /* match the path without regard to case, or to a slash at the end (API v1) */
    http_handler_fn *handler;
    /* Answers in this route's form what the server itself refuses (405, 413, framing); NULL: with
     * a problem document. */
    void (*refuse)(struct http_request *request, const struct error *error);
};

/* The routes array lives as long as the server; it ends with .method NULL. */
int http_server_new(uv_loop_t *loop, const struct http_config *config,
                    const struct http_route *routes, void *arg, struct http_server **ret_server,
                    struct error *error);
/* Puts another certificate in place for new connections. */
int http_server_certificate(struct http_server *server, const char *certificate_pem,
                            const char *key_pem, struct error *error);
/* Closes all connections. The loop must turn once more to give back the memory. */
void http_server_free(struct http_server *server);
uint16_t http_server_port(const struct http_server *server);

/* --- a request (valid until it is answered) --- */
const struct http_route *http_matched(const struct http_request *request);
const char *http_method(const struct http_request *request);
const char *http_path(const struct http_request *request);
const char *http_target(const struct http_request *request); /* path and query as they came */
const char *http_param(const struct http_request *request, const char *name); /* of the path */
const char *http_query(const struct http_request *request, const char *name); /* or NULL */
/* The i-th parameter of the query in the order given; -ENOENT past the last. */
int http_query_at(const struct http_request *request, size_t i, const char **ret_name,
                  const char **ret_value);
const char *http_header(const struct http_request *request, const char *name); /* or NULL */
const char *http_cookie(const struct http_request *request, const char *name); /* or NULL */
const char *http_source(const struct http_request *request); /* client's address */
const void *http_body(const struct http_request *request, size_t *ret_size);

/* The body as JSON: 400 with the place if it isn't, 415 if the Content-Type isn't JSON. */
int http_body_json(struct http_request *request, json_t **ret_json, struct error *error);

/* --- answers --- */

/* Adds a header to the answer to come. */
void http_set_header(struct http_request *request, const char *name, const char *value);
void http_reply(struct http_request *request, int status, const char *content_type,
                const void *body, size_t size);
void http_reply_json(struct http_request *request, int status, const json_t *json);
/* application/problem+json: {"type":"about:blank","title","status","detail","pointer"?}. */
void http_reply_problem(struct http_request *request, const struct error *error);
/* Streams the file from its beginning; takes over the descriptor. */
void http_reply_file(struct http_request *request, int status, const char *content_type, int fd);

/* Server-sent events (text/event-stream, WHATWG HTML section 9.2). The stream lives until the
 * client goes or http_stream_end(); `gone` is called once in either case. A client that reads
 * slowly may queue `queue_max` bytes, then it is cut. */
struct http_stream *http_stream_begin(struct http_request *request, size_t queue_max,
                                      void (*gone)(void *arg), void *arg);
/* id may be NULL; data is one line of JSON. event NULL: a comment, to keep the stream alive. */
void http_stream_send(struct http_stream *stream, const char *event, const char *id,
                      const char *data);
void http_stream_end(struct http_stream *stream);
