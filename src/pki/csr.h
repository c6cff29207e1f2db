/* csr.h - reading a certificate request (RFC 2986). Private to src/pki. */
#pragma once

#include <gnutls/abstract.h>

#include "lib/error.h"

/* The P-256 key of a CSR whose self-signature holds; anything else is 400 at "/csr". */
int csr_public_key(const char *csr_pem, gnutls_pubkey_t *ret_key, struct error *error);
