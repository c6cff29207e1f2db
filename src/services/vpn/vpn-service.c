/* vpn-service.c - the service's descriptor: which object is planned, checked and claimed where. */
#include <stdio.h>
#include <string.h>

#include "lib/json.h"
#include "services/vpn/vpn-clients.h"
#include "services/vpn/vpn-plan.h"
#include "vpn-schemas.h"

static void plan(const char *kind, const char *id, const json_t *spec, struct view *view,
                 struct plan *plan)
{
    if (strcmp(kind, "nodes") == 0) {
        vpn_plan_node(id, spec, view, plan);
    } else if (strcmp(kind, "settings") == 0 && strcmp(id, "overlay") == 0) {
        vpn_plan_overlay(view, plan);
    }
    vpn_clients_plan(kind, id, spec, view, plan);
}

/* Two machines with one key would take each other's traffic: a public key has one owner. */
static void claims(const char *key, const json_t *value,
                   void (*claim)(void *arg, const char *name, const char *pointer), void *arg)
{
    static const char SUFFIX[] = "/vpn.self";
    size_t length = strlen(key);
    const char *public_key = json_get_string(value, "publicKey", NULL);

    vpn_clients_claims(key, value, claim, arg);
    if (public_key && strncmp(key, "fact/", 5) == 0 && length > sizeof SUFFIX - 1 &&
        strcmp(key + length - (sizeof SUFFIX - 1), SUFFIX) == 0) {
        char name[80];
        snprintf(name, sizeof name, "vpn-key/%.64s", public_key);
        claim(arg, name, "/publicKey");
    }
}

static const char *const PLANS[] = {"nodes", "settings", "vpn/clients", NULL};
static const struct kind *const KINDS[] = {&VPN_CLIENTS, NULL};

static const struct fact_type FACTS[] = {
    {.name = "vpn.self", .schema_text = SCHEMA_VPN_SELF},
    {.name = "vpn.endpoint/", .schema_text = SCHEMA_VPN_ENDPOINT},
    {.name = NULL},
};

const struct service SERVICE_VPN = {
    .name = "vpn",
    .kinds = KINDS,
    .facts = FACTS,
    .plans = PLANS,
    .complete = vpn_clients_complete,
    .validate = vpn_clients_validate,
    .may_delete = vpn_clients_may_delete,
    .claims = claims,
    .plan = plan,
    .status = vpn_clients_status,
};
