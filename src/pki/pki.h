/* pki.h - the deployment's certificate authority and join tokens.
 *
 * A root (20 years) signs three intermediates (10 years): "server" for the listeners, "agent" and
 * "client". All keys are ECDSA P-256. A certificate says what its holder is in a URI SAN:
 *
 *     cnsmo:node:<id>     an agent        EKU clientAuth, serverAuth (an OpenVPN hub), NODE
 *     cnsmo:client:<name> a VPN client    EKU clientAuth, CLIENT
 *     cnsmo:server        cnsmod          EKU serverAuth, with DNS and IP SANs
 *
 * and each listener checks it. NODE and CLIENT are purposes of ours (PKI_EKU_...), since openvpn
 * can look at those but not at the SAN; its common name is the node's id or the client's name.
 *
 * An intermediate can be rolled over: a new generation signs from then on, and what the older one
 * signed stays valid until it expires. The root never changes, so nobody's trust does.
 *
 *     (made) ──► [active] ── rollover ──► [retiring] ── retire ──► [retired]
 *                 signs                    signs CRLs only          its key is destroyed; its last
 *                                                                   CRL stays
 *
 * Certificates are backdated by 48 h against wrong clocks. The authority's keys live in files
 * under <state>/pki, 0600; they never enter the store or an export. Sources: RFC 5280; RFC 2986
 * (CSR). All functions are synchronous and cost a few ms at most (pki_crl() some more when
 * thousands are revoked). PEM texts are NUL-terminated; callers free what `ret_` gives. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

struct pki;

enum {
    PKI_NODE_DAYS = 90,
    PKI_RENEW_DAYS = 30, /* an agent renews when less than this is left */
    PKI_SERVER_DAYS = 397,
    PKI_CLIENT_DAYS = 825,
    PKI_BACKDATE_HOURS = 48,
    PKI_CSR_MAX = 4096,         /* bytes of PEM */
    PKI_SEALED_MAX = 128 << 10, /* characters of a sealed text */
    PKI_SERIAL_MAX = 20,        /* bytes; RFC 5280 section 4.1.2.2 */
    PKI_ID_SIZE = 65,           /* a key id in hex, with its NUL */
};

/* For openvpn's remote-cert-eku. The arc is a UUID's (X.667): nobody had to be asked for it. */
#define PKI_EKU_NODE "2.25.201838361293746121.1"
#define PKI_EKU_CLIENT "2.25.201838361293746121.2"

/* Whom an intermediate certifies. */
enum pki_role {
    PKI_SERVER,
    PKI_AGENT,
    PKI_CLIENT,
    PKI_ROLES,
};

/* Loads the authority from `folder`, or makes it there (folder 0700) when it holds nothing. A half
 * made or unreadable one is an error, never made anew. */
int pki_open(const char *folder, struct pki **ret_pki, struct error *error);
void pki_free(struct pki *pki);

/* "sha256:" and 64 hex digits: of the root certificate's DER. Borrowed. */
const char *pki_fingerprint(const struct pki *pki);

/* Root and intermediates in PEM, for clients' trust stores. Borrowed. */
const char *pki_root_pem(const struct pki *pki);
/* The agents' intermediates of which certificates may be unexpired, the retired ones included: an
 * agent may have missed its new certificate, and must get in to ask for another. And the root.
 * Until the next rollover or retirement. */
const char *pki_agent_chain_pem(const struct pki *pki);

/* The listener's certificate: kept in <folder>/server.{key,pem} and made again when `names` (DNS
 * names and IP addresses, NULL-terminated) aren't covered, or less than PKI_RENEW_DAYS are left.
 * The file has the leaf, the server intermediate and the root (agents pin the root). */
int pki_server_certificate(struct pki *pki, const char *const *names, char **ret_cert_pem,
                           char **ret_key_pem, struct error *error);

/* Signs an agent's CSR (PEM): checks its self-signature and that the key is P-256; what it asks
 * for as names is ignored. Gives leaf + agent intermediate, the leaf's serial in hex, and when it
 * expires. pki_authority_id(pki, PKI_AGENT) says who has signed it. */
int pki_sign_node(struct pki *pki, const char *csr_pem, const char *node, char **ret_chain_pem,
                  char **ret_serial, int64_t *ret_expires_usec, struct error *error);

/* The same for an outside client of that name, from the client intermediate; 400 at "/id" for one
 * that isn't client_name_is_valid() (model/schema.h). */
int pki_sign_client(struct pki *pki, const char *csr_pem, const char *name, char **ret_chain_pem,
                    char **ret_serial, int64_t *ret_expires_usec, struct error *error);
