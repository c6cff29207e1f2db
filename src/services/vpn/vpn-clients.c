/* vpn-clients.c - the rules of vpn/clients: ids, hubs, addresses. */
#include "services/vpn/vpn-clients.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "model/schema.h"
#include "vpn-schemas.h"

enum {
    PORT_DEFAULT = 51820,
    CLIENT_PORT_DEFAULT = 1194,
};

/* The name is the certificate's, and its files'. */
static int check_name(const char *id, struct error *error)
{
    if (client_name_is_reserved(id)) {
        return error_set(error, 400, "/id", "\"id\" can't be \"%s\": the name is reserved", id);
    }
    if (!client_name_is_valid(id)) {
        return error_set(error, 400, "/id",
                         "\"id\" must be letters, digits, dots, hyphens and underscores, begin "
                         "with a letter or digit, and have at most 63 characters");
    }
    return 0;
}

const struct kind VPN_CLIENTS = {
    .name = "vpn/clients",
    .singular = "vpn client",
    .summary = "A device from outside, with stock OpenVPN or WireGuard.",
    .schema_text = SCHEMA_VPN_CLIENTS,
    .ids = KIND_ID_NAMED,
    .check_id = check_name,
    .one_by_one = 1,
    .read_role = ROLE_VIEWER,
    .write_role = ROLE_OPERATOR,
};

/* --- where a client stands --- */

/* Clients' addresses are those in the lower half but for the first, which is the hub's, and the
 * last. */
static int is_clients_address(struct ip4_prefix range, uint32_t address)
{
    uint32_t half = (~ip4_mask(range.len) + 1) / 2;

    return ip4_contains(range, address) && address > range.address &&
           address - range.address < half - 1;
}

static int is_vpn_hub(const json_t *spec)
{
    return json_get_bool(spec, "hub", 0) &&
           json_array_has(json_object_get(spec, "services"), "vpn");
}

/* .len 0: none. */
static struct ip4_prefix range_of(const json_t *hub_spec)
{
    struct ip4_prefix range = {0};

    ip4_prefix_parse(json_get_string(hub_spec, "clientRange", ""), &range);
    return range;
}

void vpn_client_read(struct view *view, const json_t *spec, struct vpn_client *ret_client)
{
    struct vpn_client c = {.hub = json_get_string(spec, "hub", "")};
    uint32_t address;

    c.hub_spec = *c.hub ? view_spec(view, "nodes", c.hub) : NULL;
    c.is_hub = is_vpn_hub(c.hub_spec);
    c.range = range_of(c.hub_spec);
    if (c.is_hub && c.range.len > 0 &&
        ip4_parse(json_get_string(spec, "address", ""), &address) == 0 &&
        is_clients_address(c.range, address)) {
        c.is_placed = 1;
        c.address = address;
        c.wireguard_address = address + (~ip4_mask(c.range.len) + 1) / 2;
    }
    *ret_client = c;
}

int vpn_client_has_wireguard(struct view *view)
{
    const json_t *overlay = view_spec(view, "settings", "overlay");

    return strcmp(json_get_string(overlay, "fabric", "wireguard"), "wireguard") == 0;
}

int vpn_client_resolver(struct view *view, const char *hub, const char **ret_address,
                        const char **ret_domain)
{
    const json_t *spec = view_spec(view, "nodes", hub);
    const json_t *services = json_object_get(spec, "services");
    const char *address = json_get_string(spec, "address", NULL);

    if (!address || !json_array_has(services, "vpn") || !json_array_has(services, "dns")) {
        return -ENOENT;
    }
    const json_t *dns = view_spec(view, "settings", "dns");
    if (!json_get_bool(dns, "clients", 0)) {
        return -ENOENT;
    }
    *ret_address = address;
    *ret_domain = json_get_string(dns, "domain", "");
    return 0;
}

static void add_remote(json_t *remotes, const char *address, json_int_t port)
{
    char text[IP4_ENDPOINT_TEXT_SIZE];
    struct ip4_endpoint endpoint;

    snprintf(text, sizeof text, "%.15s:%d", address, (int)port);
    if (ip4_endpoint_parse(text, &endpoint) == 0 && !json_array_has(remotes, text)) {
        json_array_append_new(remotes, json_string(text));
    }
}

