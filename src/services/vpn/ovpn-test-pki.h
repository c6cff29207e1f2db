/* ovpn-test-pki.h - what a deployment's authority makes, for tests of daemons: root, certificates
 * of nodes and clients, lists of revoked ones. */
#pragma once

/* Which extended key usage of ours a certificate has. */
enum test_role {
    TEST_NODE,
    TEST_CLIENT,
};

/* <folder>/root.pem, and the root's key in memory until the process ends. */
void test_pki_make(const char *folder);

/* <folder>/<file>.key and <file>.pem for the common name, signed by the root. */
void test_pki_issue(const char *folder, const char *file, const char *name, enum test_role role);

/* A CRL with the certificate of <folder>/<file>.pem; NULL: with none. The caller frees it. */
char *test_pki_crl(const char *folder, const char *file);
