/* Resources into memory: checked once, here. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/vpn/vpn-driver.h"

enum {
    NAMES_SIZE_MAX = 4 << 20,
};

static const char *after(const char *key, const char *prefix)
{
    size_t size = strlen(prefix);

    return strncmp(key, prefix, size) == 0 ? key + size : NULL;
}

const char *vpn_peer_of(const char *key)
{
    return after(key, VPN_PEER_PREFIX);
}

const char *vpn_client_of(const char *key)
{
    return after(key, VPN_CLIENT_PREFIX);
}

/* --- vpn/self --- */

static int parse_fabric(const json_t *spec, struct vpn_self_spec *self, struct error *error)
{
    const char *name = json_get_string(spec, "fabric", "wireguard");

    for (size_t i = 0; VPN_FABRICS[i]; i++) {
        if (strcmp(VPN_FABRICS[i]->name, name) == 0) {
            self->fabric = VPN_FABRICS[i];
            return 0;
        }
    }
    return error_set(error, 400, "/fabric", "this agent has no fabric %s", name);
}

/* "" or a prefix that can be halved. */
static int parse_client_range(const json_t *spec, struct ip4_prefix *ret_range)
{
    const char *text = json_get_string(spec, "clientRange", "");
    struct ip4_prefix range = {0};

    if (text[0] == '\0') {
        *ret_range = range;
        return 0;
    }
    if (ip4_prefix_parse(text, &range) < 0 || range.len < 1 || range.len > 30 ||
        (range.address & ~ip4_mask(range.len)) != 0) {
        return -EINVAL;
    }
    *ret_range = range;
    return 0;
}

static int parse_numbers(const json_t *spec, struct vpn_self_spec *self, struct error *error)
{
    json_int_t port = json_get_integer(spec, "port", 0), mtu = json_get_integer(spec, "mtu", 0);

    if (port < 1 || port > UINT16_MAX) {
        return error_set(error, 400, "/port", "port is not within 1 to 65535");
    }
    if (mtu != 0 && (mtu < 576 || mtu > 65535)) {
        return error_set(error, 400, "/mtu", "mtu is not 0 or within 576 to 65535");
    }
    self->port = (uint16_t)port;
    self->mtu_bytes = (unsigned)mtu;
    self->key_generation = json_get_integer(spec, "keyGeneration", 0);
    return 0;
}

int vpn_self_parse(const json_t *spec, struct vpn_self_spec *ret, struct error *error)
{
    struct vpn_self_spec self = {.hub = json_get_bool(spec, "hub", 0),
                                 .public = json_get_bool(spec, "public", 0),
                                 .sdn = json_get_bool(spec, "sdn", 0)};

    if (ip4_parse(json_get_string(spec, "address", ""), &self.address) < 0) {
        return error_set(error, 400, "/address", "address is not an IPv4 address");
    }
    if (ip4_prefix_parse(json_get_string(spec, "range", ""), &self.range) < 0 ||
        self.range.len > 30 || self.range.len < 4 ||
        (self.range.address & ~ip4_mask(self.range.len)) != 0 ||
        !ip4_contains(self.range, self.address)) {
        return error_set(error, 400, "/range", "range is not a prefix that holds the address");
    }
    if (parse_client_range(spec, &self.client_range) < 0 ||
        (self.client_range.len && !ip4_contains(self.range, self.client_range.address))) {
        return error_set(error, 400, "/clientRange", "clientRange is not a part of the range");
    }
    int rc = parse_numbers(spec, &self, error);
    if (rc == 0) {
        rc = parse_fabric(spec, &self, error);
    }
    if (rc < 0) {
        return rc;
    }
    snprintf(self.cloud, sizeof self.cloud, "%s", json_get_string(spec, "cloud", ""));
    snprintf(self.server, sizeof self.server, "%s", json_get_string(spec, "server", ""));
    snprintf(self.told_key, sizeof self.told_key, "%s", json_get_string(spec, "publicKey", ""));
    *ret = self;
    return 0;
}

/* --- vpn/peer --- */

static void add_endpoint(struct path_config *config, const json_t *item)
{
    struct ip4_endpoint endpoint;

    if (config->endpoints_len < PATH_ENDPOINTS_MAX &&
        ip4_endpoint_parse(json_get_string(item, "endpoint", ""), &endpoint) == 0 &&
        endpoint.port) {
        config->endpoints[config->endpoints_len++] = endpoint;
    }
}

