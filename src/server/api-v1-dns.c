/* api-v1-dns.c - API v1's DNS records: a façade over dns/records of v2, under both spellings of
 * the specification.
 *
 *     "10.10.10.9 web" ──► dns/records ──► wait for the nodes ──► 200
 *     a list of such   ──► all of them in one transaction */
#include <string.h>

#include "server/api-internal.h"
#include "services/dns/dns-kinds.h"

enum {
    BODY_MAX = 64 << 10,
};

static const char MEMBER[] = "dnsrecords";

/* --- GET records --- */

/* Addresses alone: v1's lines are those of a hosts file. */
static void v1_records(struct api_call *call)
{
    static const char PREFIX[] = "object/dns/records/";
    const struct tree *tree = deployment_tree(call->api->deployment);
    json_t *lines;

    if (call_reply_cached(call)) {
        return;
    }
    lines = json_array();
    for (struct omap_entry *e = tree_first(tree, PREFIX); e; e = tree_next(tree, e, PREFIX)) {
        const json_t *spec = tree_spec(tree, "dns/records", e->key + sizeof PREFIX - 1);
        if (strcmp(json_get_string(spec, "type", ""), "CNAME") != 0) {
            json_array_append_new(lines,
                                  json_sprintf("%s %s\n", json_get_string(spec, "value", ""),
                                               json_get_string(spec, "name", "")));
        }
    }
    call_reply_and_keep(call, json_pack("{s:o}", "dns_records", lines));
}

/* --- POST record --- */

/* Address, blanks, name; a new spec, or NULL and 400. */
static json_t *read_line(const json_t *value, struct error *error)
{
    static const char BLANKS[] = " \t\r\n";
    const char *line = json_string_value(value);

    if (!line) {
        error_set(error, 400, NULL, "\"%s\" must be a string, or a list of strings", MEMBER);
        return NULL;
    }
    line += strspn(line, BLANKS);
    size_t size = strcspn(line, BLANKS);
    const char *name = line + size + strspn(line + size, BLANKS);
    size_t name_size = strcspn(name, BLANKS);
    if (size == 0 || name_size == 0 || name[name_size + strspn(name + name_size, BLANKS)]) {
        error_set(error, 400, NULL, "\"%s\" must be an address and a name, such as 10.10.10.9 web",
                  MEMBER);
        return NULL;
    }
    _cleanup_free_ char *address = xstrndup(line, size);
    return json_pack("{s:s, s:s%, s:s}", "value", address, "name", name, name_size, "type",
                     strchr(address, ':') ? "AAAA" : "A");
}

/* The specs of all lines; NULL and 400. */
static json_t *read_records(const json_t *body, struct error *error)
{
    const json_t *value = json_object_get(body, MEMBER);
    json_t *one, *specs;
    size_t i, len = json_is_array(value) ? json_array_size(value) : 1;

    if (!value || len == 0) {
        error_set(error, 400, NULL,
                  value ? "\"%s\" is not allowed to be empty" : "\"%s\" is required", MEMBER);
        return NULL;
    }
    if (len > API_LIST_MAX) {
        error_set(error, 400, NULL, "\"%s\" may have at most %d records", MEMBER, API_LIST_MAX);
        return NULL;
    }
    specs = json_array();
    for (i = 0; i < len; i++) {
        one = read_line(json_is_array(value) ? json_array_get(value, i) : value, error);
        if (!one) {
            json_decref(specs);
            return NULL;
        }
        json_array_append_new(specs, one);
    }
    return specs;
}

/* The record stays: who was away has it when it is back, and an error is tried again. */
static void on_applied(void *arg, int rc, const json_t *report)
{
    struct api_call *call = arg;
    const json_t *late = rc < 0 ? v1_late(call->api, report) : NULL;
    struct error error;

    if (call->api->freed) {
        call_fail_stopping(call);
    } else if (late) {
        v1_error(late, "the record is kept", &error);
        call_fail(call, &error);
    } else {
        call_reply_json(call, 200, json_object());
    }
}

static void on_stored(void *arg, int rc, const struct write_result *result,
                      const struct error *error)
{
    struct api_call *call = arg;

    if (rc < 0) {
        call_fail(call, error);
    } else if (call->api->freed) {
        call_fail_stopping(call);
    } else {
        deployment_wait(call->api->deployment, result->revision, V1_WAIT_MSEC, on_applied, call);
    }
}

static void v1_record(struct api_call *call)
{
    static const char *const MEMBERS[] = {MEMBER, NULL};
    struct write common = {.verb = WRITE_CREATE, .kind = "dns/records"};
    json_t *body = NULL, *specs = NULL, *spec;
    struct actor actor;
    struct error error;
    size_t i;

    if (call_body(call, MEMBERS, &body, &error) == 0) {
        specs = read_records(body, &error);
    }
    json_decref(body);
    if (!specs) {
        call_fail(call, &error);
        return;
    }
    json_t *list = json_array();
    json_array_foreach (specs, i, spec) {
        json_array_append_new(list, json_pack("{s:O}", "spec", spec));
    }
    call_actor(call, &actor);
    deployment_create_list(call->api->deployment, &actor, &common, list, on_stored, call);
    json_decref(list);
    json_decref(specs);
}

/* --- routes --- */

#define ROUTES(base_, hidden_)                                                                    \
    {.method = "GET",                                                                             \
     .path = base_ "/records",                                                                    \
     .role = ROLE_VIEWER,                                                                         \
     .form = FORM_V1,                                                                             \
     .handler = v1_records,                                                                       \
     .hidden = (hidden_),                                                                         \
     .doc = {.summary = "List the DNS records (API v1)",                                          \
             .response = "{\"type\":\"object\",\"properties\":{\"dns_records\":{\"type\":"        \
                         "\"array\",\"items\":{\"type\":\"string\"}}}}"}},                        \
    {                                                                                             \
        .method = "POST", .path = base_ "/record", .role = ROLE_OPERATOR, .body_max = BODY_MAX,   \
        .form = FORM_V1, .handler = v1_record, .hidden = (hidden_), .makes_conflicts = 1,         \
        .asks_node = 1, .doc = {                                                                  \
            .summary = "Add DNS records (API v1)",                                                \
            .description = "An address, blanks, a name; or a list of such. Answers when every "   \
                           "node that is connected answers it; see dns/records.",                 \
            .request = "{\"type\":\"object\",\"additionalProperties\":false,\"required\":["       \
                       "\"dnsrecords\"],\"properties\":{\"dnsrecords\":{\"description\":"         \
                       "\"A string, or a list of strings.\"}}}",                                  \
            .response = "{\"type\":\"object\"}",                                                  \
            .example = "{\"dnsrecords\":\"10.10.10.9 web\"}"                                      \
        }                                                                                         \
    }

const struct api_route V1_DNS_ROUTES[] = {
    ROUTES("/api/v1/services/dns", 0),
    ROUTES("/api/v1/dns", 1),
    {.method = NULL},
};
