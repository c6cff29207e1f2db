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
#include "lib/ip.h"

extern const struct kind SDN_FILTERS, SDN_FLOWS;

enum {
    SDN_CLAIM_SIZE = 80, /* "sdn-filter/" and a hash in hex */
};

/* --- reading --- */

struct sdn_ports {
    uint16_t from, to; /* both 0: all */
};

/* 0, or -EINVAL: "" all, "80", "80-90"; -ERANGE: the range is reversed. */
int sdn_ports_parse(const char *text, struct sdn_ports *ret_ports);

/* An address (then .len is 32) or a prefix; host bits are left as they are. */
int sdn_prefix_parse(const char *text, struct ip4_prefix *ret_prefix);

/* Does the node run what filters and flows need? */
int sdn_runs_on(const json_t *node_spec);

/* Calls `each` for every node on which a filter or flow with this spec holds now. */
typedef void sdn_node_fn(void *arg, const char *node);
void sdn_each_node(struct view *view, const json_t *filter_spec, sdn_node_fn *each, void *arg);

/* Within the overlay: a filter of such addresses leaves the public side alone. */
int sdn_is_of_overlay(struct view *view, struct ip4_prefix prefix);

/* Does a filter with this spec hold on the node, if the node's is this? */
int sdn_holds_on(const json_t *filter_spec, const char *node, const json_t *node_spec);

/* A raw flow's match as it is sent: prefixes with their length and without those that match
 * everything, ip_proto where a field implies it. A new reference. */
json_t *sdn_match(const json_t *spec);

/* --- rules --- */

/* An address or prefix without host bits, in words if not; `name` is the member's. */
int sdn_check_prefix(const json_t *object, const char *name, const char *pointer,
                     struct error *error);
/* "/node" names a node that runs sdn. One that an object had before is left alone. */
int sdn_check_node(const json_t *spec, const json_t *before, struct view *view,
                   struct error *error);
/* 409 when another object holds the claim. */
int sdn_check_claim(struct view *view, const char *claim, const struct kind *kind, const char *id,
                    struct error *error);

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
