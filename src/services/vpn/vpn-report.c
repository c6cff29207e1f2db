/* What the server and the user get told: facts and status. */
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "services/bridges.h"
#include "services/vpn/vpn-driver.h"

enum {
    ADDRESSES_MAX = 16,
    STATUS_PEERS_MAX = 1000,
    HEARD_USEC = 180 * 1000000,
};

/* Takes the reference `value`. */
static void tell(const struct vpn *v, const char *name, json_t *value)
{
    if (v->env->report) {
        v->env->report(v->env->report_arg, name, value);
    } else {
        json_decref(value);
    }
}

/* --- vpn.self --- */

static int is_told(const struct vpn *v, const struct netlink_link *link,
                   const struct netlink_address *address)
{
    return address->scope == RT_SCOPE_UNIVERSE && link->up && strcmp(link->name, "lo") != 0 &&
           strcmp(link->alias, NETLINK_ALIAS) != 0 && strcmp(link->name, VPN_DEVICE) != 0 &&
           strcmp(link->name, VPN_CLIENTS_DEVICE) != 0 &&
           strcmp(link->name, OVERLAY_BRIDGE) != 0 && !bridges_has(link->name) &&
           !ip4_contains(v->self.range, address->prefix.address);
}

static const struct netlink_link *find_link(const struct netlink_link *links, size_t len,
                                            int index)
{
    for (size_t i = 0; i < len; i++) {
        if (links[i].index == index) {
            return &links[i];
        }
    }
    return NULL;
}

static json_t *own_addresses(const struct vpn *v)
{
    _cleanup_free_ struct netlink_link *links = NULL;
    _cleanup_free_ struct netlink_address *addresses = NULL;
    size_t links_len = 0, len = 0;
    json_t *list = json_array();

    if (netlink_links(v->nl, &links, &links_len) < 0 ||
        netlink_addresses(v->nl, &addresses, &len) < 0) {
        return list;
    }
    for (size_t i = 0; i < len && json_array_size(list) < ADDRESSES_MAX; i++) {
        const struct netlink_link *link = find_link(links, links_len, addresses[i].index);
        char text[IP4_TEXT_SIZE];
        if (link && is_told(v, link, &addresses[i])) {
            json_array_append_new(list,
                                  json_string(ip4_format(addresses[i].prefix.address, text)));
        }
    }
    return list;
}

void vpn_report_self(struct vpn *v)
{
    const char *backend = v->self_json ? v->fabric->backend(v) : NULL;

    if (!backend) {
        return;
    }
    json_t *fact = json_pack("{s:i, s:o, s:s}", "port", v->self.port, "addresses",
                             own_addresses(v), "backend", backend);
    const char *key = vpn_key_told(v);
    if (key[0]) {
        json_object_set_new(fact, "publicKey", json_string(key));
    }
    if (!json_equal(fact, v->self_fact)) {
        json_decref(v->self_fact);
        v->self_fact = json_incref(fact);
        tell(v, "vpn.self", json_incref(fact));
    }
    json_decref(fact);
}

/* --- vpn.endpoint/<peer> --- */

static void report_endpoint(struct vpn *v, const char *id, struct vpn_peer *peer,
                            const char *endpoint)
{
    _cleanup_free_ char *name = xasprintf("vpn.endpoint/%s", id);

    if (strcmp(peer->reported, endpoint) == 0) {
        return;
    }
    snprintf(peer->reported, sizeof peer->reported, "%s", endpoint);
    tell(v, name, endpoint[0] ? json_pack("{s:s}", "endpoint", endpoint) : NULL);
}

/* Where a peer was heard from lately. An older place is left standing: better than none. */
void vpn_report_endpoints(struct vpn *v)
{
    struct path_now now = vpn_now();

    omap_foreach (e, &v->peers) {
        struct vpn_peer *peer = e->value;
        struct ip4_endpoint good = peer->path.good;
        char address[IP4_TEXT_SIZE], text[32] = "";
        int heard = peer->path.heard && now.usec - peer->path.heard_usec < HEARD_USEC;
        if (!v->self.hub) {
            report_endpoint(v, e->key, peer, "");
        } else if (heard && good.port) {
            snprintf(text, sizeof text, "%s:%u", ip4_format(good.address, address), good.port);
            report_endpoint(v, e->key, peer, text);
        }
    }
}

