/* dns-plan.c - nodes, records and settings as resources. README.md says what the members mean.
 *
 *     dns/self/<node>    {"address"}             that node's own channel
 *     dns/settings       {"domain","upstreams"}  all that run dns, as those below
 *     dns/name/<node>    {"name","address"}
 *     dns/record/<id>    {"name","addresses","ttl","target"?,"canonical"} */
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/dns/dns-kinds.h"
#include "services/where.h"

#define CHANNEL "service/dns"

static void plan_node(const char *id, const json_t *spec, struct plan *plan)
{
    const char *address = json_get_string(spec, "address", NULL);
    char label[DNS_LABEL_SIZE];

    if (!address || !json_array_has(json_object_get(spec, "services"), "vpn")) {
        return;
    }
    _cleanup_free_ char *name_key = xasprintf("dns/name/%s", id);
    plan_put(plan, CHANNEL, name_key,
             json_pack("{s:s, s:s}", "name", dns_label_of(id, label), "address", address));
    if (where_runs("dns", spec)) {
        _cleanup_free_ char *channel = xasprintf("node/%s", id);
        _cleanup_free_ char *self_key = xasprintf("dns/self/%s", id);
        plan_put(plan, channel, self_key, json_pack("{s:s}", "address", address));
    }
}

/* A CNAME to a name that we know is that name's addresses: so it is live, and resolvers that don't
 * follow by themselves get an answer. */
static void plan_record(const char *id, const json_t *spec, struct view *view, struct plan *plan)
{
    struct dns_target target = {0};
    int is_cname = strcmp(json_get_string(spec, "type", ""), "CNAME") == 0;

    if (is_cname) {
        dns_follow(view, json_get_string(spec, "value", ""), &target);
    } else {
        target.addresses = json_pack("[O]", json_object_get(spec, "value"));
    }
    if (json_array_size(target.addresses) > 0 || target.outside) {
        _cleanup_free_ char *key = xasprintf("dns/record/%s", id);
        json_t *body = json_pack("{s:O, s:O, s:I, s:b}", "name", json_object_get(spec, "name"),
                                 "addresses", target.addresses, "ttl",
                                 json_get_integer(spec, "ttl", 0), "canonical", !is_cname);
        if (target.outside && json_array_size(target.addresses) == 0) {
            json_object_set_new(body, "target", json_string(target.outside));
        }
        plan_put(plan, CHANNEL, key, body);
    }
    dns_target_done(&target);
}

static void plan_settings(const json_t *spec, struct plan *plan)
{
    json_t *upstreams = json_object_get(spec, "upstreams");

    plan_put(plan, CHANNEL, "dns/settings",
             json_pack("{s:s, s:o}", "domain", json_get_string(spec, "domain", "cnsmo.internal"),
                       "upstreams", upstreams ? json_incref(upstreams) : json_array()));
}

void dns_plan(const char *kind, const char *id, const json_t *spec, struct view *view,
              struct plan *plan)
{
    if (strcmp(kind, "nodes") == 0) {
        plan_node(id, spec, plan);
    } else if (strcmp(kind, DNS_RECORDS.name) == 0) {
        plan_record(id, spec, view, plan);
    } else if (strcmp(id, "dns") == 0) {
        plan_settings(spec, plan);
    }
}

/* --- what people see --- */

void dns_status(const char *kind, const char *id, const json_t *object, struct view *view,
                const struct reports *reports, json_t *status)
{
    const json_t *spec = json_object_get(object, "spec");
    const char *name = json_get_string(spec, "name", ""), *domain = dns_domain(view);
    struct dns_target target = {0};

    if (strcmp(kind, DNS_RECORDS.name) != 0) {
        return;
    }
    _cleanup_free_ char *whole = strcmp(name, "@") == 0      ? xstrdup(domain)
                                 : dns_name_is_outside(name) ? xstrndup(name, strlen(name) - 1)
                                                             : xasprintf("%s.%s", name, domain);
    json_object_set_new(status, "fullName", json_string(whole));
    if (strcmp(json_get_string(spec, "type", ""), "CNAME") != 0) {
        return;
    }
    dns_follow(view, json_get_string(spec, "value", ""), &target);
    if (json_array_size(target.addresses) == 0 && !target.outside) {
        json_object_set_new(status, "problem",
                            json_string("there is no such name yet in the domain; one outside of "
                                        "it has a dot at its end"));
    } else {
        json_object_set(status, "addresses", target.addresses);
    }
    dns_target_done(&target);
}

static const char *const PLANS[] = {"nodes", "settings", "dns/records", NULL};
static const struct kind *const KINDS[] = {&DNS_SETTINGS, &DNS_RECORDS, NULL};

const struct service SERVICE_DNS = {
    .name = "dns",
    .kinds = KINDS,
    .plans = PLANS,
    .validate = dns_validate,
    .complete = dns_complete,
    .claims = dns_claims,
    .plan = dns_plan,
    .status = dns_status,
};
