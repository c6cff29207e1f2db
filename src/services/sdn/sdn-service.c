/* sdn-service.c - the service's descriptor: which object is planned, checked and claimed where. */
#include <string.h>

#include "lib/json.h"
#include "services/sdn/sdn-kinds.h"

/* The bridge carries what vpn's tunnel brings. A node may lose sdn while filters name it: they are
 * on none then, and say so. */
static int check_services(const json_t *spec, struct error *error)
{
    const json_t *services = json_object_get(spec, "services");

    return json_array_has(services, "sdn") && !json_array_has(services, "vpn")
               ? error_set(error, 400, "/services", "\"services\": sdn needs vpn beside it")
               : 0;
}

static int validate(const char *kind, const char *id, const json_t *spec, struct view *view,
                    struct error *error)
{
    if (strcmp(kind, "nodes") == 0) {
        int rc = check_services(spec, error);
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
