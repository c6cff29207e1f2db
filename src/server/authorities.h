/* authorities.h - the rollover of the authority's intermediates, while everything runs.
 *
 *     authorities_rollover() ─► a new generation signs from now on; changed()
 *            │                  agents are told (link.h: "authority"), and renew by themselves
 *            ▼
 *     nobody holds an unexpired certificate of the older one any more ─► retired; changed()
 *
 * A holder is whoever has "serial" and "serials" among its sealed values (core/revoke.h): nodes
 * and outside clients, of which the latter keep theirs until they are made anew or expire.
 * Retiring waits some seconds, since what was being signed when the rollover came is stored only
 * after. It also owns the list of revoked certificates (crl.h). */
#pragma once

#include <jansson.h>
#include <uv.h>

#include "core/deployment.h"
#include "lib/error.h"
#include "pki/pki.h"

struct authorities;

/* Whom to trust or which certificate to show may be another now. */
typedef void authorities_changed_fn(void *arg, enum pki_role role);

/* Deployment and authority must outlive it. */
struct authorities *authorities_new(uv_loop_t *loop, struct deployment *deployment,
                                    struct pki *pki, authorities_changed_fn *changed, void *arg);
/* The loop must turn once more for the memory. NULL is fine. */
void authorities_free(struct authorities *authorities);

/* 409 while an earlier one is under way, whose holders it names. */
int authorities_rollover(struct authorities *authorities, enum pki_role role,
                         const struct actor *actor, struct error *error);

/* Every generation, newest first:
 * [{"name","keyId","state":"active"|"retiring"|"retired","created",
 * "expires","inUse":n,"holders":[…]}], where "holders" has the first 20. A new reference. */
json_t *authorities_describe(const struct authorities *authorities);
