/* service.c - certificates of services that nodes run for others, made here or brought. */
#include <string.h>

#include "lib/mem.h"
#include "pki/internal.h"

enum {
    CHAIN_MAX = 8,
};

/* --- made here --- */

/* With a name of the listener's the holder could stand in the server's place, for people: agents
 * look at the role. */
static int check_names(const struct pki *pki, const char *const *names, struct error *error)
{
    struct x509_pair own = {0};
    int rc = 0;

    if (pair_read_certificate(pki->folder, "server", &own, NULL) < 0) {
        return 0; /* there is no listener yet */
    }
    for (size_t i = 0; rc == 0 && names[i]; i++) {
        if (x509_has_name(own.cert, names[i])) {
            rc = error_set(error, 400, "/names",
                           "\"names\": %.100s is the CNSMO server's own name", names[i]);
        }
    }
    x509_pair_done(&own);
    return rc;
}

int pki_make_service(struct pki *pki, const char *name, const char *const *names,
                     char **ret_key_pem, char **ret_chain_pem, int64_t *ret_expires_usec,
                     struct error *error)
{
    _cleanup_free_ char *uri = xasprintf("cnsmo:service:%s", name);
    const struct x509_request request = {
        .common_name = name,
        .days = PKI_SERVER_DAYS,
        .uri = uri,
        .names = names,
        .is_server = 1,
    };
    const struct x509_pair *authority = &generation_active(pki, PKI_SERVER)->pair;
    struct x509_pair pair = {0};
    int rc = check_names(pki, names, error);

    rc = rc < 0 ? rc : x509_pair_new(&request, authority, &pair, error);
    if (rc < 0) {
        return rc;
    }
    _cleanup_free_ char *leaf = x509_cert_pem(pair.cert);
    _cleanup_free_ char *issuer = x509_cert_pem(authority->cert);
    *ret_chain_pem = xasprintf("%s%s", leaf, issuer);
    *ret_key_pem = x509_key_pem(pair.key);
    *ret_expires_usec = (int64_t)gnutls_x509_crt_get_expiration_time(pair.cert) * 1000000;
    x509_pair_done(&pair);
    return 0;
}

/* --- brought --- */

/* What ids a certificate's public key and a private key have: the same if they belong together. */
struct key_id {
    unsigned char data[64];
    size_t size;
};

static int read_chain(const char *pem, struct key_id *ret_id, int64_t *ret_expires_usec,
                      struct error *error)
{
    const gnutls_datum_t text = {(unsigned char *)pem, (unsigned)strlen(pem)};
    gnutls_x509_crt_t chain[CHAIN_MAX];
    unsigned len = CHAIN_MAX;
    int rc = gnutls_x509_crt_list_import(chain, &len, &text, GNUTLS_X509_FMT_PEM,
                                         GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);

    if (rc < 0 || len == 0) {
        return error_set(error, 400, "/certificate",
                         "\"certificate\" must be a certificate in PEM, with at most %d others "
                         "after it: %s",
                         CHAIN_MAX - 1, gnutls_strerror(rc));
    }
    ret_id->size = sizeof ret_id->data;
    rc =
        gnutls_x509_crt_get_key_id(chain[0], GNUTLS_KEYID_USE_SHA256, ret_id->data, &ret_id->size);
    *ret_expires_usec = (int64_t)gnutls_x509_crt_get_expiration_time(chain[0]) * 1000000;
    for (unsigned i = 0; i < len; i++) {
        gnutls_x509_crt_deinit(chain[i]);
    }
    return rc < 0 ? x509_error(error, 400, "/certificate", "read the certificate", rc) : 0;
}

static int read_key(const char *pem, struct key_id *ret_id, struct error *error)
{
    const gnutls_datum_t text = {(unsigned char *)pem, (unsigned)strlen(pem)};
    gnutls_x509_privkey_t key;
    int rc = gnutls_x509_privkey_init(&key);

    if (rc < 0) {
        return x509_error(error, 500, NULL, "read a key", rc);
    }
    rc = gnutls_x509_privkey_import2(key, &text, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (rc == 0) {
        ret_id->size = sizeof ret_id->data;
        rc = gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, ret_id->data,
                                            &ret_id->size);
    }
    gnutls_x509_privkey_deinit(key);
    return rc < 0 ? error_set(error, 400, "/key",
                              "\"key\" must be a private key in PEM that needs no password")
                  : 0;
}

int pki_check_pair(const char *chain_pem, const char *key_pem, int64_t *ret_expires_usec,
                   struct error *error)
{
    struct key_id certified = {.size = 0}, own = {.size = 0};
    int rc = read_chain(chain_pem, &certified, ret_expires_usec, error);

    rc = rc < 0 ? rc : read_key(key_pem, &own, error);
    if (rc < 0) {
        return rc;
    }
    return certified.size == own.size && memcmp(certified.data, own.data, own.size) == 0
               ? 0
               : error_set(error, 400, "/key", "\"key\" isn't the one of the certificate");
}
