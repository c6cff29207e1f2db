/* issue.c - certificates of nodes and of outside clients. */
#include <string.h>

#include "lib/mem.h"
#include "model/schema.h"
#include "pki/csr.h"
#include "pki/internal.h"

/* A role that holders of certificates have, other than the server's own. */
static const struct holder {
    enum pki_role role;
    const char *uri;     /* its beginning */
    const char *purpose; /* of ours */
    int days;
    int is_server; /* may stand at the server's end of a tunnel */
    int (*name_is_valid)(const char *name);
} NODE = {PKI_AGENT, "cnsmo:node:", PKI_EKU_NODE, PKI_NODE_DAYS, 1, node_id_is_valid},
  CLIENT = {PKI_CLIENT, "cnsmo:client:", PKI_EKU_CLIENT, PKI_CLIENT_DAYS, 0, client_name_is_valid};

static int check_name(const struct holder *holder, const char *name, struct error *error)
{
    return holder->name_is_valid(name)
               ? 0
               : error_set(error, 400, "/id", "\"id\" %.80s isn't a valid name", name);
}

static int sign(struct pki *pki, const struct holder *holder, gnutls_pubkey_t public_key,
                const char *name, char **ret_chain_pem, char **ret_serial,
                int64_t *ret_expires_usec, struct error *error)
{
    const struct x509_pair *issuer = &generation_active(pki, holder->role)->pair;
    _cleanup_free_ char *uri = xasprintf("%s%s", holder->uri, name);
    const struct x509_request request = {
        .common_name = name,
        .days = holder->days,
        .uri = uri,
        .is_client = 1,
        .is_server = holder->is_server,
        .purpose = holder->purpose,
    };
    gnutls_x509_crt_t cert = NULL;
    int rc = x509_sign(&request, public_key, issuer, NULL, &cert, error);

    if (rc < 0) {
        return rc;
    }
    _cleanup_free_ char *leaf = x509_cert_pem(cert);
    _cleanup_free_ char *issuer_pem = x509_cert_pem(issuer->cert);
    *ret_chain_pem = xasprintf("%s%s", leaf, issuer_pem);
    *ret_serial = x509_serial(cert);
    *ret_expires_usec = (int64_t)gnutls_x509_crt_get_expiration_time(cert) * 1000000;
    gnutls_x509_crt_deinit(cert);
    return 0;
}

static int sign_request(struct pki *pki, const struct holder *holder, const char *csr_pem,
                        const char *name, char **ret_chain_pem, char **ret_serial,
                        int64_t *ret_expires_usec, struct error *error)
{
    gnutls_pubkey_t public_key = NULL;
    int rc = check_name(holder, name, error);

    rc = rc < 0 ? rc : csr_public_key(csr_pem, &public_key, error);
    if (rc < 0) {
        return rc;
    }
    rc = sign(pki, holder, public_key, name, ret_chain_pem, ret_serial, ret_expires_usec, error);
    gnutls_pubkey_deinit(public_key);
    return rc;
}

int pki_sign_node(struct pki *pki, const char *csr_pem, const char *node, char **ret_chain_pem,
                  char **ret_serial, int64_t *ret_expires_usec, struct error *error)
{
    return sign_request(pki, &NODE, csr_pem, node, ret_chain_pem, ret_serial, ret_expires_usec,
                        error);
}

int pki_sign_client(struct pki *pki, const char *csr_pem, const char *name, char **ret_chain_pem,
                    char **ret_serial, int64_t *ret_expires_usec, struct error *error)
{
    return sign_request(pki, &CLIENT, csr_pem, name, ret_chain_pem, ret_serial, ret_expires_usec,
                        error);
}

int pki_make_client(struct pki *pki, const char *name, char **ret_key_pem, char **ret_chain_pem,
                    char **ret_serial, int64_t *ret_expires_usec, struct error *error)
{
    _cleanup_secret_ char *key = NULL;
    _cleanup_free_ char *csr = NULL;
    int rc = check_name(&CLIENT, name, error);

    rc = rc < 0 ? rc : pki_make_csr(name, &key, &csr, error);
    rc = rc < 0
             ? rc
             : pki_sign_client(pki, csr, name, ret_chain_pem, ret_serial, ret_expires_usec, error);
    if (rc == 0) {
        *ret_key_pem = TAKE(key);
    }
    return rc;
}
