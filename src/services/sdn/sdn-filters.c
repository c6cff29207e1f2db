/* sdn-filters.c - the rules of sdn/filters. */
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

/* --- rules --- */

int sdn_filter_validate(const char *id, const json_t *spec, struct view *view, struct error *error)
{
    const json_t *before = view_spec(view, SDN_FILTERS.name, id);
    char claim[SDN_CLAIM_SIZE], claim_before[SDN_CLAIM_SIZE];
    int rc = where_check("sdn", spec, before, view, error);

    rc = rc < 0 ? rc : match_check_prefix(spec, "source", "/source", error);
    rc = rc < 0 ? rc : match_check_prefix(spec, "destination", "/destination", error);
    rc = rc < 0 ? rc : match_check_port(spec, error);
    rc = rc < 0 ? rc
                : match_check_claim(view, sdn_filter_claim(spec, claim), &SDN_FILTERS, id, error);
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
    struct ports ports = {0};
    const json_t *where = json_object_get(spec, "node");
    char from[IP4_PREFIX_TEXT_SIZE], to[IP4_PREFIX_TEXT_SIZE], hex[SHA256_HEX_SIZE];

    prefix_parse(json_get_string(spec, "source", "0.0.0.0/0"), &source);
    prefix_parse(json_get_string(spec, "destination", "0.0.0.0/0"), &destination);
    ports_parse(json_get_string(spec, "port", ""), &ports);
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
