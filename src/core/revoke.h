/* revoke.h - certificates of objects, from their signing to their end on a revocation list.
 *
 * An object whose holder has certificates notes them under sealed:
 *
 *     "serial"   the one in use now, hex
 *     "serials"  [{"serial","authority","expires"}]: all that haven't expired, that one included
 *
 * `authority` is the id of the issuer's key (pki.h), `expires` a time as in RFC 3339. When the
 * object is deleted, or written without one that it had, the same transaction puts a key for each:
 *
 *     revoked/<serial>  {"authority","owner":"nodes/Agent.1","expires","time"}
 *
 * from which the server makes `pki/crl` (server/crl.h). Nothing else has to be done by who
 * deletes or writes: whatever kind of object has sealed.serials is covered. */
#pragma once

#include "core/deployment.h"

#define REVOKED_PREFIX "revoked/"

struct certificate {
    const char *serial;    /* hex */
    const char *authority; /* the id of its issuer's key */
    int64_t expires_usec;
};

/* The list with the new certificate at its end and without those that have expired: a new
 * reference. `serials` may be NULL. */
json_t *certificate_noted(const json_t *serials, const struct certificate *certificate);

/* Deletes the keys under revoked/ whose certificates expired a while ago. `done` is called when
 * none is left (rc 0) or that failed; it may be NULL. */
void revoked_sweep(struct deployment *d, store_done_fn *done, void *arg);
