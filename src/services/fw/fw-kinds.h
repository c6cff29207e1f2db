/* fw-kinds.h - rules, groups and policies, the server's half: what they say, where they hold.
 *
 *     text from outside ──► fw_*_validate: every rule that the schema can't say
 *                       ──► fw_lockout_*:  what would cut somebody off is refused, or forced
 *                       ──► fw_plan:       one resource for each node on which it holds
 *
 * Pure: everything is read through the view. */
#pragma once

#include "core/service.h"
#include "services/match.h"
#include "services/where.h"

extern const struct kind FW_RULES, FW_GROUPS, FW_POLICIES;

/* --- reading --- */

/* The group that an address text names ("@office"), or NULL. */
const char *fw_group_of(const char *text);

/* An object that a change makes different; `after` NULL: deletes. What isn't it is as the tree has
 * it. */
struct fw_change {
    const char *kind, *id;
    const json_t *after;
};

/* The resource's body (fw-rule.h), a new reference; NULL if a group isn't there. `change` may be
 * NULL. */
json_t *fw_rule_body(const json_t *spec, struct view *view, const struct fw_change *change);
/* The same with groups as they were before they were put on trial; *ret_on_trial: is one? */
json_t *fw_rule_body_before(const json_t *spec, struct view *view, int *ret_on_trial);

/* How strong a policy is on the nodes on which it holds. */
int fw_policy_rank(const json_t *spec);

/* --- rules --- */

int fw_rule_validate(const char *id, const json_t *spec, struct view *view, struct error *error);
int fw_group_validate(const char *id, const json_t *spec, struct view *view, struct error *error);
/* 409 if a rule uses it. */
int fw_group_may_delete(const char *id, struct view *view, struct error *error);
int fw_policy_validate(const char *id, const json_t *spec, struct view *view, struct error *error);

/* 409 for a change after which a node's agent couldn't reach the server any more, or nobody ssh on
 * the node, as far as that is known, and if it could before. */
int fw_lockout_check(const struct fw_change *change, struct view *view, struct error *error);

/* --- plans and status --- */

void fw_plan(const char *kind, const char *id, const json_t *spec, struct view *view,
             struct plan *plan);

void fw_status(const char *kind, const char *id, const json_t *object, struct view *view,
               const struct reports *reports, json_t *status);

extern const struct service SERVICE_FW;
