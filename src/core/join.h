/* join.h - a machine asks to become a node: token and node change in one transaction. */
#pragma once

#include "core/deployment.h"
#include "core/revoke.h"

struct join {
    const char *token_id;
    const char *secret;
    const char *id; /* NULL: the host's name */
    const char *hostname;
    const json_t *services; /* array of names, or NULL: what the token gives, else vpn */
    const char *endpoint;   /* NULL: none declared */
    const json_t *routes;   /* array of "a.b.c.d/len": the host's routes; NULL: none told */
    const char *key_id;     /* SHA-256 hex of the public key in the CSR */
    const char *source;     /* address the request came from */
};

/* 401 for a forged, expired or used-up token (they aren't told apart to a stranger who doesn't
 * know the secret), 403 for an id or service that it doesn't permit, 409 for an id that is taken
 * by another key or an overlay that overlaps one of the routes. The same id with the same key is
 * the same node, whatever is left of the token's uses. result->id is the node's id. */
void deployment_join(struct deployment *d, const struct join *join, write_done_fn *done,
                     void *arg);

/* What was signed for the node, at first or again, and the key that it is for. Earlier
 * certificates that haven't expired stay noted, so that all are revoked when the node is deleted.
 * -EAGAIN when it had too many within a day, -ENOENT when it was deleted. */
void deployment_enrolled(struct deployment *d, const char *node, const char *key_id,
                         const struct certificate *certificate, store_done_fn *done, void *arg);

/* The key id the node is known by, borrowed, or NULL if there is no such node. */
const char *deployment_node_key(const struct deployment *d, const char *node);
