/* api-v1-sdn.c - API v1's SDN: a façade over sdn/filters of v2, counters and the nodes' flows,
 * under both spellings of the specification. A flow of v1 is a filter: flowId is its id. */
#include <stdio.h>
#include <string.h>

#include "server/agents.h"
#include "server/api-internal.h"
#include "services/overlay.h"
#include "services/sdn/sdn-kinds.h"

enum {
    BODY_MAX = 4096,
    FLOWS_MAX = 20000, /* in one answer: every one takes a kilobyte of memory meanwhile */
};

static const char FILTERS_PREFIX[] = "object/sdn/filters/";

/* --- nodes and their filters --- */

static const struct tree *tree_of(const struct api_call *call)
{
    return deployment_tree(call->api->deployment);
}

static int check_node(const struct api_call *call, const char *node, struct error *error)
{
    return tree_spec(tree_of(call), "nodes", node)
               ? 0
               : error_set(error, 404, NULL, "there is no node \"%.100s\"", node);
}

/* Is the filter on the node, by its id or by its labels? One that names the node is its own even
 * while it is in force nowhere. */
static int concerns(const struct api_call *call, const json_t *spec, const char *node)
{
    const char *named = json_get_string(spec, "node", NULL);

    return named ? strcmp(named, node) == 0
                 : where_holds_on("sdn", spec, node, tree_spec(tree_of(call), "nodes", node));
}

/* The filter that the path names on the node that it names, or NULL and 404. */
static const json_t *named_filter(const struct api_call *call, struct error *error)
{
    const char *node = http_param(call->request, "id"), *flow = http_param(call->request, "flow");
    const json_t *spec = tree_spec(tree_of(call), "sdn/filters", flow);

    if (check_node(call, node, error) < 0) {
        return NULL;
    }
    if (!spec || !concerns(call, spec, node)) {
        error_set(error, 404, NULL, "there is no flow \"%.100s\" on %s", flow, node);
        return NULL;
    }
    return spec;
}

/* --- GET blockedTcpPorts --- */

/* As v1 was given it, unless v2 has changed it since. */
static const char *shown_destination(const json_t *spec)
{
    const char *destination = json_get_string(spec, "destination", "");
    const char *given = json_get_string(spec, "destinationGiven", "");
    struct ip4_prefix a, b;

    if (prefix_parse(destination, &a) < 0 || prefix_parse(given, &b) < 0 || a.len != b.len ||
        ((a.address ^ b.address) & ip4_mask(a.len)) != 0) {
        return destination;
    }
    return given;
}

static void v1_blocked(struct api_call *call)
{
    const char *node = http_param(call->request, "id");
    json_t *ports;
    struct error error;

    if (check_node(call, node, &error) < 0) {
        call_fail(call, &error);
        return;
    }
    ports = json_array();
    for (struct omap_entry *e = tree_first(tree_of(call), FILTERS_PREFIX); e;
         e = tree_next(tree_of(call), e, FILTERS_PREFIX)) {
        const char *id = e->key + sizeof FILTERS_PREFIX - 1;
        const json_t *spec = tree_spec(tree_of(call), "sdn/filters", id);
        struct ports range;
        if (strcmp(json_get_string(spec, "protocol", ""), "tcp") == 0 &&
            ports_parse(json_get_string(spec, "port", ""), &range) == 0 && range.from != 0 &&
            range.from == range.to && concerns(call, spec, node)) {
            json_array_append_new(ports, json_pack("{s:i, s:s, s:s}", "destinationPort",
                                                   (int)range.from, "destinationAddress",
                                                   shown_destination(spec), "flowId", id));
        }
    }
    call_reply_json(call, 200, ports);
}

/* --- DELETE flows/:flowId --- */

/* Deleted it is in any case; a node that is away lets go of it when it comes back. */
static void on_gone(void *arg, int rc, const json_t *report)
{
    struct api_call *call = arg;

    if (call->api->freed) {
        call_fail_stopping(call);
    } else {
        call_reply_json(call, 200, json_object());
    }
}

