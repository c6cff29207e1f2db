#include "pki/pki.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "pki/x509.h"

enum {
    FIELD_MAX = 256, /* characters of a server, an id or a secret */
    HEX_LEN = 2 * SHA256_SIZE,
};

static const char PREFIX[] = "cnsmo1.";
static const char SHA256_PREFIX[] = "sha256:";

char *join_token_encode(const struct join_token *token)
{
    const char *fingerprint = token->fingerprint;
    json_t *servers = json_array();

    if (strncmp(fingerprint, SHA256_PREFIX, strlen(SHA256_PREFIX)) == 0) {
        fingerprint += strlen(SHA256_PREFIX);
    }
    for (size_t i = 0; token->servers[i]; i++) {
        json_array_append_new(servers, json_string(token->servers[i]));
    }
    json_t *json = json_pack("{s:o,s:s,s:s,s:s}", "s", servers, "f", fingerprint, "i", token->id,
                             "k", token->secret);
    _cleanup_secret_ char *text = json_canonical(json);
    _cleanup_secret_ char *encoded = base64url_encode(text, strlen(text));
    json_decref(json);
    return xasprintf("%s%s", PREFIX, encoded);
}

void join_token_done(struct join_token *token)
{
    for (size_t i = 0; token->servers && token->servers[i]; i++) {
        free(token->servers[i]);
    }
    free(token->servers);
    free(token->fingerprint);
    free(token->id);
    x509_secret_free(&token->secret);
    *token = (struct join_token){0};
}

static int is_port(const char *text)
{
    size_t len = strlen(text);

    if (len == 0 || len > 5 || text[0] == '0' || strspn(text, "0123456789") != len) {
        return 0;
    }
    return atoi(text) <= 65535;
}

/* "host:port", "a.b.c.d:port" or "[v6]:port". */
static int is_server(const char *text)
{
    static const char NAME[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789.-";
    const char *colon = strrchr(text, ':');
    uint8_t address[16];

    if (!colon || colon == text || strlen(text) >= FIELD_MAX || !is_port(colon + 1)) {
        return 0;
    }
    _cleanup_free_ char *host = xstrndup(text, (size_t)(colon - text));
    size_t len = strlen(host);
    if (host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        return inet_pton(AF_INET6, host + 1, address) == 1;
    }
    return strspn(host, NAME) == len;
}

static int take_servers(const json_t *json, struct join_token *token, struct error *error)
{
    const json_t *servers = json_object_get(json, "s");
    size_t len = json_array_size(servers);

    if (len == 0 || len > JOIN_TOKEN_SERVERS_MAX) {
        return error_set(error, 400, NULL, "the token must name 1 to %d servers",
                         JOIN_TOKEN_SERVERS_MAX);
    }
    token->servers = xcalloc(len + 1, sizeof *token->servers);
    for (size_t i = 0; i < len; i++) {
        const char *server = json_string_value(json_array_get(servers, i));
        if (!server || !is_server(server)) {
            return error_set(error, 400, NULL, "the token's server %zu isn't HOST:PORT", i + 1);
        }
        token->servers[i] = xstrdup(server);
    }
    return 0;
}

static int take_field(const json_t *json, const char *name, const char *meaning, char **ret_field,
                      struct error *error)
{
    const char *value = json_get_string(json, name, NULL);

    if (!value || value[0] == '\0' || strlen(value) >= FIELD_MAX) {
        return error_set(error, 400, NULL, "the token has no usable %s", meaning);
    }
    *ret_field = xstrdup(value);
    return 0;
}

static int take_fingerprint(const json_t *json, struct join_token *token, struct error *error)
{
    const char *hex = json_get_string(json, "f", "");

    if (strlen(hex) != HEX_LEN || strspn(hex, "0123456789abcdef") != HEX_LEN) {
        return error_set(error, 400, NULL, "the token has no usable fingerprint");
    }
    token->fingerprint = xasprintf("%s%s", SHA256_PREFIX, hex);
    return 0;
}

static int take_all(const json_t *json, struct join_token *token, struct error *error)
{
    if (!json_is_object(json)) {
        return error_set(error, 400, NULL, "the token is damaged: it doesn't hold an object");
    }
    int rc = take_servers(json, token, error);
    if (rc == 0) {
        rc = take_fingerprint(json, token, error);
    }
    if (rc == 0) {
        rc = take_field(json, "i", "id", &token->id, error);
    }
    return rc < 0 ? rc : take_field(json, "k", "secret", &token->secret, error);
}

int join_token_decode(const char *text, struct join_token *ret_token, struct error *error)
{
    struct join_token token = {0};
    uint8_t *data;
    size_t size;
    json_t *json;

    if (strlen(text) > JOIN_TOKEN_MAX) {
        return error_set(error, 400, NULL, "a join token has at most %d characters",
                         JOIN_TOKEN_MAX);
    }
    if (strncmp(text, PREFIX, strlen(PREFIX)) != 0) {
        return error_set(error, 400, NULL, "a join token begins with \"%s\"", PREFIX);
    }
    if (base64url_decode(text + strlen(PREFIX), &data, &size) < 0) {
        return error_set(error, 400, NULL,
                         "the token is damaged: a character is wrong or missing");
    }
    int rc = json_parse((const char *)data, size, &json, NULL);
    mem_wipe(data, size);
    free(data);
    if (rc < 0) {
        /* not the parser's words: they could quote a piece of the secret */
        return error_set(error, 400, NULL, "the token is damaged: it doesn't hold JSON");
    }
    rc = take_all(json, &token, error);
    json_decref(json);
    if (rc < 0) {
        join_token_done(&token);
        return rc;
    }
    *ret_token = token;
    return 0;
}