/* With a key made here. Wipe it. */
int pki_make_client(struct pki *pki, const char *name, char **ret_key_pem, char **ret_chain_pem,
                    char **ret_serial, int64_t *ret_expires_usec, struct error *error);

/* SHA-256 hex of the public key (SubjectPublicKeyInfo) in a CSR: who it is, across renewals. */
int pki_csr_key_id(const char *csr_pem, char **ret_key_id, struct error *error);

/* Of a service that clients reach by TLS (a load balancer): key and certificate, from the server
 * intermediate, for host names and addresses, NULL-terminated: 400 at "/names" for one of the
 * listener's. Wipe the key. It is no certificate of a cnsmod: agents don't take it for one. */
int pki_make_service(struct pki *pki, const char *name, const char *const *names,
                     char **ret_key_pem, char **ret_chain_pem, int64_t *ret_expires_usec,
                     struct error *error);

/* A certificate (with others after it) and a key from outside, PEM: 400 at "/certificate" or
 * "/key" if one can't be read, has more than it should, or they don't belong together. */
int pki_check_pair(const char *chain_pem, const char *key_pem, int64_t *ret_expires_usec,
                   struct error *error);

/* --- generations of the intermediates --- */

enum pki_state {
    PKI_ACTIVE,
    PKI_RETIRING,
    PKI_RETIRED,
};

struct pki_generation {
    char
        id[PKI_ID_SIZE]; /* SHA-256 hex of its public key: the authority key id of what it signs */
    int64_t created_usec, expires_usec;
    int64_t spent_usec; /* when the last certificate that it can have signed expires; INT64_MAX
                           while it signs */
    enum pki_state state;
};

const char *pki_role_name(enum pki_role role); /* "server", "agent", "client" */
int pki_role_parse(const char *name, enum pki_role *ret_role);

/* The id of the generation that signs now. Borrowed, until the next rollover. */
const char *pki_authority_id(const struct pki *pki, enum pki_role role);

/* The i-th generation, newest first; NULL past the last. Borrowed, until the next rollover. */
const struct pki_generation *pki_generation_at(const struct pki *pki, enum pki_role role,
                                               size_t i);

/* Makes the next generation. 409 while an earlier one is retiring. A crash leaves the old state
 * or the new one. */
int pki_rollover(struct pki *pki, enum pki_role role, struct error *error);

/* --- revocation --- */

struct pki_revoked {
    const char *serial;    /* hex */
    const char *authority; /* the generation's id */
    int64_t time_usec;     /* of the revocation */
};

/* A bundle of CRLs in PEM, as openvpn's crl-verify reads it: the root's, and one of each
 * generation whose certificates may be unexpired. Those of an unknown generation change nothing;
 * one of a retired generation that its last list doesn't name makes the root's list name the
 * generation itself, so that nothing is good that it signed. Lists don't run out before the
 * authority does: a server that is away must not stop a VPN. */
int pki_crl(const struct pki *pki, const struct pki_revoked *revoked, size_t len, char **ret_pem,
            struct error *error);

/* Retires the generation that is retiring, once nobody uses a certificate of it: it signs its last
 * CRL, with these entries, and its key is destroyed. Nothing to do is fine. After a crash it may
 * be retiring still. When the last certificate that it may have signed has expired the root's CRL
 * names it. */
int pki_retire(struct pki *pki, enum pki_role role, const struct pki_revoked *revoked, size_t len,
               struct error *error);

/* --- secrets at rest ---------------------------------------------------------------------------
 * Sealed with a key of the server's own (<folder>/seal.key), so that a copy of the store or of an
 * export isn't enough to read them. AES-256-GCM (NIST SP 800-38D), a random nonce each. */

/* base64 text of `size` bytes. */
char *pki_seal(const struct pki *pki, const void *plain, size_t size);
/* The bytes, followed by a NUL that isn't counted: wipe them. 500 for what was damaged, cut, or
 * sealed with another key. */
int pki_unseal(const struct pki *pki, const char *sealed, char **ret_plain, size_t *ret_size,
               struct error *error);

/* A WireGuard key pair (X25519, RFC 7748), both base64. Wipe the private one. */
int pki_wireguard_pair(char **ret_private, char **ret_public, struct error *error);

/* --- for the agent --- */

/* The authority key id in a certificate (the first of a PEM chain) in hex: which generation has
 * signed it. -EINVAL if there is none to read. */
int pki_issuer_id(const char *cert_pem, char ret_id[PKI_ID_SIZE]);

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
