/* crl.c - what is revoked (RFC 5280 section 5), and which generation signed a certificate. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "pki/internal.h"

enum {
    NUMBER_SIZE = 8,
};

/* Hex of at most PKI_SERIAL_MAX bytes into `serial`; its size, or 0 if it is no serial. */
static size_t read_serial(const char *hex, uint8_t serial[PKI_SERIAL_MAX])
{
    gnutls_datum_t text = {(unsigned char *)hex, (unsigned)strlen(hex)};
    size_t size = PKI_SERIAL_MAX;

    return gnutls_hex_decode(&text, serial, &size) < 0 ? 0 : size;
}

/* Counts seconds: later ones have higher numbers, as clients may demand. */
static int set_number(gnutls_x509_crl_t crl, time_t now)
{
    uint8_t number[NUMBER_SIZE];

    for (int i = 0; i < NUMBER_SIZE; i++) {
        number[i] = (uint8_t)((uint64_t)now >> (8 * (NUMBER_SIZE - 1 - i)));
    }
    return gnutls_x509_crl_set_number(crl, number, sizeof number);
}

static int fill(gnutls_x509_crl_t crl, const struct x509_pair *issuer, time_t now)
{
    uint8_t id[SHA256_SIZE];
    size_t size = sizeof id;
    int rc = gnutls_x509_crl_set_version(crl, 2);

    if (rc >= 0) {
        rc = gnutls_x509_crl_set_this_update(crl, now - PKI_BACKDATE_HOURS * 60 * 60);
    }
    if (rc >= 0) {
        rc = gnutls_x509_crl_set_next_update(crl,
                                             gnutls_x509_crt_get_expiration_time(issuer->cert));
    }
    if (rc >= 0) {
        rc = set_number(crl, now);
    }
    if (rc >= 0) {
        rc = gnutls_x509_crt_get_key_id(issuer->cert, GNUTLS_KEYID_USE_SHA256, id, &size);
    }
    return rc < 0 ? rc : gnutls_x509_crl_set_authority_key_id(crl, id, size);
}

static int add(gnutls_x509_crl_t crl, const struct pki_revoked *revoked)
{
    uint8_t serial[PKI_SERIAL_MAX];
    size_t size = read_serial(revoked->serial, serial);

    return size == 0 ? GNUTLS_E_INVALID_REQUEST
                     : gnutls_x509_crl_set_crt_serial(crl, serial, size,
                                                      (time_t)(revoked->time_usec / 1000000));
}

/* Signs and frees it. */
static int finish(gnutls_x509_crl_t crl, const struct x509_pair *issuer, int rc, char **ret_pem,
                  struct error *error)
{
    gnutls_datum_t datum = {0};

    if (rc >= 0) {
        rc = gnutls_x509_crl_sign2(crl, issuer->cert, issuer->key, GNUTLS_DIG_SHA256, 0);
    }
    if (rc >= 0) {
        rc = gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &datum);
    }
    gnutls_x509_crl_deinit(crl);
    if (rc < 0) {
        return x509_error(error, 500, NULL, "making a revocation list", rc);
    }
    *ret_pem = xstrndup((const char *)datum.data, datum.size);
    gnutls_free(datum.data);
    return 0;
}

static gnutls_x509_crl_t new_crl(void)
{
    gnutls_x509_crl_t crl;

    if (gnutls_x509_crl_init(&crl) < 0) {
        abort(); /* only without memory */
    }
    return crl;
}

int crl_of_generation(const struct generation *generation, const struct pki_revoked *revoked,
                      size_t len, char **ret_pem, struct error *error)
{
    gnutls_x509_crl_t crl = new_crl();
    int rc = fill(crl, &generation->pair, time(NULL));

    for (size_t i = 0; rc >= 0 && i < len; i++) {
        if (strcmp(revoked[i].authority, generation->public.id) == 0) {
            rc = add(crl, &revoked[i]);
        }
    }
    return finish(crl, &generation->pair, rc, ret_pem, error);
}

/* Has every certificate that it can have signed expired? Then it is trusted no more: before, that
 * would cut programs that still run with a certificate they were started with. */
static int is_spent(const struct generation *generation)
{
    return generation->last_crl && generation->public.spent_usec < clock_now_usec();
}

static int crl_of_root(const struct pki *pki, char **ret_pem, struct error *error)
{
    gnutls_x509_crl_t crl = new_crl();
    int rc = fill(crl, &pki->root, time(NULL));

    for (int role = 0; role < PKI_ROLES; role++) {
        for (size_t i = 0; rc >= 0 && i < pki->roles[role].len; i++) {
            const struct generation *generation = &pki->roles[role].items[i];
            if (is_spent(generation) && generation->public.expires_usec > clock_now_usec()) {
                rc = gnutls_x509_crl_set_crt(crl, generation->pair.cert, time(NULL));
            }
        }
    }
    return finish(crl, &pki->root, rc, ret_pem, error);
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

    if (is_spent(generation)) {
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
    int rc = crl_of_root(pki, &text, error);

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
