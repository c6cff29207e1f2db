#include "agent/identity.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "pki/pki.h"

enum {
    FILE_MAX = 1 << 16,
    SERVERS_MAX = JOIN_TOKEN_SERVERS_MAX,
    CHAIN_MAX = 8,
};

/* --- files --- */

static int read_text(const char *state_dir, const char *name, char **ret_text, struct error *error)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", state_dir, name);
    struct buf text = BUF_INIT(FILE_MAX);

    int rc = file_read(path, &text);
    if (rc == 0) {
        *ret_text = xstrndup(text.data ? text.data : "", text.size);
    } else if (error) {
        error_set(error, error_status(rc), NULL, "cannot read %s: %s", path, strerror(-rc));
    }
    if (text.data) {
        mem_wipe(text.data, text.size);
    }
    buf_done(&text);
    return rc;
}

static int write_text(const char *state_dir, const char *name, const char *text,
                      struct error *error)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", state_dir, name);

    int rc = file_write_atomic(path, text, strlen(text), 0600);
    if (rc < 0) {
        error_set(error, error_status(rc), NULL, "cannot write %s: %s", path, strerror(-rc));
    }
    return rc;
}

static int parse_servers(const json_t *list, char ***ret_servers)
{
    size_t len = json_array_size(list);

    if (len == 0 || len > SERVERS_MAX) {
        return -EINVAL;
    }
    char **servers = xcalloc(len + 1, sizeof *servers);
    for (size_t i = 0; i < len; i++) {
        const char *server = json_string_value(json_array_get(list, i));
        servers[i] = xstrdup(server ? server : "");
    }
    *ret_servers = servers;
    return 0;
}

static int parse_agent_json(const char *text, struct identity *identity, struct error *error)
{
    json_t *json;

    int rc = json_parse(text, strlen(text), &json, error);
    if (rc < 0) {
        return rc;
    }
    const char *id = json_get_string(json, "id", "");
    const char *fingerprint = json_get_string(json, "fingerprint", "");
    rc = parse_servers(json_object_get(json, "servers"), &identity->servers);
    if (rc < 0 || id[0] == '\0' || fingerprint[0] == '\0') {
        rc = error_set(error, 400, NULL, "agent.json must have an id, servers and a fingerprint");
    } else {
        identity->id = xstrdup(id);
        identity->fingerprint = xstrdup(fingerprint);
    }
    json_decref(json);
    return rc;
}

int identity_load(const char *state_dir, struct identity *ret_identity, struct error *error)
{
    struct identity identity = {0};
    char *text = NULL;

    int rc = read_text(state_dir, "agent.json", &text, error);
    if (rc == -ENOENT) {
        error_set(error, 404, NULL, "this machine hasn't joined; see `cnsmo-agent join --help`");
    }
    if (rc == 0) {
        rc = parse_agent_json(text, &identity, error);
    }
    if (rc == 0) {
        rc = read_text(state_dir, "key.pem", &identity.key_pem, error);
    }
    if (rc == 0) {
        rc = read_text(state_dir, "cert.pem", &identity.cert_pem, error);
    }
    free(text);
    if (rc < 0) {
        identity_done(&identity);
        return rc;
    }
    *ret_identity = identity;
    return 0;
}

int identity_save(const char *state_dir, const struct identity *identity, struct error *error)
{
    json_t *servers = json_array();

    for (char **server = identity->servers; *server; server++) {
        json_array_append_new(servers, json_string(*server));
    }
    json_t *json = json_pack("{s:s, s:o, s:s}", "id", identity->id, "servers", servers,
                             "fingerprint", identity->fingerprint);
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_SORT_KEYS);
    json_decref(json);
    int rc = write_text(state_dir, "key.pem", identity->key_pem, error);
    if (rc == 0) {
        rc = write_text(state_dir, "cert.pem", identity->cert_pem, error);
    }
    if (rc == 0) {
        rc = write_text(state_dir, "agent.json", text, error);
    }
    free(text);
    return rc;
}

int identity_key(const char *state_dir, char **ret_key_pem, struct error *error)
{
    char *key = NULL, *csr = NULL;

    int rc = read_text(state_dir, "key.pem", &key, NULL);
    if (rc == 0) {
        *ret_key_pem = key;
        return 0;
    }
    rc = pki_make_csr("cnsmo-agent", &key, &csr, error);
    if (rc < 0) {
        return rc;
    }
    free(csr);
    rc = write_text(state_dir, "key.pem", key, error);
    if (rc < 0) {
        mem_wipe(key, strlen(key));
        free(key);
        return rc;
    }
    *ret_key_pem = key;
    return 0;
}

