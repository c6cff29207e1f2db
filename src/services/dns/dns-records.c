/* dns-records.c - the rules of dns/records, settings/dns and of nodes' names. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "dns-schemas.h"
#include "lib/hash.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/dns/dns-kinds.h"
#include "services/match.h"
#include "services/where.h"

const struct kind DNS_RECORDS = {
    .name = "dns/records",
    .singular = "dns record",
    .summary = "A name that every node with dns answers.",
    .schema_text = SCHEMA_DNS_RECORDS,
    .ids = KIND_ID_COUNTED,
    .read_role = ROLE_VIEWER,
    .write_role = ROLE_OPERATOR,
};

const struct kind DNS_SETTINGS = {
    .name = "settings",
    .singular = "settings",
    .summary = "Names in the deployment.",
    .schema_text = SCHEMA_DNS_SETTINGS,
    .ids = KIND_ID_SINGLETON,
    .singleton_id = "dns",
    .read_role = ROLE_VIEWER,
    .write_role = ROLE_ADMIN,
};

/* --- one form --- */

static int is_ip4(const char *text)
{
    struct in_addr address;

    return inet_pton(AF_INET, text, &address) == 1;
}

static int is_ip6(const char *text)
{
    struct in6_addr address;

    return inet_pton(AF_INET6, text, &address) == 1;
}

static int is_digits_and_dots(const char *text)
{
    return *text && text[strspn(text, "0123456789.")] == '\0';
}

/* What looks like an address, right or wrong, isn't meant as a name. */
static const char *type_of(const char *value)
{
    return is_digits_and_dots(value) ? "A" : strchr(value, ':') ? "AAAA" : "CNAME";
}

static char *value_canonical(const char *type, const char *value, const char *domain)
{
    struct in6_addr address;
    char text[INET6_ADDRSTRLEN];

    if (strcmp(type, "CNAME") == 0) {
        return dns_name_canonical(value, domain);
    }
    if (strcmp(type, "AAAA") == 0 && inet_pton(AF_INET6, value, &address) == 1 &&
        inet_ntop(AF_INET6, &address, text, sizeof text)) {
        return xstrdup(text);
    }
    return xstrdup(value);
}

json_t *dns_complete(const char *kind, const char *id, const json_t *before, const json_t *spec,
                     struct view *view, struct error *error)
{
    const char *domain = dns_domain(view), *given = json_get_string(spec, "value", "");
    json_t *result = json_copy((json_t *)spec);

    if (strcmp(kind, DNS_SETTINGS.name) == 0) {
        _cleanup_free_ char *own = dns_domain_canonical(json_get_string(spec, "domain", ""));
        json_object_set_new(result, "domain", json_string(own));
    }
    if (strcmp(kind, DNS_RECORDS.name) != 0) {
        return result;
    }
    const char *type = json_get_string(spec, "type", type_of(given));
    _cleanup_free_ char *name = dns_name_canonical(json_get_string(spec, "name", ""), domain);
    _cleanup_free_ char *value = value_canonical(type, given, domain);
    json_object_set_new(result, "type", json_string(type));
    json_object_set_new(result, "name", json_string(name));
    json_object_set_new(result, "value", json_string(value));
    return result;
}

/* --- claims --- */

static const char *record_claim(const json_t *spec, char claim[DNS_CLAIM_SIZE])
{
    char name[SHA256_HEX_SIZE], rest[SHA256_HEX_SIZE];
    _cleanup_free_ char *text =
        xasprintf("%s %s", json_get_string(spec, "type", ""), json_get_string(spec, "value", ""));

    snprintf(claim, DNS_CLAIM_SIZE, "dns-at/%s/%.16s",
             hash_text_hex(json_get_string(spec, "name", ""), name), hash_text_hex(text, rest));
    return claim;
}

void dns_claims(const char *key, const json_t *value,
                void (*claim)(void *arg, const char *name, const char *pointer), void *arg)
{
    static const char NODE[] = "object/nodes/";
    char name[DNS_CLAIM_SIZE], label[DNS_LABEL_SIZE];

    if (strncmp(key, "object/dns/records/", 19) == 0) {
        claim(arg, record_claim(value, name), "");
    } else if (strncmp(key, NODE, sizeof NODE - 1) == 0) {
        snprintf(name, sizeof name, "dns-node/%s", dns_label_of(key + sizeof NODE - 1, label));
        claim(arg, name, "");
    }
}

