#include "link/tls.h"

#include <gnutls/x509.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/mem.h"
#include "model/schema.h"

enum {
    CHAIN_MAX = 4,
    URI_MAX = 128,
    SERIAL_MAX = 20, /* bytes; RFC 5280 section 4.1.2.2 */
};

static const char PRIORITY[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3";
static const char NODE_URI[] = "cnsmo:node:";
static const char SERVER_URI[] = "cnsmo:server";

struct tls_context {
    unsigned refs;
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priority;
    gnutls_x509_trust_list_t trust; /* server: the agent intermediates */
    char *fingerprint;              /* client: "sha256:..." */
};

/* --- contexts --- */

static int context_new(const char *certificate_pem, const char *key_pem,
                       struct tls_context **ret_context, struct error *error)
{
    struct tls_context *context = xnew(struct tls_context);

    context->refs = 1;
    int rc = gnutls_certificate_allocate_credentials(&context->credentials);

    if (rc >= 0) {
        rc = gnutls_priority_init(&context->priority, PRIORITY, NULL);
    }
    if (rc >= 0 && certificate_pem) {
        gnutls_datum_t cert = {(unsigned char *)certificate_pem,
                               (unsigned)strlen(certificate_pem)};
        gnutls_datum_t key = {(unsigned char *)key_pem, (unsigned)strlen(key_pem)};
        rc = gnutls_certificate_set_x509_key_mem(context->credentials, &cert, &key,
                                                 GNUTLS_X509_FMT_PEM);
    }
    if (rc < 0) {
        tls_unref(context);
        return error_set(error, 500, NULL, "cannot use our certificate and key: %s",
                         gnutls_strerror(rc));
    }
    *ret_context = context;
    return 0;
}

/* Only what isn't self-signed is trusted: the root would let other intermediates in. */
static int trust_intermediates(struct tls_context *context, const char *pem)
{
    gnutls_datum_t datum = {(unsigned char *)pem, (unsigned)strlen(pem)};
    gnutls_x509_crt_t *certs = NULL;
    unsigned len = 0, trusted = 0;
    int rc = gnutls_x509_trust_list_init(&context->trust, 0);

    if (rc >= 0) {
        rc = gnutls_x509_crt_list_import2(&certs, &len, &datum, GNUTLS_X509_FMT_PEM, 0);
    }
    if (rc < 0) {
        return rc;
    }
    for (unsigned i = 0; i < len; i++) {
        int is_root = gnutls_x509_crt_check_issuer(certs[i], certs[i]) == 1;
        if (!is_root && gnutls_x509_trust_list_add_cas(context->trust, &certs[i], 1, 0) == 1) {
            trusted++; /* the list owns it now */
        } else {
            gnutls_x509_crt_deinit(certs[i]);
        }
    }
    gnutls_free(certs);
    return trusted > 0 ? 0 : GNUTLS_E_NO_CERTIFICATE_FOUND;
}

int tls_server_new(const char *certificate_pem, const char *key_pem, const char *client_ca_pem,
                   struct tls_context **ret_context, struct error *error)
{
    struct tls_context *context = NULL;
    int rc = context_new(certificate_pem, key_pem, &context, error);

    if (rc < 0) {
        return rc;
    }
    rc = trust_intermediates(context, client_ca_pem);
    if (rc < 0) {
        tls_unref(context);
        return error_set(error, 500, NULL, "cannot use the agents' authority: %s",
                         gnutls_strerror(rc));
    }
    *ret_context = context;
    return 0;
}

int tls_client_new(const char *fingerprint, const char *certificate_pem, const char *key_pem,
                   struct tls_context **ret_context, struct error *error)
{
    struct tls_context *context = NULL;
    int rc = context_new(certificate_pem, key_pem, &context, error);

    if (rc == 0) {
        context->fingerprint = xstrdup(fingerprint);
        *ret_context = context;
    }
    return rc;
}

struct tls_context *tls_ref(struct tls_context *context)
{
    context->refs++;
    return context;
}

void tls_unref(struct tls_context *context)
{
    if (!context || --context->refs > 0) {
        return;
    }
    if (context->credentials) {
        gnutls_certificate_free_credentials(context->credentials);
    }
    if (context->priority) {
        gnutls_priority_deinit(context->priority);
    }
    if (context->trust) {
        gnutls_x509_trust_list_deinit(context->trust, 1);
    }
    free(context->fingerprint);
    free(context);
}

gnutls_session_t tls_session_new(const struct tls_context *context,
                                 gnutls_certificate_verify_function *verify, void *owner)
{
    unsigned role = context->trust ? GNUTLS_SERVER : GNUTLS_CLIENT;
    gnutls_session_t session;

    if (gnutls_init(&session, role | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS) < 0 ||
        gnutls_priority_set(session, context->priority) < 0 ||
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, context->credentials) < 0) {
        abort(); /* only without memory */
    }
    gnutls_handshake_set_timeout(session, GNUTLS_INDEFINITE_TIMEOUT); /* the link has its own */
    if (context->trust) {
        gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
    }
    gnutls_session_set_verify_function(session, verify);
    gnutls_session_set_ptr(session, owner);
    return session;
}

