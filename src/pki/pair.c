/* pair.c - a certificate (with what else stands in its file) and its key, as two files. */
#include <stdio.h>
#include <string.h>

#include "lib/fault.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "pki/internal.h"

enum {
    PEM_FILE_MAX = 65536,
    PAIR_FILE_MAX = 16 << 20, /* a CRL has some 50 bytes for each certificate */
};

int pair_write_file(const char *folder, const char *name, const char *suffix, const char *text,
                    unsigned mode, struct error *error)
{
    _cleanup_free_ char *path = xasprintf("%s/%s.%s", folder, name, suffix);
    int rc = fault_point();

    rc = rc < 0 ? rc : file_write_atomic(path, text, strlen(text), mode);

    if (rc < 0) {
        error_set(error, error_status(rc), NULL, "cannot write %s: %s", path, strerror(-rc));
    }
    return rc;
}

int pair_write(const char *folder, const char *name, const struct x509_pair *pair,
               const char *cert_pem, struct error *error)
{
    _cleanup_secret_ char *key_pem = x509_key_pem(pair->key);
    int rc = pair_write_file(folder, name, "key", key_pem, 0600, error);

    return rc < 0 ? rc : pair_write_file(folder, name, "pem", cert_pem, 0644, error);
}

static int read_file(const char *folder, const char *name, const char *suffix, struct buf *buf,
                     struct error *error)
{
    _cleanup_free_ char *path = xasprintf("%s/%s.%s", folder, name, suffix);
    int rc = file_read(path, buf);

    if (rc < 0) {
        error_set(error, 500, NULL, "cannot read %s: %s", path, strerror(-rc));
    }
    return rc;
}

static int import_pair(const struct buf *cert, const struct buf *key, struct x509_pair *pair)
{
    gnutls_datum_t cert_pem = {(unsigned char *)cert->data, (unsigned)cert->size};
    gnutls_datum_t key_pem = {(unsigned char *)key->data, (unsigned)key->size};
    uint8_t ids[2][SHA256_SIZE];
    size_t size = SHA256_SIZE;
    int rc = gnutls_x509_crt_init(&pair->cert);

    if (rc >= 0) {
        rc = gnutls_x509_privkey_init(&pair->key);
    }
    if (rc >= 0) {
        rc = gnutls_x509_crt_import(pair->cert, &cert_pem, GNUTLS_X509_FMT_PEM);
    }
    if (rc >= 0) {
        rc = gnutls_x509_privkey_import(pair->key, &key_pem, GNUTLS_X509_FMT_PEM);
    }
    if (rc >= 0) {
        rc = gnutls_x509_crt_get_key_id(pair->cert, GNUTLS_KEYID_USE_SHA256, ids[0], &size);
    }
    if (rc >= 0) {
        size = SHA256_SIZE;
        rc = gnutls_x509_privkey_get_key_id(pair->key, GNUTLS_KEYID_USE_SHA256, ids[1], &size);
    }
    if (rc < 0) {
        return rc;
    }
    return memcmp(ids[0], ids[1], SHA256_SIZE) == 0 ? 0 : GNUTLS_E_CERTIFICATE_KEY_MISMATCH;
}

int pair_read(const char *folder, const char *name, struct x509_pair *ret_pair,
              struct error *error)
{
    _cleanup_buf_ struct buf cert = BUF_INIT(PEM_FILE_MAX);
    _cleanup_buf_ struct buf key = BUF_INIT(PEM_FILE_MAX);
    struct x509_pair pair = {0};
    int rc = read_file(folder, name, "pem", &cert, error);

    if (rc == 0) {
        rc = read_file(folder, name, "key", &key, error);
    }
    if (rc < 0) {
        return rc;
    }
    rc = import_pair(&cert, &key, &pair);
    mem_wipe(key.data, key.size);
    if (rc < 0) {
        x509_pair_done(&pair);
        return error_set(error, 500, NULL,
                         "%s/%s.pem and .key aren't a certificate and its key: %s", folder, name,
                         gnutls_strerror(rc));
    }
    *ret_pair = pair;
    return 0;
}

int pair_read_certificate(const char *folder, const char *name, struct x509_pair *ret_pair,
                          struct error *error)
{
    _cleanup_buf_ struct buf cert = BUF_INIT(PEM_FILE_MAX);
    struct x509_pair pair = {0};
    int rc = read_file(folder, name, "pem", &cert, error);

    if (rc < 0) {
        return rc;
    }
    gnutls_datum_t pem = {(unsigned char *)cert.data, (unsigned)cert.size};
    rc = gnutls_x509_crt_init(&pair.cert);
    if (rc >= 0) {
        rc = gnutls_x509_crt_import(pair.cert, &pem, GNUTLS_X509_FMT_PEM);
    }
    if (rc < 0) {
        x509_pair_done(&pair);
        return error_set(error, 500, NULL, "%s/%s.pem isn't a certificate: %s", folder, name,
                         gnutls_strerror(rc));
    }
    *ret_pair = pair;
    return 0;
}

int pair_read_file(const char *folder, const char *name, const char *suffix, char **ret_text,
                   struct error *error)
{
    struct buf text = BUF_INIT(PAIR_FILE_MAX);
    int rc = read_file(folder, name, suffix, &text, error);

    if (rc < 0) {
        buf_done(&text);
        return rc;
    }
    *ret_text = text.data ? text.data : xstrdup("");
    return 0;
}

int pair_read_chain(const char *folder, const char *name, char **ret_pem, struct error *error)
{
    return pair_read_file(folder, name, "pem", ret_pem, error);
}
