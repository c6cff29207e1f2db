/* lb-service.c - the service's descriptor. */
#include <string.h>

#include "lib/json.h"
#include "services/lb/lb-kinds.h"

static json_t *complete(const char *kind, const char *id, const json_t *before, const json_t *spec,
                        struct view *view, struct error *error)
{
    return strcmp(kind, LB_SERVICES.name) == 0 ? lb_service_complete(before, spec)
                                               : json_copy((json_t *)spec);
}

static int validate(const char *kind, const char *id, const json_t *spec, struct view *view,
                    struct error *error)
{
    if (strcmp(kind, "nodes") == 0) {
        int rc = where_check_services("lb", spec, error);
        return rc < 0 ? rc : lb_node_validate(id, spec, view, error);
    }
    return strcmp(kind, LB_SERVICES.name) == 0 ? lb_service_validate(id, spec, view, error) : 0;
}

static void claims(const char *key, const json_t *value,
                   void (*claim)(void *arg, const char *name, const char *pointer), void *arg)
{
    static const char OBJECT[] = "object/lb/services/";

    if (strncmp(key, OBJECT, sizeof OBJECT - 1) == 0) {
        lb_service_claims(key + sizeof OBJECT - 1, value, claim, arg);
    }
}

/* Nodes are only validated: no resource of lb is about one. */
static const char *const PLANS[] = {"nodes", "lb/services", NULL};
static const struct kind *const KINDS[] = {&LB_SERVICES, NULL};

const struct service SERVICE_LB = {
    .name = "lb",
    .kinds = KINDS,
    .plans = PLANS,
    .complete = complete,
    .validate = validate,
    .claims = claims,
    .plan = lb_plan,
    .status = lb_status,
};