static void on_deleted(void *arg, int rc, const struct write_result *result,
                       const struct error *error)
{
    struct api_call *call = arg;

    if (rc < 0) {
        call_fail(call, error);
    } else if (call->api->freed) {
        call_fail_stopping(call);
    } else {
        deployment_wait(call->api->deployment, result->revision, V1_WAIT_MSEC, on_gone, call);
    }
}

static void v1_unblock(struct api_call *call)
{
    const char *flow = http_param(call->request, "flow");
    struct write write = {.verb = WRITE_DELETE, .kind = "sdn/filters", .id = flow};
    struct error error;
    struct actor actor;
    const json_t *spec = named_filter(call, &error);

    if (spec && !json_object_get(spec, "node")) {
        error_set(&error, 409, NULL,
                  "flow %s is on several nodes, by their labels; delete it through API v2: "
                  "sdn/filters/%s",
                  flow, flow);
        spec = NULL;
    }
    if (!spec) {
        call_fail(call, &error);
        return;
    }
    call_actor(call, &actor);
    deployment_write(call->api->deployment, &actor, &write, on_deleted, call);
}

/* --- monitoring --- */

static void v1_flow_statistics(struct api_call *call)
{
    _cleanup_free_ char *name = xasprintf("sdn/filter/%s", http_param(call->request, "flow"));
    struct count total;
    struct error error;

    if (!named_filter(call, &error)) {
        call_fail(call, &error);
        return;
    }
    counters_get(deployment_counters(call->api->deployment), http_param(call->request, "id"), name,
                 &total);
    call_reply_json(call, 200,
                    json_pack("{s:I, s:I}", "numPackets", (json_int_t)total.packets, "numBytes",
                              (json_int_t)total.bytes));
}

static void v1_traffic(struct api_call *call)
{
    const struct counters *counters = deployment_counters(call->api->deployment);
    const char *node = http_param(call->request, "id");
    struct count in, out;
    struct error error;

    if (api_check_sdn(call->api, node, &error) < 0) {
        call_fail(call, &error);
        return;
    }
    counters_get(counters, node, "sdn/node/in", &in);
    counters_get(counters, node, "sdn/node/out", &out);
    call_reply_json(call, 200,
                    json_pack("{s:I, s:I}", "inTraffic", (json_int_t)in.packets, "outTraffic",
                              (json_int_t)out.packets));
}

/* --- GET flows --- */

/* All nodes are asked at once. */
struct gathering {
    struct api_call *call;
    json_t *answer;
    size_t flows_len;
    size_t left; /* answers to come, and one while it is asked */
};

struct gathered {
    struct gathering *gathering;
    char *node, *address;
};

static void release(struct gathering *g)
{
    if (--g->left > 0) {
        return;
    }
    if (g->call->api->freed) {
        json_decref(g->answer);
        call_fail_stopping(g->call);
    } else {
        call_reply_json(g->call, 200, g->answer);
    }
    free(g);
}

/* A filter's flows have its id; the others' that of the switch. */
static json_t *flow_json(const json_t *flow)
{
    const char *owner = json_get_string(flow, "owner", "");
    const char *id =
        strncmp(owner, "filter/", 7) == 0 ? owner + 7 : json_get_string(flow, "cookie", owner);
    json_t *actions = json_object_get(flow, "actions"), *match = json_object_get(flow, "match");
    json_t *result = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:s}", "id", id, "table", json_get_integer(flow, "table", 0),
        "priority", json_get_integer(flow, "priority", 0), "packets",
        json_get_integer(flow, "packets", 0), "bytes", json_get_integer(flow, "bytes", 0), "text",
        json_get_string(flow, "text", ""));

    json_object_set_new(result, "match", match ? json_incref(match) : json_object());
    json_object_set_new(result, "action", actions ? json_incref(actions) : json_array());
    return result;
}

/* The number that a switch draws from its hardware address, which is the same for all of ours. */
static unsigned long long shared_datapath(void)
{
    unsigned long long number = 0;

    for (const char *c = OVERLAY_BRIDGE_MAC; *c; c++) {
        const char digit[] = {*c, '\0'};
        number = *c == ':' ? number : number << 4 | strtoull(digit, NULL, 16);
    }
    return number;
}

/* "openflow:" and the datapath's number, as the 2017 platform's controller wrote it. One that
 * isn't known, or isn't one switch's alone, is replaced by the overlay address, which is. */
