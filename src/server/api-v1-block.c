/* api-v1-block.c - API v1's PUT blockbyport: a filter that is there when the answer is, or not at
 * all.
 *
 *     body ──► checks ──► sdn/filters ──► wait for the node ──► 200
 *                                              └── not in time, or failed ──► undone, 503 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "server/api-internal.h"
#include "services/sdn/sdn-kinds.h"

static const char PORT[] = "tcp-destination-port";
static const char DESTINATION[] = "ip4-destination";
static const char INSTANCE[] = "ssinstanceid";

/* --- the body --- */

/* What the body asks for. */
struct block {
    int port;
    const char *destination, *node;
};

/* A number, or a text that is one. */
static int read_number(const json_t *value, double *ret_number)
{
    const char *text = json_string_value(value);
    char *end;

    if (json_is_number(value)) {
        *ret_number = json_number_value(value);
        return 0;
    }
    if (!text || !*text || text[strspn(text, "0123456789.-")] != '\0') {
        return -1;
    }
    *ret_number = strtod(text, &end);
    return *end ? -1 : 0;
}

static int read_port(const json_t *body, struct block *block, struct error *error)
{
    const json_t *value = json_object_get(body, PORT);
    double number;

    if (!value) {
        return error_set(error, 400, NULL, "\"%s\" is required", PORT);
    }
    if (read_number(value, &number) < 0) {
        return error_set(error, 400, NULL, "\"%s\" must be a number", PORT);
    }
    if (number != floor(number)) {
        return error_set(error, 400, NULL, "\"%s\" must be an integer", PORT);
    }
    if (number < 1 || number > UINT16_MAX) {
        return error_set(error, 400, NULL, "\"%s\" must be %s than or equal to %d", PORT,
                         number < 1 ? "larger" : "less", number < 1 ? 1 : UINT16_MAX);
    }
    block->port = (int)number;
    return 0;
}

static int read_destination(const json_t *body, struct block *block, struct error *error)
{
    struct ip4_prefix prefix;
    int rc = v1_read_text(body, DESTINATION, &block->destination, error);

    return rc < 0 || prefix_parse(block->destination, &prefix) == 0
               ? rc
               : error_set(error, 400, NULL, "\"%s\" must be an IPv4 address or prefix",
                           DESTINATION);
}

/* In the order of the specification's table, then what isn't in it. */
static int read_block(const json_t *body, struct block *block, struct error *error)
{
    const char *name;
    json_t *value;
    int rc = json_is_object(body) ? 0 : error_set(error, 400, NULL, "\"value\" must be an object");

    rc = rc < 0 ? rc : read_port(body, block, error);
    rc = rc < 0 ? rc : read_destination(body, block, error);
    rc = rc < 0 ? rc : v1_read_text(body, INSTANCE, &block->node, error);
    json_object_foreach ((json_t *)body, name, value) {
        if (rc == 0 && strcmp(name, PORT) != 0 && strcmp(name, DESTINATION) != 0 &&
            strcmp(name, INSTANCE) != 0) {
            rc = error_set(error, 400, NULL, "\"%.100s\" is not allowed", name);
        }
    }
    return rc;
}

/* Host bits are masked, and kept beside it. */
static json_t *filter_spec(const struct block *block)
{
    struct ip4_prefix prefix = {0};
    char masked[IP4_PREFIX_TEXT_SIZE], port[8];

    prefix_parse(block->destination, &prefix);
    snprintf(port, sizeof port, "%d", block->port);
    json_t *spec = json_pack("{s:s, s:s, s:s, s:s, s:s}", "node", block->node, "direction", "both",
                             "protocol", "tcp", "port", port, "destination", block->destination);
    if ((prefix.address & ~ip4_mask(prefix.len)) != 0) {
        prefix.address &= ip4_mask(prefix.len);
        json_object_set_new(spec, "destination", json_string(ip4_prefix_format(prefix, masked)));
        json_object_set_new(spec, "destinationGiven", json_string(block->destination));
    }
    return spec;
}

/* --- putting it in force --- */

static void answer(struct api_call *call, const char *id)
{
    call_reply_json(call, 200, json_pack("{s:s}", "flowId", id));
}

static void store_block(struct api_call *call, const struct block *block)
{
    json_t *spec = filter_spec(block);

    v1_add(call, &(struct v1_addition){.kind = "sdn/filters",
                                       .spec = spec,
                                       .outcome = "nothing was blocked",
                                       .answer = answer});
    json_decref(spec);
}

void v1_block(struct api_call *call)
{
    struct block block;
    struct error error;
    json_t *body = NULL;
    int rc = http_body_json(call->request, &body, &error);

    rc = rc < 0 ? rc : read_block(body, &block, &error);
    rc = rc < 0 ? rc : api_check_sdn(call->api, block.node, &error);
    if (rc == 0 && !fleet_is_connected(call->api->deployment, block.node)) {
        rc = error_set(&error, 503, NULL, "%s is away; nothing was blocked", block.node);
    }
    if (rc < 0) {
        call_fail(call, &error);
    } else {
        store_block(call, &block);
    }
    json_decref(body);
}
