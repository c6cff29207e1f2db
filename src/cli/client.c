#include "cli/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    CONNECT_TIMEOUT_SEC = 10,
    ERROR_BODY_MAX = 65536,
};

struct client {
    CURL *curl;
    char *url;
    char *token;
    char *user, *password; /* NULL: no session of our own is opened */
    int own_session;       /* the token is of a session to be closed */
};

enum exit_code exit_code_of(int http_status)
{
    if (http_status >= 200 && http_status < 300) {
        return CLI_OK;
    }
    return http_status == 401 || http_status == 403 ? CLI_FORBIDDEN : CLI_REFUSED;
}

char *url_escape(const char *text)
{
    char *escaped = curl_easy_escape(NULL, text, 0);
    char *result = xstrdup(escaped ? escaped : "");

    curl_free(escaped);
    return result;
}

static CURL *new_handle(const char *ca)
{
    CURL *curl = curl_easy_init();

    if (!curl) {
        abort();
    }
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_SEC);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "cnsmo/" CNSMO_VERSION);
    curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L); /* an id ".." is no way upwards */
    if (ca) {
        curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL); /* this one and no other */
    }
    return curl;
}

static char *copy(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

struct client *client_new(const struct config *config)
{
    struct client *client = xnew(struct client);

    client->curl = new_handle(config->ca);
    client->url = xstrdup(config->url);
    client->token = copy(config->token);
    if (!config->token && config->password) {
        client->user = copy(config->user ? config->user : "admin");
        client->password = copy(config->password);
    }
    return client;
}

void client_free(struct client *client)
{
    if (!client) {
        return;
    }
    if (client->own_session) {
        struct response response;
        client_call(client, "DELETE", API "/session", NULL, 0, &response, NULL);
        response_done(&response);
    }
    curl_easy_cleanup(client->curl);
    free(client->url);
    free_secret(client->token);
    free(client->user);
    free_secret(client->password);
    free(client);
}

void response_done(struct response *response)
{
    json_decref(response->body);
    *response = (struct response){0};
}

/* --- one request --- */

static size_t take_body(char *data, size_t size, size_t len, void *arg)
{
    return buf_append(arg, data, size * len) < 0 ? 0 : size * len;
}

static enum exit_code transport_error(const struct client *client, CURLcode rc, const char *why,
                                      struct error *error)
{
    const char *end;

    switch (rc) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        end = strstr(why, " CAfile:"); /* GnuTLS's details of where it looked */
        error_set(error, 503, NULL, "%s can't be trusted: %.*s (see --ca and cnsmo login)",
                  client->url, (int)(end ? end - why : (long)strlen(why)), why);
        return CLI_UNREACHABLE;
    case CURLE_WRITE_ERROR:
        error_set(error, 500, NULL, "the answer of %s is too large", client->url);
        return CLI_REFUSED;
    default:
        error_set(error, 503, NULL, "%s can't be reached: %s", client->url, why);
        return CLI_UNREACHABLE;
    }
}

/* The server's own words, where it has said some. */
static void problem_error(int status, const json_t *problem, struct error *error)
{
    const char *detail = json_get_string(problem, "detail", NULL);

    detail = detail ? detail : json_get_string(problem, "title", NULL);
    if (detail) {
        error_set(error, status, json_get_string(problem, "pointer", ""), "%s", detail);
    } else if (status == 401) {
        error_set(error, status, NULL, "not logged in");
    } else {
        error_set(error, status, NULL, "the server answered with status %d", status);
    }
}

struct request {
    struct curl_slist *headers;
    char *url;
    char *text; /* body; NULL: none */
    char why[CURL_ERROR_SIZE];
};

static void add_header(struct request *request, const char *line)
{
    struct curl_slist *headers = curl_slist_append(request->headers, line);

    if (!headers) {
        abort();
    }
    request->headers = headers;
}

static void request_prepare(struct client *client, struct request *request, const char *method,
                            const char *path, const json_t *body)
{
    CURL *curl = client->curl;

    request->url = xasprintf("%s%s", client->url, path);
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, request->why);
    curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    if (client->token) {
        char *line = xasprintf("Authorization: Bearer %s", client->token);
        add_header(request, line);
        free_secret(line);
    }
    if (body) {
        request->text = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
        add_header(request, strcmp(method, "PATCH") == 0
                                ? "Content-Type: application/merge-patch+json"
                                : "Content-Type: application/json");
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->text ? request->text : "");
    }
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, request->headers);
}

static void request_done(struct client *client, struct request *request)
{
    for (struct curl_slist *line = request->headers; line; line = line->next) {
        mem_wipe(line->data, strlen(line->data));
    }
    curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, NULL);
    curl_easy_setopt(client->curl, CURLOPT_ERRORBUFFER, NULL);
    curl_slist_free_all(request->headers);
    free(request->url);
    free_secret(request->text);
}

static const char *reason(const struct request *request, CURLcode rc)
{
    return request->why[0] ? request->why : curl_easy_strerror(rc);
}

