#include "pki/pki-fixture.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/hash.h"
#include "lib/mem.h"
#include "pki/internal.h"

/* --- the authority --- */

static void authority_is_made_once(void **state)
{
    struct pki *pki = pki_fixture_open(state);
    _cleanup_free_ char *fingerprint = xstrdup(pki_fingerprint(pki));
    _cleanup_free_ char *root = xstrdup(pki_root_pem(pki));

    assert_int_equal(strlen(fingerprint), 7 + 64);
    assert_memory_equal(fingerprint, "sha256:", 7);
    assert_mode(*state, "", 0700);
    assert_mode(*state, "root.key", 0600);
    assert_mode(*state, "agent-ca.key", 0600);
    assert_mode(*state, "root.pem", 0644);
    pki_free(pki);

    pki = pki_fixture_open(state);
    assert_string_equal(pki_fingerprint(pki), fingerprint);
    assert_string_equal(pki_root_pem(pki), root);
    pki_free(pki);
}

static void half_made_authority_is_refused(void **state)
{
    static const char *const FILES[] = {"root.key", "agent-ca.pem", "client-ca.key"};
    struct pki *pki = pki_fixture_open(state);
    _cleanup_free_ char *folder = xasprintf("%s/pki", (const char *)*state);

    pki_free(pki);
    for (size_t i = 0; i < ARRAY_LEN(FILES); i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", folder, FILES[i]);
        _cleanup_free_ char *away = xasprintf("%s/away", (const char *)*state);
        struct error error = {0};
        assert_int_equal(rename(path, away), 0);
        assert_true(pki_open(folder, &pki, &error) < 0);
        assert_non_null(strstr(error.detail, FILES[i]));
        assert_int_equal(rename(away, path), 0);
    }
    pki_free(pki_fixture_open(state));
}

static void key_of_another_is_refused(void **state)
{
    struct pki *pki = pki_fixture_open(state);
    _cleanup_free_ char *folder = xasprintf("%s/pki", (const char *)*state);
    _cleanup_free_ char *from = xasprintf("%s/client-ca.key", folder);
    _cleanup_free_ char *to = xasprintf("%s/agent-ca.key", folder);
    struct error error = {0};

    pki_free(pki);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(pki_open(folder, &pki, &error), -EIO);
    assert_non_null(strstr(error.detail, "agent-ca"));
}

static void crashed_creation_is_repeated(void **state)
{
    _cleanup_free_ char *left = xasprintf("%s/pki.new", (const char *)*state);
    _cleanup_free_ char *file = xasprintf("%s/root.key", left);
    struct stat st;

    assert_int_equal(mkdir(left, 0700), 0);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fclose(f);
    pki_free(pki_fixture_open(state));
    assert_int_equal(stat(left, &st), -1);
}

static void folder_that_cannot_be_made_is_an_error(void **state)
{
    struct pki *pki = NULL;
    struct error error = {0};

    assert_true(pki_open("/proc/nowhere/pki", &pki, &error) < 0);
    assert_non_null(strstr(error.detail, "/proc/nowhere"));
    assert_null(pki);
}

/* --- the listener's --- */

static void server_certificate_has_role_and_names(void **state)
{
    struct pki *pki = pki_fixture_open(state);
    char *cert = NULL, *key = NULL;
    gnutls_x509_crt_t certs[4];

    assert_int_equal(pki_server_certificate(pki, PKI_TEST_NAMES, &cert, &key, NULL), 0);
    unsigned len = pki_fixture_import(cert, certs);
    assert_int_equal(len, 3);
    assert_uri(certs[0], "cnsmo:server");
    for (size_t i = 0; PKI_TEST_NAMES[i]; i++) {
        assert_true(x509_has_name(certs[0], PKI_TEST_NAMES[i]));
    }
    assert_false(x509_has_name(certs[0], "192.0.2.2"));
    assert_false(x509_has_name(certs[0], "example"));
    assert_int_equal(pki_fixture_verify(certs, 2, pki_root_pem(pki), GNUTLS_KP_TLS_WWW_SERVER), 0);
    assert_int_not_equal(pki_fixture_verify(certs, 2, pki_root_pem(pki), GNUTLS_KP_TLS_WWW_CLIENT),
                         0);
    time_t now = time(NULL), from = gnutls_x509_crt_get_activation_time(certs[0]);
    assert_true(now - from >= 48 * 3600 && now - from < 49 * 3600);
    assert_mode(*state, "server.key", 0600);
    pki_fixture_free(certs, len);
    x509_secret_free(&key);
    free(cert);
    pki_free(pki);
}

