/* api-v1-fw.c - API v1's firewall: a façade over fw/rules of v2, under both spellings of the
 * specification. A rule is there when the answer is, or not at all.
 *
 *     body ──► checks ──► fw/rules ──► wait for the nodes ──► 204
 *                                          └── not in time, or failed ──► undone, 503
 *
 * Without a node it is for every node with fw; those that are away get it when they come back. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/api-internal.h"
#include "services/fw/fw-kinds.h"

enum {
    BODY_MAX = 4096,
};

static const char RULES_PREFIX[] = "object/fw/rules/";
static const char *const MEMBERS[] = {"direction", "protocol", "dst_port",     "dst_src",
                                      "ip_range",  "action",   "ssinstanceid", NULL};
/* What v1 calls by another name. */
static const char *const ACTIONS[][2] = {
    {"acpt", "accept"}, {"drop", "drop"}, {"rjct", "reject"}, {NULL, NULL}};
static const char *const DIRECTIONS[] = {"in", "out", NULL};
static const char *const PROTOCOLS[] = {"tcp", "udp", "icmp", "any", NULL};
static const char *const ENDS[] = {"dst", "src", NULL};

/* --- the body --- */

static int read_word(const json_t *body, const char *name, const char *const *words,
                     const char **ret_word, struct error *error)
{
    char list[64] = "";
    int rc = v1_read_text(body, name, ret_word, error);

    for (size_t i = 0; rc == 0 && words[i]; i++) {
        size_t len = strlen(list);
        if (strcmp(*ret_word, words[i]) == 0) {
            return 0;
        }
        snprintf(list + len, sizeof list - len, "%s%s", i > 0 ? ", " : "", words[i]);
    }
    return rc < 0 ? rc : error_set(error, 400, NULL, "\"%s\" must be one of [%s]", name, list);
}

static int read_action(const json_t *body, json_t *spec, struct error *error)
{
    const char *text;
    int rc = v1_read_text(body, "action", &text, error);

    for (size_t i = 0; rc == 0 && ACTIONS[i][0]; i++) {
        if (strcmp(text, ACTIONS[i][0]) == 0) {
            json_object_set_new(spec, "action", json_string(ACTIONS[i][1]));
            return 0;
        }
    }
    return rc < 0 ? rc
                  : error_set(error, 400, NULL, "\"action\" must be one of [acpt, drop, rjct]");
}

/* "80" or "80:90"; only what has ports may do without: icmp and any. */
static int read_port(const json_t *body, const char *protocol, json_t *spec, struct error *error)
{
    const json_t *value = json_object_get(body, "dst_port");
    int has_ports = strcmp(protocol, "tcp") == 0 || strcmp(protocol, "udp") == 0;
    struct ports ports;
    const char *text;

    if (!has_ports && (!value || (json_is_string(value) && json_string_length(value) == 0))) {
        return 0;
    }
    int rc = v1_read_text(body, "dst_port", &text, error);
    if (rc < 0) {
        return rc;
    }
    _cleanup_free_ char *range = xstrdup(text);
    if (strchr(range, ':')) {
        *strchr(range, ':') = '-';
    }
    rc = strchr(text, '-') ? -EINVAL : ports_parse(range, &ports);
    if (rc < 0) {
        return error_set(error, 400, NULL,
                         rc == -ERANGE ? "\"dst_port\" ends before it begins"
                                       : "\"dst_port\" must be a port or a range such as 80:90");
    }
    if (!has_ports) {
        return error_set(error, 400, NULL, "\"dst_port\" is not allowed with protocol %s",
                         protocol);
    }
    json_object_set_new(spec, "port", json_string(range));
    return 0;
}

/* Host bits are masked. */
static int read_range(const json_t *body, json_t *spec, struct error *error)
{
    const char *end, *text;
    struct ip4_prefix prefix;
    char masked[IP4_PREFIX_TEXT_SIZE];
    int rc = read_word(body, "dst_src", ENDS, &end, error);

    rc = rc < 0 ? rc : v1_read_text(body, "ip_range", &text, error);
    if (rc < 0) {
        return rc;
    }
    if (prefix_parse(text, &prefix) < 0) {
        return error_set(error, 400, NULL, "\"ip_range\" must be an IPv4 address or prefix");
    }
    prefix.address &= ip4_mask(prefix.len);
    json_object_set_new(spec, strcmp(end, "dst") == 0 ? "destination" : "source",
                        json_string(ip4_prefix_format(prefix, masked)));
    return 0;
}