/* --- verification --- */

struct chain {
    gnutls_x509_crt_t certs[CHAIN_MAX];
    unsigned len;
};

static void chain_done(struct chain *chain)
{
    for (unsigned i = 0; i < chain->len; i++) {
        gnutls_x509_crt_deinit(chain->certs[i]);
    }
}

static int chain_import(const gnutls_datum_t *peers, unsigned len, struct chain *chain)
{
    for (unsigned i = 0; i < len && i < CHAIN_MAX; i++) {
        if (gnutls_x509_crt_init(&chain->certs[i]) < 0) {
            abort();
        }
        chain->len++;
        if (gnutls_x509_crt_import(chain->certs[i], &peers[i], GNUTLS_X509_FMT_DER) < 0) {
            return -1;
        }
    }
    return len <= CHAIN_MAX ? 0 : -1;
}

/* The first URI among the names; NULL if there is none that is text. */
static const char *uri_of(gnutls_x509_crt_t cert, char uri[URI_MAX])
{
    for (unsigned i = 0;; i++) {
        size_t size = URI_MAX - 1;
        int type = gnutls_x509_crt_get_subject_alt_name(cert, i, uri, &size, NULL);
        if (type < 0 && type != GNUTLS_E_SHORT_MEMORY_BUFFER) {
            return NULL;
        }
        if (type == GNUTLS_SAN_URI) {
            uri[size] = '\0';
            return strlen(uri) == size ? uri : NULL;
        }
    }
}

static int verify_chain(gnutls_x509_trust_list_t trust, struct chain *chain, unsigned len,
                        const char *purpose, gnutls_alert_description_t *ret_alert,
                        struct error *error)
{
    gnutls_typed_vdata_st data = {GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)purpose, 0};
    unsigned status = 0;
    int rc =
        gnutls_x509_trust_list_verify_crt2(trust, chain->certs, len, &data, 1, 0, &status, NULL);

    if (rc >= 0 && status == 0) {
        return 0;
    }
    if (rc >= 0 && status & GNUTLS_CERT_SIGNER_NOT_FOUND) {
        *ret_alert = GNUTLS_A_UNKNOWN_CA;
        return error_set(error, 401, NULL, "the peer's certificate is of another authority");
    }
    if (rc >= 0 && status & GNUTLS_CERT_EXPIRED) {
        *ret_alert = GNUTLS_A_CERTIFICATE_EXPIRED;
        return error_set(error, 401, NULL, "the peer's certificate has expired");
    }
    if (rc >= 0 && status & GNUTLS_CERT_NOT_ACTIVATED) {
        return error_set(error, 401, NULL,
                         "the peer's certificate isn't valid yet: is the clock right?");
    }
    return error_set(error, 401, NULL, "the peer's certificate isn't valid");
}

static int verify_server(const struct tls_context *context, struct chain *chain,
                         const gnutls_datum_t *root, gnutls_alert_description_t *ret_alert,
                         struct error *error)
{
    uint8_t digest[SHA256_SIZE];
    char text[sizeof "sha256:" + SHA256_HEX_SIZE] = "sha256:", uri[URI_MAX];
    gnutls_x509_trust_list_t trust;

