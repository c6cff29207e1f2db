#include "pki/x509.h"

#include <arpa/inet.h>
#include <gnutls/abstract.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "lib/hash.h"
#include "lib/mem.h"
#include "pki/pki.h"

enum {
    SERIAL_SIZE = 16,
    DAY_SECONDS = 24 * 60 * 60,
};

int x509_error(struct error *error, int status, const char *pointer, const char *doing, int code)
{
    return error_set(error, status, pointer, "%s: %s", doing, gnutls_strerror(code));
}

void x509_pair_done(struct x509_pair *pair)
{
    if (pair->key) {
        gnutls_x509_privkey_deinit(pair->key);
    }
    if (pair->cert) {
        gnutls_x509_crt_deinit(pair->cert);
    }
    *pair = (struct x509_pair){0};
}

void x509_secret_free(char **text)
{
    if (*text) {
        mem_wipe(*text, strlen(*text));
        free(*text);
        *text = NULL;
    }
}

int x509_key_new(gnutls_x509_privkey_t *ret_key, struct error *error)
{
    gnutls_x509_privkey_t key;
    int rc = gnutls_x509_privkey_init(&key);

    if (rc < 0) {
        return x509_error(error, 500, NULL, "making a key", rc);
    }
    rc = gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                      GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    if (rc < 0) {
        gnutls_x509_privkey_deinit(key);
        return x509_error(error, 500, NULL, "making a key", rc);
    }
    *ret_key = key;
    return 0;
}

static int set_name(gnutls_x509_crt_t cert, const char *name)
{
    uint8_t address[16];

    if (inet_pton(AF_INET, name, address) == 1) {
        return gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_IPADDRESS, address, 4,
                                                    GNUTLS_FSAN_APPEND);
    }
    if (inet_pton(AF_INET6, name, address) == 1) {
        return gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_IPADDRESS, address, 16,
                                                    GNUTLS_FSAN_APPEND);
    }
    return gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_DNSNAME, name,
                                                (unsigned)strlen(name), GNUTLS_FSAN_APPEND);
}

static int set_identity(gnutls_x509_crt_t cert, const struct x509_request *request)
{
    const char *name = request->common_name;
    int rc = gnutls_x509_crt_set_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                           (unsigned)strlen(name));

    if (rc >= 0 && request->uri) {
        rc = gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_URI, request->uri,
                                                  (unsigned)strlen(request->uri),
                                                  GNUTLS_FSAN_APPEND);
    }
    for (size_t i = 0; rc >= 0 && request->names && request->names[i]; i++) {
        rc = set_name(cert, request->names[i]);
    }
    return rc;
}

static int set_usage(gnutls_x509_crt_t cert, const struct x509_request *request)
{
    int rc = gnutls_x509_crt_set_basic_constraints(cert, request->is_ca ? 1 : 0,
                                                   request->is_ca ? request->path_len : -1);

    if (rc >= 0) {
        rc = gnutls_x509_crt_set_key_usage(cert, request->is_ca ? GNUTLS_KEY_KEY_CERT_SIGN |
                                                                      GNUTLS_KEY_CRL_SIGN
                                                                : GNUTLS_KEY_DIGITAL_SIGNATURE);
    }
    if (rc >= 0 && request->is_client) {
        rc = gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_CLIENT, 0);
    }
    if (rc >= 0 && request->is_server) {
        rc = gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_SERVER, 0);
    }
    if (rc >= 0 && request->purpose) {
        rc = gnutls_x509_crt_set_key_purpose_oid(cert, request->purpose, 0);
    }
    return rc;
}

static int set_serial_and_times(gnutls_x509_crt_t cert, int days)
{
    uint8_t serial[SERIAL_SIZE];
    time_t now = time(NULL);

    random_bytes(serial, sizeof serial);
    serial[0] = (serial[0] & 0x7f) | 0x40; /* positive and of full length in DER */
    int rc = gnutls_x509_crt_set_serial(cert, serial, sizeof serial);
    if (rc >= 0) {
        rc = gnutls_x509_crt_set_activation_time(cert, now - PKI_BACKDATE_HOURS * 60 * 60);
    }
    if (rc >= 0) {
        rc = gnutls_x509_crt_set_expiration_time(cert, now + (time_t)days * DAY_SECONDS);
    }
    return rc;
}

static int set_key_ids(gnutls_x509_crt_t cert, gnutls_x509_crt_t issuer)
{
    uint8_t id[SHA256_SIZE];
    size_t size = sizeof id;
    int rc = gnutls_x509_crt_get_key_id(cert, GNUTLS_KEYID_USE_SHA256, id, &size);

    if (rc >= 0) {
        rc = gnutls_x509_crt_set_subject_key_id(cert, id, size);
    }
    if (rc >= 0) {
        size = sizeof id;
        rc = gnutls_x509_crt_get_key_id(issuer, GNUTLS_KEYID_USE_SHA256, id, &size);
    }
    return rc < 0 ? rc : gnutls_x509_crt_set_authority_key_id(cert, id, size);
}

static int fill(gnutls_x509_crt_t cert, const struct x509_request *request,
                gnutls_pubkey_t public_key)
{
    int rc = gnutls_x509_crt_set_version(cert, 3);

    if (rc >= 0) {
        rc = gnutls_x509_crt_set_pubkey(cert, public_key);
    }
    if (rc >= 0) {
        rc = set_serial_and_times(cert, request->days);
    }
    if (rc >= 0) {
        rc = set_identity(cert, request);
    }
    return rc < 0 ? rc : set_usage(cert, request);
}

