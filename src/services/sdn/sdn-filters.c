/* sdn-filters.c - the rules of sdn/filters, and those that raw flows share. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "sdn-schemas.h"
#include "services/sdn/sdn-kinds.h"

const struct kind SDN_FILTERS = {
    .name = "sdn/filters",
    .singular = "sdn filter",
    .summary = "Drops packets on nodes, and counts them.",
    .schema_text = SCHEMA_SDN_FILTERS,
    .ids = KIND_ID_COUNTED,
    .can_be_forced = 1,
    .read_role = ROLE_VIEWER,
    .write_role = ROLE_OPERATOR,
};

/* --- reading --- */

/* A port without leading zeros; what follows, or NULL. */
static const char *read_port(const char *text, uint16_t *ret_port)
{
    unsigned port = 0;
    const char *s = text;

    for (; *s >= '0' && *s <= '9' && s - text < 5; s++) {
        port = port * 10 + (unsigned)(*s - '0');
    }
    if (s == text || *text == '0' || port > UINT16_MAX) {
        return NULL;
    }
    *ret_port = (uint16_t)port;
    return s;
}

int sdn_ports_parse(const char *text, struct sdn_ports *ret_ports)
{
    struct sdn_ports ports = {0};
    const char *s = text;

    if (*text) {
        s = read_port(s, &ports.from);
        ports.to = ports.from;
        if (s && *s == '-') {
            s = read_port(s + 1, &ports.to);
        }
        if (!s || *s) {
            return -EINVAL;
        }
        if (ports.to < ports.from) {
            return -ERANGE;
        }
    }
    *ret_ports = ports;
    return 0;
}

int sdn_prefix_parse(const char *text, struct ip4_prefix *ret_prefix)
{
    struct ip4_prefix prefix = {.len = 32};
    int rc =
        strchr(text, '/') ? ip4_prefix_parse(text, &prefix) : ip4_parse(text, &prefix.address);

    if (rc == 0) {
        *ret_prefix = prefix;
    }
    return rc;
}

int sdn_runs_on(const json_t *node_spec)
{
    const json_t *services = json_object_get(node_spec, "services");

    return json_array_has(services, "vpn") && json_array_has(services, "sdn");
}

/* --- rules --- */

int sdn_check_prefix(const json_t *object, const char *name, const char *pointer,
                     struct error *error)
{
    const char *text = json_get_string(object, name, NULL);
    struct ip4_prefix prefix;
    char right[IP4_PREFIX_TEXT_SIZE];

    if (!text) {
        return 0;
    }
    if (strchr(text, ':')) {
        return error_set(error, 400, pointer, "\"%s\" must be IPv4: the overlay has no IPv6 yet",
                         name);
    }
    if (sdn_prefix_parse(text, &prefix) < 0) {
        return error_set(error, 400, pointer,
                         "\"%s\" must be an IPv4 address or prefix, such as 10.77.0.2 or "
                         "10.77.0.0/24",
                         name);
    }
    if ((prefix.address & ~ip4_mask(prefix.len)) != 0) {
        prefix.address &= ip4_mask(prefix.len);
        return error_set(error, 400, pointer, "\"%s\" %s has host bits set; the prefix is %s",
                         name, text, ip4_prefix_format(prefix, right));
    }
    return 0;
}

/* An object whose node was deleted or lost sdn can still be changed otherwise. */
int sdn_check_node(const json_t *spec, const json_t *before, struct view *view,
                   struct error *error)
{
    const char *node = json_get_string(spec, "node", NULL);

    if (!node || strcmp(json_get_string(before, "node", ""), node) == 0) {
        return 0;
    }
    const json_t *node_spec = view_spec(view, "nodes", node);
    if (!node_spec) {
        return error_set(error, 400, "/node", "\"node\": there is no node \"%s\"", node);
    }
    return sdn_runs_on(node_spec)
               ? 0
               : error_set(error, 409, "/node",
                           "\"node\": %s doesn't run sdn; turn it on: cnsmo node set %s "
                           "--services vpn,sdn",
                           node, node);
}

int sdn_check_claim(struct view *view, const char *claim, const struct kind *kind, const char *id,
                    struct error *error)
{
    _cleanup_free_ char *key = xasprintf("claim/%s", claim);
    const char *owner = json_get_string(view_get(view, key), "owner", NULL);
    const char *other = owner ? strrchr(owner, '/') + 1 : NULL;

