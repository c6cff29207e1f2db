/* link-test-pki.h - certificates of every kind for the link's tests, right and wrong ones. */
#pragma once

#include <gnutls/x509.h>

struct test_cert {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t cert;
};

struct test_leaf {
    const char *uri;
    int is_server;
    long from_hours, to_hours; /* from now */
};

/* Signed by `issuer`, or by itself; leaf NULL: an authority. */
struct test_cert test_cert_new(const struct test_cert *issuer, const char *name,
                               const struct test_leaf *leaf);
void test_cert_done(struct test_cert *cert);

/* The caller frees them. */
char *test_cert_pem(const struct test_cert *cert);
char *test_key_pem(const struct test_cert *cert);
char *test_fingerprint(const struct test_cert *cert);
