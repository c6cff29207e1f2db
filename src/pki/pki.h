/* pki.h - the deployment's certificate authority and join tokens.
 *
 * A root (20 years) signs three intermediates (10 years): "server" for the listeners, "agent" and
 * "client". All keys are ECDSA P-256. A certificate says what its holder is in a URI SAN:
 *
 *     cnsmo:node:<id>     an agent        EKU clientAuth (and serverAuth, for an OpenVPN hub)
 *     cnsmo:client:<name> a VPN client    EKU clientAuth
 *     cnsmo:server        cnsmod          EKU serverAuth, with DNS and IP SANs
 *
 * and each listener checks it. Certificates are backdated by 48 h against wrong clocks. The
 * authority's keys live in files under <state>/pki, 0600; they never enter the store or an
 * export. Sources: RFC 5280; RFC 2986 (CSR). All functions are synchronous and cost a few ms at
 * most. PEM texts are NUL-terminated; callers free what `ret_` gives. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

struct pki;

enum {
    PKI_NODE_DAYS = 90,
    PKI_RENEW_DAYS = 30, /* an agent renews when less than this is left */
    PKI_SERVER_DAYS = 397,
    PKI_BACKDATE_HOURS = 48,
    PKI_CSR_MAX = 4096, /* bytes of PEM */
};

/* Loads the authority from `folder`, or makes it there (folder 0700) when it holds nothing. A half
 * made or unreadable one is an error, never made anew. */
int pki_open(const char *folder, struct pki **ret_pki, struct error *error);
void pki_free(struct pki *pki);

/* "sha256:" and 64 hex digits: of the root certificate's DER. Borrowed. */
const char *pki_fingerprint(const struct pki *pki);

/* Root and intermediates in PEM, for clients' trust stores. Borrowed. */
const char *pki_root_pem(const struct pki *pki);
const char *pki_agent_chain_pem(const struct pki *pki); /* agent intermediate + root */

/* The listener's certificate: kept in <folder>/server.{key,pem} and made again when `names` (DNS
 * names and IP addresses, NULL-terminated) aren't covered, or less than PKI_RENEW_DAYS are left.
 * The file has the leaf, the server intermediate and the root (agents pin the root). */
int pki_server_certificate(struct pki *pki, const char *const *names, char **ret_cert_pem,
                           char **ret_key_pem, struct error *error);

/* Signs an agent's CSR (PEM): checks its self-signature and that the key is P-256; what it asks
 * for as names is ignored. Gives leaf + agent intermediate, and the leaf's serial in hex. */
int pki_sign_node(struct pki *pki, const char *csr_pem, const char *node, char **ret_chain_pem,
                  char **ret_serial, struct error *error);

/* SHA-256 hex of the public key (SubjectPublicKeyInfo) in a CSR: who it is, across renewals. */
int pki_csr_key_id(const char *csr_pem, char **ret_key_id, struct error *error);

/* --- for the agent --- */

/* A new P-256 key and a CSR for it, both PEM. */
int pki_make_csr(const char *common_name, char **ret_key_pem, char **ret_csr_pem,
                 struct error *error);
/* A CSR for a key that exists. */
int pki_make_csr_for(const char *key_pem, const char *common_name, char **ret_csr_pem,
                     struct error *error);

/* --- join tokens ------------------------------------------------------------------------------
 * One printable string that tells an agent where to go, whom to trust and what to say:
 *     cnsmo1.<base64url of {"s":["host:port",...],"f":"<64 hex>","i":"<token id>","k":"<secret>"}>
 * The server stores only the SHA-256 of the secret. */
struct join_token {
    char **servers;    /* NULL-terminated "host:port" */
    char *fingerprint; /* "sha256:..." */
    char *id;
    char *secret;
};

enum {
    JOIN_TOKEN_MAX = 2048, /* characters */
    JOIN_TOKEN_SERVERS_MAX = 8,
};

char *join_token_encode(const struct join_token *token);
int join_token_decode(const char *text, struct join_token *ret_token, struct error *error);
void join_token_done(struct join_token *token); /* wipes the secret */
