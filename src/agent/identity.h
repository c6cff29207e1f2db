/* identity.h - who this node is: id, key, certificate, and which servers it trusts.
 *
 * agent.json {"id","servers":["host:port",…],"fingerprint"}, key.pem, cert.pem; all 0600. The key
 * is made first and kept when a join fails, so that trying again is the same node to the server.
 */
#pragma once

#include <stdint.h>

#include "lib/error.h"

struct identity {
    char *id;
    char **servers; /* NULL-terminated "host:port" */
    char *fingerprint;
    char *key_pem;
    char *cert_pem; /* leaf, agent intermediate */
};

/* -ENOENT if this machine hasn't joined. */
int identity_load(const char *state_dir, struct identity *ret_identity, struct error *error);

/* Writes everything; agent.json comes last, so a join that is cut off didn't happen. */
int identity_save(const char *state_dir, const struct identity *identity, struct error *error);

/* The key of an earlier try, or a new one that is then on the disk. The caller wipes and frees. */
int identity_key(const char *state_dir, char **ret_key_pem, struct error *error);

/* Checks that the certificate is for our key and writes it in place of the old one. */
int identity_renew(const char *state_dir, struct identity *identity, const char *cert_pem,
                   struct error *error);

/* Days until the certificate ends; negative if it has. -EINVAL can't be told apart from those, so
 * a certificate that can't be read has 0 days. */
int identity_days_left(const struct identity *identity);

/* "host:port" into its parts; the host may be [IPv6] or a name. */
int identity_server_parse(const char *server, char **ret_host, uint16_t *ret_port);

void identity_done(struct identity *identity);
