/* fw-plan.c - rules and policies as resources for the nodes on which they hold.
 *
 *     fw/self/<node>          {"ports":[51820]}: the fabric's, which no policy closes
 *     fw/rule/<id>/<node>     {"order","direction","side","protocol","source":[…],
 *                              "destination":[…],"port","sourcePort","state","action",
 *                              "confirmWithin"?,"otherwise"?}
 *     fw/policy/<id>/<node>   {"rank","in"?,"out"?,"confirmWithin"?,"otherwise"?}
 *
 * Each stands on the node's own channel. Groups are written out, so a change of one is a change of
 * the rules that name it. */
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/fw/fw-kinds.h"

/* --- bodies --- */

/* Whose groups: as a change makes them, as they are, or as they were before their trials. */
struct reading {
    struct view *view;
    const struct fw_change *change;
    int before;
    int on_trial; /* is one of the groups? */
};

static const json_t *addresses_of(struct reading *r, const char *group)
{
    _cleanup_free_ char *key = xasprintf("object/%s/%s", FW_GROUPS.name, group);
    const json_t *object = view_get(r->view, key);
    const json_t *sealed = json_object_get(object, "sealed");
    const json_t *spec = json_object_get(object, "spec");

    if (r->change && strcmp(r->change->kind, FW_GROUPS.name) == 0 &&
        strcmp(r->change->id, group) == 0) {
        spec = r->change->after;
    } else if (r->before && json_object_get(sealed, "confirmBy")) {
        r->on_trial = 1;
        spec = json_object_get(sealed, "before");
    }
    return json_object_get(spec, "addresses");
}

static void add_prefix(json_t *list, const char *text)
{
    struct ip4_prefix prefix;
    char formatted[IP4_PREFIX_TEXT_SIZE];

    if (prefix_parse(text, &prefix) == 0) {
        json_array_append_new(list, json_string(ip4_prefix_format(prefix, formatted)));
    }
}

/* A new reference, or NULL if its group isn't there. */
static json_t *read_addresses(struct reading *r, const char *text)
{
    const char *group = fw_group_of(text);
    const json_t *addresses = group ? addresses_of(r, group) : NULL;
    json_t *list;

    if (group && !addresses) {
        return NULL;
    }
    list = json_array();
    for (size_t i = 0; i < json_array_size(addresses); i++) {
        add_prefix(list, json_string_value(json_array_get(addresses, i)));
    }
    if (!group && *text) {
        add_prefix(list, text);
    }
    return list;
}

static json_t *read_body(struct reading *r, const json_t *spec)
{
    json_t *source = read_addresses(r, json_get_string(spec, "source", ""));
    json_t *destination = read_addresses(r, json_get_string(spec, "destination", ""));

    if (!source || !destination) {
        json_decref(source);
        json_decref(destination);
        return NULL;
    }
    return json_pack(
        "{s:I, s:s, s:s, s:s, s:o, s:o, s:s, s:s, s:s, s:s}", "order",
        json_get_integer(spec, "order", 1000), "direction",
        json_get_string(spec, "direction", "in"), "side", json_get_string(spec, "side", "any"),
        "protocol", json_get_string(spec, "protocol", "any"), "source", source, "destination",
        destination, "port", json_get_string(spec, "port", ""), "sourcePort",
        json_get_string(spec, "sourcePort", ""), "state", json_get_string(spec, "state", "any"),
        "action", json_get_string(spec, "action", "accept"));
}

json_t *fw_rule_body(const json_t *spec, struct view *view, const struct fw_change *change)
{
    struct reading r = {.view = view, .change = change};

    return read_body(&r, spec);
}

json_t *fw_rule_body_before(const json_t *spec, struct view *view, int *ret_on_trial)
{
    struct reading r = {.view = view, .before = 1};
    json_t *body = read_body(&r, spec);

    *ret_on_trial = r.on_trial;
    return body;
}

static json_t *policy_body(const json_t *spec)
{
    json_t *body = json_pack("{s:i}", "rank", fw_policy_rank(spec));

    if (json_object_get(spec, "in")) {
        json_object_set(body, "in", json_object_get(spec, "in"));
    }
    if (json_object_get(spec, "out")) {
        json_object_set(body, "out", json_object_get(spec, "out"));
    }
    return body;
}

