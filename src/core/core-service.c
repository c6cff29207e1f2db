/* core-service.c - the rules of the core's own kinds that a schema can't say. */
#include <stdio.h>
#include <string.h>

#include "core/addresses.h"
#include "core/service.h"
#include "lib/ip.h"
#include "lib/json.h"
#include "lib/mem.h"

static int is_known_service(const char *name)
{
    for (size_t i = 0; SERVICES[i]; i++) {
        if (strcmp(SERVICES[i]->name, name) == 0 && SERVICES[i] != &SERVICE_CORE) {
            return 1;
        }
    }
    return 0;
}

static int check_services(const json_t *spec, struct error *error)
{
    size_t i;
    json_t *name;

    json_array_foreach (json_object_get(spec, "services"), i, name) {
        if (!is_known_service(json_string_value(name))) {
            char pointer[40];
            snprintf(pointer, sizeof pointer, "/services/%zu", i);
            return error_set(error, 400, pointer, "there is no service \"%s\"",
                             json_string_value(name));
        }
    }
    return 0;
}

static int check_labels(const json_t *spec, struct error *error)
{
    const char *name;
    json_t *value;

    json_object_foreach (json_object_get(spec, "labels"), name, value) {
        if (name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                              "0123456789._-")] != '\0') {
            return error_set(error, 400, "/labels",
                             "label name \"%s\" has other characters than letters, digits, dot, "
                             "hyphen and underscore",
                             name);
        }
    }
    return 0;
}

static int check_endpoint(const json_t *spec, struct error *error)
{
    const char *text = json_get_string(spec, "endpoint", "");
    struct ip4_endpoint endpoint;
    uint32_t address;

    if (*text && ip4_parse(text, &address) < 0 && ip4_endpoint_parse(text, &endpoint) < 0) {
        return error_set(error, 400, "/endpoint",
                         "\"endpoint\" must be an IPv4 address, or an address and a port");
    }
    return 0;
}

static int check_address(const json_t *spec, struct view *view, struct error *error)
{
    const char *range_text =
        json_get_string(view_spec(view, "settings", "overlay"), "range", NULL);
    const char *text = json_get_string(spec, "address", NULL);
    struct ip4_prefix range;
    uint32_t address;

    if (!text || ip4_parse(text, &address) < 0 || !range_text ||
        ip4_prefix_parse(range_text, &range) < 0) {
        return 0;
    }
    if (!ip4_contains(range, address)) {
        return error_set(error, 400, "/address", "\"address\" %s is outside the overlay %s", text,
                         range_text);
    }
    if (address == (range.address & ip4_mask(range.len)) ||
        address == (range.address | ~ip4_mask(range.len))) {
        return error_set(error, 400, "/address",
                         "\"address\" %s is the first or last of the overlay %s, which stay free",
                         text, range_text);
    }
    return 0;
}

/* What can't be known from the range alone is looked at only when it is new. */
static int check_client_range(const char *id, const json_t *spec, struct view *view,
                              struct error *error)
{
    const char *text = json_get_string(spec, "clientRange", NULL);
    const char *before = json_get_string(view_spec(view, "nodes", id), "clientRange", "");
    struct ip4_prefix range, overlay;

    if (!text || ip4_prefix_parse(text, &range) < 0 || addresses_overlay(view, &overlay) < 0) {
        return 0;
    }
    if (range.len < CLIENT_RANGE_MIN_LEN || range.len > CLIENT_RANGE_MAX_LEN) {
        return error_set(error, 400, "/clientRange",
                         "\"clientRange\" must have a length of %d to %d bits",
                         CLIENT_RANGE_MIN_LEN, CLIENT_RANGE_MAX_LEN);
    }
    if ((range.address & ~ip4_mask(range.len)) != 0) {
        return error_set(error, 400, "/clientRange", "\"clientRange\" %s has host bits set", text);
    }
    if (range.len < overlay.len || !ip4_contains(overlay, range.address)) {
        return error_set(error, 400, "/clientRange",
                         "\"clientRange\" %s is outside the overlay %s", text,
                         json_get_string(view_spec(view, "settings", "overlay"), "range", ""));
    }
    return strcmp(before, text) == 0 ? 0 : addresses_check_range(view, id, range, error);
}

