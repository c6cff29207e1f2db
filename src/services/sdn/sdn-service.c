/* sdn-service.c - the service's descriptor: which object is planned, checked and claimed where. */
#include <string.h>

#include "lib/json.h"
#include "services/sdn/sdn-kinds.h"

static int validate(const char *kind, const char *id, const json_t *spec, struct view *view,
                    struct error *error)
{
    if (strcmp(kind, "nodes") == 0) {
        int rc = where_check_services("sdn", spec, error);
        return rc < 0 ? rc : sdn_lockout_check_node(id, spec, view, error);
    }
    if (strcmp(kind, SDN_FILTERS.name) == 0) {
        return sdn_filter_validate(id, spec, view, error);
    }
    return strcmp(kind, SDN_FLOWS.name) == 0 ? sdn_flow_validate(id, spec, view, error) : 0;
}

static void claims(const char *key, const json_t *value,
                   void (*claim)(void *arg, const char *name, const char *pointer), void *arg)
{
    char name[SDN_CLAIM_SIZE];

    if (strncmp(key, "object/sdn/filters/", 19) == 0) {
        claim(arg, sdn_filter_claim(value, name), "");
    } else if (strncmp(key, "object/sdn/flows/", 17) == 0) {
        claim(arg, sdn_flow_claim(value, name), "");
    }
}

static const char *const PLANS[] = {"nodes", "sdn/filters", "sdn/flows", NULL};
static const struct kind *const KINDS[] = {&SDN_FILTERS, &SDN_FLOWS, NULL};

const struct service SERVICE_SDN = {
    .name = "sdn",
    .kinds = KINDS,
    .plans = PLANS,
    .validate = validate,
    .claims = claims,
    .plan = sdn_plan,
    .status = sdn_status,
};
