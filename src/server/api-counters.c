/* api-counters.c - what nodes count and how they are now: series of counters, metrics, and the
 * flows that are really in a node's bridge. */
#include <inttypes.h>
#include <string.h>

#include "lib/clock.h"
#include "server/agents.h"
#include "server/api-internal.h"

enum {
    METRICS_BY_NODE_MAX = 50000, /* counters; where there are more, metrics are sums over nodes */
};

/* Kinds whose objects count, and what that is called. */
static const struct counted {
    const char *kind;     /* also in the path of its series */
    const char *counter;  /* its name begins so; the id follows */
    const char *metric;   /* cnsmo_<this>_<unit>_total */
    const char *label;    /* whose value is the id */
    const char *units[2]; /* of a counter's two numbers */
} COUNTED[] = {
    {"sdn/filters", "sdn/filter", "sdn_filter", "filter", {"packets", "bytes"}},
    {"sdn/flows", "sdn/flow", "sdn_flow", "flow", {"packets", "bytes"}},
    {"fw/rules", "fw/rule", "fw_rule", "rule", {"packets", "bytes"}},
    {"lb/services", "lb/service", "lb_service", "service", {"connections", "bytes"}},
};

static const struct counters *counters_of(const struct api_call *call)
{
    return deployment_counters(call->api->deployment);
}

/* --- series --- */

static int read_step(const struct api_call *call, unsigned *ret_step, struct error *error)
{
    static const char *const PARAMETERS[] = {"step", NULL};
    const char *step = http_query(call->request, "step");

    if (call_check_query(call, PARAMETERS, error) < 0) {
        return -1;
    }
    if (step && strcmp(step, "5") != 0 && strcmp(step, "60") != 0) {
        return error_set(error, 400, NULL, "\"step\" must be 5 or 60");
    }
    *ret_step = step && *step == '6' ? COUNTERS_LONG_STEP_SEC : COUNTERS_STEP_SEC;
    return 0;
}

static int check_there(const struct api_call *call, const char *kind, const char *id,
                       struct error *error)
{
    return tree_spec(deployment_tree(call->api->deployment), kind, id)
               ? 0
               : error_set(error, 404, NULL, "there is no %s \"%.100s\"", kind, id);
}

static json_t *series_of(const struct api_call *call, const char *node, const char *name,
                         unsigned step)
{
    return counters_series(counters_of(call), node, name, step, clock_now_usec() / 1000000);
}

/* The path says of what kind. */
static void get_object_series(struct api_call *call)
{
    const char *id = http_param(call->request, "id");
    const struct counted *counted = COUNTED;
    struct error error;
    unsigned step;

    while (!strstr(call->route->path, counted->kind)) {
        counted++;
    }
    _cleanup_free_ char *name = xasprintf("%s/%s", counted->counter, id);
    if (read_step(call, &step, &error) < 0 || check_there(call, counted->kind, id, &error) < 0) {
        call_fail(call, &error);
        return;
    }
    call_reply_json(call, 200, series_of(call, NULL, name, step));
}

static void get_node_series(struct api_call *call)
{
    static const char *const NAMES[] = {"in", "out"};
    const char *id = http_param(call->request, "id");
    json_t *answer = NULL;
    struct error error;
    unsigned step;

    if (read_step(call, &step, &error) < 0 || check_there(call, "nodes", id, &error) < 0) {
        call_fail(call, &error);
        return;
    }
    answer = json_pack("{s:i}", "step", (int)step);
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        _cleanup_free_ char *name = xasprintf("sdn/node/%s", NAMES[i]);
        json_t *series = series_of(call, id, name, step);
        json_object_set(answer, NAMES[i], json_object_get(series, "points"));
        json_decref(series);
    }
    call_reply_json(call, 200, answer);
}

/* --- the flows of a node --- */

static void on_flows(void *arg, const json_t *body, const struct error *error)
{
    struct api_call *call = arg;

    if (call->api->freed) {
        call_fail_stopping(call);
    } else if (body) {
        call_reply_json(call, 200, json_incref((json_t *)body));
    } else {
        /* What the agent says is no verdict on the caller: "401" would log him out. */
        struct error told;
        error_set(&told, error->status >= 500 ? error->status : 503, NULL, "%s", error->detail);
        call_fail(call, &told);
    }
}