json_t *vpn_client_remotes(struct view *view, const char *hub, int wireguard)
{
    _cleanup_free_ char *self_key = xasprintf("fact/%s/vpn.self", hub);
    _cleanup_free_ char *seen_key = xasprintf("fact/%s/core.seen", hub);
    const json_t *overlay = view_spec(view, "settings", "overlay"),
                 *self = view_get(view, self_key);
    const char *declared = json_get_string(view_spec(view, "nodes", hub), "endpoint", "");
    const char *seen = json_get_string(view_get(view, seen_key), "address", NULL);
    json_int_t port =
        wireguard ? json_get_integer(self, "port", json_get_integer(overlay, "port", PORT_DEFAULT))
                  : json_get_integer(overlay, "clientPort", CLIENT_PORT_DEFAULT);
    json_t *remotes = json_array();
    struct ip4_endpoint endpoint;
    char text[IP4_TEXT_SIZE];

    if (ip4_endpoint_parse(declared, &endpoint) == 0) { /* its port is the tunnel's */
        add_remote(remotes, ip4_format(endpoint.address, text), wireguard ? endpoint.port : port);
    } else if (*declared) {
        add_remote(remotes, declared, port);
    }
    if (seen && json_array_has(json_object_get(self, "addresses"), seen)) { /* no NAT between */
        add_remote(remotes, seen, port);
    }
    return remotes;
}

char *vpn_client_problem(struct view *view, const char *id, const json_t *spec)
{
    struct vpn_client c;

    vpn_client_read(view, spec, &c);
    if (!c.hub_spec) {
        return xasprintf("its hub %s was deleted; give it another: cnsmo vpn client set %s --hub "
                         "NODE",
                         c.hub, id);
    }
    if (!c.is_hub) {
        return xasprintf("%s isn't a hub that runs vpn any more; give it another: cnsmo vpn "
                         "client set %s --hub NODE",
                         c.hub, id);
    }
    if (!c.is_placed) {
        return xasprintf("its address %s isn't one for clients in the client range %s of %s; "
                         "choose another: cnsmo vpn client set %s --address ADDRESS",
                         json_get_string(spec, "address", ""),
                         json_get_string(c.hub_spec, "clientRange", "(none)"), c.hub, id);
    }
    json_t *remotes = vpn_client_remotes(view, c.hub, 0);
    int is_reachable = json_array_size(remotes) > 0;
    json_decref(remotes);
    return is_reachable ? xstrdup("")
                        : xasprintf("its hub %s has no address that is known to be reached from "
                                    "outside; declare one: cnsmo node set %s --endpoint ADDRESS",
                                    c.hub, c.hub);
}

/* --- what is refused --- */

struct finding {
    struct view *view;
    const char *hub;
    char *client; /* one that belongs to the hub; NULL: none */
};

static void find_client(void *arg, const char *id, const json_t *value)
{
    struct finding *finding = arg;
    const json_t *spec = json_object_get(value, "spec");

    if (!finding->client && strcmp(json_get_string(spec, "hub", ""), finding->hub) == 0) {
        finding->client = xstrdup(id);
    }
}

static char *client_of(struct view *view, const char *hub)
{
    struct finding finding = {.view = view, .hub = hub};

    view_each(view, "object/vpn/clients/", find_client, &finding);
    return finding.client;
}

/* While clients belong to it, a hub stays one, with the range that their addresses are from. */
static int check_node(const char *id, const json_t *spec, struct view *view, struct error *error)
{
    const json_t *before = view_spec(view, "nodes", id);
    int loses_hub = is_vpn_hub(before) && !is_vpn_hub(spec);
    int loses_range =
        !json_equal(json_object_get(before, "clientRange"), json_object_get(spec, "clientRange"));

    if (!is_vpn_hub(before) || (!loses_hub && !loses_range)) {
        return 0;
    }
    _cleanup_free_ char *client = client_of(view, id);
    if (!client) {
        return 0;
    }
    return loses_hub ? error_set(error, 409, json_get_bool(spec, "hub", 0) ? "/services" : "/hub",
                                 "VPN clients belong to the hub %s, \"%s\" for one; delete them "
                                 "or give them another hub first",
                                 id, client)
                     : error_set(error, 409, "/clientRange",
                                 "VPN clients have addresses of it, \"%s\" for one; delete them "
                                 "or give them another hub first",
                                 client);
}

static int check_client(const char *id, const json_t *spec, struct view *view, struct error *error)
{
    struct vpn_client c;

    vpn_client_read(view, spec, &c);
    if (!c.is_hub) {
        return error_set(error, 400, "/hub", "\"hub\" must be a hub that runs vpn, and \"%s\" %s",
                         c.hub, c.hub_spec ? "isn't one" : "doesn't exist");
    }
    if (!c.is_placed) {
        return error_set(error, 400, "/address",
                         "\"address\" %s isn't one for clients: they are in the lower half of the "
                         "client range %s of %s, without its first and last",
                         json_get_string(spec, "address", ""),
                         json_get_string(c.hub_spec, "clientRange", "(none)"), c.hub);
    }
    return 0;
}

int vpn_clients_validate(const char *kind, const char *id, const json_t *spec, struct view *view,
                         struct error *error)
{
    if (strcmp(kind, "nodes") == 0) {
        return check_node(id, spec, view, error);
    }
    return strcmp(kind, VPN_CLIENTS.name) == 0 ? check_client(id, spec, view, error) : 0;
}

