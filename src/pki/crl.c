/* crl.c - what is revoked (RFC 5280 section 5), and which generation signed a certificate. */
#include <errno.h>
#include <gnutls/abstract.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "pki/der.h"
#include "pki/internal.h"

enum {
    ENTRIES_SIZE_MAX = DER_SIZE_MAX / 2,
};

/* Hex of at most `max` bytes into `data`; the size, or 0 if it is something else. */
static size_t hex_read(const char *hex, uint8_t *data, size_t max)
{
    gnutls_datum_t text = {(unsigned char *)hex, (unsigned)strlen(hex)};
    size_t size = max;

    return gnutls_hex_decode(&text, data, &size) < 0 ? 0 : size;
}

static void put_extension(struct buf *out, const uint8_t *oid, size_t oid_size, struct buf *value)
{
    struct buf extension = DER_BUF, octets = DER_BUF;

    der_put(&extension, DER_OID, oid, oid_size);
    buf_append(&octets, value->data, value->size);
    buf_done(value);
    der_wrap(&extension, DER_OCTET_STRING, &octets);
    der_wrap(out, DER_SEQUENCE, &extension);
}

/* Whose list it is, and a number: seconds, so that later ones have higher numbers. */
static void put_extensions(struct buf *out, const char *issuer_id, time_t now)
{
    static const uint8_t AUTHORITY_KEY_ID[] = {0x55, 0x1d, 0x23},
                         CRL_NUMBER[] = {0x55, 0x1d, 0x14};
    struct buf list = DER_BUF, value = DER_BUF, inner = DER_BUF, all = DER_BUF;
    uint8_t id[SHA256_SIZE], number[8];

    hex_read(issuer_id, id, sizeof id);
    der_put(&inner, DER_IMPLICIT_0, id, sizeof id);
    der_wrap(&value, DER_SEQUENCE, &inner);
    put_extension(&list, AUTHORITY_KEY_ID, sizeof AUTHORITY_KEY_ID, &value);
    for (size_t i = 0; i < sizeof number; i++) {
        number[i] = (uint8_t)((uint64_t)now >> (8 * (sizeof number - 1 - i)));
    }
    der_integer(&value, number, sizeof number);
    put_extension(&list, CRL_NUMBER, sizeof CRL_NUMBER, &value);
    der_wrap(&all, DER_SEQUENCE, &list);
    der_wrap(out, DER_EXPLICIT_0, &all);
}

