/* tls.h - who we are and whom we trust. Private to src/link.
 *
 * A context is made once per listener or connection and serves any number of sessions. TLS 1.3
 * only; no tickets, no resumption. The server's role and root (by fingerprint) are checked at the
 * client's side, the agent intermediate and the node's name at the server's. */
#pragma once

#include <gnutls/gnutls.h>

#include "lib/error.h"

struct tls_context;

/* What a verified certificate says; all NULL without one. */
struct tls_identity {
    char *node;   /* client certificates only */
    char *serial; /* lower-case hex */
    char *key_id; /* SHA-256 hex of the public key */
};

int tls_server_new(const char *certificate_pem, const char *key_pem, const char *client_ca_pem,
                   struct tls_context **ret_context, struct error *error);
/* certificate_pem and key_pem may both be NULL. */
int tls_client_new(const char *fingerprint, const char *certificate_pem, const char *key_pem,
                   struct tls_context **ret_context, struct error *error);
/* Sessions and verification need it: each link holds a reference. NULL is fine. */
struct tls_context *tls_ref(struct tls_context *context);
void tls_unref(struct tls_context *context);

/* A session that calls verify() in its handshake; verify gets the session, whose pointer is
 * `owner`, calls tls_verify() and returns its result. */
gnutls_session_t tls_session_new(const struct tls_context *context,
                                 gnutls_certificate_verify_function *verify, void *owner);

/* Checks the peer's chain. A server's peer may have none. On failure *ret_alert is what the peer
 * should be told. */
int tls_verify(const struct tls_context *context, gnutls_session_t session,
               struct tls_identity *ret_identity, gnutls_alert_description_t *ret_alert,
               struct error *error);

void tls_identity_done(struct tls_identity *identity);
