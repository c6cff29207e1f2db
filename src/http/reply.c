#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "http/internal.h"
#include "lib/mem.h"

/* Sent with every answer unless the handler set the header itself. */
static const struct {
    const char *name;
    const char *value;
} STANDARD[] = {
    {"X-Content-Type-Options", "nosniff"},
    {"Cache-Control", "no-store"},
    {"Referrer-Policy", "no-referrer"},
    {"X-Frame-Options", "DENY"},
    {"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"},
};

void http_set_header(struct http_request *request, const char *name, const char *value)
{
    for (size_t i = 0; i < request->headers.len; i++) {
        struct http_pair *pair = &request->headers.items[i];
        if (strcasecmp(pair->name, name) == 0) {
            free(pair->value);
            pair->value = xstrdup(value);
            return;
        }
    }
    http_pairs_add(&request->headers, xstrdup(name), xstrdup(value));
}

static int has_header(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->headers.len; i++) {
        if (strcasecmp(request->headers.items[i].name, name) == 0) {
            return 1;
        }
    }
    return 0;
}

static void add_headers(const struct http_request *request, struct MHD_Response *response)
{
    for (size_t i = 0; i < ARRAY_LEN(STANDARD); i++) {
        if (!has_header(request, STANDARD[i].name)) {
            MHD_add_response_header(response, STANDARD[i].name, STANDARD[i].value);
        }
    }
    for (size_t i = 0; i < request->headers.len; i++) {
        MHD_add_response_header(response, request->headers.items[i].name,
                                request->headers.items[i].value);
    }
}

void http_answer(struct http_request *request, int status, const char *content_type,
                 struct MHD_Response *response)
{
    if (!response) {
        abort(); /* only out of memory */
    }
    if (!request->server) { /* nobody waits any more */
        request->response = response;
        http_request_free(request);
        return;
    }
    if (content_type) {
        MHD_add_response_header(response, "Content-Type", content_type);
    }
    add_headers(request, response);
    request->response = response;
    request->status = status;
    request->state = HTTP_ANSWERED;
    if (!request->in_callback) {
        request->suspended = 0;
        MHD_resume_connection(request->connection);
        http_kick(request->server);
    }
}

void http_reply(struct http_request *request, int status, const char *content_type,
                const void *body, size_t size)
{
    http_answer(
        request, status, content_type,
        MHD_create_response_from_buffer(size, (void *)(body ? body : ""), MHD_RESPMEM_MUST_COPY));
}

void http_reply_json(struct http_request *request, int status, const json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);

    if (!text) {
        abort();
    }
    http_answer(request, status, "application/json",
                MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE));
}

void http_reply_problem(struct http_request *request, const struct error *error)
{
    int status = error->status ? error->status : 500;
    const char *title = MHD_get_reason_phrase_for((unsigned)status);
    json_t *problem = json_pack("{s:s, s:s, s:i}", "type", "about:blank", "title",
                                title ? title : "Error", "status", status);

    /* A sentence that was cut in the middle of a character isn't UTF-8 any more. */
    json_t *detail = json_string(error->detail);
    json_object_set_new(problem, "detail", detail ? detail : json_string("(not readable)"));
    if (error->pointer[0]) {
        json_t *pointer = json_string(error->pointer);
        if (pointer) {
            json_object_set_new(problem, "pointer", pointer);
        }
    }
    char *text = json_dumps(problem, JSON_COMPACT);
    json_decref(problem);
    http_answer(request, status, "application/problem+json",
                MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE));
}

void http_reply_file(struct http_request *request, int status, const char *content_type, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        close(fd);
        http_reply_problem(request,
                           &(struct error){.status = 500, .detail = "the file can't be read"});
        return;
    }
    http_answer(request, status, content_type,
                MHD_create_response_from_fd64((uint64_t)st.st_size, fd));
}
