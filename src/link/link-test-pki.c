#include "link/link-test-pki.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/hash.h"
#include "lib/mem.h"

static void must(int rc)
{
    if (rc < 0) {
        abort();
    }
}

static void set_leaf(gnutls_x509_crt_t cert, const struct test_leaf *leaf)
{
    must(gnutls_x509_crt_set_basic_constraints(cert, 0, -1));
    must(gnutls_x509_crt_set_key_usage(cert, GNUTLS_KEY_DIGITAL_SIGNATURE));
    must(gnutls_x509_crt_set_key_purpose_oid(
        cert, leaf->is_server ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT, 0));
    must(gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_URI, leaf->uri,
                                              (unsigned)strlen(leaf->uri), GNUTLS_FSAN_SET));
}

struct test_cert test_cert_new(const struct test_cert *issuer, const char *name,
                               const struct test_leaf *leaf)
{
    static const struct test_leaf AUTHORITY = {NULL, 0, -48, 240};
    const struct test_leaf *times = leaf ? leaf : &AUTHORITY;
    struct test_cert made;
    uint8_t serial[16];

    must(gnutls_x509_privkey_init(&made.key));
    must(gnutls_x509_privkey_generate(made.key, GNUTLS_PK_ECDSA,
                                      GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
    must(gnutls_x509_crt_init(&made.cert));
    must(gnutls_x509_crt_set_version(made.cert, 3));
    must(gnutls_x509_crt_set_key(made.cert, made.key));
    random_bytes(serial, sizeof serial);
    serial[0] = 0x42;
    must(gnutls_x509_crt_set_serial(made.cert, serial, sizeof serial));
    must(gnutls_x509_crt_set_activation_time(made.cert, time(NULL) + times->from_hours * 3600));
    must(gnutls_x509_crt_set_expiration_time(made.cert, time(NULL) + times->to_hours * 3600));
    must(gnutls_x509_crt_set_dn_by_oid(made.cert, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                       (unsigned)strlen(name)));
    if (leaf) {
        set_leaf(made.cert, leaf);
    } else {
        must(gnutls_x509_crt_set_basic_constraints(made.cert, 1, -1));
        must(gnutls_x509_crt_set_key_usage(made.cert, GNUTLS_KEY_KEY_CERT_SIGN));
    }
    must(gnutls_x509_crt_sign2(made.cert, issuer ? issuer->cert : made.cert,
                               issuer ? issuer->key : made.key, GNUTLS_DIG_SHA256, 0));
    return made;
}

void test_cert_done(struct test_cert *cert)
{
    gnutls_x509_crt_deinit(cert->cert);
    gnutls_x509_privkey_deinit(cert->key);
}

static char *take(gnutls_datum_t *datum)
{
    char *text = xstrndup((const char *)datum->data, datum->size);

    gnutls_free(datum->data);
    return text;
}

char *test_cert_pem(const struct test_cert *cert)
{
    gnutls_datum_t datum;

    must(gnutls_x509_crt_export2(cert->cert, GNUTLS_X509_FMT_PEM, &datum));
    return take(&datum);
}

char *test_key_pem(const struct test_cert *cert)
{
    gnutls_datum_t datum;

    must(gnutls_x509_privkey_export2(cert->key, GNUTLS_X509_FMT_PEM, &datum));
    return take(&datum);
}

char *test_fingerprint(const struct test_cert *cert)
{
    uint8_t digest[SHA256_SIZE];
    size_t size = sizeof digest;
    char hex[SHA256_HEX_SIZE];

    must(gnutls_x509_crt_get_fingerprint(cert->cert, GNUTLS_DIG_SHA256, digest, &size));
    hex_encode(digest, size, hex);
    return xasprintf("sha256:%s", hex);
}
