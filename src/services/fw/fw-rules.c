/* fw-rules.c - the rules of fw/rules, fw/groups and fw/policies. */
#include <errno.h>
#include <string.h>

#include "fw-schemas.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/fw/fw-kinds.h"
#include "services/fw/fw-rule.h"

const struct kind FW_RULES = {
    .name = "fw/rules",
    .singular = "fw rule",
    .summary = "Accepts, drops, rejects or logs packets on nodes, and counts them.",
    .schema_text = SCHEMA_FW_RULES,
    .ids = KIND_ID_COUNTED,
    .can_be_forced = 1,
    .read_role = ROLE_VIEWER,
    .write_role = ROLE_OPERATOR,
};

const struct kind FW_GROUPS = {
    .name = "fw/groups",
    .singular = "fw group",
    .summary = "Addresses under one name, for firewall rules.",
    .schema_text = SCHEMA_FW_GROUPS,
    .ids = KIND_ID_NAMED,
    .can_be_forced = 1,
    .read_role = ROLE_VIEWER,
    .write_role = ROLE_OPERATOR,
};

const struct kind FW_POLICIES = {
    .name = "fw/policies",
    .singular = "fw policy",
    .summary = "What happens to packets that no firewall rule decides about.",
    .schema_text = SCHEMA_FW_POLICIES,
    .ids = KIND_ID_NAMED,
    .can_be_forced = 1,
    .read_role = ROLE_VIEWER,
    .write_role = ROLE_OPERATOR,
};

/* --- rules --- */

const char *fw_group_of(const char *text)
{
    return *text == '@' ? text + 1 : NULL;
}

static int check_addresses(const json_t *spec, const char *name, const char *pointer,
                           struct view *view, struct error *error)
{
    const char *text = json_get_string(spec, name, "");
    const char *group = fw_group_of(text);

    if (!group) {
        return *text ? match_check_prefix(spec, name, pointer, error) : 0;
    }
    return view_spec(view, FW_GROUPS.name, group)
               ? 0
               : error_set(error, 400, pointer, "\"%s\": there is no fw group \"%s\"", name,
                           group);
}

static int check_ports(const json_t *spec, const char *name, const char *pointer,
                       struct error *error)
{
    const char *text = json_get_string(spec, name, "");
    const char *protocol = json_get_string(spec, "protocol", "any");
    struct fw_ports ports;
    int rc = fw_ports_parse(text, &ports);

    if (rc == -ERANGE) {
        return error_set(error, 400, pointer, "\"%s\" %s has a range that ends before it begins",
                         name, text);
    }
    if (rc == -E2BIG) {
        return error_set(error, 400, pointer, "\"%s\" has more than %d ports and ranges", name,
                         FW_PORTS_MAX);
    }
    if (rc < 0) {
        return error_set(error, 400, pointer,
                         "\"%s\" must be ports from 1 to 65535 and ranges, such as "
                         "80,443,8000-8010",
                         name);
    }
    return !*text || strcmp(protocol, "tcp") == 0 || strcmp(protocol, "udp") == 0
               ? 0
               : error_set(error, 400, pointer,
                           "\"%s\" needs the protocol tcp or udp, and it is %s", name, protocol);
}

int fw_rule_validate(const char *id, const json_t *spec, struct view *view, struct error *error)
{
    struct fw_change change = {FW_RULES.name, id, spec};
    int rc = where_check("fw", spec, view_spec(view, FW_RULES.name, id), view, error);

    rc = rc < 0 ? rc : check_addresses(spec, "source", "/source", view, error);
    rc = rc < 0 ? rc : check_addresses(spec, "destination", "/destination", view, error);
    rc = rc < 0 ? rc : check_ports(spec, "port", "/port", error);
    rc = rc < 0 ? rc : check_ports(spec, "sourcePort", "/sourcePort", error);
    return rc < 0 || view->force ? rc : fw_lockout_check(&change, view, error);
}

/* --- groups --- */

int fw_group_validate(const char *id, const json_t *spec, struct view *view, struct error *error)
{
    struct fw_change change = {FW_GROUPS.name, id, spec};
    const json_t *list = json_object_get(spec, "addresses");

    for (size_t i = 0; i < json_array_size(list); i++) {
        _cleanup_free_ char *pointer = xasprintf("/addresses/%zu", i);
        json_t *one = json_pack("{s:O}", "addresses", json_array_get(list, i));
        int rc = match_check_prefix(one, "addresses", pointer, error);
        json_decref(one);
        if (rc < 0) {
            return rc;
        }
    }
    return view->force ? 0 : fw_lockout_check(&change, view, error);
}

struct using
{
    const char *group;
    const char *by; /* a rule's id; NULL: none */
};

static int uses(const json_t *spec, const char *member, const char *group)
{
    const char *named = fw_group_of(json_get_string(spec, member, ""));

    return named && strcmp(named, group) == 0;
}

static void look_for_use(void *arg, const char *id, const json_t *object)
{
    struct using *u = arg;
    const json_t *spec = json_object_get(object, "spec");

    if (!u->by && (uses(spec, "source", u->group) || uses(spec, "destination", u->group))) {
        u->by = id;
    }
}

int fw_group_may_delete(const char *id, struct view *view, struct error *error)
{
    struct using u = {.group = id};

    view_each(view, "object/fw/rules/", look_for_use, &u);
    return u.by ? error_set(error, 409, NULL, "fw rule %s uses it", u.by) : 0;
}

/* --- policies --- */

int fw_policy_rank(const json_t *spec)
{
    return json_object_get(spec, "node")
               ? 1000
               : (int)json_object_size(json_object_get(spec, "selector"));
}

int fw_policy_validate(const char *id, const json_t *spec, struct view *view, struct error *error)
{
    struct fw_change change = {FW_POLICIES.name, id, spec};
    int rc = where_check("fw", spec, view_spec(view, FW_POLICIES.name, id), view, error);

    if (rc == 0 && !json_object_get(spec, "in") && !json_object_get(spec, "out")) {
        return error_set(error, 400, "/in", "\"in\" or \"out\" is required");
    }
    return rc < 0 || view->force ? rc : fw_lockout_check(&change, view, error);
}
