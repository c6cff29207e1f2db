#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/vpn/vpn-driver.h"

enum {
    ARGS_MAX = 4000, /* of one `wg set`; far below what execve takes */
};

/* --- resources --- */

int vpn_self_parse(const json_t *spec, struct vpn_self_spec *ret, struct error *error)
{
    struct vpn_self_spec self = {.hub = json_get_bool(spec, "hub", 0),
                                 .public = json_get_bool(spec, "public", 0)};
    json_int_t port = json_get_integer(spec, "port", 0), mtu = json_get_integer(spec, "mtu", 0);

    if (ip4_parse(json_get_string(spec, "address", ""), &self.address) < 0) {
        return error_set(error, 400, "/address", "address is not an IPv4 address");
    }
    if (ip4_prefix_parse(json_get_string(spec, "range", ""), &self.range) < 0 ||
        self.range.len > 30 || self.range.len < 4 ||
        (self.range.address & ~ip4_mask(self.range.len)) != 0 ||
        !ip4_contains(self.range, self.address)) {
        return error_set(error, 400, "/range", "range is not a prefix that holds the address");
    }
    if (port < 1 || port > UINT16_MAX) {
        return error_set(error, 400, "/port", "port is not within 1 to 65535");
    }
    if (mtu != 0 && (mtu < 576 || mtu > 65535)) {
        return error_set(error, 400, "/mtu", "mtu is not 0 or within 576 to 65535");
    }
    if (strcmp(json_get_string(spec, "fabric", "wireguard"), "wireguard") != 0) {
        return error_set(error, 400, "/fabric", "this agent has no fabric %s",
                         json_get_string(spec, "fabric", ""));
    }
    self.port = (uint16_t)port;
    self.mtu_bytes = (unsigned)mtu;
    snprintf(self.cloud, sizeof self.cloud, "%s", json_get_string(spec, "cloud", ""));
    *ret = self;
    return 0;
}

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

static void reconfigure(struct vpn *v, const char *id, struct vpn_peer *peer)
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
        if (strcmp(other->key, key) == 0) {
            return error_set(error, 409, "/publicKey", "%s has the public key of %s", id, e->key);
        }
        if (other->address == address) {
            return error_set(error, 409, "/address", "%s has the address of %s", id, e->key);
        }
    }
    return 0;
}