/* Local endpoints are for nodes of the same cloud, and there the best ones. Nodes whose cloud
 * isn't told may be neighbours or not: they are tried last then. */
static struct path_config configure(const struct vpn *v, const char *id, const json_t *spec)
{
    struct path_config config = {.hub = json_get_bool(spec, "hub", 0),
                                 .pair = path_pair(v->env->node, id)};
    /* Whom others can reach waits for them; between equals the names decide. */
    config.second = config.hub != v->self.hub ? v->self.hub : strcmp(v->env->node, id) > 0;
    const char *cloud = json_get_string(spec, "cloud", "");
    int same = strcmp(cloud, v->self.cloud) == 0;
    const json_t *item;
    size_t i;

    for (int pass = 0; pass < 3; pass++) {
        json_array_foreach (json_object_get(spec, "endpoints"), i, item) {
            const char *via = json_get_string(item, "via", "");
            int local = strcmp(via, "local") == 0;
            int turn = !local ? 1 : !same ? -1 : cloud[0] ? 0 : 2;
            if (turn == pass) {
                add_endpoint(&config, item);
            }
            config.public |= strcmp(via, "declared") == 0 || strcmp(via, "public") == 0;
        }
    }
    return config;
}

static int same_endpoints(const struct path_config *a, const struct path_config *b)
{
    if (a->endpoints_len != b->endpoints_len) {
        return 0;
    }
    for (size_t i = 0; i < a->endpoints_len; i++) {
        if (a->endpoints[i].address != b->endpoints[i].address ||
            a->endpoints[i].port != b->endpoints[i].port) {
            return 0;
        }
    }
    return 1;
}

void vpn_peer_reconfigure(struct vpn *v, const char *id, struct vpn_peer *peer)
{
    struct path_config config = configure(v, id, peer->spec);
    int changed = !same_endpoints(&config, &peer->path.config);

    peer->path.config = config;
    if (changed && peer->path.known) {
        path_peer_changed(&peer->path, vpn_now());
    }
}

static int check_unique(const struct vpn *v, const char *id, const char *key, uint32_t address,
                        struct error *error)
{
    omap_foreach (e, &v->peers) {
        const struct vpn_peer *other = e->value;
        if (strcmp(e->key, id) == 0) {
            continue;
        }
        if (key[0] && strcmp(other->key, key) == 0) {
            return error_set(error, 409, "/publicKey", "%s has the public key of %s", id, e->key);
        }
        if (other->address == address) {
            return error_set(error, 409, "/address", "%s has the address of %s", id, e->key);
        }
    }
    return 0;
}

static struct vpn_peer *peer_fill(struct vpn *v, const char *id, const json_t *spec,
                                  struct vpn_peer *peer)
{
    if (!peer) {
        peer = xnew(struct vpn_peer);
        omap_put(&v->peers, id, peer);
    }
    json_decref(peer->spec);
    peer->spec = json_deep_copy(spec);
    vpn_peer_reconfigure(v, id, peer);
    return peer;
}

int vpn_peer_take(struct vpn *v, const char *id, const json_t *spec, struct error *error)
{
    struct vpn_peer *peer = omap_get(&v->peers, id);
    const char *key = json_get_string(spec, "publicKey", "");
    struct ip4_prefix client_range;
    uint32_t address;

    /* Asked every time: our own key is known only when there is a device. */
    if (key[0] && (strcmp(key, v->keys.public) == 0 || strcmp(key, v->dump.public_key) == 0)) {
        return error_set(error, 409, "/publicKey", "%s has this node's own public key", id);
    }
    if (peer && json_equal(peer->spec, spec)) {
        return 0;
    }
    if (key[0] && !key_valid(key)) {
        return error_set(error, 400, "/publicKey", "publicKey of %s is not a WireGuard key", id);
    }
    if (ip4_parse(json_get_string(spec, "address", ""), &address) < 0) {
        return error_set(error, 400, "/address", "address of %s is not an IPv4 address", id);
    }
    if (parse_client_range(spec, &client_range) < 0) {
        return error_set(error, 400, "/clientRange", "clientRange of %s is not a prefix", id);
    }
    int rc = check_unique(v, id, key, address, error);
    if (rc < 0) {
        return rc;
    }
    if (peer && strcmp(peer->key, key) != 0) {
        vpn_peer_drop(v, id); /* another key: nothing that we know holds for it */
        peer = NULL;
    }
    peer = peer_fill(v, id, spec, peer);
    snprintf(peer->key, sizeof peer->key, "%s", key);
    peer->address = address;
    peer->client_range = client_range;
    return 0;
}

