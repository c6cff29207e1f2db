/* crl.h - keeps the list of revoked certificates up to date.
 *
 *     revoked/<serial> (core/revoke.h) ──► pki/crl {"pem": CRLs for openvpn, "of": digest}
 *
 * "of" says which entries and generations the list was made of, so that a server that starts again
 * changes nothing. The first change is in the list within the same turn of the loop; while more
 * come, one list is made for many of them, the rarer the longer it takes. Entries whose
 * certificates have expired are dropped every hour. More than some 20,000 don't fit a message to
 * an agent: then the list stays as it was, and the log says so. */
#pragma once

#include <uv.h>

#include "core/deployment.h"
#include "pki/pki.h"

struct crl;

/* Brings the list up to date at the next turn. Deployment and authority must outlive it. */
struct crl *crl_new(uv_loop_t *loop, struct deployment *deployment, struct pki *pki);
/* The loop must turn once more for the memory. NULL is fine. */
void crl_free(struct crl *crl);

/* The authority's generations have changed. */
void crl_touch(struct crl *crl);

/* What is revoked, for pki_crl() and pki_retire(); the strings are the tree's, the array is the
 * caller's. Returns the length. */
size_t crl_revoked(const struct deployment *deployment, struct pki_revoked **ret_revoked);