/* --- resources --- */

struct planning {
    const char *what, *id;
    struct view *view;
    struct plan *plan;
    json_t *body;         /* for all nodes */
    int on_trial;         /* then also: */
    const json_t *before; /* where it held; NULL: it wasn't there */
    json_t *otherwise;    /* what it said; NULL: likewise */
};

static void put(struct plan *plan, const char *node, char *key, json_t *body)
{
    _cleanup_free_ char *channel = xasprintf("node/%s", node);

    plan_put(plan, channel, key, body);
    free(key);
}

static void put_on(void *arg, const char *node)
{
    const struct planning *p = arg;
    json_t *body = p->on_trial ? json_copy(p->body) : json_incref(p->body);

    if (p->on_trial) {
        json_object_set_new(body, "confirmWithin", json_integer(CONFIRM_SEC));
    }
    if (p->otherwise && where_holds_on("fw", p->before, node, view_spec(p->view, "nodes", node))) {
        json_object_set(body, "otherwise", p->otherwise);
    }
    put(p->plan, node, xasprintf("fw/%s/%s/%s", p->what, p->id, node), body);
}

/* Every node has the same: what takes memory is there once. Takes body and otherwise. */
static void put_everywhere(struct planning *p, const json_t *spec)
{
    if (p->body) {
        where_each("fw", spec, p->view, put_on, p);
    }
    json_decref(p->body);
    json_decref(p->otherwise);
}

/* What is kept beside the spec of one on trial, or NULL. */
static const json_t *trial_of(const struct planning *p, const char *kind)
{
    _cleanup_free_ char *key = xasprintf("object/%s/%s", kind, p->id);
    const json_t *sealed = json_object_get(view_get(p->view, key), "sealed");

    return json_object_get(sealed, "confirmBy") ? sealed : NULL;
}

/* On trial itself, or one of its groups is. */
static void plan_rule(struct planning *p, const json_t *spec)
{
    const json_t *trial = trial_of(p, FW_RULES.name);
    int group_on_trial = 0;

    p->before = trial ? json_object_get(trial, "before") : spec;
    p->body = fw_rule_body(spec, p->view, NULL);
    p->otherwise = p->before ? fw_rule_body_before(p->before, p->view, &group_on_trial) : NULL;
    p->on_trial = trial || group_on_trial;
    if (!p->on_trial) {
        json_decref(p->otherwise);
        p->otherwise = NULL;
    }
    put_everywhere(p, spec);
}

static void plan_policy(struct planning *p, const json_t *spec)
{
    const json_t *trial = trial_of(p, FW_POLICIES.name);

    p->before = json_object_get(trial, "before");
    p->body = policy_body(spec);
    p->otherwise = p->before ? policy_body(p->before) : NULL;
    p->on_trial = trial != NULL;
    put_everywhere(p, spec);
}

static void plan_node(const struct planning *p, const json_t *spec)
{
    const json_t *overlay = view_spec(p->view, "settings", "overlay");
    json_t *ports = json_array();

    if (!where_runs("fw", spec)) {
        json_decref(ports);
        return;
    }
    json_array_append_new(ports, json_integer(json_get_integer(overlay, "port", 51820)));
    if (json_get_bool(spec, "hub", 0)) {
        json_array_append_new(ports, json_integer(json_get_integer(overlay, "clientPort", 1194)));
    }
    put(p->plan, p->id, xasprintf("fw/self/%s", p->id), json_pack("{s:o}", "ports", ports));
}

void fw_plan(const char *kind, const char *id, const json_t *spec, struct view *view,
             struct plan *plan)
{
    struct planning p = {.what = "rule", .id = id, .view = view, .plan = plan};

    if (strcmp(kind, "nodes") == 0) {
        plan_node(&p, spec);
    } else if (strcmp(kind, FW_RULES.name) == 0) {
        plan_rule(&p, spec);
    } else if (strcmp(kind, FW_POLICIES.name) == 0) {
        p.what = "policy";
        plan_policy(&p, spec);
    }
}
