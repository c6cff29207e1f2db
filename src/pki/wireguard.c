/* wireguard.c - keys for WireGuard clients that have none of their own. */
#include <gnutls/abstract.h>

#include "lib/hash.h"
#include "lib/mem.h"
#include "pki/internal.h"

enum {
    KEY_SIZE = 32,
};

static int export(gnutls_privkey_t key, char **ret_private, char **ret_public)
{
    gnutls_datum_t x = {0}, y = {0}, k = {0};
    gnutls_ecc_curve_t curve;
    int rc = gnutls_privkey_export_ecc_raw2(key, &curve, &x, &y, &k, 0);

    if (rc >= 0 && (x.size != KEY_SIZE || k.size != KEY_SIZE)) {
        rc = GNUTLS_E_INTERNAL_ERROR;
    }
    if (rc >= 0) {
        *ret_private = base64_encode(k.data, k.size);
        *ret_public = base64_encode(x.data, x.size);
    }
    if (k.data) {
        mem_wipe(k.data, k.size);
    }
    gnutls_free(k.data);
    gnutls_free(x.data);
    gnutls_free(y.data);
    return rc;
}

int pki_wireguard_pair(char **ret_private, char **ret_public, struct error *error)
{
    gnutls_privkey_t key;
    int rc = gnutls_privkey_init(&key);

    if (rc < 0) {
        return x509_error(error, 500, NULL, "making a WireGuard key", rc);
    }
    rc = gnutls_privkey_generate(key, GNUTLS_PK_ECDH_X25519,
                                 GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_X25519), 0);
    rc = rc < 0 ? rc : export(key, ret_private, ret_public);
    gnutls_privkey_deinit(key);
    return rc < 0 ? x509_error(error, 500, NULL, "making a WireGuard key", rc) : 0;
}
