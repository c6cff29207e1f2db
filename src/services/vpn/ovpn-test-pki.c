#include "services/vpn/ovpn-test-pki.h"

#include <gnutls/x509.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "lib/file.h"
#include "lib/hash.h"
#include "lib/mem.h"

enum {
    DAY = 86400,
};

static struct {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t cert;
} root;

static void must(int rc)
{
    if (rc < 0) {
        abort();
    }
}

static gnutls_x509_privkey_t make_key(void)
{
    gnutls_x509_privkey_t key;

    must(gnutls_x509_privkey_init(&key));
    must(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                      GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
    return key;
}

static gnutls_x509_crt_t make_cert(gnutls_x509_privkey_t key, const char *name)
{
    gnutls_x509_crt_t cert;
    uint8_t serial[16];

    random_bytes(serial, sizeof serial);
    serial[0] = 0x42;
    must(gnutls_x509_crt_init(&cert));
    must(gnutls_x509_crt_set_version(cert, 3));
    must(gnutls_x509_crt_set_key(cert, key));
    must(gnutls_x509_crt_set_serial(cert, serial, sizeof serial));
    must(gnutls_x509_crt_set_activation_time(cert, time(NULL) - 2 * DAY));
    must(gnutls_x509_crt_set_expiration_time(cert, time(NULL) + 10 * DAY));
    must(gnutls_x509_crt_set_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                       (unsigned)strlen(name)));
    return cert;
}

/* Frees the datum. */
static void save(const char *folder, const char *file, const char *suffix, gnutls_datum_t *datum)
{
    _cleanup_free_ char *path = xasprintf("%s/%s%s", folder, file, suffix);

    must(file_write_atomic(path, datum->data, datum->size, 0600));
    gnutls_free(datum->data);
}

static void save_cert(const char *folder, const char *file, gnutls_x509_crt_t cert)
{
    gnutls_datum_t datum;

    must(gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &datum));
    save(folder, file, ".pem", &datum);
}

void test_pki_make(const char *folder)
{
    root.key = make_key();
    root.cert = make_cert(root.key, "root");
    must(gnutls_x509_crt_set_basic_constraints(root.cert, 1, -1));
    must(gnutls_x509_crt_set_key_usage(root.cert, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN));
    must(gnutls_x509_crt_set_subject_key_id(root.cert, "root", 4));
    must(gnutls_x509_crt_sign2(root.cert, root.cert, root.key, GNUTLS_DIG_SHA256, 0));
    save_cert(folder, "root", root.cert);
}

void test_pki_issue(const char *folder, const char *file, const char *name, enum test_role role)
{
    gnutls_x509_privkey_t key = make_key();
    gnutls_x509_crt_t cert = make_cert(key, name);
    gnutls_datum_t datum;

    must(gnutls_x509_crt_set_basic_constraints(cert, 0, -1));
    must(gnutls_x509_crt_set_key_usage(cert, GNUTLS_KEY_DIGITAL_SIGNATURE));
    must(gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_CLIENT, 0));
    if (role == TEST_NODE) {
        must(gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_SERVER, 0));
    }
    must(gnutls_x509_crt_set_key_purpose_oid(
        cert, role == TEST_NODE ? "2.25.201838361293746121.1" : "2.25.201838361293746121.2", 0));
    must(gnutls_x509_crt_sign2(cert, root.cert, root.key, GNUTLS_DIG_SHA256, 0));
    save_cert(folder, file, cert);
    must(gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN,
                                           &datum));
    save(folder, file, ".key", &datum);
    gnutls_x509_crt_deinit(cert);
    gnutls_x509_privkey_deinit(key);
}

static void add_revoked(gnutls_x509_crl_t crl, const char *folder, const char *file)
{
    _cleanup_free_ char *path = xasprintf("%s/%s.pem", folder, file);
    _cleanup_buf_ struct buf pem = BUF_INIT(1 << 16);
    gnutls_x509_crt_t cert;

    must(file_read(path, &pem));
    gnutls_datum_t datum = {(unsigned char *)pem.data, (unsigned)pem.size};
    must(gnutls_x509_crt_init(&cert));
    must(gnutls_x509_crt_import(cert, &datum, GNUTLS_X509_FMT_PEM));
    must(gnutls_x509_crl_set_crt(crl, cert, time(NULL) - DAY));
    gnutls_x509_crt_deinit(cert);
}

char *test_pki_crl(const char *folder, const char *file)
{
    gnutls_x509_crl_t crl;
    gnutls_datum_t datum;

    must(gnutls_x509_crl_init(&crl));
    must(gnutls_x509_crl_set_version(crl, 2));
    must(gnutls_x509_crl_set_this_update(crl, time(NULL) - 2 * DAY));
    must(gnutls_x509_crl_set_next_update(crl, time(NULL) + 10 * DAY));
    must(gnutls_x509_crl_set_number(crl, file ? "\2" : "\1", 1));
    if (file) {
        add_revoked(crl, folder, file);
    }
    must(gnutls_x509_crl_sign2(crl, root.cert, root.key, GNUTLS_DIG_SHA256, 0));
    must(gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &datum));
    char *text = xstrndup((const char *)datum.data, datum.size);
    gnutls_free(datum.data);
    gnutls_x509_crl_deinit(crl);
    return text;
}
