#include "pki/csr.h"

#include <gnutls/x509.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/mem.h"
#include "pki/pki.h"
#include "pki/x509.h"

enum {
    COMMON_NAME_MAX = 64, /* RFC 5280, ub-common-name */
};

static int is_p256(gnutls_pubkey_t key)
{
    gnutls_ecc_curve_t curve = GNUTLS_ECC_CURVE_INVALID;

    if (gnutls_pubkey_get_pk_algorithm(key, NULL) != GNUTLS_PK_ECDSA) {
        return 0;
    }
    return gnutls_pubkey_export_ecc_raw2(key, &curve, NULL, NULL, 0) >= 0 &&
           curve == GNUTLS_ECC_CURVE_SECP256R1;
}

static int read_request(gnutls_x509_crq_t request, gnutls_pubkey_t key, const char *pem,
                        struct error *error)
{
    gnutls_datum_t datum = {(unsigned char *)pem, (unsigned)strlen(pem)};
    int rc = gnutls_x509_crq_import(request, &datum, GNUTLS_X509_FMT_PEM);

    if (rc < 0) {
        return x509_error(error, 400, "/csr", "\"csr\" isn't a certificate request in PEM", rc);
    }
    rc = gnutls_pubkey_import_x509_crq(key, request, 0);
    if (rc < 0 || !is_p256(key)) {
        return error_set(error, 400, "/csr", "\"csr\" must be for an ECDSA key on P-256");
    }
    rc = gnutls_x509_crq_verify(request, 0);
    if (rc < 0) {
        return x509_error(error, 400, "/csr", "\"csr\" isn't signed by its own key", rc);
    }
    return 0;
}

int csr_public_key(const char *csr_pem, gnutls_pubkey_t *ret_key, struct error *error)
{
    gnutls_x509_crq_t request;
    gnutls_pubkey_t key;

    if (strlen(csr_pem) > PKI_CSR_MAX) {
        return error_set(error, 400, "/csr", "\"csr\" must be at most %d bytes", PKI_CSR_MAX);
    }
    if (gnutls_x509_crq_init(&request) < 0 || gnutls_pubkey_init(&key) < 0) {
        abort(); /* only without memory */
    }
    int rc = read_request(request, key, csr_pem, error);
    gnutls_x509_crq_deinit(request);
    if (rc < 0) {
        gnutls_pubkey_deinit(key);
        return rc;
    }
    *ret_key = key;
    return 0;
}

int pki_csr_key_id(const char *csr_pem, char **ret_key_id, struct error *error)
{
    gnutls_pubkey_t key;
    uint8_t id[SHA256_SIZE];
    size_t size = sizeof id;
    int rc = csr_public_key(csr_pem, &key, error);

    if (rc < 0) {
        return rc;
    }
    rc = gnutls_pubkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, id, &size);
    gnutls_pubkey_deinit(key);
    if (rc < 0) {
        return x509_error(error, 400, "/csr", "\"csr\" has an unusable key", rc);
    }
    *ret_key_id = xcalloc(SHA256_HEX_SIZE, 1);
    hex_encode(id, sizeof id, *ret_key_id);
    return 0;
}

static int fill_request(gnutls_x509_crq_t request, gnutls_x509_privkey_t key, const char *name)
{
    size_t len = strnlen(name, COMMON_NAME_MAX);
    int rc = gnutls_x509_crq_set_version(request, 1);

    if (rc >= 0) {
        rc = gnutls_x509_crq_set_dn_by_oid(request, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                           (unsigned)len);
    }
    if (rc >= 0) {
        rc = gnutls_x509_crq_set_key(request, key);
    }
    return rc < 0 ? rc : gnutls_x509_crq_sign2(request, key, GNUTLS_DIG_SHA256, 0);
}

static int make_request(gnutls_x509_privkey_t key, const char *common_name, char **ret_csr_pem,
                        struct error *error)
{
    gnutls_x509_crq_t request;
    gnutls_datum_t datum = {0};
    int rc = gnutls_x509_crq_init(&request);

    if (rc < 0) {
        return x509_error(error, 500, NULL, "making a certificate request", rc);
    }
    rc = fill_request(request, key, common_name);
    if (rc >= 0) {
        rc = gnutls_x509_crq_export2(request, GNUTLS_X509_FMT_PEM, &datum);
    }
    gnutls_x509_crq_deinit(request);
    if (rc < 0) {
        return x509_error(error, 500, NULL, "making a certificate request", rc);
    }
    *ret_csr_pem = xstrndup((const char *)datum.data, datum.size);
    gnutls_free(datum.data);
    return 0;
}

int pki_make_csr(const char *common_name, char **ret_key_pem, char **ret_csr_pem,
                 struct error *error)
{
    gnutls_x509_privkey_t key;
    int rc = x509_key_new(&key, error);

    if (rc < 0) {
        return rc;
    }
    rc = make_request(key, common_name, ret_csr_pem, error);
    if (rc == 0) {
        *ret_key_pem = x509_key_pem(key);
    }
    gnutls_x509_privkey_deinit(key);
    return rc;
}

int pki_make_csr_for(const char *key_pem, const char *common_name, char **ret_csr_pem,
                     struct error *error)
{
    gnutls_datum_t datum = {(unsigned char *)key_pem, (unsigned)strlen(key_pem)};
    gnutls_x509_privkey_t key;
    int rc = gnutls_x509_privkey_init(&key);

    if (rc < 0) {
        return x509_error(error, 500, NULL, "reading the key", rc);
    }
    rc = gnutls_x509_privkey_import(key, &datum, GNUTLS_X509_FMT_PEM);
    if (rc < 0) {
        gnutls_x509_privkey_deinit(key);
        return x509_error(error, 400, NULL, "the key isn't a private key in PEM", rc);
    }
    rc = make_request(key, common_name, ret_csr_pem, error);
    gnutls_x509_privkey_deinit(key);
    return rc;
}
