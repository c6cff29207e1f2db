/* dns-kinds.h - records and settings of dns, the server's half.
 *
 *     text from outside ──► dns_complete: names in their one form, a type
 *                       ──► dns_validate: every rule that the schema can't say
 *                       ──► dns_claims:   each record one claim, which is also how those of a name
 *                                         are found: claim/dns-at/<hash of name>/<hash of the
 * rest> ──► dns_plan:     one resource for each node's name and each record
 *
 * Pure: everything is read through the view. Only what stands at the names concerned is read, so a
 * record costs the same whether there are ten or ten thousand. */
#pragma once

#include "core/service.h"
#include "services/dns/dns-names.h"

enum {
    DNS_NAME_RECORDS_MAX = 64, /* of one name */
    DNS_CNAMES_MAX = 16,       /* that follow one another */
    DNS_CLAIM_SIZE = 160,
};

extern const struct kind DNS_RECORDS, DNS_SETTINGS;
extern const struct service SERVICE_DNS;

/* Never NULL. */
const char *dns_domain(struct view *view);

/* Calls `each` for the records of a canonical name; `value` is the spec. */
void dns_each_at(struct view *view, const char *name, view_each_fn *each, void *arg);

/* The node whose name this is (canonical), or NULL. Borrowed from the tree. */
const char *dns_node_at(struct view *view, const char *name);

/* What a CNAME leads to in the end. */
struct dns_target {
    json_t *addresses; /* a new reference */
    char *outside;     /* a name that isn't ours, without a dot at its end; NULL: none */
};

void dns_follow(struct view *view, const char *name, struct dns_target *ret_target);
void dns_target_done(struct dns_target *target);

int dns_validate(const char *kind, const char *id, const json_t *spec, struct view *view,
                 struct error *error);
json_t *dns_complete(const char *kind, const char *id, const json_t *before, const json_t *spec,
                     struct view *view, struct error *error);
void dns_claims(const char *key, const json_t *value,
                void (*claim)(void *arg, const char *name, const char *pointer), void *arg);
void dns_plan(const char *kind, const char *id, const json_t *spec, struct view *view,
              struct plan *plan);
void dns_status(const char *kind, const char *id, const json_t *object, struct view *view,
                const struct reports *reports, json_t *status);
