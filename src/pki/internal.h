/* internal.h - the authority as src/pki knows it. Private. */
#pragma once

#include "lib/error.h"
#include "lib/omap.h"
#include "pki/pki.h"
#include "pki/x509.h"

enum {
    SEAL_KEY_SIZE = 32,
};

/* One generation of an intermediate. */
struct generation {
    struct pki_generation public;
    unsigned number;          /* from 1 */
    struct x509_pair pair;    /* key NULL: retired */
    char *last_crl;           /* PEM, of a retired one; else NULL */
    struct omap last_revoked; /* the serials on that, in hex */
};

/* All of one role's, oldest first; the last one signs. */
struct generations {
    struct generation *items;
    size_t len;
};

struct pki {
    char *folder;
    struct x509_pair root;
    struct generations roles[PKI_ROLES];
    unsigned char seal_key[SEAL_KEY_SIZE];
    char *fingerprint;
    char *root_pem;
    char *agent_chain_pem;
};

/* --- authority.c --- */
/* Says again what depends on the generations. */
void authority_describe(struct pki *pki);

/* --- generation.c --- */
/* Makes generation `number` in `folder`. */
int generation_make(const char *folder, enum pki_role role, unsigned number,
                    const struct x509_pair *root, struct error *error);
/* Reads all of a role's from pki->folder; pki->root must be there. */
int generations_load(struct pki *pki, enum pki_role role, struct error *error);
void generations_done(struct generations *generations);
const struct generation *generation_active(const struct pki *pki, enum pki_role role);
/* The one that isn't retired yet though another signs; else NULL. */
struct generation *generation_retiring(struct pki *pki, enum pki_role role);

/* --- crl.c --- */
/* The CRL of a generation with the entries of `revoked` that are its. */
int crl_of_generation(const struct generation *generation, const struct pki_revoked *revoked,
                      size_t len, char **ret_pem, struct error *error);

/* Adds the serials on a list of ours, in hex; -EINVAL if it can't be read. */
int crl_serials(const char *pem, struct omap *serials);

/* --- seal.c --- */
/* Reads <folder>/seal.key, or makes it when missing. */
int seal_open(struct pki *pki, struct error *error);

/* --- pair.c --- */
/* <folder>/<name>.key (0600) and .pem (0644, with `cert_pem` as its text), each replaced
 * atomically, the key first: a crash between leaves a pair that doesn't match. */
int pair_write(const char *folder, const char *name, const struct x509_pair *pair,
               const char *cert_pem, struct error *error);

/* Reads both and checks that they belong together. */
int pair_read(const char *folder, const char *name, struct x509_pair *ret_pair,
              struct error *error);

/* The certificate alone; the pair's key is NULL. */
int pair_read_certificate(const char *folder, const char *name, struct x509_pair *ret_pair,
                          struct error *error);

/* The whole text of <name>.pem, for the caller. */
int pair_read_chain(const char *folder, const char *name, char **ret_pem, struct error *error);

/* The whole text of <name>.<suffix>; pair_write_file replaces it atomically. */
int pair_read_file(const char *folder, const char *name, const char *suffix, char **ret_text,
                   struct error *error);
int pair_write_file(const char *folder, const char *name, const char *suffix, const char *text,
                    unsigned mode, struct error *error);
