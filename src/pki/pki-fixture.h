/* pki-fixture.h - an authority in a folder of its own, for the tests of src/pki. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <gnutls/x509.h>
#include <sys/types.h>

#include "pki/pki.h"

extern const char *const PKI_TEST_NAMES[];

/* Setup and teardown: *state is the folder's path; the authority is in <folder>/pki. */
int pki_fixture_make(void **state);
int pki_fixture_drop(void **state);

struct pki *pki_fixture_open(void **state);

/* Imports the certificates of a PEM text; returns their number. */
unsigned pki_fixture_import(const char *pem, gnutls_x509_crt_t certs[4]);
void pki_fixture_free(gnutls_x509_crt_t certs[4], unsigned len);

/* GnuTLS's verdict on a chain: 0 is good. */
unsigned pki_fixture_verify(gnutls_x509_crt_t *chain, unsigned len, const char *root_pem,
                            const char *purpose);

/* A certificate of a node or a client; the key is NULL for a node's. */
struct issued {
    char *key, *chain, *serial;
    int64_t expires_usec;
};
struct issued pki_fixture_issue(struct pki *pki, enum pki_role role, const char *name);
void pki_fixture_issued_done(struct issued *issued);

/* Writes a file in the test's folder; its path, the caller's. */
char *pki_fixture_file(const char *folder, const char *name, const char *text);

/* What the command says, on either output, has that word. */
void assert_output(const char *const *argv, const char *word);

void assert_uri(gnutls_x509_crt_t cert, const char *uri);
void assert_mode(const char *folder, const char *name, mode_t mode);

#define in_folder(test) cmocka_unit_test_setup_teardown(test, pki_fixture_make, pki_fixture_drop)