int vpn_clients_may_delete(const char *kind, const char *id, struct view *view,
                           struct error *error)
{
    _cleanup_free_ char *client = strcmp(kind, "nodes") == 0 ? client_of(view, id) : NULL;

    return client ? error_set(error, 409, NULL,
                              "VPN clients belong to the hub %s, \"%s\" for one; delete them or "
                              "give them another hub first",
                              id, client)
                  : 0;
}

/* --- what is chosen --- */

struct choosing {
    struct view *view;
    const char *hub; /* NULL: none yet */
};

static void take_first_hub(void *arg, const char *id, const json_t *value)
{
    struct choosing *choosing = arg;

    if (!choosing->hub && is_vpn_hub(view_spec(choosing->view, "nodes", id))) {
        choosing->hub = id;
    }
}

/* The hub stays, or is the first one in the order of ids. */
static int complete_hub(const json_t *before, json_t *spec, struct view *view, struct error *error)
{
    const json_t *kept = json_object_get(before, "hub");
    struct choosing choosing = {.view = view};

    if (json_object_get(spec, "hub")) {
        return 0;
    }
    if (kept) {
        return json_object_set(spec, "hub", (json_t *)kept);
    }
    view_each(view, "index/hub/", take_first_hub, &choosing);
    return choosing.hub
               ? json_object_set_new(spec, "hub", json_string(choosing.hub))
               : error_set(error, 409, "/hub",
                           "VPN clients need a hub that runs vpn, and there is none; make a node "
                           "that can be reached from outside one: cnsmo node set NODE --hub");
}

static int choose_address(struct view *view, const char *hub, struct ip4_prefix range,
                          json_t *spec, struct error *error)
{
    char text[IP4_TEXT_SIZE], key[40];

    for (uint32_t a = range.address + 1; range.len > 0 && is_clients_address(range, a); a++) {
        snprintf(key, sizeof key, "claim/address/%s", ip4_format(a, text));
        if (!view_get(view, key)) {
            return json_object_set_new(spec, "address", json_string(text));
        }
    }
    return range.len > 0
               ? error_set(error, 409, "/address", "the client range of the hub %s is full", hub)
               : error_set(error, 409, "/hub",
                           "the hub %s has no client range; give it one: cnsmo node set %s "
                           "--client-range PREFIX",
                           hub, hub);
}

/* The address stays while the hub does. */
static int complete_address(const json_t *before, json_t *spec, struct view *view,
                            struct error *error)
{
    const json_t *given = json_object_get(spec, "address");
    const json_t *kept = json_object_get(before, "address");
    const char *hub = json_get_string(spec, "hub", "");
    const json_t *hub_spec = view_spec(view, "nodes", hub);
    int moves = before && strcmp(json_get_string(before, "hub", ""), hub) != 0;

    if (given && !(moves && json_equal(given, kept))) {
        return 0;
    }
    if (kept && !moves) {
        return json_object_set(spec, "address", (json_t *)kept);
    }
    if (!is_vpn_hub(hub_spec)) {
        return 0; /* validation says what is wrong */
    }
    json_object_del(spec, "address");
    return choose_address(view, hub, range_of(hub_spec), spec, error);
}

json_t *vpn_clients_complete(const char *kind, const char *id, const json_t *before,
                             const json_t *spec, struct view *view, struct error *error)
{
    const json_t *kept = json_object_get(before, "publicKey");
    json_t *result = json_copy((json_t *)spec);

    if (strcmp(kind, VPN_CLIENTS.name) != 0) {
        return result;
    }
    if (kept && !json_object_get(result, "publicKey")) {
        json_object_set(result, "publicKey", (json_t *)kept);
    }
    if (complete_hub(before, result, view, error) < 0 ||
        complete_address(before, result, view, error) < 0) {
        json_decref(result);
        return NULL;
    }
    return result;
}

void vpn_clients_claims(const char *key, const json_t *value,
                        void (*claim)(void *arg, const char *name, const char *pointer), void *arg)
{
    static const char CLIENT[] = "object/vpn/clients/";
    const char *address = json_get_string(value, "address", NULL);
    const char *public_key = json_get_string(value, "publicKey", NULL);
    char name[80];

    if (strncmp(key, CLIENT, sizeof CLIENT - 1) != 0) {
        return;
    }
    /* The address with WireGuard follows from it: one claim is enough. */
    if (address) {
        snprintf(name, sizeof name, "address/%.15s", address);
        claim(arg, name, "/address");
    }
    if (public_key) {
        snprintf(name, sizeof name, "vpn-key/%.64s", public_key);
        claim(arg, name, "/publicKey");
    }
}
