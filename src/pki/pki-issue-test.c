/* What certificates say to openvpn and openssl, and that revocation lists are believed. */
#include "pki/pki-fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "pki/x509.h"

/* Has the certificate that extended key usage? */
static int has_purpose(gnutls_x509_crt_t cert, const char *oid)
{
    for (unsigned i = 0;; i++) {
        char value[64];
        size_t size = sizeof value;
        if (gnutls_x509_crt_get_key_purpose_oid(cert, i, value, &size, NULL) < 0) {
            return 0;
        }
        if (strcmp(value, oid) == 0) {
            return 1;
        }
    }
}

static void assert_common_name(gnutls_x509_crt_t cert, const char *name)
{
    char value[128];
    size_t size = sizeof value;

    assert_int_equal(
        gnutls_x509_crt_get_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0, 0, value, &size), 0);
    assert_string_equal(value, name);
}

static void holders_are_told_apart(void **state)
{
    struct pki *pki = pki_fixture_open(state);
    struct issued node = pki_fixture_issue(pki, PKI_AGENT, "Agent.1");
    struct issued client = pki_fixture_issue(pki, PKI_CLIENT, "laptop");
    gnutls_x509_crt_t certs[4];
    int64_t wanted = clock_now_usec() / 1000000 + PKI_CLIENT_DAYS * INT64_C(86400);

    unsigned len = pki_fixture_import(node.chain, certs);
    assert_true(has_purpose(certs[0], PKI_EKU_NODE) && !has_purpose(certs[0], PKI_EKU_CLIENT));
    assert_true(has_purpose(certs[0], GNUTLS_KP_TLS_WWW_SERVER));
    assert_common_name(certs[0], "Agent.1");
    pki_fixture_free(certs, len);

    len = pki_fixture_import(client.chain, certs);
    assert_int_equal(len, 2);
    assert_uri(certs[0], "cnsmo:client:laptop");
    assert_common_name(certs[0], "laptop");
    assert_true(has_purpose(certs[0], PKI_EKU_CLIENT) && !has_purpose(certs[0], PKI_EKU_NODE));
    assert_false(has_purpose(certs[0], GNUTLS_KP_TLS_WWW_SERVER));
    assert_int_equal(pki_fixture_verify(certs, 2, pki_root_pem(pki), GNUTLS_KP_TLS_WWW_CLIENT), 0);
    int64_t expires = client.expires_usec / 1000000;
    assert_true(expires >= wanted - 60 && expires <= wanted + 60);
    assert_int_equal(expires, gnutls_x509_crt_get_expiration_time(certs[0]));
    _cleanup_free_ char *serial = x509_serial(certs[0]);
    assert_string_equal(serial, client.serial);
    pki_fixture_free(certs, len);
    pki_fixture_issued_done(&node);
    pki_fixture_issued_done(&client);
    pki_free(pki);
}

static void key_belongs_to_made_client(void **state)
{
    struct pki *pki = pki_fixture_open(state);
    struct issued client = pki_fixture_issue(pki, PKI_CLIENT, "laptop");
    gnutls_certificate_credentials_t credentials;
    gnutls_datum_t cert = {(unsigned char *)client.chain, (unsigned)strlen(client.chain)};
    gnutls_datum_t key = {(unsigned char *)client.key, (unsigned)strlen(client.key)};

    gnutls_certificate_allocate_credentials(&credentials);
    assert_int_equal(
        gnutls_certificate_set_x509_key_mem(credentials, &cert, &key, GNUTLS_X509_FMT_PEM), 0);
    gnutls_certificate_free_credentials(credentials);
    pki_fixture_issued_done(&client);
    pki_free(pki);
}