/* --- certificates --- */

/* The leaf, to be freed with gnutls_x509_crt_deinit(). */
static int load_leaf(const char *cert_pem, gnutls_x509_crt_t *ret_leaf)
{
    gnutls_x509_crt_t chain[CHAIN_MAX];
    unsigned len = CHAIN_MAX;
    gnutls_datum_t pem = {(unsigned char *)cert_pem, (unsigned)strlen(cert_pem)};

    if (gnutls_x509_crt_list_import(chain, &len, &pem, GNUTLS_X509_FMT_PEM, 0) < 0 || len == 0) {
        return -EINVAL;
    }
    for (unsigned i = 1; i < len; i++) {
        gnutls_x509_crt_deinit(chain[i]);
    }
    *ret_leaf = chain[0];
    return 0;
}

static int key_matches(gnutls_x509_crt_t leaf, const char *key_pem)
{
    gnutls_datum_t pem = {(unsigned char *)key_pem, (unsigned)strlen(key_pem)};
    unsigned char of_key[64], of_leaf[64];
    size_t key_size = sizeof of_key, leaf_size = sizeof of_leaf;
    gnutls_x509_privkey_t key;

    if (gnutls_x509_privkey_init(&key) < 0) {
        return 0;
    }
    int matches =
        gnutls_x509_privkey_import(key, &pem, GNUTLS_X509_FMT_PEM) == 0 &&
        gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, of_key, &key_size) == 0 &&
        gnutls_x509_crt_get_key_id(leaf, GNUTLS_KEYID_USE_SHA256, of_leaf, &leaf_size) == 0 &&
        key_size == leaf_size && memcmp(of_key, of_leaf, key_size) == 0;
    gnutls_x509_privkey_deinit(key);
    return matches;
}

int identity_renew(const char *state_dir, struct identity *identity, const char *cert_pem,
                   struct error *error)
{
    gnutls_x509_crt_t leaf;

    if (load_leaf(cert_pem, &leaf) < 0) {
        return error_set(error, 400, "/certificate", "the server sent no readable certificate");
    }
    int matches = key_matches(leaf, identity->key_pem);
    gnutls_x509_crt_deinit(leaf);
    if (!matches) {
        return error_set(error, 400, "/certificate",
                         "the server sent a certificate for another key");
    }
    int rc = state_dir ? write_text(state_dir, "cert.pem", cert_pem, error) : 0;
    if (rc == 0) {
        free(identity->cert_pem);
        identity->cert_pem = xstrdup(cert_pem);
    }
    return rc;
}

int identity_days_left(const struct identity *identity)
{
    gnutls_x509_crt_t leaf;

    if (load_leaf(identity->cert_pem, &leaf) < 0) {
        return 0;
    }
    time_t end = gnutls_x509_crt_get_expiration_time(leaf);
    gnutls_x509_crt_deinit(leaf);
    return (int)((end - time(NULL)) / 86400);
}

/* --- servers --- */

int identity_server_parse(const char *server, char **ret_host, uint16_t *ret_port)
{
    const char *colon = strrchr(server, ':'), *host = server;
    unsigned long port = 0;

    if (!colon || colon == server || colon[1] == '\0') {
        return -EINVAL;
    }
    for (const char *digit = colon + 1; *digit; digit++) {
        if (*digit < '0' || *digit > '9' || port > UINT16_MAX) {
            return -EINVAL;
        }
        port = port * 10 + (unsigned long)(*digit - '0');
    }
    size_t size = (size_t)(colon - server);
    if (host[0] == '[' && host[size - 1] == ']') {
        host++;
        size -= 2;
    } else if (memchr(host, ':', size)) {
        return -EINVAL; /* an IPv6 address needs brackets */
    }
    if (port == 0 || port > UINT16_MAX || size == 0) {
        return -EINVAL;
    }
    *ret_host = xstrndup(host, size);
    *ret_port = (uint16_t)port;
    return 0;
}

void identity_done(struct identity *identity)
{
    if (identity->key_pem) {
        mem_wipe(identity->key_pem, strlen(identity->key_pem));
    }
    for (char **server = identity->servers; server && *server; server++) {
        free(*server);
    }
    free(identity->servers);
    free(identity->id);
    free(identity->fingerprint);
    free(identity->key_pem);
    free(identity->cert_pem);
    *identity = (struct identity){0};
}