static char *switch_name(const json_t *answer, const json_t *body, const char *address)
{
    unsigned long long datapath = strtoull(json_get_string(body, "datapathId", ""), NULL, 16);
    char *name = xasprintf("openflow:%llu", datapath);
    uint32_t number = 0;

    if (datapath != 0 && datapath != shared_datapath() && !json_object_get(answer, name)) {
        return name;
    }
    free(name);
    ip4_parse(address, &number);
    return xasprintf("openflow:%u", number);
}

/* NULL: the answer would be too long. */
static json_t *flows_json(struct gathering *g, const json_t *flows)
{
    json_t *result, *flow;
    size_t i;

    if (json_array_size(flows) > FLOWS_MAX - g->flows_len) {
        return NULL;
    }
    result = json_array();
    json_array_foreach ((json_t *)flows, i, flow) {
        json_array_append_new(result, flow_json(flow));
    }
    g->flows_len += i;
    return result;
}

/* One that doesn't answer, or too much, doesn't hide the others. */
static void on_flows(void *arg, const json_t *body, const struct error *error)
{
    struct gathered *node = arg;
    struct gathering *g = node->gathering;
    _cleanup_free_ char *name = switch_name(g->answer, body, node->address);
    json_t *flows = flows_json(g, json_object_get(body, "flows"));
    json_t *one = json_pack("{s:s, s:s, s:o}", "vpnID", node->address, "instanceId", node->node,
                            "flows", flows ? flows : json_array());

    if (!body || !flows) {
        json_object_set_new(one, "error",
                            json_string(body ? "left out: there are too many flows for one answer"
                                             : error->detail));
    }
    json_object_set_new(g->answer, name, one);
    free(node->node);
    free(node->address);
    free(node);
    release(g);
}

static void v1_flows(struct api_call *call)
{
    static const char PREFIX[] = "index/service/sdn/";
    struct gathering *g = xnew(struct gathering);

    g->call = call;
    g->answer = json_object();
    g->left = 1;
    for (struct omap_entry *e = tree_first(tree_of(call), PREFIX); e;
         e = tree_next(tree_of(call), e, PREFIX)) {
        const char *id = e->key + sizeof PREFIX - 1;
        const json_t *spec = tree_spec(tree_of(call), "nodes", id);
        struct gathered *node = xnew(struct gathered);
        *node = (struct gathered){.gathering = g,
                                  .node = xstrdup(id),
                                  .address = xstrdup(json_get_string(spec, "address", ""))};
        g->left++;
        agents_ask(call->api->agents, id, "sdn/flows", on_flows, node);
    }
    release(g);
}

/* --- routes --- */

#define FLOW_PARAMETER                                                                            \
    "[{\"name\":\"flow\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"},"     \
    "\"description\":\"The flowId.\"}]"
#define INTEGERS(a_, b_)                                                                          \
    "{\"type\":\"object\",\"properties\":{\"" a_ "\":{\"type\":\"integer\"},\"" b_                \
    "\":{\"type\":\"integer\"}}}"
#define FLOW_ID "\"flowId\":{\"type\":\"string\"}"

#define READ_ROUTE(path_, handler_, hidden_, summary_, response_, ...)                            \
    {                                                                                             \
        .method = "GET", .path = path_, .role = ROLE_VIEWER, .form = FORM_V1,                     \
        .handler = (handler_), .hidden = (hidden_), .doc = {                                      \
            .summary = summary_ " (API v1)",                                                      \
            .response = (response_),                                                              \
            __VA_ARGS__                                                                           \
        }                                                                                         \
    }
#define FLOW_STATISTICS_ROUTE(path_, hidden_)                                                     \
    READ_ROUTE(path_, v1_flow_statistics, hidden_, "What a blocking flow has dropped",            \
               INTEGERS("numPackets", "numBytes"), .parameters = FLOW_PARAMETER)
#define TRAFFIC_ROUTE(path_, hidden_)                                                             \
    {                                                                                             \
        .method = "GET", .path = path_, .role = ROLE_VIEWER, .form = FORM_V1,                     \
        .handler = v1_traffic, .hidden = (hidden_), .makes_conflicts = 1, .doc = {                \
            .summary = "Packets to and from a node (API v1)",                                     \
            .response = INTEGERS("inTraffic", "outTraffic")                                       \
        }                                                                                         \
    }
