/* sdn-kinds.h - filters and raw flows, the server's half: what they say, where they hold.
 *
 *     text from outside ──► sdn_*_validate: every rule that the schema can't say
 *                       ──► sdn_*_claims:   the same one twice is refused
 *                       ──► sdn_*_plan:     one resource for each node on which it holds
 *
 * Pure: everything is read through the view. A filter or flow holds on nodes that run vpn and sdn;
 * those that don't any more, or are gone, simply have no resource, and the object stays. */
#pragma once

#include "core/service.h"
#include "services/match.h"
#include "services/where.h"

extern const struct kind SDN_FILTERS, SDN_FLOWS;

enum {
    SDN_CLAIM_SIZE = 80, /* "sdn-filter/" and a hash in hex */
};

/* --- reading --- */

/* Within the overlay: a filter of such addresses leaves the public side alone. */
int sdn_is_of_overlay(struct view *view, struct ip4_prefix prefix);

/* A raw flow's match as it is sent: prefixes with their length and without those that match
 * everything, ip_proto where a field implies it. A new reference. */
json_t *sdn_match(const json_t *spec);

/* --- rules --- */

/* 409 for a filter that would keep a node's agent from the server, as far as that is known. */
int sdn_lockout_check(const json_t *spec, struct view *view, struct error *error);
/* The same for a node's spec, with which filters begin to hold on it, by their selectors. */
int sdn_lockout_check_node(const char *node, const json_t *node_spec, struct view *view,
                           struct error *error);

int sdn_filter_validate(const char *id, const json_t *spec, struct view *view,
                        struct error *error);
const char *sdn_filter_claim(const json_t *spec, char claim[SDN_CLAIM_SIZE]);
int sdn_flow_validate(const char *id, const json_t *spec, struct view *view, struct error *error);
const char *sdn_flow_claim(const json_t *spec, char claim[SDN_CLAIM_SIZE]);

/* --- plans and status --- */

void sdn_plan(const char *kind, const char *id, const json_t *spec, struct view *view,
              struct plan *plan);

void sdn_status(const char *kind, const char *id, const json_t *object, struct view *view,
                const struct reports *reports, json_t *status);

extern const struct service SERVICE_SDN;