    hash_sha256(root->data, root->size, digest);
    hex_encode(digest, sizeof digest, text + strlen(text));
    if (chain->len < 2 || strcmp(text, context->fingerprint) != 0) {
        *ret_alert = GNUTLS_A_UNKNOWN_CA;
        return error_set(error, 401, NULL,
                         "the server belongs to another deployment: its root's fingerprint isn't "
                         "%.80s",
                         context->fingerprint);
    }
    if (gnutls_x509_trust_list_init(&trust, 0) < 0 ||
        gnutls_x509_trust_list_add_cas(trust, &chain->certs[chain->len - 1], 1, 0) != 1) {
        abort();
    }
    int rc =
        verify_chain(trust, chain, chain->len - 1, GNUTLS_KP_TLS_WWW_SERVER, ret_alert, error);
    gnutls_x509_trust_list_deinit(trust, 0);
    if (rc < 0) {
        return rc;
    }
    const char *role = uri_of(chain->certs[0], uri);
    if (!role || strcmp(role, SERVER_URI) != 0) {
        return error_set(error, 401, NULL, "the peer's certificate isn't a server's");
    }
    return 0;
}

static int verify_node(const struct tls_context *context, struct chain *chain, char **ret_node,
                       gnutls_alert_description_t *ret_alert, struct error *error)
{
    char uri[URI_MAX];
    int rc = verify_chain(context->trust, chain, chain->len, GNUTLS_KP_TLS_WWW_CLIENT, ret_alert,
                          error);

    if (rc < 0) {
        return rc;
    }
    const char *role = uri_of(chain->certs[0], uri);
    if (!role || strncmp(role, NODE_URI, strlen(NODE_URI)) != 0 ||
        !node_id_is_valid(role + strlen(NODE_URI))) {
        return error_set(error, 401, NULL, "the peer's certificate isn't a node's");
    }
    *ret_node = xstrdup(role + strlen(NODE_URI));
    return 0;
}

static int describe(gnutls_x509_crt_t cert, struct tls_identity *identity, struct error *error)
{
    uint8_t id[SHA256_SIZE], serial[SERIAL_MAX];
    size_t id_size = sizeof id, serial_size = sizeof serial;

    if (gnutls_x509_crt_get_key_id(cert, GNUTLS_KEYID_USE_SHA256, id, &id_size) < 0 ||
        gnutls_x509_crt_get_serial(cert, serial, &serial_size) < 0) {
        return error_set(error, 401, NULL, "the peer's certificate is malformed");
    }
    identity->key_id = xcalloc(2 * id_size + 1, 1);
    hex_encode(id, id_size, identity->key_id);
    identity->serial = xcalloc(2 * serial_size + 1, 1);
    hex_encode(serial, serial_size, identity->serial);
    return 0;
}

int tls_verify(const struct tls_context *context, gnutls_session_t session,
               struct tls_identity *ret_identity, gnutls_alert_description_t *ret_alert,
               struct error *error)
{
    struct tls_identity identity = {0};
    struct chain chain = {0};
    unsigned len = 0;
    const gnutls_datum_t *peers = gnutls_certificate_get_peers(session, &len);

    *ret_alert = GNUTLS_A_BAD_CERTIFICATE;
    if (!peers || len == 0) {
        return context->trust ? 0 : error_set(error, 401, NULL, "the server has no certificate");
    }
    int rc = chain_import(peers, len, &chain) < 0
                 ? error_set(error, 401, NULL, "the peer's certificate is malformed")
                 : 0;
    if (rc == 0) {
        rc = context->trust ? verify_node(context, &chain, &identity.node, ret_alert, error)
                            : verify_server(context, &chain, &peers[len - 1], ret_alert, error);
    }
    if (rc == 0) {
        rc = describe(chain.certs[0], &identity, error);
    }
    chain_done(&chain);
    if (rc < 0) {
        tls_identity_done(&identity);
        return rc;
    }
    *ret_identity = identity;
    return 0;
}

void tls_identity_done(struct tls_identity *identity)
{
    free(identity->node);
    free(identity->serial);
    free(identity->key_id);
    *identity = (struct tls_identity){0};
}