static void bad_names_and_requests_are_refused(void **state)
{
    static const char *const BAD[] = {"",
                                      "../x",
                                      "a/b",
                                      "a\nb",
                                      "-x",
                                      "two words",
                                      "0123456789012345678901234567890123456789"
                                      "012345678901234567890123"};
    struct pki *pki = pki_fixture_open(state);
    char *key = NULL, *chain = NULL, *serial = NULL;
    int64_t expires;

    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        struct error error = {0};
        assert_int_equal(pki_make_client(pki, BAD[i], &key, &chain, &serial, &expires, &error),
                         -EINVAL);
        assert_string_equal(error.pointer, "/id");
        assert_null(key);
    }
    struct error error = {0};
    assert_int_equal(pki_sign_client(pki, "nonsense", "x", &chain, &serial, &expires, &error),
                     -EINVAL);
    assert_string_equal(error.pointer, "/csr");
    pki_free(pki);
}

/* openssl's verdict on the chain with the list. */
static void assert_openssl(void **state, const struct pki *pki, const struct issued *issued,
                           const char *crl, const char *purpose, const char *word)
{
    _cleanup_free_ char *root = pki_fixture_file(*state, "root.pem", pki_root_pem(pki));
    _cleanup_free_ char *leaf = pki_fixture_file(*state, "leaf.pem", issued->chain);
    _cleanup_free_ char *list = pki_fixture_file(*state, "crl.pem", crl);
    const char *const argv[] = {
        "openssl",    "verify", "-crl_check_all", "-CAfile", root,           "-CRLfile", list,
        "-untrusted", leaf,     "-purpose",       purpose,   "-x509_strict", leaf,       NULL};

    assert_output(argv, word);
}

static void openssl_believes_the_list(void **state)
{
    struct pki *pki = pki_fixture_open(state);
    struct issued node[2], client = pki_fixture_issue(pki, PKI_CLIENT, "laptop");
    _cleanup_free_ char *empty = NULL, *full = NULL;

    for (int i = 0; i < 2; i++) {
        node[i] = pki_fixture_issue(pki, PKI_AGENT, i ? "Agent.2" : "Agent.1");
    }
    const struct pki_revoked revoked[] = {
        {node[0].serial, pki_authority_id(pki, PKI_AGENT), clock_now_usec()},
        {client.serial, pki_authority_id(pki, PKI_CLIENT), clock_now_usec()},
        {node[1].serial, pki_authority_id(pki, PKI_CLIENT), clock_now_usec()}, /* not its issuer */
        {node[1].serial, "of nobody", clock_now_usec()},
    };
    assert_int_equal(pki_crl(pki, NULL, 0, &empty, NULL), 0);
    assert_int_equal(pki_crl(pki, revoked, ARRAY_LEN(revoked), &full, NULL), 0);
    assert_openssl(state, pki, &node[0], empty, "sslclient", ": OK");
    assert_openssl(state, pki, &node[0], empty, "sslserver", ": OK");
    assert_openssl(state, pki, &client, empty, "sslclient", ": OK");
    assert_openssl(state, pki, &client, empty, "sslserver", "unsuitable certificate purpose");
    assert_openssl(state, pki, &node[0], full, "sslclient", "certificate revoked");
    assert_openssl(state, pki, &client, full, "sslclient", "certificate revoked");
    assert_openssl(state, pki, &node[1], full, "sslclient", ": OK");
    pki_fixture_issued_done(&node[0]);
    pki_fixture_issued_done(&node[1]);
    pki_fixture_issued_done(&client);
    pki_free(pki);
}

static void list_is_backdated_and_lasts(void **state)
{
    struct pki *pki = pki_fixture_open(state);
    gnutls_x509_crl_t *lists;
    unsigned len = 0;
    char *pem = NULL;
    time_t now = time(NULL);

    assert_int_equal(pki_crl(pki, NULL, 0, &pem, NULL), 0);
    gnutls_datum_t datum = {(unsigned char *)pem, (unsigned)strlen(pem)};
    assert_true(gnutls_x509_crl_list_import2(&lists, &len, &datum, GNUTLS_X509_FMT_PEM, 0) >= 0);
    assert_int_equal(len, 1 + PKI_ROLES);
    for (unsigned i = 0; i < len; i++) {
        time_t from = gnutls_x509_crl_get_this_update(lists[i]);
        assert_true(now - from >= 47 * 3600 && now - from <= 49 * 3600);
        assert_true(gnutls_x509_crl_get_next_update(lists[i]) > now + 9 * 365 * INT64_C(86400));
        gnutls_x509_crl_deinit(lists[i]);
    }
    gnutls_free(lists);
    free(pem);
    pki_free(pki);
}

