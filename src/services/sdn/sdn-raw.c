/* sdn-raw.c - the rules of sdn/flows: OpenFlow matches, checked field by field. */
#include <stdio.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "sdn-schemas.h"
#include "services/sdn/sdn-kinds.h"

const struct kind SDN_FLOWS = {
    .name = "sdn/flows",
    .singular = "sdn flow",
    .summary = "A raw OpenFlow flow in a node's bridge.",
    .schema_text = SCHEMA_SDN_FLOWS,
    .ids = KIND_ID_COUNTED,
    .read_role = ROLE_VIEWER,
    .write_role = ROLE_OPERATOR,
};

/* OpenFlow 1.4 section 7.2.3.8: fields of a protocol need its number. */
static const struct {
    const char *name;
    json_int_t protocol;
} IMPLIES[] = {
    {"tcp_src", 6},  {"tcp_dst", 6},     {"udp_src", 17},
    {"udp_dst", 17}, {"icmpv4_type", 1}, {"icmpv4_code", 1},
};

static const char *const PREFIXES[] = {"ipv4_src", "ipv4_dst"};

static int check_protocol(const json_t *match, struct error *error)
{
    json_int_t protocol = json_get_integer(match, "ip_proto", -1);
    const char *said_by = "ip_proto";

    for (size_t i = 0; i < ARRAY_LEN(IMPLIES); i++) {
        if (!json_object_get(match, IMPLIES[i].name)) {
            continue;
        }
        if (protocol >= 0 && protocol != IMPLIES[i].protocol) {
            char pointer[40];
            snprintf(pointer, sizeof pointer, "/match/%s", IMPLIES[i].name);
            return error_set(error, 400, pointer,
                             "\"%s\" needs ip_proto %" JSON_INTEGER_FORMAT ", and \"%s\" makes it "
                             "%" JSON_INTEGER_FORMAT,
                             IMPLIES[i].name, IMPLIES[i].protocol, said_by, protocol);
        }
        protocol = IMPLIES[i].protocol;
        said_by = IMPLIES[i].name;
    }
    return 0;
}

int sdn_flow_validate(const char *id, const json_t *spec, struct view *view, struct error *error)
{
    const json_t *match = json_object_get(spec, "match");
    char claim[SDN_CLAIM_SIZE];
    int rc = where_check_node("sdn", spec, view_spec(view, SDN_FLOWS.name, id), view, error);

    rc = rc < 0 ? rc : match_check_prefix(match, "ipv4_src", "/match/ipv4_src", error);
    rc = rc < 0 ? rc : match_check_prefix(match, "ipv4_dst", "/match/ipv4_dst", error);
    rc = rc < 0 ? rc : check_protocol(match, error);
    return rc < 0 ? rc
                  : match_check_claim(view, sdn_flow_claim(spec, claim), &SDN_FLOWS, id, error);
}

json_t *sdn_match(const json_t *spec)
{
    json_t *match = json_deep_copy(json_object_get(spec, "match"));

    match = match ? match : json_object();
    for (size_t i = 0; i < ARRAY_LEN(PREFIXES); i++) {
        struct ip4_prefix prefix = {0};
        char text[IP4_PREFIX_TEXT_SIZE];
        prefix_parse(json_get_string(match, PREFIXES[i], "0.0.0.0/0"), &prefix);
        if (prefix.len == 0) {
            json_object_del(match, PREFIXES[i]);
        } else {
            json_object_set_new(match, PREFIXES[i], json_string(ip4_prefix_format(prefix, text)));
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(IMPLIES); i++) {
        if (json_object_get(match, IMPLIES[i].name)) {
            json_object_set_new(match, "ip_proto", json_integer(IMPLIES[i].protocol));
        }
    }
    return match;
}

/* A switch takes two flows of one table with the same match and priority for one. */
const char *sdn_flow_claim(const json_t *spec, char claim[SDN_CLAIM_SIZE])
{
    char hex[SHA256_HEX_SIZE];
    json_t *same = json_pack("[s, I, o]", json_get_string(spec, "node", ""),
                             json_get_integer(spec, "priority", 0), sdn_match(spec));
    _cleanup_free_ char *text = json_canonical(same);

    json_decref(same);
    snprintf(claim, SDN_CLAIM_SIZE, "sdn-flow/%s", hash_text_hex(text, hex));
    return claim;
}