    return !owner || strcmp(other, id) == 0
               ? 0
               : error_set(error, 409, NULL, "%s %s is the same", kind->singular, other);
}

static int check_labels(const json_t *selector, struct error *error)
{
    const char *name;
    json_t *value;

    json_object_foreach ((json_t *)selector, name, value) {
        if (!*name || name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                        "0123456789._-")] != '\0') {
            return error_set(error, 400, "/selector",
                             "\"selector\": a label's name has letters, digits, dots, hyphens and "
                             "underscores, and \"%.100s\" hasn't",
                             name);
        }
    }
    return 0;
}

static int check_where(const json_t *spec, const json_t *before, struct view *view,
                       struct error *error)
{
    const json_t *node = json_object_get(spec, "node");
    const json_t *selector = json_object_get(spec, "selector");

    if (!node && !selector) {
        return error_set(error, 400, "/node", "\"node\" or \"selector\" is required");
    }
    if (node && selector) {
        return error_set(error, 400, "/selector",
                         "\"selector\" and \"node\" exclude each other: give one of them");
    }
    int rc = check_labels(selector, error);
    return rc < 0 ? rc : sdn_check_node(spec, before, view, error);
}

static int check_port(const json_t *spec, struct error *error)
{
    const char *text = json_get_string(spec, "port", "");
    const char *protocol = json_get_string(spec, "protocol", "any");
    struct sdn_ports ports;
    int rc = sdn_ports_parse(text, &ports);

    if (rc == -ERANGE) {
        return error_set(error, 400, "/port", "\"port\" %s ends before it begins", text);
    }
    if (rc < 0) {
        return error_set(error, 400, "/port",
                         "\"port\" must be a port from 1 to 65535, or a range such as 8000-8010");
    }
    if (*text && strcmp(protocol, "tcp") != 0 && strcmp(protocol, "udp") != 0) {
        return error_set(error, 400, "/port",
                         "\"port\" needs the protocol tcp or udp, and it is %s", protocol);
    }
    return 0;
}

int sdn_filter_validate(const char *id, const json_t *spec, struct view *view, struct error *error)
{
    const json_t *before = view_spec(view, SDN_FILTERS.name, id);
    char claim[SDN_CLAIM_SIZE], claim_before[SDN_CLAIM_SIZE];
    int rc = check_where(spec, before, view, error);

    rc = rc < 0 ? rc : sdn_check_prefix(spec, "source", "/source", error);
    rc = rc < 0 ? rc : sdn_check_prefix(spec, "destination", "/destination", error);
    rc = rc < 0 ? rc : check_port(spec, error);
    rc = rc < 0 ? rc
                : sdn_check_claim(view, sdn_filter_claim(spec, claim), &SDN_FILTERS, id, error);
    /* One that is there already, and matches what it did, cuts off nobody anew. */
    return rc < 0 || view->force ||
                   (before && strcmp(claim, sdn_filter_claim(before, claim_before)) == 0)
               ? rc
               : sdn_lockout_check(spec, view, error);
}

/* --- the same one twice --- */

/* What it matches, and where: not how it is written, nor its priority. */
const char *sdn_filter_claim(const json_t *spec, char claim[SDN_CLAIM_SIZE])
{
    struct ip4_prefix source = {0}, destination = {0};
    struct sdn_ports ports = {0};
    const json_t *where = json_object_get(spec, "node");
    char from[IP4_PREFIX_TEXT_SIZE], to[IP4_PREFIX_TEXT_SIZE], hex[SHA256_HEX_SIZE];

    sdn_prefix_parse(json_get_string(spec, "source", "0.0.0.0/0"), &source);
    sdn_prefix_parse(json_get_string(spec, "destination", "0.0.0.0/0"), &destination);
    sdn_ports_parse(json_get_string(spec, "port", ""), &ports);
    where = where ? where : json_object_get(spec, "selector");
    json_t *same =
        json_pack("[O?, s, s, s, s, i, i]", where, json_get_string(spec, "direction", "both"),
                  json_get_string(spec, "protocol", "any"), ip4_prefix_format(source, from),
                  ip4_prefix_format(destination, to), (int)ports.from, (int)ports.to);
    _cleanup_free_ char *text = json_canonical(same);
    json_decref(same);
    snprintf(claim, SDN_CLAIM_SIZE, "sdn-filter/%s", hash_text_hex(text, hex));
    return claim;
}
