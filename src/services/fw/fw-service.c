/* fw-service.c - the service's descriptor: which object is planned, checked and shown where. */
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/counted.h"
#include "services/fw/fw-kinds.h"

static int validate_node(const char *id, const json_t *spec, struct view *view,
                         struct error *error)
{
    struct fw_change change = {"nodes", id, spec};
    int rc = where_check_services("fw", spec, error);

    return rc < 0 ? rc : fw_lockout_check(&change, view, error);
}

static int validate(const char *kind, const char *id, const json_t *spec, struct view *view,
                    struct error *error)
{
    return strcmp(kind, "nodes") == 0            ? validate_node(id, spec, view, error)
           : strcmp(kind, FW_RULES.name) == 0    ? fw_rule_validate(id, spec, view, error)
           : strcmp(kind, FW_GROUPS.name) == 0   ? fw_group_validate(id, spec, view, error)
           : strcmp(kind, FW_POLICIES.name) == 0 ? fw_policy_validate(id, spec, view, error)
                                                 : 0;
}

/* What made a rule or policy harmless may be another one. */
static int may_delete(const char *kind, const char *id, struct view *view, struct error *error)
{
    struct fw_change change = {kind, id, NULL};

    if (strcmp(kind, FW_GROUPS.name) == 0) {
        return fw_group_may_delete(id, view, error);
    }
    return strcmp(kind, FW_RULES.name) == 0 || strcmp(kind, FW_POLICIES.name) == 0
               ? fw_lockout_check(&change, view, error)
               : 0;
}

void fw_status(const char *kind, const char *id, const json_t *object, struct view *view,
               const struct reports *reports, json_t *status)
{
    if (strcmp(kind, FW_RULES.name) == 0) {
        _cleanup_free_ char *name = xasprintf("fw/rule/%s", id);
        counted_status("fw", name, object, view, reports, status);
    } else {
        counted_add_deadline(object, status);
    }
}

static const char *const PLANS[] = {"nodes", "fw/rules", "fw/policies", NULL};
static const struct kind *const KINDS[] = {&FW_GROUPS, &FW_RULES, &FW_POLICIES, NULL};

const struct service SERVICE_FW = {
    .name = "fw",
    .kinds = KINDS,
    .plans = PLANS,
    .validate = validate,
    .may_delete = may_delete,
    .plan = fw_plan,
    .status = fw_status,
};