static void server_certificate_is_kept_until_names_change(void **state)
{
    static const char *const MORE[] = {"cnsmo.example", "192.0.2.9", NULL};
    static const char *const BAD[] = {"no spaces", NULL};
    struct pki *pki = pki_fixture_open(state);
    char *cert[3], *key[3];
    struct error error = {0};

    assert_int_equal(pki_server_certificate(pki, PKI_TEST_NAMES, &cert[0], &key[0], NULL), 0);
    assert_int_equal(pki_server_certificate(pki, PKI_TEST_NAMES + 1, &cert[1], &key[1], NULL), 0);
    assert_string_equal(cert[0], cert[1]);
    assert_string_equal(key[0], key[1]);
    assert_int_equal(pki_server_certificate(pki, MORE, &cert[2], &key[2], NULL), 0);
    assert_string_not_equal(cert[0], cert[2]);
    for (int i = 0; i < 3; i++) {
        free(cert[i]);
        x509_secret_free(&key[i]);
    }
    assert_int_equal(pki_server_certificate(pki, BAD, &cert[0], &key[0], &error), -EINVAL);
    assert_non_null(strstr(error.detail, "no spaces"));
    pki_free(pki);
}

/* Puts a certificate of the right authority in the place of the listener's. */
static void put_server(const char *folder, const char *issuer, int days)
{
    const struct x509_request request = {.common_name = "cnsmod",
                                         .days = days,
                                         .uri = "cnsmo:server",
                                         .names = PKI_TEST_NAMES,
                                         .is_server = 1};
    struct x509_pair authority, pair;

    assert_int_equal(pair_read(folder, issuer, &authority, NULL), 0);
    assert_int_equal(x509_pair_new(&request, &authority, &pair, NULL), 0);
    _cleanup_free_ char *pem = x509_cert_pem(pair.cert);
    assert_int_equal(pair_write(folder, "server", &pair, pem, NULL), 0);
    x509_pair_done(&authority);
    x509_pair_done(&pair);
}

static void server_certificate_is_made_again_in_time(void **state)
{
    static const struct {
        const char *issuer;
        int days, is_kept;
    } CASES[] = {{"server-ca", PKI_RENEW_DAYS + 1, 1},
                 {"server-ca", PKI_RENEW_DAYS - 1, 0},
                 {"server-ca", -1, 0},
                 {"agent-ca", 100, 0}};
    struct pki *pki = pki_fixture_open(state);
    _cleanup_free_ char *folder = xasprintf("%s/pki", (const char *)*state);

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        char *before = NULL, *cert = NULL, *key = NULL;
        put_server(folder, CASES[i].issuer, CASES[i].days);
        assert_int_equal(pair_read_chain(folder, "server", &before, NULL), 0);
        assert_int_equal(pki_server_certificate(pki, PKI_TEST_NAMES, &cert, &key, NULL), 0);
        assert_int_equal(strcmp(before, cert) == 0, CASES[i].is_kept);
        free(before);
        free(cert);
        x509_secret_free(&key);
    }
    pki_free(pki);
}

/* --- nodes' --- */

static void node_certificate_is_signed(void **state)
{
    struct pki *pki = pki_fixture_open(state);
    char *key = NULL, *csr = NULL, *chain = NULL, *serial = NULL, *key_id = NULL;
    gnutls_x509_crt_t certs[4];
    uint8_t id[SHA256_SIZE];
    size_t size = sizeof id;
    char hex[SHA256_HEX_SIZE];
    int64_t expires = 0;

    assert_int_equal(pki_make_csr("whoever", &key, &csr, NULL), 0);
    assert_int_equal(pki_csr_key_id(csr, &key_id, NULL), 0);
    assert_int_equal(pki_sign_node(pki, csr, "Agent.1", &chain, &serial, &expires, NULL), 0);
    unsigned len = pki_fixture_import(chain, certs);
    assert_int_equal(len, 2);
    assert_uri(certs[0], "cnsmo:node:Agent.1");
    assert_int_equal(pki_fixture_verify(certs, 2, pki_root_pem(pki), GNUTLS_KP_TLS_WWW_CLIENT), 0);
    assert_int_equal(gnutls_x509_crt_get_key_id(certs[0], GNUTLS_KEYID_USE_SHA256, id, &size), 0);
    hex_encode(id, sizeof id, hex);
    assert_string_equal(hex, key_id);
    _cleanup_free_ char *same = x509_serial(certs[0]);
    assert_string_equal(same, serial);
    assert_int_equal(strlen(serial), 32);
    assert_int_equal(expires / 1000000, gnutls_x509_crt_get_expiration_time(certs[0]));
    pki_fixture_free(certs, len);

    char *again = NULL, *again_id = NULL;
    assert_int_equal(pki_make_csr_for(key, "whoever", &again, NULL), 0);
    assert_int_equal(pki_csr_key_id(again, &again_id, NULL), 0);
    assert_string_equal(again_id, key_id);
    free(again);
    free(again_id);
    free(csr);
    free(chain);
    free(serial);
    free(key_id);
    x509_secret_free(&key);
    pki_free(pki);
}

