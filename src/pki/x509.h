/* x509.h - the few things that the authority does with GnuTLS's X.509, in our error idiom.
 *
 * Private to src/pki. Keys are P-256; certificates get a random serial, version 3, key
 * identifiers, and begin PKI_BACKDATE_HOURS ago. Everything returned is the caller's. */
#pragma once

#include <gnutls/x509.h>

#include "lib/error.h"

/* A key with its certificate. */
struct x509_pair {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t cert;
};

/* What a new certificate says. */
struct x509_request {
    const char *common_name;
    int days; /* from now */
    int is_ca;
    int path_len;             /* certificate authorities below a CA */
    const char *uri;          /* role, NULL for an authority */
    const char *const *names; /* DNS names and IP addresses, NULL-terminated; may be NULL */
    int is_server, is_client; /* extended key usage */
    const char *purpose;      /* one more of those, an OID; may be NULL */
};

void x509_pair_done(struct x509_pair *pair);

int x509_key_new(gnutls_x509_privkey_t *ret_key, struct error *error);

/* Signs `public_key` for `request` with the issuer's key; issuer NULL: self-signed with
 * `self_key`. */
int x509_sign(const struct x509_request *request, gnutls_pubkey_t public_key,
              const struct x509_pair *issuer, gnutls_x509_privkey_t self_key,
              gnutls_x509_crt_t *ret_cert, struct error *error);

/* A new key and a certificate for it; issuer NULL: self-signed. */
int x509_pair_new(const struct x509_request *request, const struct x509_pair *issuer,
                  struct x509_pair *ret_pair, struct error *error);

/* PEM text, NUL-terminated. */
char *x509_cert_pem(gnutls_x509_crt_t cert);
char *x509_key_pem(gnutls_x509_privkey_t key); /* a secret: wipe it */
char *x509_serial(gnutls_x509_crt_t cert);     /* lower-case hex */

/* Wipes and frees a text that holds a key; NULL is fine. For _cleanup_. */
void x509_secret_free(char **text);

/* Does the certificate hold that DNS name or IP address? */
int x509_has_name(gnutls_x509_crt_t cert, const char *name);

/* Fills *error with status 500 (or 400 with a pointer) and what GnuTLS says. */
int x509_error(struct error *error, int status, const char *pointer, const char *doing, int code);

#define _cleanup_secret_ __attribute__((cleanup(x509_secret_free)))