/* --- rules --- */

static int check_value(const json_t *spec, const char *domain, struct error *error)
{
    const char *type = json_get_string(spec, "type", ""),
               *value = json_get_string(spec, "value", "");

    if (!*value) {
        return error_set(error, 400, "/value", "\"value\" is not allowed to be empty");
    }
    if (strcmp(type, "A") == 0 && !is_ip4(value)) {
        return error_set(error, 400, "/value",
                         "\"value\" of an A record must be an IPv4 address, such as 10.77.0.3");
    }
    if (strcmp(type, "AAAA") == 0 && !is_ip6(value)) {
        return error_set(error, 400, "/value",
                         "\"value\" of an AAAA record must be an IPv6 address, such as "
                         "2001:db8::3");
    }
    return strcmp(type, "CNAME") == 0 ? dns_name_check(value, domain, 0, "value", "/value", error)
                                      : 0;
}

struct neighbours {
    const char *id;
    char *cname; /* its id; NULL: none */
    char *other;
    const char *target; /* of the CNAME, borrowed */
    size_t len;
};

static void look_at(void *arg, const char *id, const json_t *spec)
{
    struct neighbours *n = arg;
    int is_cname = strcmp(json_get_string(spec, "type", ""), "CNAME") == 0;

    if (strcmp(id, n->id) == 0) {
        return;
    }
    n->len++;
    if (is_cname) {
        n->target = json_get_string(spec, "value", "");
    }
    char **found = is_cname ? &n->cname : &n->other;
    if (!*found) {
        *found = xstrdup(id);
    }
}

/* A name has one CNAME, or anything else (RFC 1034 section 3.6.2). */
static int check_neighbours(const char *id, const json_t *spec, struct view *view,
                            struct error *error)
{
    const char *name = json_get_string(spec, "name", "");
    int is_cname = strcmp(json_get_string(spec, "type", ""), "CNAME") == 0, rc = 0;
    struct neighbours n = {.id = id ? id : ""};

    dns_each_at(view, name, look_at, &n);
    if (n.cname) {
        rc = error_set(error, 409, "/name",
                       "\"name\": dns record %s is a CNAME of the same name, and there can be "
                       "nothing beside it",
                       n.cname);
    } else if (is_cname && n.other) {
        rc = error_set(error, 409, "/type",
                       "\"type\": a CNAME stands alone, and dns record %s has the same name",
                       n.other);
    } else if (n.len >= DNS_NAME_RECORDS_MAX) {
        rc = error_set(error, 409, "/name", "\"name\": there are %d records of this name already",
                       DNS_NAME_RECORDS_MAX);
    }
    free(n.cname);
    free(n.other);
    return rc;
}

static int check_loop(const char *id, const json_t *spec, struct view *view, struct error *error)
{
    const char *name = json_get_string(spec, "name", "");
    const char *at = json_get_string(spec, "value", "");

    if (strcmp(json_get_string(spec, "type", ""), "CNAME") != 0) {
        return 0;
    }
    for (size_t i = 0; at; i++) {
        if (strcmp(at, name) == 0) {
            return error_set(error, i == 0 ? 400 : 409, "/value",
                             "\"value\" leads back to \"%s\": CNAMEs can't make a loop", name);
        }
        if (i == DNS_CNAMES_MAX) {
            return error_set(error, 409, "/value", "\"value\" leads through more than %d CNAMEs",
                             DNS_CNAMES_MAX);
        }
        struct neighbours n = {.id = id ? id : ""};
        dns_each_at(view, at, look_at, &n);
        at = n.target;
        free(n.cname);
        free(n.other);
    }
    return 0;
}

/* dnsmasq has no wildcards for what it doesn't know itself. */
static int check_wildcard(const json_t *spec, struct view *view, struct error *error)
{
    struct dns_target target = {0};
    int rc = 0;

    if (!dns_name_is_wildcard(json_get_string(spec, "name", ""))) {
        return 0;
    }
    if (json_get_integer(spec, "ttl", 0) > 0) {
        return error_set(error, 400, "/ttl", "\"ttl\" can't be given for a wildcard");
    }
    if (strcmp(json_get_string(spec, "type", ""), "CNAME") == 0) {
        dns_follow(view, json_get_string(spec, "value", ""), &target);
        if (target.outside && json_array_size(target.addresses) == 0) {
            rc = error_set(error, 400, "/value",
                           "\"value\" of a wildcard must lead to an address or to a name of the "
                           "domain, and %s is outside",
                           target.outside);
        }
        dns_target_done(&target);
    }
    return rc;
}