int vpn_peer_take(struct vpn *v, const char *id, const json_t *spec, struct error *error)
{
    struct vpn_peer *peer = omap_get(&v->peers, id);
    const char *key = json_get_string(spec, "publicKey", "");
    uint32_t address;

    /* Asked every time: our own key is known only when there is a device. */
    if (strcmp(key, v->dump.public_key) == 0) {
        return error_set(error, 409, "/publicKey", "%s has this node's own public key", id);
    }
    if (peer && json_equal(peer->spec, spec)) {
        return 0;
    }
    if (!key_valid(key)) {
        return error_set(error, 400, "/publicKey", "publicKey of %s is not a WireGuard key", id);
    }
    if (ip4_parse(json_get_string(spec, "address", ""), &address) < 0) {
        return error_set(error, 400, "/address", "address of %s is not an IPv4 address", id);
    }
    int rc = check_unique(v, id, key, address, error);
    if (rc < 0) {
        return rc;
    }
    if (peer && strcmp(peer->key, key) != 0) {
        vpn_peer_drop(v, id); /* another machine: nothing that we know holds for it */
        peer = NULL;
    }
    if (!peer) {
        peer = xnew(struct vpn_peer);
        omap_put(&v->peers, id, peer);
    }
    json_decref(peer->spec);
    peer->spec = json_deep_copy(spec);
    memcpy(peer->key, key, KEY_TEXT_SIZE);
    peer->address = address;
    reconfigure(v, id, peer);
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

int vpn_names_save(struct vpn *v)
{
    _cleanup_free_ char *path = xasprintf("%s/vpn-peers.json", v->env->run_dir);
    _cleanup_free_ char *text = json_canonical(v->names);

    return vpn_write(path, text, 0600);
}

/* --- the device's peers --- */

struct path_now vpn_now(void)
{
    return (struct path_now){clock_monotonic_usec(), clock_now_usec() / 1000000};
}

/* What the device says about each peer that we know. */
static void feed(struct vpn *v)
{
    omap_foreach (e, &v->peers) {
        struct vpn_peer *peer = e->value;
        const struct dump_peer *d = dump_find(&v->dump, peer->key);
        peer->path.seen = (struct path_seen){0};
        if (!d) {
            continue;
        }
        peer->last = *d;
        peer->path.seen = (struct path_seen){
            .present = 1,
            .rx_bytes = d->rx_bytes,
            .handshake_sec = d->handshake_sec,
            .endpoint = d->endpoint,
            .own = dump_peer_allows(d, (struct ip4_prefix){peer->address, 32}),
            .range = dump_peer_allows(d, v->self.range),
        };
    }
}

int vpn_peers_dump(struct vpn *v, struct error *error)
{
    const char *const argv[] = {"wg", "show", VPN_DEVICE, "dump", NULL};
    struct buf out = BUF_INIT(DUMP_SIZE_MAX);
    struct dump dump;

    int rc = vpn_run(argv, NULL, &out, error);
    if (rc == 0) {
        rc = out.data ? dump_parse(out.data, &dump, error) : -EIO;
    }
    if (out.data) {
        mem_wipe(out.data, out.size);
    }
    buf_done(&out);
    if (rc < 0) {
        return rc;
    }
    dump_done(&v->dump);
    v->dump = dump;
    feed(v);
    return 0;
}

int vpn_peer_matches(const struct vpn *v, const struct vpn_peer *peer)
{
    const struct path_want *want = &peer->path.want;
    const struct path_seen *seen = &peer->path.seen;

    return seen->present && want->own == seen->own && want->range == seen->range &&
           peer->last.allowed_len == (size_t)(want->own + want->range) &&
           peer->last.keepalive_sec == want->keepalive_sec && !want->renew && !want->endpoint.port;
}

void vpn_peers_step(struct vpn *v)
{
    _cleanup_free_ struct path_peer **peers = xcalloc(v->peers.len + 1, sizeof *peers);
    size_t len = 0;

    feed(v); /* again: peers and the range may have been taken over since the dump */
    v->path.hub = v->self.hub;
    v->path.public = v->self.public;
    omap_foreach (e, &v->peers) {
        struct vpn_peer *peer = e->value;
        reconfigure(v, e->key, peer);
        peers[len++] = &peer->path;
    }
    path_step(&v->path, peers, len, vpn_now());
}

/* --- `wg set` --- */

struct args {
    char **items;
    size_t len, capacity;
};

static void args_add(struct args *args, char *text)
{
    if (args->len == args->capacity) {
        args->capacity = args->capacity ? 2 * args->capacity : 64;
        args->items = xrealloc(args->items, args->capacity * sizeof *args->items);
    }
    args->items[args->len++] = text;
}

static void args_word(struct args *args, const char *word)
{
    args_add(args, xstrdup(word));
}

static void args_clear(struct args *args)
{
    for (size_t i = 0; i < args->len; i++) {
        free(args->items[i]);
    }
    free(args->items);
    *args = (struct args){0};
}

static void args_remove_peer(struct args *args, const char *key)
{
    args_word(args, "peer");
    args_word(args, key);
    args_word(args, "remove");
}

static char *allowed_text(const struct vpn *v, const struct vpn_peer *peer)
{
    char own[IP4_TEXT_SIZE], range[IP4_PREFIX_TEXT_SIZE];
    const struct path_want *want = &peer->path.want;

    ip4_format(peer->address, own);
    ip4_prefix_format(v->self.range, range);
    return xasprintf("%s%s%s%s", want->own ? own : "", want->own ? "/32" : "",
                     want->own && want->range ? "," : "", want->range ? range : "");
}

static void args_set_peer(struct args *args, const struct vpn *v, const struct vpn_peer *peer)
{
    const struct path_want *want = &peer->path.want;
    struct ip4_endpoint endpoint = want->endpoint;
    char address[IP4_TEXT_SIZE];

    if (want->renew && peer->path.seen.present) {
        args_remove_peer(args, peer->key);
    }
    args_word(args, "peer");
    args_word(args, peer->key);
    if (endpoint.port) {
        args_word(args, "endpoint");
        args_add(args, xasprintf("%s:%u", ip4_format(endpoint.address, address), endpoint.port));
    }
    args_word(args, "persistent-keepalive");
    args_add(args, xasprintf("%u", want->keepalive_sec));
    args_word(args, "allowed-ips");
    args_add(args, allowed_text(v, peer));
}

static void args_begin(struct args *args)
{
    args_word(args, "wg");
    args_word(args, "set");
    args_word(args, VPN_DEVICE);
}

/* Runs what was collected, if anything was, and begins anew. */
static int args_run(struct args *args, struct error *error)
{
    int rc = 0;

    if (args->len > 3) {
        args_add(args, NULL);
        rc = vpn_run((const char *const *)args->items, NULL, NULL, error);
    }
    args_clear(args);
    args_begin(args);
    return rc;
}

/* Every pending endpoint and renewal is on the device now. */
static void all_done(struct vpn *v)
{
    omap_foreach (e, &v->peers) {
        path_done(&((struct vpn_peer *)e->value)->path);
    }
}

int vpn_peers_apply(struct vpn *v, const char *const *gone, size_t gone_len, struct error *error)
{
    struct args args = {0};
    int rc = 0;

    args_begin(&args);
    for (size_t i = 0; i < gone_len && rc == 0; i++) {
        if (dump_find(&v->dump, gone[i])) {
            args_remove_peer(&args, gone[i]);
        }
        if (args.len > ARGS_MAX) {
            rc = args_run(&args, error);
        }
    }
    omap_foreach (e, &v->peers) {
        const struct vpn_peer *peer = e->value;
        if (rc == 0 && !vpn_peer_matches(v, peer)) {
            args_set_peer(&args, v, peer);
        }
        if (rc == 0 && args.len > ARGS_MAX) {
            rc = args_run(&args, error);
        }
    }
    if (rc == 0) {
        rc = args_run(&args, error);
    }
    args_clear(&args);
    if (rc == 0) {
        all_done(v);
    }
    return rc;
}
