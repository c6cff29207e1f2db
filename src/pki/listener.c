/* listener.c - cnsmod's own certificate, for both of its ports. */
#include <string.h>
#include <time.h>

#include "lib/mem.h"
#include "pki/internal.h"
#include "pki/pki.h"

enum {
    DNS_NAME_MAX = 253,
};

static int is_name(const char *name)
{
    static const char ALLOWED[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789.-:";
    size_t len = strlen(name);

    return len > 0 && len <= DNS_NAME_MAX && strspn(name, ALLOWED) == len;
}

static int is_usable(const struct pki *pki, const struct x509_pair *pair, const char *const *names)
{
    unsigned status = 0;

    if (gnutls_x509_crt_verify(pair->cert, &generation_active(pki, PKI_SERVER)->pair.cert, 1, 0,
                               &status) < 0 ||
        status != 0) {
        return 0;
    }
    if (gnutls_x509_crt_get_expiration_time(pair->cert) - time(NULL) < PKI_RENEW_DAYS * 86400L) {
        return 0;
    }
    for (size_t i = 0; names[i]; i++) {
        if (!x509_has_name(pair->cert, names[i])) {
            return 0;
        }
    }
    return 1;
}

static int make_server(struct pki *pki, const char *const *names, struct x509_pair *ret_pair,
                       char **ret_chain, struct error *error)
{
    const struct x509_request request = {
        .common_name = "cnsmod",
        .days = PKI_SERVER_DAYS,
        .uri = "cnsmo:server",
        .names = names,
        .is_server = 1,
    };
    const struct x509_pair *authority = &generation_active(pki, PKI_SERVER)->pair;
    struct x509_pair pair = {0};
    int rc = x509_pair_new(&request, authority, &pair, error);

    if (rc < 0) {
        return rc;
    }
    _cleanup_free_ char *leaf = x509_cert_pem(pair.cert);
    _cleanup_free_ char *issuer = x509_cert_pem(authority->cert);
    _cleanup_free_ char *chain = xasprintf("%s%s%s", leaf, issuer, pki->root_pem);
    rc = pair_write(pki->folder, "server", &pair, chain, error);
    if (rc < 0) {
        x509_pair_done(&pair);
        return rc;
    }
    *ret_pair = pair;
    *ret_chain = TAKE(chain);
    return 0;
}

int pki_server_certificate(struct pki *pki, const char *const *names, char **ret_cert_pem,
                           char **ret_key_pem, struct error *error)
{
    struct x509_pair pair = {0};

    for (size_t i = 0; names[i]; i++) {
        if (!is_name(names[i])) {
            return error_set(error, 400, NULL, "\"%.100s\" is neither a host name nor an address",
                             names[i]);
        }
    }
    /* Absent or broken is no trouble: it is made again. */
    if (pair_read(pki->folder, "server", &pair, NULL) == 0 && is_usable(pki, &pair, names)) {
        int rc = pair_read_chain(pki->folder, "server", ret_cert_pem, error);
        if (rc == 0) {
            *ret_key_pem = x509_key_pem(pair.key);
        }
        x509_pair_done(&pair);
        return rc;
    }
    x509_pair_done(&pair);
    char *chain = NULL;
    int rc = make_server(pki, names, &pair, &chain, error);
    if (rc < 0) {
        return rc;
    }
    *ret_cert_pem = chain;
    *ret_key_pem = x509_key_pem(pair.key);
    x509_pair_done(&pair);
    return 0;
}