static int check_record(const char *id, const json_t *spec, struct view *view, struct error *error)
{
    const char *domain = dns_domain(view), *name = json_get_string(spec, "name", "");
    char claim[DNS_CLAIM_SIZE];
    int rc = dns_name_check(name, domain, 1, "name", "/name", error);

    rc = rc < 0 ? rc : check_value(spec, domain, error);
    rc = rc < 0 ? rc : check_wildcard(spec, view, error);
    const char *node = rc == 0 ? dns_node_at(view, name) : NULL;
    if (node) {
        return error_set(error, 409, "/name", "\"name\" %s is that of the node %s", name, node);
    }
    rc = rc < 0 ? rc
                : match_check_claim(view, record_claim(spec, claim), &DNS_RECORDS, id ? id : "",
                                    error);
    rc = rc < 0 ? rc : check_neighbours(id, spec, view, error);
    return rc < 0 ? rc : check_loop(id, spec, view, error);
}

static int check_node(const char *id, const json_t *spec, struct view *view, struct error *error)
{
    struct neighbours n = {.id = ""};
    char label[DNS_LABEL_SIZE];
    int rc = where_check_services("dns", spec, error);

    if (rc < 0 || view_spec(view, "nodes", id)) {
        return rc;
    }
    const char *other = dns_node_at(view, dns_label_of(id, label));
    if (other) {
        return error_set(error, 409, NULL,
                         "the node %s has the same DNS name as %s would have, %s; choose another "
                         "id",
                         other, id, label);
    }
    dns_each_at(view, label, look_at, &n);
    if (n.len > 0) {
        rc = error_set(error, 409, NULL,
                       "dns record %s has the name %s, which is that of the node %s; delete it "
                       "first",
                       n.cname ? n.cname : n.other, label, id);
    }
    free(n.cname);
    free(n.other);
    return rc;
}

struct fitting {
    const char *domain;
    const char *id; /* of a record whose name would be too long, borrowed; NULL: none */
};

static void look_whether_it_fits(void *arg, const char *id, const json_t *object)
{
    struct fitting *f = arg;
    const char *name = json_get_string(json_object_get(object, "spec"), "name", "");

    if (!dns_name_is_outside(name) && strlen(name) + 1 + strlen(f->domain) > DNS_NAME_MAX) {
        f->id = id;
    }
}

static int check_domain(const char *domain, struct view *view, struct error *error)
{
    struct fitting f = {.domain = domain};
    int rc = dns_domain_check(domain, error);

    if (rc == 0) {
        view_each(view, "object/dns/records/", look_whether_it_fits, &f);
    }
    return f.id ? error_set(error, 409, "/domain",
                            "\"domain\": the name of dns record %s would have more than %d "
                            "characters with it (RFC 1035)",
                            f.id, DNS_NAME_MAX)
                : rc;
}

static int check_settings(const json_t *spec, struct view *view, struct error *error)
{
    int rc = check_domain(json_get_string(spec, "domain", ""), view, error);
    json_t *upstream;
    size_t i;

    json_array_foreach (json_object_get(spec, "upstreams"), i, upstream) {
        const char *text = json_string_value(upstream);
        char pointer[40];
        snprintf(pointer, sizeof pointer, "/upstreams/%zu", i);
        if (rc == 0 && !is_ip4(text) && !is_ip6(text)) {
            rc = error_set(error, 400, pointer,
                           "\"upstreams\" must be addresses, and \"%s\" isn't", text);
        } else if (rc == 0 && strcmp(text, "127.0.77.53") == 0) {
            rc = error_set(error, 400, pointer,
                           "\"upstreams\": 127.0.77.53 is where dns itself answers");
        }
    }
    return rc;
}

int dns_validate(const char *kind, const char *id, const json_t *spec, struct view *view,
                 struct error *error)
{
    if (strcmp(kind, "nodes") == 0) {
        return check_node(id, spec, view, error);
    }
    if (strcmp(kind, "settings") == 0) {
        return strcmp(id, "dns") == 0 ? check_settings(spec, view, error) : 0;
    }
    return strcmp(kind, DNS_RECORDS.name) == 0 ? check_record(id, spec, view, error) : 0;
}