/* A CSR for another kind of key, made with GnuTLS directly. */
static char *foreign_csr(gnutls_pk_algorithm_t algorithm, unsigned bits)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crq_t crq;
    gnutls_datum_t datum;

    gnutls_x509_privkey_init(&key);
    assert_int_equal(gnutls_x509_privkey_generate(key, algorithm, bits, 0), 0);
    gnutls_x509_crq_init(&crq);
    gnutls_x509_crq_set_version(crq, 1);
    gnutls_x509_crq_set_key(crq, key);
    assert_int_equal(gnutls_x509_crq_sign2(crq, key, GNUTLS_DIG_SHA256, 0), 0);
    assert_int_equal(gnutls_x509_crq_export2(crq, GNUTLS_X509_FMT_PEM, &datum), 0);
    char *text = xstrndup((const char *)datum.data, datum.size);
    gnutls_free(datum.data);
    gnutls_x509_crq_deinit(crq);
    gnutls_x509_privkey_deinit(key);
    return text;
}

static void assert_csr_refused(const char *csr, const char *word)
{
    struct error error = {0};
    char *key_id = NULL;

    assert_int_equal(pki_csr_key_id(csr, &key_id, &error), -EINVAL);
    assert_int_equal(error.status, 400);
    assert_string_equal(error.pointer, "/csr");
    assert_non_null(strstr(error.detail, word));
    assert_null(key_id);
}

static void bad_requests_are_refused(void **state)
{
    char *key = NULL, *csr = NULL;
    char *rsa = foreign_csr(GNUTLS_PK_RSA, 2048);
    char *p384 = foreign_csr(GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP384R1));
    _cleanup_free_ char *large = xcalloc(PKI_CSR_MAX + 2, 1);

    memset(large, 'A', PKI_CSR_MAX + 1);
    assert_csr_refused("", "PEM");
    assert_csr_refused("hello", "PEM");
    assert_csr_refused(large, "at most");
    assert_csr_refused(rsa, "P-256");
    assert_csr_refused(p384, "P-256");

    /* the signature's last bits: before "=" or the line's end, so change one in the middle */
    assert_int_equal(pki_make_csr("x", &key, &csr, NULL), 0);
    char *end = strstr(csr, "\n-----END");
    assert_non_null(end);
    end[-12] = end[-12] == 'A' ? 'B' : 'A';
    assert_csr_refused(csr, "signed by its own key");
    free(rsa);
    free(p384);
    free(csr);
    x509_secret_free(&key);
}

/* --- join tokens --- */

static void join_token_goes_round(void **state)
{
    char *servers[] = {(char *)"192.0.2.1:8444", (char *)"cnsmo.example:8444",
                       (char *)"[2001:db8::1]:8444", NULL};
    _cleanup_free_ char *fingerprint = xasprintf("sha256:%064d", 7);
    const struct join_token token = {servers, fingerprint, (char *)"t1", (char *)"s3cret"};
    struct join_token got;
    char *text = join_token_encode(&token);

    assert_memory_equal(text, "cnsmo1.", 7);
    assert_int_equal(join_token_decode(text, &got, NULL), 0);
    for (size_t i = 0; i < 4; i++) {
        if (servers[i]) {
            assert_string_equal(got.servers[i], servers[i]);
        } else {
            assert_null(got.servers[i]);
        }
    }
    assert_string_equal(got.fingerprint, fingerprint);
    assert_string_equal(got.id, "t1");
    assert_string_equal(got.secret, "s3cret");
    join_token_done(&got);

    text[strlen(text) / 2] = '!';
    struct error error = {0};
    assert_int_equal(join_token_decode(text, &got, &error), -EINVAL);
    assert_non_null(strstr(error.detail, "damaged"));
    free(text);
}