static void put_algorithm(struct buf *out)
{
    /* ecdsa-with-SHA256 (RFC 5758 section 3.2): no parameters */
    static const uint8_t OID[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
    struct buf inner = DER_BUF;

    der_put(&inner, DER_OID, OID, sizeof OID);
    der_wrap(out, DER_SEQUENCE, &inner);
}

static void put_entry(struct buf *entries, const uint8_t *serial, size_t size, time_t time)
{
    struct buf entry = DER_BUF;

    der_integer(&entry, serial, size);
    der_time(&entry, time);
    der_wrap(entries, DER_SEQUENCE, &entry);
}

/* TBSCertList (RFC 5280 section 5.1); `entries` is emptied. */
static int put_list(struct buf *out, const struct x509_pair *issuer, const char *issuer_id,
                    struct buf *entries)
{
    static const uint8_t VERSION_2 = 1;
    struct buf list = DER_BUF;
    gnutls_datum_t name = {0};
    time_t now = time(NULL);
    int rc = gnutls_x509_crt_get_raw_dn(issuer->cert, &name);

    if (rc < 0) {
        return rc;
    }
    der_integer(&list, &VERSION_2, 1);
    put_algorithm(&list);
    buf_append(&list, name.data, name.size);
    gnutls_free(name.data);
    der_time(&list, now - PKI_BACKDATE_HOURS * 60 * 60);
    der_time(&list, gnutls_x509_crt_get_expiration_time(issuer->cert));
    if (entries->size > 0) { /* an empty one must be absent */
        der_wrap(&list, DER_SEQUENCE, entries);
    }
    put_extensions(&list, issuer_id, now);
    der_wrap(out, DER_SEQUENCE, &list);
    return 0;
}

static int sign_data(gnutls_x509_privkey_t key, const struct buf *data, gnutls_datum_t *signature)
{
    const gnutls_datum_t datum = {(unsigned char *)data->data, (unsigned)data->size};
    gnutls_privkey_t abstract = NULL;
    int rc = gnutls_privkey_init(&abstract);

    if (rc < 0) {
        return rc;
    }
    rc = gnutls_privkey_import_x509(abstract, key, GNUTLS_PRIVKEY_IMPORT_COPY);
    if (rc >= 0) {
        rc = gnutls_privkey_sign_data(abstract, GNUTLS_DIG_SHA256, 0, &datum, signature);
    }
    gnutls_privkey_deinit(abstract);
    return rc;
}

/* CertificateList: the list, the algorithm again, the signature; in PEM. */
static int make_list(const struct x509_pair *issuer, const char *issuer_id, struct buf *entries,
                     char **ret_pem)
{
    _cleanup_buf_ struct buf list = DER_BUF;
    _cleanup_buf_ struct buf bits = DER_BUF;
    _cleanup_buf_ struct buf whole = DER_BUF;
    gnutls_datum_t signature = {0}, pem = {0};
    int rc = put_list(&list, issuer, issuer_id, entries);

    if (rc >= 0) {
        rc = sign_data(issuer->key, &list, &signature);
    }
    if (rc < 0) {
        return rc;
    }
    buf_append(&bits, "", 1); /* no unused bits */
    buf_append(&bits, signature.data, signature.size);
    gnutls_free(signature.data);
    put_algorithm(&list);
    der_wrap(&list, DER_BIT_STRING, &bits);
    der_wrap(&whole, DER_SEQUENCE, &list);
    const gnutls_datum_t der = {(unsigned char *)whole.data, (unsigned)whole.size};
    rc = gnutls_pem_base64_encode2("X509 CRL", &der, &pem);
    if (rc >= 0) {
        *ret_pem = xstrndup((const char *)pem.data, pem.size);
        gnutls_free(pem.data);
    }
    return rc;
}

static int list_error(int rc, struct error *error)
{
    return rc < 0 ? x509_error(error, 500, NULL, "making a revocation list", rc) : 0;
}

int crl_of_generation(const struct generation *generation, const struct pki_revoked *revoked,
                      size_t len, char **ret_pem, struct error *error)
{
    _cleanup_buf_ struct buf entries = DER_BUF;

    for (size_t i = 0; i < len; i++) {
        uint8_t serial[PKI_SERIAL_MAX];
        size_t size = hex_read(revoked[i].serial, serial, sizeof serial);
        if (strcmp(revoked[i].authority, generation->public.id) != 0) {
            continue;
        }
        if (size == 0) {
            return error_set(error, 400, NULL, "\"%.50s\" isn't the serial of a certificate",
                             revoked[i].serial);
        }
        if (entries.size > ENTRIES_SIZE_MAX) {
            return error_set(error, 507, NULL, "too many certificates are revoked");
        }
        put_entry(&entries, serial, size, (time_t)(revoked[i].time_usec / 1000000));
    }
    return list_error(make_list(&generation->pair, generation->public.id, &entries, ret_pem),
                      error);
}

int crl_serials(const char *pem, struct omap *serials)
{
    gnutls_datum_t datum = {(unsigned char *)pem, (unsigned)strlen(pem)};
    gnutls_x509_crl_iter_t next = NULL;
    gnutls_x509_crl_t crl;
    uint8_t serial[PKI_SERIAL_MAX];
    char hex[2 * PKI_SERIAL_MAX + 1];
    size_t size = sizeof serial;

    if (gnutls_x509_crl_init(&crl) < 0) {
        abort(); /* only without memory */
    }
    int rc = gnutls_x509_crl_import(crl, &datum, GNUTLS_X509_FMT_PEM);
    while (rc >= 0) {
        rc = gnutls_x509_crl_iter_crt_serial(crl, &next, serial, &size, NULL);
        if (rc >= 0) {
            hex_encode(serial, size, hex);
            omap_put(serials, hex, serials);
            size = sizeof serial;
        }
    }
    gnutls_x509_crl_iter_deinit(next);
    gnutls_x509_crl_deinit(crl);
    return rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE ? 0 : -EINVAL;
}

/* A retired one is trusted no more when every certificate that it can have signed has expired, or
 * when one of them is revoked that its last list doesn't name. Not before: programs may still run
 * with a certificate that they were started with, though its holder has a newer one. */
static int is_spent(const struct generation *generation, const struct pki_revoked *revoked,
                    size_t len)
{
    if (!generation->last_crl) {
        return 0;
    }
    if (generation->public.spent_usec < clock_now_usec()) {
        return 1;
    }
    for (size_t i = 0; i < len; i++) {
        if (strcmp(revoked[i].authority, generation->public.id) == 0 &&
            !omap_get(&generation->last_revoked, revoked[i].serial)) {
            return 1;
        }
    }
    return 0;
}

static int crl_of_root(const struct pki *pki, const struct pki_revoked *revoked, size_t len,
                       char **ret_pem, struct error *error)
{
    _cleanup_buf_ struct buf entries = DER_BUF;
    uint8_t id[SHA256_SIZE], serial[PKI_SERIAL_MAX];
    size_t size = sizeof id;
    char hex[PKI_ID_SIZE];

    for (int role = 0; role < PKI_ROLES; role++) {
        for (size_t i = 0; i < pki->roles[role].len; i++) {
            const struct generation *generation = &pki->roles[role].items[i];
            size_t serial_size = sizeof serial;
            if (is_spent(generation, revoked, len) &&
                generation->public.expires_usec > clock_now_usec() &&
                gnutls_x509_crt_get_serial(generation->pair.cert, serial, &serial_size) >= 0) {
                put_entry(&entries, serial, serial_size, time(NULL));
            }
        }
    }
    int rc = gnutls_x509_crt_get_key_id(pki->root.cert, GNUTLS_KEYID_USE_SHA256, id, &size);
    if (rc >= 0) {
        hex_encode(id, sizeof id, hex);
        rc = make_list(&pki->root, hex, &entries, ret_pem);
    }
    return list_error(rc, error);
}

/* Appends to *text, which is the caller's. */
static void append(char **text, const char *more)
{
    size_t old = strlen(*text), size = strlen(more);

    *text = xrealloc(*text, old + size + 1);
    memcpy(*text + old, more, size + 1);
}

static int append_generation(const struct generation *generation,
                             const struct pki_revoked *revoked, size_t len, char **text,
                             struct error *error)
{
    _cleanup_free_ char *pem = NULL;

    if (is_spent(generation, revoked, len)) {
        return 0;
    }
    if (generation->last_crl) {
        append(text, generation->last_crl);
        return 0;
    }
    int rc = crl_of_generation(generation, revoked, len, &pem, error);
    if (rc == 0) {
        append(text, pem);
    }
    return rc;
}

int pki_crl(const struct pki *pki, const struct pki_revoked *revoked, size_t len, char **ret_pem,
            struct error *error)
{
    _cleanup_free_ char *text = NULL;
    int rc = crl_of_root(pki, revoked, len, &text, error);

    for (int role = 0; role < PKI_ROLES; role++) {
        for (size_t i = 0; rc == 0 && i < pki->roles[role].len; i++) {
            rc = append_generation(&pki->roles[role].items[i], revoked, len, &text, error);
        }
    }
    if (rc == 0) {
        *ret_pem = TAKE(text);
    }
    return rc;
}

int pki_issuer_id(const char *cert_pem, char ret_id[PKI_ID_SIZE])
{
    gnutls_datum_t pem = {(unsigned char *)cert_pem, (unsigned)strlen(cert_pem)};
    uint8_t id[SHA256_SIZE];
    size_t size = sizeof id;
    gnutls_x509_crt_t cert;

    if (gnutls_x509_crt_init(&cert) < 0) {
        abort(); /* only without memory */
    }
    int rc = gnutls_x509_crt_import(cert, &pem, GNUTLS_X509_FMT_PEM);
    rc = rc < 0 ? rc : gnutls_x509_crt_get_authority_key_id(cert, id, &size, NULL);
    gnutls_x509_crt_deinit(cert);
    if (rc < 0 || size != sizeof id) {
        return -EINVAL;
    }
    hex_encode(id, size, ret_id);
    return 0;
}
