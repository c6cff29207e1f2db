/* internal.h - the authority as src/pki knows it. Private. */
#pragma once

#include "lib/error.h"
#include "pki/x509.h"

enum authority {
    ROOT,
    SERVER,
    AGENT,
    CLIENT,
    AUTHORITIES,
};

struct pki {
    char *folder;
    struct x509_pair authorities[AUTHORITIES];
    char *fingerprint;
    char *root_pem;
    char *agent_chain_pem;
};

/* <folder>/<name>.key (0600) and .pem (0644, with `cert_pem` as its text), each replaced
 * atomically, the key first: a crash between leaves a pair that doesn't match. */
int pair_write(const char *folder, const char *name, const struct x509_pair *pair,
               const char *cert_pem, struct error *error);

/* Reads both and checks that they belong together. */
int pair_read(const char *folder, const char *name, struct x509_pair *ret_pair,
              struct error *error);

/* The whole text of <name>.pem, for the caller. */
int pair_read_chain(const char *folder, const char *name, char **ret_pem, struct error *error);