int x509_sign(const struct x509_request *request, gnutls_pubkey_t public_key,
              const struct x509_pair *issuer, gnutls_x509_privkey_t self_key,
              gnutls_x509_crt_t *ret_cert, struct error *error)
{
    gnutls_x509_crt_t cert;
    int rc = gnutls_x509_crt_init(&cert);

    if (rc < 0) {
        return x509_error(error, 500, NULL, "making a certificate", rc);
    }
    rc = fill(cert, request, public_key);
    if (rc >= 0) {
        rc = set_key_ids(cert, issuer ? issuer->cert : cert);
    }
    if (rc >= 0) {
        rc = gnutls_x509_crt_sign2(cert, issuer ? issuer->cert : cert,
                                   issuer ? issuer->key : self_key, GNUTLS_DIG_SHA256, 0);
    }
    if (rc < 0) {
        gnutls_x509_crt_deinit(cert);
        return x509_error(error, 500, NULL, "making a certificate", rc);
    }
    *ret_cert = cert;
    return 0;
}

static int public_key_of(gnutls_x509_privkey_t key, gnutls_pubkey_t *ret_public_key)
{
    gnutls_privkey_t abstract = NULL;
    gnutls_pubkey_t public_key = NULL;
    int rc = gnutls_privkey_init(&abstract);

    if (rc >= 0) {
        rc = gnutls_privkey_import_x509(abstract, key, GNUTLS_PRIVKEY_IMPORT_COPY);
    }
    if (rc >= 0) {
        rc = gnutls_pubkey_init(&public_key);
    }
    if (rc >= 0) {
        rc = gnutls_pubkey_import_privkey(public_key, abstract, 0, 0);
    }
    if (abstract) {
        gnutls_privkey_deinit(abstract);
    }
    if (rc < 0 && public_key) {
        gnutls_pubkey_deinit(public_key);
        public_key = NULL;
    }
    *ret_public_key = public_key;
    return rc;
}

int x509_pair_new(const struct x509_request *request, const struct x509_pair *issuer,
                  struct x509_pair *ret_pair, struct error *error)
{
    struct x509_pair pair = {0};
    gnutls_pubkey_t public_key = NULL;
    int rc = x509_key_new(&pair.key, error);

    if (rc < 0) {
        return rc;
    }
    rc = public_key_of(pair.key, &public_key);
    if (rc < 0) {
        x509_pair_done(&pair);
        return x509_error(error, 500, NULL, "making a key", rc);
    }
    rc = x509_sign(request, public_key, issuer, pair.key, &pair.cert, error);
    gnutls_pubkey_deinit(public_key);
    if (rc < 0) {
        x509_pair_done(&pair);
        return rc;
    }
    *ret_pair = pair;
    return 0;
}

/* A datum of GnuTLS as a text of ours; the datum is wiped and freed. */
static char *take_text(int rc, gnutls_datum_t *datum)
{
    if (rc < 0) {
        abort(); /* exporting what was just made or parsed fails only without memory */
    }
    char *text = xstrndup((const char *)datum->data, datum->size);
    mem_wipe(datum->data, datum->size);
    gnutls_free(datum->data);
    return text;
}

char *x509_cert_pem(gnutls_x509_crt_t cert)
{
    gnutls_datum_t datum = {0};
    int rc = gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &datum);

    return take_text(rc, &datum);
}

char *x509_key_pem(gnutls_x509_privkey_t key)
{
    gnutls_datum_t datum = {0};
    int rc = gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN,
                                               &datum);

    return take_text(rc, &datum);
}

char *x509_serial(gnutls_x509_crt_t cert)
{
    uint8_t serial[64];
    size_t size = sizeof serial;

    if (gnutls_x509_crt_get_serial(cert, serial, &size) < 0) {
        abort(); /* longer than RFC 5280 allows; the ones we make aren't */
    }
    char *hex = xcalloc(2 * size + 1, 1);
    hex_encode(serial, size, hex);
    return hex;
}

int x509_has_name(gnutls_x509_crt_t cert, const char *name)
{
    uint8_t address[16];
    int is_ip4 = inet_pton(AF_INET, name, address) == 1;
    int is_ip6 = !is_ip4 && inet_pton(AF_INET6, name, address) == 1;
    size_t address_size = is_ip4 ? 4 : 16;

    for (unsigned i = 0;; i++) {
        char value[256];
        size_t size = sizeof value;
        int type = gnutls_x509_crt_get_subject_alt_name(cert, i, value, &size, NULL);
        if (type == GNUTLS_E_SHORT_MEMORY_BUFFER) {
            continue;
        }
        if (type < 0) {
            return 0;
        }
        if (type == GNUTLS_SAN_IPADDRESS && (is_ip4 || is_ip6) && size == address_size &&
            memcmp(value, address, size) == 0) {
            return 1;
        }
        if (type == GNUTLS_SAN_DNSNAME && !is_ip4 && !is_ip6 && size == strlen(name) &&
            strncasecmp(value, name, size) == 0) {
            return 1;
        }
    }
}