static void bad_serials_are_refused(void **state)
{
    static const char *const BAD[] = {"", "xyz", "zz",
                                      "0102030405060708090a0b0c0d0e0f101112131415"};
    struct pki *pki = pki_fixture_open(state);
    char *pem = NULL;

    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        const struct pki_revoked revoked = {BAD[i], pki_authority_id(pki, PKI_AGENT), 0};
        assert_true(pki_crl(pki, &revoked, 1, &pem, NULL) < 0);
        assert_null(pem);
    }
    pki_free(pki);
}

/* One that the server makes for a front port: no agent takes it for a server. */
static void a_services_certificate(void **state)
{
    static const char *const NAMES[] = {"www.example.org", "192.0.2.7", NULL};
    struct pki *pki = pki_fixture_open(state);
    _cleanup_free_ char *key = NULL, *chain = NULL;
    gnutls_x509_crt_t certs[4];
    int64_t expires_usec;

    assert_int_equal(pki_make_service(pki, "web", NAMES, &key, &chain, &expires_usec, NULL), 0);
    assert_int_equal(pki_check_pair(chain, key, &expires_usec, NULL), 0);
    unsigned len = pki_fixture_import(chain, certs);
    assert_int_equal(len, 2);
    assert_uri(certs[0], "cnsmo:service:web");
    assert_true(x509_has_name(certs[0], NAMES[0]) && x509_has_name(certs[0], NAMES[1]));
    assert_false(has_purpose(certs[0], GNUTLS_KP_TLS_WWW_CLIENT));
    assert_int_equal(pki_fixture_verify(certs, 2, pki_root_pem(pki), GNUTLS_KP_TLS_WWW_SERVER), 0);
    pki_fixture_free(certs, len);
    _cleanup_free_ char *own = NULL, *own_key = NULL, *other_key = NULL, *other = NULL;
    struct error error = {0};
    assert_int_equal(pki_server_certificate(pki, NAMES, &own, &own_key, NULL), 0);
    assert_int_equal(
        pki_make_service(pki, "web", NAMES + 1, &other_key, &other, &expires_usec, &error),
        -EINVAL);
    assert_string_equal(error.pointer, "/names");
    pki_free(pki);
}

static void pairs_from_outside(void **state)
{
    static const char *const NAMES[] = {"x", NULL};
    struct pki *pki = pki_fixture_open(state);
    char *key[2], *chain[2];
    int64_t expires_usec;
    struct error error = {0};

    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            pki_make_service(pki, "x", NAMES, &key[i], &chain[i], &expires_usec, NULL), 0);
    }
    assert_int_equal(pki_check_pair(chain[0], key[0], &expires_usec, &error), 0);
    assert_int_equal(pki_check_pair(chain[0], key[1], &expires_usec, &error), -EINVAL);
    assert_string_equal(error.pointer, "/key");
    assert_int_equal(pki_check_pair(chain[0], chain[0], &expires_usec, &error), -EINVAL);
    assert_string_equal(error.pointer, "/key");
    assert_int_equal(pki_check_pair(key[0], key[0], &expires_usec, &error), -EINVAL);
    assert_string_equal(error.pointer, "/certificate");
    assert_int_equal(pki_check_pair("", "", &expires_usec, &error), -EINVAL);
    for (int i = 0; i < 2; i++) {
        free(key[i]);
        free(chain[i]);
    }
    pki_free(pki);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_folder(holders_are_told_apart),
        in_folder(key_belongs_to_made_client),
        in_folder(bad_names_and_requests_are_refused),
        in_folder(openssl_believes_the_list),
        in_folder(list_is_backdated_and_lasts),
        in_folder(bad_serials_are_refused),
        in_folder(a_services_certificate),
        in_folder(pairs_from_outside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