#define BLOCK_ROUTE(base_, hidden_)                                                               \
    {                                                                                             \
        .method = "PUT", .path = base_ "/blockbyport", .role = ROLE_OPERATOR,                     \
        .body_max = BODY_MAX, .form = FORM_V1, .handler = v1_block, .hidden = (hidden_),          \
        .makes_conflicts = 1, .asks_node = 1, .doc = {                                            \
            .summary = "Block a TCP port on a node (API v1)",                                     \
            .description =                                                                        \
                "Drops until it is deleted, in both directions; see sdn/filters. Answers when "   \
                "it is in force; if that doesn't come about in 10 s it is undone and 503. Host "  \
                "bits of the destination are masked.",                                            \
            .request =                                                                            \
                "{\"type\":\"object\",\"additionalProperties\":false,\"required\":["              \
                "\"tcp-destination-port\",\"ip4-destination\",\"ssinstanceid\"],\"properties\":{" \
                "\"tcp-destination-port\":{\"type\":[\"integer\",\"string\"],\"minimum\":1,"      \
                "\"maximum\":65535},\"ip4-destination\":{\"type\":\"string\"},"                   \
                "\"ssinstanceid\":{\"type\":\"string\"}}}",                                       \
            .response = "{\"type\":\"object\",\"properties\":{" FLOW_ID "}}",                     \
            .example = "{\"tcp-destination-port\":1919,\"ip4-destination\":"                      \
                       "\"134.157.24.35/16\",\"ssinstanceid\":\"Agent.1\"}"                       \
        }                                                                                         \
    }
#define UNBLOCK_ROUTE(base_, hidden_)                                                             \
    {                                                                                             \
        .method = "DELETE", .path = base_ "/nodes/{id}/flows/{flow}", .role = ROLE_OPERATOR,      \
        .body_max = BODY_MAX, .form = FORM_V1, .handler = v1_unblock, .hidden = (hidden_),        \
        .makes_conflicts = 1, .doc = {                                                            \
            .summary = "Delete a blocking flow (API v1)",                                         \
            .parameters = FLOW_PARAMETER,                                                         \
            .response = "{\"type\":\"object\"}"                                                   \
        }                                                                                         \
    }

#define ROUTES(base_, hidden_)                                                                    \
    READ_ROUTE(base_ "/flows", v1_flows, hidden_, "List every node's flows",                      \
               "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"object\","              \
               "\"properties\":{\"vpnID\":{\"type\":\"string\"},\"instanceId\":{\"type\":"        \
               "\"string\"},\"flows\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}},"      \
               "\"error\":{\"type\":\"string\",\"description\":\"Why a node's aren't known.\"}"   \
               "}}}",                                                                             \
               .description = "As they are in the switches now, by \"openflow:<datapath>\"."),    \
        READ_ROUTE(base_ "/nodes/{id}/blockedTcpPorts", v1_blocked, hidden_,                      \
                   "List the blocked TCP ports of a node",                                        \
                   "{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{"          \
                   "\"destinationPort\":{\"type\":\"integer\"},\"destinationAddress\":{"          \
                   "\"type\":\"string\"}," FLOW_ID "}}}"),                                        \
        BLOCK_ROUTE(base_, hidden_), UNBLOCK_ROUTE(base_, hidden_),                               \
        FLOW_STATISTICS_ROUTE(base_ "/nodes/{id}/flows/{flow}/monitoring", hidden_),              \
        FLOW_STATISTICS_ROUTE(base_ "/nodes/{id}/flows/{flow}", 1),                               \
        TRAFFIC_ROUTE(base_ "/nodes/{id}/monitoring/incoming", hidden_),                          \
        TRAFFIC_ROUTE(base_ "/nodes/{id}/incoming", 1)

const struct api_route V1_SDN_ROUTES[] = {
    ROUTES("/api/v1/services/sdn", 0),
    ROUTES("/api/v1/sdn", 1),
    READ_ROUTE("/api/v1/sdn/nodes", v1_nodes, 1, "List nodes", NULL),
    {.method = NULL},
};
