/* client.h - one HTTPS connection to cnsmod, kept for the commands that ask more than once.
 *
 *     client_new(&config, &client);
 *     code = client_call(client, "GET", API "/nodes", NULL, 0, &response, &error);
 *     ... response.body ...
 *     response_done(&response);
 *     client_free(client);
 *
 * Only the configured authority is trusted (the system's ones if none is configured), TLS 1.2 or
 * newer, redirects aren't followed. With a user and password and no token a session is opened at
 * the first call and closed by client_free(). Answers are limited to CLIENT_BODY_MAX. */
#pragma once

#include <jansson.h>

#include "cli/config.h"
#include "cli/exit.h"
#include "lib/error.h"

struct client;

#define API "/api/v2"

enum {
    CLIENT_BODY_MAX = 64 << 20,
    CLIENT_TIMEOUT_SEC = 30, /* for an answer; what ?wait= may take comes on top */
};

struct response {
    int status;   /* of HTTP; 0: no answer */
    json_t *body; /* NULL: none, or not JSON */
};

struct client *client_new(const struct config *config);
void client_free(struct client *client); /* NULL is fine */

/* `path` begins at the root and may have a query. `wait_sec` is what the server may wait by
 * itself. CLI_OK for 2xx; else the exit code and *error, whose pointer is the server's; *response
 * is valid in any case. */
enum exit_code client_call(struct client *client, const char *method, const char *path,
                           const json_t *body, unsigned wait_sec, struct response *response,
                           struct error *error);
void response_done(struct response *response);

/* GET whose body is handed over as it comes, without a limit of time. `take` gives 0 to go on. It
 * is called for 2xx only. CLI_OK too when `take` ended it. */
typedef int client_take_fn(void *arg, const char *data, size_t size);
enum exit_code client_stream(struct client *client, const char *path, client_take_fn *take,
                             void *arg, struct error *error);

/* Opens a session with user and password: {"token","expires","user","role"}. */
enum exit_code client_login(struct client *client, const char *user, const char *password,
                            json_t **ret_session, struct error *error);

/* Fetches the chain that the server at `url` shows and gives the certificate in it whose SHA-256
 * is `fingerprint` ("sha256:" and hex digits, colons and case don't matter), as PEM. Nothing is
 * said to the server before that is known. -EINVAL if none has it. */
enum exit_code client_fetch_ca(const char *url, const char *fingerprint, char **ret_pem,
                               struct error *error);

/* A text as one segment of a path or value of a query. The caller frees it. */
char *url_escape(const char *text);