static void peer_free(void *p)
{
    struct vpn_peer *peer = p;

    json_decref(peer->spec);
    free(peer);
}

void vpn_peer_drop(struct vpn *v, const char *id)
{
    struct vpn_peer *peer = omap_del(&v->peers, id);

    if (peer) {
        if (v->path.active == &peer->path) {
            v->path.active = NULL;
        }
        peer_free(peer);
    }
}

void vpn_peers_clear(struct vpn *v)
{
    v->path.active = NULL;
    omap_clear(&v->peers, peer_free);
    omap_clear(&v->clients, free);
}

/* --- vpn/client/wireguard --- */

int vpn_client_take(struct vpn *v, const char *name, const json_t *spec, struct error *error)
{
    const char *key = json_get_string(spec, "publicKey", "");
    uint32_t address;

    if (!key_valid(key)) {
        return error_set(error, 400, "/publicKey", "publicKey of %s is not a WireGuard key", name);
    }
    if (ip4_parse(json_get_string(spec, "address", ""), &address) < 0) {
        return error_set(error, 400, "/address", "address of %s is not an IPv4 address", name);
    }
    omap_foreach (e, &v->peers) {
        if (strcmp(((struct vpn_peer *)e->value)->key, key) == 0) {
            return error_set(error, 409, "/publicKey", "client %s has the public key of node %s",
                             name, e->key);
        }
    }
    struct vpn_client *client = omap_get(&v->clients, name);
    if (!client || strcmp(client->key, key) != 0 || client->address != address) {
        client = xnew(struct vpn_client);
        snprintf(client->key, sizeof client->key, "%s", key);
        client->address = address;
        free(omap_put(&v->clients, name, client));
    }
    return 0;
}

void vpn_client_drop(struct vpn *v, const char *name)
{
    free(omap_del(&v->clients, name));
}

/* --- names --- */

const char *vpn_name_of(const struct vpn *v, const char *key)
{
    const char *id;
    json_t *value;

    json_object_foreach (v->names, id, value) {
        if (strcmp(json_string_value(value), key) == 0) {
            return id;
        }
    }
    return NULL;
}

int vpn_name_set(struct vpn *v, const char *id, const char *note)
{
    const char *known = json_get_string(v->names, id, NULL);

    if (!note) {
        return json_object_del(v->names, id) == 0;
    }
    if (known && strcmp(known, note) == 0) {
        return 0;
    }
    json_object_set_new(v->names, id, json_string(note));
    return 1;
}

void vpn_names_load(struct vpn *v)
{
    _cleanup_free_ char *path = xasprintf("%s/vpn-peers.json", v->env->run_dir);
    _cleanup_buf_ struct buf buf = BUF_INIT(NAMES_SIZE_MAX);
    const char *id;
    json_t *value;
    void *next;

    /* Without it, or if it is damaged, peers are found again by their keys. */
    if (file_read(path, &buf) < 0 || !buf.data ||
        json_parse(buf.data, buf.size, &v->names, NULL) < 0 || !json_is_object(v->names)) {
        json_decref(v->names);
        v->names = json_object();
    }
    json_object_foreach_safe(v->names, next, id, value)
    {
        if (!json_is_string(value)) {
            json_object_del(v->names, id);
        }
    }
}

int vpn_names_save(struct vpn *v)
{
    _cleanup_free_ char *path = xasprintf("%s/vpn-peers.json", v->env->run_dir);
    _cleanup_free_ char *text = json_canonical(v->names);

    return vpn_write(path, text, 0600);
}

void vpn_state_put(struct omap *states, char *name, const char *note)
{
    struct vpn_state *state = xnew(struct vpn_state);

    snprintf(state->note, sizeof state->note, "%s", note);
    free(omap_put(states, name, state));
    free(name);
}
