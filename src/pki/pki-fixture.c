#include "pki/pki-fixture.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/file.h"
#include "lib/mem.h"
#include "lib/spawn.h"
#include "pki/x509.h"

const char *const PKI_TEST_NAMES[] = {"cnsmo.example", "192.0.2.1", "2001:db8::1", NULL};

int pki_fixture_make(void **state)
{
    char *path = xstrdup("/tmp/pki-test.XXXXXX");

    assert_non_null(mkdtemp(path));
    *state = path;
    return 0;
}

static void remove_all(const char *path)
{
    DIR *folder = opendir(path);

    for (struct dirent *e; folder && (e = readdir(folder));) {
        if (e->d_name[0] != '.') {
            _cleanup_free_ char *file = xasprintf("%s/%s", path, e->d_name);
            if (e->d_type == DT_DIR) {
                remove_all(file);
            } else {
                unlink(file);
            }
        }
    }
    if (folder) {
        closedir(folder);
    }
    rmdir(path);
}

int pki_fixture_drop(void **state)
{
    remove_all(*state);
    free(*state);
    return 0;
}

struct pki *pki_fixture_open(void **state)
{
    _cleanup_free_ char *folder = xasprintf("%s/pki", (const char *)*state);
    struct pki *pki = NULL;
    struct error error = {0};

    assert_int_equal(pki_open(folder, &pki, &error), 0);
    return pki;
}

unsigned pki_fixture_import(const char *pem, gnutls_x509_crt_t certs[4])
{
    gnutls_datum_t datum = {(unsigned char *)pem, (unsigned)strlen(pem)};
    unsigned len = 4;

    assert_true(gnutls_x509_crt_list_import(certs, &len, &datum, GNUTLS_X509_FMT_PEM, 0) > 0);
    return len;
}

void pki_fixture_free(gnutls_x509_crt_t certs[4], unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        gnutls_x509_crt_deinit(certs[i]);
    }
}

unsigned pki_fixture_verify(gnutls_x509_crt_t *chain, unsigned len, const char *root_pem,
                            const char *purpose)
{
    gnutls_typed_vdata_st data = {GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)purpose, 0};
    gnutls_x509_trust_list_t list;
    gnutls_datum_t root = {(unsigned char *)root_pem, (unsigned)strlen(root_pem)};
    unsigned status = ~0u;

    assert_true(gnutls_x509_trust_list_init(&list, 0) >= 0);
    assert_int_equal(
        gnutls_x509_trust_list_add_trust_mem(list, &root, NULL, GNUTLS_X509_FMT_PEM, 0, 0), 1);
    assert_true(gnutls_x509_trust_list_verify_crt2(list, chain, len, &data, 1, 0, &status, NULL) >=
                0);
    gnutls_x509_trust_list_deinit(list, 1);
    return status;
}

void assert_uri(gnutls_x509_crt_t cert, const char *uri)
{
    char value[256];
    size_t size = sizeof value;

    assert_int_equal(gnutls_x509_crt_get_subject_alt_name(cert, 0, value, &size, NULL),
                     GNUTLS_SAN_URI);
    assert_int_equal(size, strlen(uri));
    assert_memory_equal(value, uri, size);
}

void assert_mode(const char *folder, const char *name, mode_t mode)
{
    _cleanup_free_ char *path = xasprintf("%s/pki/%s", folder, name);
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, mode);
}

struct issued pki_fixture_issue(struct pki *pki, enum pki_role role, const char *name)
{
    struct issued issued = {0};

    if (role == PKI_CLIENT) {
        assert_int_equal(pki_make_client(pki, name, &issued.key, &issued.chain, &issued.serial,
                                         &issued.expires_usec, NULL),
                         0);
        return issued;
    }
    char *key = NULL, *csr = NULL;
    assert_int_equal(pki_make_csr(name, &key, &csr, NULL), 0);
    assert_int_equal(
        pki_sign_node(pki, csr, name, &issued.chain, &issued.serial, &issued.expires_usec, NULL),
        0);
    x509_secret_free(&key);
    free(csr);
    return issued;
}

void pki_fixture_issued_done(struct issued *issued)
{
    x509_secret_free(&issued->key);
    free(issued->chain);
    free(issued->serial);
}

char *pki_fixture_file(const char *folder, const char *name, const char *text)
{
    char *path = xasprintf("%s/%s", folder, name);

    assert_int_equal(file_write_atomic(path, text, strlen(text), 0600), 0);
    return path;
}

void assert_output(const char *const *argv, const char *word)
{
    struct buf out = BUF_INIT(1 << 16), err = BUF_INIT(1 << 16);
    const struct spawn spawn = {.argv = argv, .out = &out, .err = &err};

    assert_true(spawn_run(&spawn) >= 0);
    if (!strstr(out.data ? out.data : "", word) && !strstr(err.data ? err.data : "", word)) {
        fail_msg("\"%s\" isn't in: %s %s", word, out.data ? out.data : "",
                 err.data ? err.data : "");
    }
    buf_done(&out);
    buf_done(&err);
}