void vpn_report_gone(struct vpn *v, const char *id)
{
    struct vpn_peer *peer = omap_get(&v->peers, id);

    if (peer) {
        report_endpoint(v, id, peer, "");
    }
}

/* --- status --- */

const char *vpn_active_hub(const struct vpn *v)
{
    if (v->self.server[0]) {
        return v->self.server;
    }
    omap_foreach (e, &v->peers) {
        if (&((struct vpn_peer *)e->value)->path == v->path.active) {
            return e->key;
        }
    }
    return NULL;
}

static json_t *peers_status(struct vpn *v, struct vpn_count *count)
{
    json_t *list = json_array();

    omap_foreach (e, &v->peers) {
        json_t *status = v->fabric->peer_status(v, e->key, e->value, count);
        if (json_array_size(list) < STATUS_PEERS_MAX) {
            json_array_append(list, status);
        }
        json_decref(status);
    }
    return list;
}

/* Outside clients of ours, on WireGuard. */
static json_t *clients_status(const struct vpn *v)
{
    char time[CLOCK_TEXT_SIZE], address[IP4_TEXT_SIZE], from[32];
    json_t *list = json_array();

    omap_foreach (e, &v->clients) {
        const struct dump_peer *last = &((struct vpn_client *)e->value)->last;
        snprintf(from, sizeof from, "%s:%u", ip4_format(last->endpoint.address, address),
                 last->endpoint.port);
        const char *since =
            last->handshake_sec ? clock_format(last->handshake_sec * 1000000, time) : NULL;
        json_array_append_new(list, json_pack("{s:s, s:s, s:s?, s:s, s:I, s:I}", "name", e->key,
                                              "protocol", "wireguard", "since", since, "from",
                                              last->endpoint.port ? from : "", "rxBytes",
                                              (json_int_t)last->rx_bytes, "txBytes",
                                              (json_int_t)last->tx_bytes));
    }
    return list;
}

static void describe(const struct vpn *v, const struct vpn_count *count, char *text, size_t size)
{
    struct buf buf = BUF_INIT(size - 1);

    buf_printf(&buf, "%zu peer%s", v->peers.len, v->peers.len == 1 ? "" : "s");
    if (count->direct + count->none + count->hub > 0) {
        buf_printf(&buf, ": %zu direct", count->direct);
    }
    if (count->hub > 0) {
        const char *name = vpn_active_hub(v);
        buf_printf(&buf, ", %zu through %s", count->hub, name ? name : "a hub");
    }
    if (count->none > 0) {
        buf_printf(&buf, ", %zu not reached", count->none);
    }
    if (count->hubs > 0 && !count->hub_alive && !v->self.hub) {
        buf_printf(&buf, "; no hub is alive");
    }
    snprintf(text, size, "%s", buf.data);
    buf_done(&buf);
}

json_t *vpn_status(void *self)
{
    struct vpn *v = self;
    struct vpn_count count = {0};
    char text[400], address[IP4_TEXT_SIZE];
    const char *state = "running", *message = text;

    if (!v->self_json) {
        return json_pack("{s:s, s:s}", "state", "off", "message",
                         v->problem[0] ? v->problem : "no address from the server yet");
    }
    json_t *peers = peers_status(v, &count);
    describe(v, &count, text, sizeof text);
    if (v->problem[0]) {
        /* Without the bridge the overlay works as it did, but sdn doesn't. */
        int works = v->waits_usec && !vpn_is_inside(v, &v->device);
        state = works ? "degraded" : v->starting ? "starting" : "failed";
        message = v->problem;
    } else if (v->starting) {
        state = "starting";
    } else if (count.hubs > 0 && !count.hub_alive && !v->self.hub) {
        state = "degraded";
    }
    const char *backend = v->fabric->backend(v);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "state", state, "message", message,
                     "address", ip4_format(v->self.address, address), "fabric", v->fabric->name,
                     "backend", backend ? backend : "", "peers", peers, "clients",
                     clients_status(v));
}