static int read_node(const json_t *body, json_t *spec, struct error *error)
{
    const char *node;

    if (!json_object_get(body, "ssinstanceid")) {
        json_object_set_new(spec, "selector", json_object());
        return 0;
    }
    int rc = v1_read_text(body, "ssinstanceid", &node, error);
    if (rc == 0) {
        json_object_set_new(spec, "node", json_string(node));
    }
    return rc;
}

static int is_member(const char *name)
{
    for (size_t i = 0; MEMBERS[i]; i++) {
        if (strcmp(MEMBERS[i], name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* In the order of the specification's table, then what isn't in it. */
static int read_rule(const json_t *body, json_t *spec, struct error *error)
{
    const char *direction = NULL, *protocol = NULL, *name;
    json_t *value;
    int rc = json_is_object(body) ? 0 : error_set(error, 400, NULL, "\"value\" must be an object");

    rc = rc < 0 ? rc : read_word(body, "direction", DIRECTIONS, &direction, error);
    rc = rc < 0 ? rc : read_word(body, "protocol", PROTOCOLS, &protocol, error);
    rc = rc < 0 ? rc : read_port(body, protocol, spec, error);
    rc = rc < 0 ? rc : read_range(body, spec, error);
    rc = rc < 0 ? rc : read_action(body, spec, error);
    rc = rc < 0 ? rc : read_node(body, spec, error);
    json_object_foreach ((json_t *)body, name, value) {
        if (rc == 0 && !is_member(name)) {
            rc = error_set(error, 400, NULL, "\"%.100s\" is not allowed", name);
        }
    }
    if (rc == 0) {
        json_object_set_new(spec, "direction", json_string(direction));
        json_object_set_new(spec, "protocol", json_string(protocol));
    }
    return rc;
}

/* --- putting it in force --- */

static void answer(struct api_call *call, const char *id)
{
    call_reply_empty(call, 204);
}

static int check_node(const struct api_call *call, const char *node, struct error *error)
{
    const struct deployment *d = call->api->deployment;

    if (node && !tree_spec(deployment_tree(d), "nodes", node)) {
        return error_set(error, 404, NULL, "there is no node \"%.100s\"", node);
    }
    return !node || fleet_is_connected(d, node)
               ? 0
               : error_set(error, 503, NULL, "%s is away; the rule was not added", node);
}

static void v1_fw_add(struct api_call *call)
{
    json_t *spec = json_object(), *body = NULL;
    struct error error;
    int rc = http_body_json(call->request, &body, &error);

    rc = rc < 0 ? rc : read_rule(body, spec, &error);
    const char *node = json_get_string(spec, "node", NULL);
    rc = rc < 0 ? rc : check_node(call, node, &error);
    if (rc < 0) {
        call_fail(call, &error);
    } else {
        v1_add(call, &(struct v1_addition){.kind = "fw/rules",
                                           .spec = spec,
                                           .is_for_all = !node,
                                           .outcome = "the rule was not added",
                                           .answer = answer});
    }
    json_decref(spec);
    json_decref(body);
}

/* --- GET --- */

struct listed {
    json_int_t order;
    const char *id;
    const json_t *spec;
};

static int compare_listed(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    size_t m = strlen(x->id), n = strlen(y->id);

    return x->order != y->order ? (x->order > y->order ? 1 : -1)
           : m != n             ? (m > n ? 1 : -1)
                                : strcmp(x->id, y->id);
}

/* On one node at least. */
static int is_in_force(const struct api_call *call, const char *id)
{
    json_t *status = deployment_status(call->api->deployment, "fw/rules", id);
    json_int_t applied = json_get_integer(json_object_get(status, "inForce"), "applied", 0);

    json_decref(status);
    return applied > 0;
}

static const char *v1_action(const char *action)
{
    for (size_t i = 0; ACTIONS[i][0]; i++) {
        if (strcmp(ACTIONS[i][1], action) == 0) {
            return ACTIONS[i][0];
        }
    }
    return action;
}

static json_t *rule_json(const struct listed *rule)
{
    const char *source = json_get_string(rule->spec, "source", "");
    const char *destination = json_get_string(rule->spec, "destination", "");
    const char *node = json_get_string(rule->spec, "node", NULL);
    int is_source = *source != '\0';
    const char *range = is_source ? source : *destination ? destination : "0.0.0.0/0";
    _cleanup_free_ char *port = xstrdup(json_get_string(rule->spec, "port", ""));

    for (char *c = port; *c; c++) {
        *c = *c == '-' ? ':' : *c;
    }
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "id", rule->id, "direction",
                             json_get_string(rule->spec, "direction", "in"), "protocol",
                             json_get_string(rule->spec, "protocol", "any"), "dst_port", port,
                             "dst_src", is_source ? "src" : "dst", "ip_range", range, "action",
                             v1_action(json_get_string(rule->spec, "action", "")));
    if (node) {
        json_object_set_new(json, "ssinstanceid", json_string(node));
    }
    return json;
}

static void v1_fw_list(struct api_call *call)
{
    const struct tree *tree = deployment_tree(call->api->deployment);
    struct listed *rules = NULL;
    size_t len = 0, capacity = 0;
    json_t *answer = json_array();

    for (struct omap_entry *e = tree_first(tree, RULES_PREFIX); e;
         e = tree_next(tree, e, RULES_PREFIX)) {
        const char *id = e->key + sizeof RULES_PREFIX - 1;
        const json_t *spec = tree_spec(tree, "fw/rules", id);
        if (len == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            rules = xrealloc(rules, capacity * sizeof *rules);
        }
        rules[len++] = (struct listed){json_get_integer(spec, "order", 1000), id, spec};
    }
    if (len > 0) {
        qsort(rules, len, sizeof *rules, compare_listed);
    }
    for (size_t i = 0; i < len; i++) {
        if (is_in_force(call, rules[i].id)) {
            json_array_append_new(answer, rule_json(&rules[i]));
        }
    }
    free(rules);
    call_reply_json(call, 200, answer);
}

/* --- routes --- */

#define TEXT "{\"type\":\"string\"}"
#define RULE_MEMBERS                                                                              \
    "\"direction\":{\"type\":\"string\",\"enum\":[\"in\",\"out\"]},\"protocol\":{\"type\":"       \
    "\"string\",\"enum\":[\"tcp\",\"udp\",\"icmp\",\"any\"]},\"dst_port\":" TEXT                  \
    ",\"dst_src\":{\"type\":\"string\",\"enum\":[\"dst\",\"src\"]},\"ip_range\":" TEXT            \
    ",\"action\":{\"type\":\"string\",\"enum\":[\"acpt\",\"drop\",\"rjct\"]},"                    \
    "\"ssinstanceid\":" TEXT
#define ROUTES(base_, hidden_)                                                                    \
    {.method = "POST",                                                                            \
     .path = base_ "/rules",                                                                      \
     .role = ROLE_OPERATOR,                                                                       \
     .body_max = BODY_MAX,                                                                        \
     .form = FORM_V1,                                                                             \
     .handler = v1_fw_add,                                                                        \
     .hidden = (hidden_),                                                                         \
     .makes_conflicts = 1,                                                                        \
     .asks_node = 1,                                                                              \
     .good_status = 204,                                                                          \
     .doc = {.summary = "Add a firewall rule (API v1)",                                           \
             .description = "ip_range is the source or the destination, as dst_src says; "        \
                            "dst_port is the destination port, 80 or 80:90. Without "             \
                            "ssinstanceid it is for every node with fw. Answers when it is in "   \
                            "force; if that doesn't come about in 10 s it is undone and 503.",    \
             .request = "{\"type\":\"object\",\"additionalProperties\":false,\"required\":["      \
                        "\"direction\",\"protocol\",\"dst_src\",\"ip_range\",\"action\"],"        \
                        "\"properties\":{" RULE_MEMBERS "}}",                                     \
             .example = "{\"direction\":\"in\",\"protocol\":\"tcp\",\"dst_port\":\"80:90\","      \
                        "\"dst_src\":\"src\",\"ip_range\":\"192.0.2.0/24\",\"action\":"           \
                        "\"drop\"}"}},                                                            \
    {                                                                                             \
        .method = "GET", .path = base_ "/rules", .role = ROLE_VIEWER, .form = FORM_V1,            \
        .handler = v1_fw_list, .hidden = (hidden_), .doc = {                                      \
            .summary = "List the firewall rules that are in force, in order (API v1)",            \
            .response = "{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{"     \
                        "\"id\":" TEXT "," RULE_MEMBERS "}}}"                                     \
        }                                                                                         \
    }

const struct api_route V1_FW_ROUTES[] = {
    ROUTES("/api/v1/services/fw", 0),
    ROUTES("/api/v1/fw", 1),
    {.method = NULL},
};
