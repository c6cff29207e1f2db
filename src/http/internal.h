/* internal.h - what the files of src/http share.
 *
 *     TCP connection ──► http_connection (credentials, arrival deadline)
 *        each request ──► http_request:
 *
 *     [arriving] ─whole─► [handling] ─http_reply─► [answered] ─sent─► freed
 *          │                   │ connection lost, or the server freed
 *          └─refused─► freed   └─► [orphan] ─http_reply─► freed (the answer is dropped)
 *
 * So a handler may keep the request as long as it likes: it is there until it is answered. */
#pragma once

#include <microhttpd.h>
#include <netinet/in.h>

#include "http/http.h"
#include "http/parse.h"
#include "lib/buf.h"

/* Live as long as a connection that was opened with them. */
struct http_credentials {
    unsigned refs;
    void *x509; /* gnutls_certificate_credentials_t */
};

struct http_connection {
    struct http_server *server;
    struct http_credentials *credentials;
    int fd;
    int64_t since_usec; /* monotonic: opened, or the last answer was sent; 0: a request is whole */
    char source[INET6_ADDRSTRLEN];
    struct http_connection *previous, *next;
};

struct http_server {
    uv_loop_t *loop;
    struct MHD_Daemon *daemon;
    const struct http_route *routes;
    void *arg;
    struct http_credentials *credentials;
    struct http_connection *connections;
    struct http_request *requests;
    unsigned idle_sec;
    uint16_t port;
    uv_poll_t poll;    /* on the daemon's epoll descriptor */
    uv_timer_t timer;  /* the daemon's next timeout, or "run at once" */
    uv_timer_t reaper; /* cuts requests that take too long to arrive */
    unsigned handles;  /* not yet closed by the loop */
};

enum http_state {
    HTTP_ARRIVING,
    HTTP_HANDLING,
    HTTP_ANSWERED,
};

struct http_request {
    struct http_server *server; /* NULL: an orphan */
    struct MHD_Connection *connection;
    struct http_connection *peer;
    struct http_request *previous, *next;
    const struct http_route *route;
    enum http_state state;
    int in_callback; /* MHD is calling us: answers are queued on return */
    int suspended;
    int begun;            /* the headers were seen */
    int excess;           /* bytes of the body past its limit, dropped */
    struct error refusal; /* status 0: none. Told once the body is through: one who still sends
                             when we close may never read the answer */
    char *method;
    char *target;
    char *path;
    char *cookie; /* the last one looked up */
    char source[INET6_ADDRSTRLEN];
    struct http_pairs segments, params, query, headers;
    struct buf body;
    struct MHD_Response *response;
    int status;
    struct http_stream *stream;
};

/* server.c: have the daemon run as soon as the loop turns. */
void http_kick(struct http_server *server);

/* request.c: the daemon's callbacks. */
void *http_on_target(void *cls, const char *target, struct MHD_Connection *connection);
enum MHD_Result http_on_access(void *cls, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *data,
                               size_t *data_size, void **request);
void http_on_completed(void *cls, struct MHD_Connection *connection, void **request,
                       enum MHD_RequestTerminationCode code);
void http_request_free(struct http_request *request);
/* The server goes: suspended requests become orphans, their connections run on to be closed. */
void http_request_abandon(struct http_request *request);

/* reply.c: takes over the response. */
void http_answer(struct http_request *request, int status, const char *content_type,
                 struct MHD_Response *response);

/* stream.c: the connection is gone. */
void http_stream_lost(struct http_stream *stream);