static enum exit_code call_once(struct client *client, const char *method, const char *path,
                                const json_t *body, unsigned wait_sec, struct response *response,
                                struct error *error)
{
    struct request request = {0};
    _cleanup_buf_ struct buf answer = BUF_INIT(CLIENT_BODY_MAX);
    enum exit_code code;
    long status = 0;

    request_prepare(client, &request, method, path, body);
    curl_easy_setopt(client->curl, CURLOPT_TIMEOUT, (long)(CLIENT_TIMEOUT_SEC + wait_sec));
    curl_easy_setopt(client->curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(client->curl, CURLOPT_WRITEDATA, &answer);
    CURLcode rc = curl_easy_perform(client->curl);
    if (rc != CURLE_OK) {
        code = transport_error(client, rc, reason(&request, rc), error);
    } else {
        curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
        response->status = (int)status;
        code = exit_code_of(response->status);
        if (answer.size > 0 && json_parse(answer.data, answer.size, &response->body, NULL) < 0 &&
            code == CLI_OK) {
            error_set(error, 500, NULL, "%s answered something that is not JSON", client->url);
            code = CLI_REFUSED;
        } else if (code != CLI_OK) {
            problem_error(response->status, response->body, error);
        }
    }
    mem_wipe(answer.data, answer.size);
    request_done(client, &request);
    return code;
}

/* --- sessions --- */

enum exit_code client_login(struct client *client, const char *user, const char *password,
                            json_t **ret_session, struct error *error)
{
    struct response response = {0};
    json_t *body = json_pack("{s:s, s:s}", "username", user, "password", password);

    if (!body) {
        error_set(error, 400, NULL, "user name and password must be UTF-8");
        return CLI_USAGE;
    }
    enum exit_code code = call_once(client, "POST", API "/session", body, 0, &response, error);
    json_decref(body);
    if (code == CLI_OK && !json_get_string(response.body, "token", NULL)) {
        error_set(error, 500, NULL, "%s gave no token", client->url);
        code = CLI_REFUSED;
    }
    if (code == CLI_OK) {
        *ret_session = json_incref(response.body);
    }
    response_done(&response);
    return code;
}

static enum exit_code open_session(struct client *client, struct error *error)
{
    json_t *session = NULL;

    if (client->token || !client->password) {
        return CLI_OK;
    }
    enum exit_code code = client_login(client, client->user, client->password, &session, error);
    if (code == CLI_OK) {
        client->token = xstrdup(json_get_string(session, "token", ""));
        client->own_session = 1;
    }
    json_decref(session);
    return code;
}

enum exit_code client_call(struct client *client, const char *method, const char *path,
                           const json_t *body, unsigned wait_sec, struct response *response,
                           struct error *error)
{
    *response = (struct response){0};
    enum exit_code code = open_session(client, error);
    return code != CLI_OK ? code
                          : call_once(client, method, path, body, wait_sec, response, error);
}

/* --- streams --- */

struct stream {
    struct client *client;
    client_take_fn *take;
    void *arg;
    int ended;         /* by `take` */
    struct buf failed; /* the body of an answer that isn't 2xx */
};

static size_t take_stream(char *data, size_t size, size_t len, void *arg)
{
    struct stream *stream = arg;
    long status = 0;

    curl_easy_getinfo(stream->client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (exit_code_of((int)status) != CLI_OK) {
        return buf_append(&stream->failed, data, size * len) < 0 ? 0 : size * len;
    }
    if (stream->take(stream->arg, data, size * len) != 0) {
        stream->ended = 1;
        return 0;
    }
    return size * len;
}

enum exit_code client_stream(struct client *client, const char *path, client_take_fn *take,
                             void *arg, struct error *error)
{
    struct stream stream = {
        .client = client, .take = take, .arg = arg, .failed = BUF_INIT(ERROR_BODY_MAX)};
    struct request request = {0};
    json_t *problem = NULL;
    long status = 0;
    enum exit_code code = open_session(client, error);

    if (code != CLI_OK) {
        return code;
    }
    request_prepare(client, &request, "GET", path, NULL);
    curl_easy_setopt(client->curl, CURLOPT_TIMEOUT, 0L);
    curl_easy_setopt(client->curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(client->curl, CURLOPT_WRITEFUNCTION, take_stream);
    curl_easy_setopt(client->curl, CURLOPT_WRITEDATA, &stream);
    CURLcode rc = curl_easy_perform(client->curl);
    curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (rc != CURLE_OK && !stream.ended) {
        code = transport_error(client, rc, reason(&request, rc), error);
    } else if (exit_code_of((int)status) != CLI_OK) {
        code = exit_code_of((int)status);
        json_parse(stream.failed.data, stream.failed.size, &problem, NULL);
        problem_error((int)status, problem, error);
        json_decref(problem);
    }
    buf_done(&stream.failed);
    request_done(client, &request);
    return code;
}