int api_check_sdn(const struct api *api, const char *node, struct error *error)
{
    const json_t *spec = tree_spec(deployment_tree(api->deployment), "nodes", node);

    if (!spec) {
        return error_set(error, 404, NULL, "there is no node \"%.100s\"", node);
    }
    return json_array_has(json_object_get(spec, "services"), "sdn")
               ? 0
               : error_set(error, 409, NULL,
                           "%s doesn't run sdn; turn it on: cnsmo node set %s --services vpn,sdn",
                           node, node);
}

static void get_flows(struct api_call *call)
{
    static const char *const PARAMETERS[] = {NULL};
    const char *id = http_param(call->request, "id");
    struct error error;

    if (call_check_query(call, PARAMETERS, &error) < 0 ||
        api_check_sdn(call->api, id, &error) < 0) {
        call_fail(call, &error);
        return;
    }
    agents_ask(call->api->agents, id, "sdn/flows", on_flows, call);
}

/* --- metrics --- */

struct measuring {
    struct buf *buf;
    const char *metric, *label, *value; /* label "": none */
    int bytes;
};

static void measure(void *arg, const char *node, struct count total)
{
    struct measuring *m = arg;

    buf_printf(m->buf, "cnsmo_%s{%s%s%s%snode=\"%s\"} %" PRIu64 "\n", m->metric, m->label,
               *m->label ? "=\"" : "", m->value, *m->label ? "\"," : "", node,
               m->bytes ? total.bytes : total.packets);
}

/* One metric of every object of a kind, by node where these aren't too many: filters on every node
 * are as many lines as filters times nodes. */
static void measure_objects(const struct api *api, struct buf *buf, const struct counted *counted,
                            int bytes)
{
    _cleanup_free_ char *prefix = xasprintf("object/%s/", counted->kind);
    _cleanup_free_ char *metric = xasprintf("%s_%s_total", counted->metric, counted->units[bytes]);
    const struct tree *tree = deployment_tree(api->deployment);
    const struct counters *counters = deployment_counters(api->deployment);
    int by_node = counters_len(counters) <= METRICS_BY_NODE_MAX;

    buf_printf(buf, "# HELP cnsmo_%s %s of a %s, %s.\n# TYPE cnsmo_%s counter\n", metric,
               bytes                                       ? "Bytes"
               : strcmp(counted->units[0], "packets") == 0 ? "Packets"
                                                           : "Connections",
               counted->label, by_node ? "by node" : "on all nodes", metric);
    for (struct omap_entry *e = tree_first(tree, prefix); e; e = tree_next(tree, e, prefix)) {
        const char *id = e->key + strlen(prefix);
        _cleanup_free_ char *name = xasprintf("%s/%s", counted->counter, id);
        struct measuring m = {
            .buf = buf, .metric = metric, .label = counted->label, .value = id, .bytes = bytes};
        struct count sum = counters_each(counters, name, by_node ? measure : NULL, &m);
        if (!by_node) {
            buf_printf(buf, "cnsmo_%s{%s=\"%s\"} %" PRIu64 "\n", metric, counted->label, id,
                       bytes ? sum.bytes : sum.packets);
        }
    }
}

/* What nodes count of themselves. */
static const struct {
    const char *counter, *metric, *words;
} OF_NODES[] = {
    {"sdn/node/in", "sdn_node_in", "through the node's bridge, in"},
    {"sdn/node/out", "sdn_node_out", "through the node's bridge, out"},
    {"fw/node/policy-in", "fw_node_policy_in", "that the firewall's policy refused, in"},
    {"fw/node/policy-out", "fw_node_policy_out", "that the firewall's policy refused, out"},
};

static void measure_nodes(const struct api *api, struct buf *buf, size_t which, int bytes)
{
    _cleanup_free_ char *metric =
        xasprintf("%s_%s_total", OF_NODES[which].metric, bytes ? "bytes" : "packets");
    struct measuring m = {.buf = buf, .metric = metric, .label = "", .value = "", .bytes = bytes};

    buf_printf(buf, "# HELP cnsmo_%s %s %s.\n# TYPE cnsmo_%s counter\n", metric,
               bytes ? "Bytes" : "Packets", OF_NODES[which].words, metric);
    counters_each(deployment_counters(api->deployment), OF_NODES[which].counter, measure, &m);
}