/* A node's address is in no hub's client range, its own neither. */
static int check_apart(const char *id, const json_t *spec, struct view *view, struct error *error)
{
    const char *text = json_get_string(spec, "address", "");
    const char *before = json_get_string(view_spec(view, "nodes", id), "address", "");
    const char *range_text = json_get_string(spec, "clientRange", "");
    struct ip4_prefix range;
    uint32_t address;

    if (ip4_parse(text, &address) < 0) {
        return 0;
    }
    if (ip4_prefix_parse(range_text, &range) == 0 && ip4_contains(range, address)) {
        return error_set(error, 409, "/clientRange",
                         "\"clientRange\" %s overlaps the address %s of nodes/%s", range_text,
                         text, id);
    }
    return strcmp(before, text) == 0 ? 0 : addresses_check_address(view, id, address, error);
}

static int check_range(const json_t *spec, struct view *view, struct error *error)
{
    static const struct ip4_prefix RESERVED[] = {
        {0x00000000, 8}, {0x7f000000, 8}, {0xe0000000, 3}};
    const char *text = json_get_string(spec, "range", "");
    const char *before = json_get_string(view_spec(view, "settings", "overlay"), "range", text);
    struct ip4_prefix range;

    if (ip4_prefix_parse(text, &range) < 0) {
        return 0; /* the schema has refused it */
    }
    if (range.len < 8 || range.len > 28) {
        return error_set(error, 400, "/range", "\"range\" must have a length of 8 to 28 bits");
    }
    if ((range.address & ~ip4_mask(range.len)) != 0) {
        return error_set(error, 400, "/range", "\"range\" %s has host bits set", text);
    }
    for (size_t i = 0; i < ARRAY_LEN(RESERVED); i++) {
        if (ip4_overlaps(range, RESERVED[i])) {
            return error_set(error, 400, "/range", "\"range\" %s isn't for unicast use", text);
        }
    }
    if (strcmp(before, text) != 0 && tree_first(view->tree, "object/nodes/")) {
        return error_set(error, 409, "/range",
                         "\"range\" can be changed only while there are no nodes");
    }
    return 0;
}

static int check_ports(const json_t *spec, struct error *error)
{
    if (json_get_integer(spec, "clientPort", 0) == json_get_integer(spec, "port", 1)) {
        return error_set(error, 400, "/clientPort",
                         "\"clientPort\" must differ from \"port\": a hub listens on both");
    }
    return 0;
}

static int core_validate(const char *kind, const char *id, const json_t *spec, struct view *view,
                         struct error *error)
{
    if (strcmp(kind, "settings") == 0 && strcmp(id, "overlay") == 0) {
        int rc = check_range(spec, view, error);
        return rc < 0 ? rc : check_ports(spec, error);
    }
    if (strcmp(kind, "nodes") != 0) {
        return strcmp(kind, "tokens") == 0 ? check_services(spec, error) : 0;
    }
    int rc = check_address(spec, view, error);
    rc = rc < 0 ? rc : check_client_range(id, spec, view, error);
    rc = rc < 0 ? rc : check_apart(id, spec, view, error);
    rc = rc < 0 ? rc : check_services(spec, error);
    rc = rc < 0 ? rc : check_labels(spec, error);
    return rc < 0 ? rc : check_endpoint(spec, error);
}

static void core_claims(const char *key, const json_t *value,
                        void (*claim)(void *arg, const char *name, const char *pointer), void *arg)
{
    const char *address = json_get_string(value, "address", NULL);
    const char *range = json_get_string(value, "clientRange", NULL);
    char name[40];

    if (strncmp(key, "object/nodes/", 13) != 0) {
        return;
    }
    if (address) {
        snprintf(name, sizeof name, "address/%.15s", address);
        claim(arg, name, "/address");
    }
    if (range) {
        snprintf(name, sizeof name, "client-range/%.18s", range);
        claim(arg, name, "/clientRange");
    }
}

static const struct fact_type FACTS[] = {
    {.name = "core.seen",
     .schema_text = "{\"type\":\"object\",\"additionalProperties\":false,"
                    "\"description\":\"Where the node's link comes from, and which address of the "
                    "server it goes to.\","
                    "\"required\":[\"address\"],"
                    "\"properties\":{\"address\":{\"type\":\"string\",\"format\":\"ipv4\"},"
                    "\"server\":{\"type\":\"string\",\"format\":\"ipv4-endpoint\"}}}"},
    {.name = NULL},
};

const struct service SERVICE_CORE = {
    .name = "core",
    .kinds = CORE_KINDS,
    .facts = FACTS,
    .validate = core_validate,
    .claims = core_claims,
};