static void bad_tokens_are_refused(void **state)
{
    static const char HEX[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    static const struct {
        const char *json, *word;
    } BAD[] = {
        {"[]", "object"},
        {"{\"s\":[],\"f\":\"%s\",\"i\":\"a\",\"k\":\"b\"}", "servers"},
        {"{\"s\":[\"a:1\",\"a:1\",\"a:1\",\"a:1\",\"a:1\",\"a:1\",\"a:1\",\"a:1\",\"a:1\"],"
         "\"f\":\"%s\",\"i\":\"a\",\"k\":\"b\"}",
         "servers"},
        {"{\"s\":[\"noport\"],\"f\":\"%s\",\"i\":\"a\",\"k\":\"b\"}", "HOST:PORT"},
        {"{\"s\":[\"a:0\"],\"f\":\"%s\",\"i\":\"a\",\"k\":\"b\"}", "HOST:PORT"},
        {"{\"s\":[\"a:65536\"],\"f\":\"%s\",\"i\":\"a\",\"k\":\"b\"}", "HOST:PORT"},
        {"{\"s\":[\"a b:1\"],\"f\":\"%s\",\"i\":\"a\",\"k\":\"b\"}", "HOST:PORT"},
        {"{\"s\":[\"[::g]:1\"],\"f\":\"%s\",\"i\":\"a\",\"k\":\"b\"}", "HOST:PORT"},
        {"{\"s\":[\"a:1\"],\"f\":\"short\",\"i\":\"a\",\"k\":\"b\"}", "fingerprint"},
        {"{\"s\":[\"a:1\"],\"f\":\"%s\",\"i\":\"\",\"k\":\"b\"}", "id"},
        {"{\"s\":[\"a:1\"],\"f\":\"%s\",\"i\":\"a\",\"k\":7}", "secret"},
        {"{\"s\":[\"a:1\"],\"f\":\"%s\",\"i\":\"a\",\"k\":\"b\"} ", NULL},
        {"{\"s\":[\"a:1\"]", "JSON"},
    };

    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        const char *hole = strstr(BAD[i].json, "%s");
        _cleanup_free_ char *json =
            hole ? xasprintf("%.*s%s%s", (int)(hole - BAD[i].json), BAD[i].json, HEX, hole + 2)
                 : xstrdup(BAD[i].json);
        _cleanup_free_ char *encoded = base64url_encode(json, strlen(json));
        _cleanup_free_ char *text = xasprintf("cnsmo1.%s", encoded);
        struct error error = {0};
        struct join_token token;
        int rc = join_token_decode(text, &token, &error);
        if (BAD[i].word) {
            assert_int_equal(rc, -EINVAL);
            assert_non_null(strstr(error.detail, BAD[i].word));
        } else {
            assert_int_equal(rc, 0);
            join_token_done(&token);
        }
    }
}

static void token_border_is_checked(void **state)
{
    _cleanup_free_ char *large = xcalloc(JOIN_TOKEN_MAX + 2, 1);
    struct join_token token;
    struct error error = {0};

    memset(large, 'A', JOIN_TOKEN_MAX + 1);
    assert_int_equal(join_token_decode(large, &token, &error), -EINVAL);
    assert_non_null(strstr(error.detail, "at most"));
    assert_int_equal(join_token_decode("", &token, &error), -EINVAL);
    assert_int_equal(join_token_decode("cnsmo2.AAAA", &token, &error), -EINVAL);
    assert_non_null(strstr(error.detail, "begins with"));
    assert_int_equal(join_token_decode("cnsmo1.", &token, &error), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_folder(authority_is_made_once),
        in_folder(half_made_authority_is_refused),
        in_folder(key_of_another_is_refused),
        in_folder(crashed_creation_is_repeated),
        in_folder(folder_that_cannot_be_made_is_an_error),
        in_folder(server_certificate_has_role_and_names),
        in_folder(server_certificate_is_kept_until_names_change),
        in_folder(server_certificate_is_made_again_in_time),
        in_folder(node_certificate_is_signed),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(join_token_goes_round),
        cmocka_unit_test(bad_tokens_are_refused),
        cmocka_unit_test(token_border_is_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