void counters_metrics(const struct api *api, struct buf *buf)
{
    for (int bytes = 0; bytes < 2; bytes++) {
        for (size_t i = 0; i < ARRAY_LEN(COUNTED); i++) {
            measure_objects(api, buf, &COUNTED[i], bytes);
        }
        for (size_t i = 0; i < ARRAY_LEN(OF_NODES); i++) {
            measure_nodes(api, buf, i, bytes);
        }
    }
}

/* --- routes --- */

#define STEP_PARAMETER                                                                            \
    "[{\"name\":\"step\",\"in\":\"query\",\"schema\":{\"type\":\"integer\",\"enum\":[5,60],"      \
    "\"default\":5},\"description\":\"Seconds: 5 for the last hour, 60 for the last day.\"}]"
#define STEP "\"step\":{\"type\":\"integer\"}"
#define POINTS                                                                                    \
    "{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"time\":{\"type\":"      \
    "\"string\",\"format\":\"date-time\"},\"packets\":{\"type\":\"integer\"},\"bytes\":{"         \
    "\"type\":\"integer\"}}}}"
#define SERIES_WORDS                                                                              \
    "Points only where the total has changed: the total after the step that begins at that "      \
    "time. "
#define SERIES_ROUTE(kind_, what_)                                                                \
    {                                                                                             \
        .method = "GET", .path = "/api/v2/" kind_ "/{id}/series", .role = ROLE_VIEWER,            \
        .handler = get_object_series, .doc = {                                                    \
            .tag = kind_,                                                                         \
            .summary = "What a " what_ " has counted, over time",                                 \
            .description = SERIES_WORDS "Summed up over its nodes.",                              \
            .parameters = STEP_PARAMETER,                                                         \
            .response = "{\"type\":\"object\",\"properties\":{" STEP ",\"points\":" POINTS "}}"   \
        }                                                                                         \
    }

const struct api_route COUNTER_ROUTES[] = {
    SERIES_ROUTE("sdn/filters", "filter"),
    SERIES_ROUTE("sdn/flows", "flow"),
    SERIES_ROUTE("fw/rules", "rule"),
    SERIES_ROUTE("lb/services", "service"),
    {.method = "GET",
     .path = "/api/v2/nodes/{id}/series",
     .role = ROLE_VIEWER,
     .handler = get_node_series,
     .doc = {.tag = "nodes",
             .summary = "The traffic through a node's bridge, over time",
             .description = SERIES_WORDS "Empty for a node without sdn.",
             .parameters = STEP_PARAMETER,
             .response = "{\"type\":\"object\",\"properties\":{" STEP ",\"in\":" POINTS
                         ",\"out\":" POINTS "}}"}},
    {.method = "GET",
     .path = "/api/v2/nodes/{id}/sdn/flows",
     .role = ROLE_VIEWER,
     .handler = get_flows,
     .makes_conflicts = 1,
     .asks_node = 1,
     .doc = {.tag = "nodes",
             .summary = "The flows that are in a node's bridge now",
             .description = "Read back from the switch by the node's agent, with a sentence for "
                            "each. 503 when the node is away or silent for 3 s.",
             .response =
                 "{\"type\":\"object\",\"properties\":{\"datapathId\":{\"type\":\"string\","
                 "\"description\":\"16 hex digits.\"},\"datapath\":{\"type\":\"string\",\"enum\":["
                 "\"system\",\"netdev\"]},\"flows\":{\"type\":\"array\",\"items\":{\"type\":"
                 "\"object\",\"properties\":{\"table\":{\"type\":\"integer\"},\"priority\":{"
                 "\"type\":\"integer\"},\"cookie\":{\"type\":\"string\"},\"match\":{\"type\":"
                 "\"object\"},\"actions\":{\"type\":\"array\"},\"packets\":{\"type\":\"integer\"}"
                 ",\"bytes\":{\"type\":\"integer\"},\"owner\":{\"type\":\"string\","
                 "\"description\":\"base, other, filter/<id> or flow/<id>.\"},\"text\":{"
                 "\"type\":\"string\"}}}},\"truncated\":{\"type\":\"boolean\"}}}"}},
    {.method = NULL},
};
