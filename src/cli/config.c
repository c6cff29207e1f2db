#include "cli/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/buf.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    SESSION_MAX = 16384,
    PORT_DEFAULT = 8443,
};

static const char SCHEME[] = "https://";

/* --- URL --- */

static int host_is_plain(const char *host, size_t size)
{
    size_t i = 0;

    if (size > 2 && host[0] == '[' && host[size - 1] == ']') {
        for (i = 1; i < size - 1; i++) {
            if (!isxdigit((unsigned char)host[i]) && host[i] != ':' && host[i] != '.') {
                return 0;
            }
        }
        return 1;
    }
    for (i = 0; i < size; i++) {
        if (!isalnum((unsigned char)host[i]) && !strchr(".-_", host[i])) {
            return 0;
        }
    }
    return size > 0;
}

static int port_parse(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    int port = digits > 0 && digits < 6 && !text[digits] ? atoi(text) : 0;

    return port <= 65535 ? port : 0;
}

int url_normalise(const char *text, char **ret_url, struct error *error)
{
    size_t scheme = strncmp(text, SCHEME, strlen(SCHEME)) == 0 ? strlen(SCHEME) : 0;
    const char *host = text + scheme;
    size_t all = strlen(host);

    if (all > 0 && host[all - 1] == '/') {
        all--;
    }
    _cleanup_free_ char *authority = xstrndup(host, all);
    char *bracket = strchr(authority, ']');
    char *colon = strchr(bracket ? bracket : authority, ':');
    int port = colon ? port_parse(colon + 1) : PORT_DEFAULT;
    size_t size = colon ? (size_t)(colon - authority) : all;

    if (port == 0 || !host_is_plain(authority, size)) {
        return error_set(error, 400, NULL,
                         "\"%s\" is not the URL of a server: "
                         "https://HOST[:PORT] is wanted",
                         text);
    }
    *ret_url = xasprintf("%s%.*s:%d", SCHEME, (int)size, authority, port);
    return 0;
}

/* --- reading --- */

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

static char *config_folder(void)
{
    const char *base = environment("XDG_CONFIG_HOME");
    const char *home = environment("HOME");

    if (base) {
        return xasprintf("%s/cnsmo", base);
    }
    return home ? xasprintf("%s/.config/cnsmo", home) : NULL;
}

static char *file_in(const struct config *config, const char *name)
{
    return xasprintf("%s/%s", config->folder, name);
}

static char *copy(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

static int parse_session(const struct buf *text, json_t **ret_session, struct error *error)
{
    json_t *session = NULL;
    int rc = json_parse(text->data, text->size, &session, error);

    if (rc == 0 && !json_get_string(session, "url", NULL)) {
        json_decref(session);
        return error_set(error, 400, NULL, "it has no url");
    }
    if (rc == 0) {
        *ret_session = session;
    }
    return rc;
}

/* What is stored, a new reference, or NULL; then config->problem says why, if there is something.
 */
static json_t *read_session(struct config *config)
{
    _cleanup_buf_ struct buf text = BUF_INIT(SESSION_MAX);
    json_t *session = NULL;
    struct error why;
    struct stat st;

    if (!config->folder) {
        return NULL;
    }
    _cleanup_free_ char *path = file_in(config, "session.json");
    int rc = stat(path, &st) < 0 ? -errno : 0;
    if (rc == -ENOENT || rc == -ENOTDIR) {
        return NULL;
    }
    if (rc == 0 && (st.st_mode & 077)) {
        config->problem = xasprintf("others can read %s, which holds a secret", path);
        return NULL;
    }
    rc = rc < 0 ? rc : file_read(path, &text);
    if (rc < 0) {
        config->problem = xasprintf("cannot read %s: %s", path, strerror(-rc));
    } else if (parse_session(&text, &session, &why) < 0) {
        config->problem = xasprintf("%s is damaged: %s", path, why.detail);
    }
    mem_wipe(text.data, text.size);
    return session;
}

static void use_session(struct config *config, const json_t *session)
{
    const char *url = json_get_string(session, "url", NULL);

    config->stored_url = copy(url);
    if (!config->url) {
        config->url = copy(url);
    }
    if (!url || strcmp(url, config->url) != 0) {
        return;
    }
    if (!config->ca && json_get_bool(session, "ca", 0)) {
        config->ca = file_in(config, "ca.pem");
    }
    if (!config->token && !config->password) {
        config->token = copy(json_get_string(session, "token", NULL));
    }
    if (!config->user) {
        config->user = copy(json_get_string(session, "user", NULL));
    }
}

int config_load(struct config *config, const char *url, const char *ca, struct error *error)
{
    url = url ? url : environment("CNSMO_URL");
    *config = (struct config){
        .folder = config_folder(),
        .ca = copy(ca ? ca : environment("CNSMO_CA")),
        .token = copy(environment("CNSMO_TOKEN")),
        .user = copy(environment("CNSMO_USER")),
        .password = copy(environment("CNSMO_PASSWORD")),
    };
    if (url && url_normalise(url, &config->url, error) < 0) {
        return -EINVAL;
    }
    json_t *session = read_session(config);
    if (session) {
        use_session(config, session);
    }
    json_decref(session);
    return 0;
}

void free_secret(char *secret)
{
    mem_wipe(secret, secret ? strlen(secret) : 0);
    free(secret);
}

void config_done(struct config *config)
{
    free(config->folder);
    free(config->url);
    free(config->ca);
    free_secret(config->token);
    free(config->user);
    free_secret(config->password);
    free(config->stored_url);
    free(config->problem);
    *config = (struct config){0};
}

/* --- writing --- */

static int write_session(const struct config *config, const json_t *session, const char *ca_pem)
{
    _cleanup_free_ char *ca = file_in(config, "ca.pem");
    _cleanup_free_ char *path = file_in(config, "session.json");
    int rc = file_make_folder(config->folder, 0700);

    if (rc == 0 && ca_pem) {
        rc = file_write_atomic(ca, ca_pem, strlen(ca_pem), 0600);
    }
    if (rc == 0) {
        char *text = json_dumps(session, JSON_INDENT(2));
        rc = text ? file_write_atomic(path, text, strlen(text), 0600) : -EINVAL;
        free_secret(text);
    }
    return rc;
}

int config_store(const struct config *config, const char *user, const char *token,
                 const char *expires, const char *ca_pem, struct error *error)
{
    if (!config->folder) {
        return error_set(error, 500, NULL, "nowhere to store the session: HOME is not set");
    }
    json_t *session = json_pack("{s:s, s:s, s:s, s:s*, s:b}", "url", config->url, "user", user,
                                "token", token, "expires", expires, "ca", ca_pem != NULL);
    int rc = write_session(config, session, ca_pem);
    json_decref(session);
    return rc < 0 ? error_set(error, 500, NULL, "cannot store the session in %s: %s",
                              config->folder, strerror(-rc))
                  : 0;
}

int config_forget(const struct config *config, struct error *error)
{
    static const char *const NAMES[] = {"session.json", "ca.pem"};

    for (size_t i = 0; config->folder && i < ARRAY_LEN(NAMES); i++) {
        _cleanup_free_ char *path = file_in(config, NAMES[i]);
        if (unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR) {
            return error_set(error, 500, NULL, "cannot remove %s: %s", path, strerror(errno));
        }
    }
    return 0;
}
