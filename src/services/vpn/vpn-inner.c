/* The namespace that the tunnel is in when sdn is on. All that is there is a veth to the bridge
 * and the tunnel, and the kernel that forwards between them:
 *
 *     host                                      │ namespace cnsmo
 *     cnsmo-sdn (overlay address)               │
 *       range via 169.254.77.1 ─ bridge ─ port ═╪═ inner 169.254.77.1 ─ forwards ─ tunnel (range)
 *                                               │ own address via 169.254.77.2
 *
 * Neighbours are permanent on both sides, so nobody asks who has what. The namespace itself is
 * marked by the alias of its loopback device. */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/reconcile.h"
#include "lib/fault.h"
#include "lib/file.h"
#include "lib/mem.h"
#include "lib/netns.h"
#include "services/vpn/vpn-driver.h"

enum {
    /* Below every route that anybody sets, above none. */
    UNREACHABLE_METRIC = 4278198272U,
    ROUTES_MAX = 6,
};

static const uint8_t BRIDGE_HARDWARE[6] = OVERLAY_BRIDGE_BYTES;
static const struct netlink_veth_end PORT = {OVERLAY_PORT, OVERLAY_PORT_BYTES};
static const struct netlink_veth_end INNER = {OVERLAY_INNER, OVERLAY_INNER_BYTES};

/* Of the namespace, for all that comes to be in it. */
static const struct {
    const char *path, *value;
} SYSCTLS[] = {
    {"/proc/sys/net/ipv4/ip_forward", "1"},
    {"/proc/sys/net/ipv4/conf/all/rp_filter", "0"},
    {"/proc/sys/net/ipv4/conf/default/rp_filter", "0"},
    {"/proc/sys/net/ipv4/conf/all/accept_local", "1"}, /* what the host sends: vpn-voice.c */
    {"/proc/sys/net/ipv4/conf/all/send_redirects", "0"},
    {"/proc/sys/net/ipv4/conf/default/send_redirects", "0"},
    {"/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"},
    {"/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"},
};

/* --- looking --- */

void vpn_inner_state_done(struct vpn_inner_state *state)
{
    free(state->addresses);
    free(state->routes);
    free(state->neighbours);
    *state = (struct vpn_inner_state){0};
}

static void on_names_closed(uv_handle_t *handle)
{
    free(handle);
}

static void on_names(uv_fs_event_t *names, const char *name, int events, int status)
{
    struct vpn *v = names->data;

    if (!name || strcmp(name, OVERLAY_NAMESPACE) == 0) {
        reconcile_wake(v->env->reconcile);
    }
}

static int watch_names(struct vpn *v)
{
    v->inner.names = xnew(uv_fs_event_t);
    int rc = uv_fs_event_init(v->env->loop, v->inner.names);
    v->inner.names->data = v;
    return rc < 0 ? rc : uv_fs_event_start(v->inner.names, on_names, NETNS_FOLDER, 0);
}

void vpn_inner_release(struct vpn *v)
{
    if (v->inner.fd >= 0) {
        if (v->inner.names) {
            uv_close((uv_handle_t *)v->inner.names, on_names_closed);
        }
        netlink_watch_free(v->inner.watch);
        netlink_free(v->inner.nl);
        close(v->inner.fd);
    }
    v->inner = (struct vpn_inner){.fd = -1};
}

/* Holds the namespace that has the name now; 0 too if there is none. */
static int hold(struct vpn *v)
{
    int fd = netns_open(OVERLAY_NAMESPACE);

    if (fd >= 0 && v->inner.fd >= 0 && netns_inode(fd) == netns_inode(v->inner.fd)) {
        close(fd);
        return 0;
    }
    vpn_inner_release(v);
    if (fd < 0) {
        return fd == -ENOENT ? 0 : fd;
    }
    v->inner.fd = fd;
    int rc = netlink_new_in(fd, &v->inner.nl);
    if (rc == 0) {
        rc = netlink_watch_new_in(fd, v->env->loop, vpn_on_event, v, &v->inner.watch);
    }
    if (rc == 0) {
        rc = watch_names(v);
    }
    if (rc < 0) {
        vpn_inner_release(v);
    }
    return rc;
}

/* 1 if all are as they must be; what the kernel doesn't have needn't. */
static int read_sysctls(void *arg)
{
    for (size_t i = 0; i < ARRAY_LEN(SYSCTLS); i++) {
        _cleanup_buf_ struct buf value = BUF_INIT(16);
        int rc = file_read(SYSCTLS[i].path, &value);
        if (rc != -ENOENT && (rc < 0 || value.size == 0 || value.data[0] != SYSCTLS[i].value[0])) {
            return 0;
        }
    }
    return 1;
}

static int ethtool(uint32_t command, uint32_t *value)
{
    struct ethtool_value request = {.cmd = command, .data = *value};
    struct ifreq ifr = {.ifr_name = OVERLAY_INNER, .ifr_data = (void *)&request};
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || ioctl(fd, SIOCETHTOOL, &ifr) < 0) {
        return -errno;
    }
    *value = request.data;
    return 0;
}

static int read_offloads(void *arg)
{
    uint32_t on = 0;

    return ethtool(ETHTOOL_GTXCSUM, &on) == 0 && on;
}

static int look_at_links(struct vpn *v, struct vpn_device_state *state)
{
    struct vpn_inner_state *inner = &state->inner;
    _cleanup_free_ struct netlink_link *links = NULL;
    size_t len = 0, others = 0;
    int marked = 0;

    int rc = netlink_links(v->inner.nl, &links, &len);
    for (size_t i = 0; i < len; i++) {
        if (strcmp(links[i].name, "lo") == 0) {
            marked = strcmp(links[i].alias, NETLINK_ALIAS) == 0;
            inner->lo_index = links[i].index;
        } else if (strcmp(links[i].name, OVERLAY_INNER) == 0) {
            inner->inner = links[i];
        } else if (!state->link.index && strncmp(links[i].name, "cnsmo", 5) == 0) {
            state->link = links[i];
            state->inside = 1;
        } else {
            others++;
        }
    }
    inner->strange = !marked && (others > 0 || state->inside || inner->inner.index);
    return rc;
}

int vpn_inner_look(struct vpn *v, struct vpn_device_state *state)
{
    struct vpn_inner_state *inner = &state->inner;
    int rc = hold(v);

    if (rc < 0 || v->inner.fd < 0) {
        return rc;
    }
    inner->present = 1;
    rc = look_at_links(v, state);
    rc = rc < 0 ? rc : netlink_addresses(v->inner.nl, &inner->addresses, &inner->addresses_len);
    rc = rc < 0 ? rc : netlink_routes(v->inner.nl, &inner->routes, &inner->routes_len);
    rc = rc < 0 ? rc : netlink_neighbours(v->inner.nl, &inner->neighbours, &inner->neighbours_len);
    if (rc == 0) {
        vpn_voice_look(v, inner);
        inner->furnished = netns_run(v->inner.fd, read_sysctls, NULL) == 1;
        inner->offloads = netns_run(v->inner.fd, read_offloads, NULL) == 1;
    }
    return rc;
}

/* --- comparing --- */

/* The order is that of making them. */
struct wanted_routes {
    struct netlink_route routes[ROUTES_MAX];
    size_t len;
};

static void want(struct wanted_routes *wanted, struct netlink_route route)
{
    wanted->routes[wanted->len++] = route;
}

static struct netlink_route unreachable(struct ip4_prefix range)
{
    return (struct netlink_route){
        .destination = range, .type = RTN_UNREACHABLE, .metric = UNREACHABLE_METRIC};
}

static struct netlink_route to_host(struct ip4_prefix prefix, int index)
{
    return (struct netlink_route){
        .destination = prefix, .type = RTN_UNICAST, .index = index, .gateway = VPN_BRIDGE_ADDRESS};
}

/* Of the namespace. A hub's OpenVPN clients, the lower half of its client range, are behind the
 * host; WireGuard's are behind the tunnel. */
static struct wanted_routes inner_routes(const struct vpn *v, const struct vpn_device_state *state)
{
    struct ip4_prefix clients = v->self.client_range;
    int inner = state->inner.inner.index;
    struct wanted_routes wanted = {.len = 0};

    want(&wanted, unreachable(v->self.range));
    if (clients.len && !v->fabric->routes_clients) {
        want(&wanted, unreachable(clients));
    }
    want(&wanted, to_host((struct ip4_prefix){v->self.address, 32}, inner));
    if (clients.len) {
        clients.len++;
        want(&wanted, to_host(clients, inner));
    }
    want(&wanted, (struct netlink_route){.destination = v->self.range,
                                         .type = RTN_UNICAST,
                                         .index = state->link.index});
    return wanted;
}

static int same_route(const struct netlink_route *a, const struct netlink_route *b)
{
    return a->destination.address == b->destination.address &&
           a->destination.len == b->destination.len && a->type == b->type &&
           a->metric == b->metric && a->gateway == b->gateway &&
           (a->type == RTN_UNREACHABLE || a->index == b->index);
}

static int has_route(const struct netlink_route *routes, size_t len,
                     const struct netlink_route *route)
{
    for (size_t i = 0; i < len; i++) {
        if (same_route(&routes[i], route)) {
            return 1;
        }
    }
    return 0;
}

static int has_inner_address(const struct vpn_inner_state *inner)
{
    for (size_t i = 0; i < inner->addresses_len; i++) {
        if (inner->addresses[i].index == inner->inner.index &&
            inner->addresses[i].prefix.address == VPN_INNER_ADDRESS) {
            return 1;
        }
    }
    return 0;
}

static struct netlink_neighbour neighbour_of(int index, uint32_t address, const uint8_t mac[6])
{
    struct netlink_neighbour neighbour = {.index = index, .address = address};

    memcpy(neighbour.hardware, mac, sizeof neighbour.hardware);
    return neighbour;
}

static int has_neighbour(const struct netlink_neighbour *list, size_t len,
                         const struct netlink_neighbour *neighbour)
{
    for (size_t i = 0; i < len; i++) {
        if (list[i].index == neighbour->index && list[i].address == neighbour->address &&
            memcmp(list[i].hardware, neighbour->hardware, sizeof neighbour->hardware) == 0) {
            return 1;
        }
    }
    return 0;
}

static int has_neighbours(const struct vpn_device_state *state)
{
    struct netlink_neighbour host =
        neighbour_of(state->bridge.index, VPN_INNER_ADDRESS, INNER.hardware);
    struct netlink_neighbour inner =
        neighbour_of(state->inner.inner.index, VPN_BRIDGE_ADDRESS, BRIDGE_HARDWARE);

    return has_neighbour(state->neighbours, state->neighbours_len, &host) &&
           has_neighbour(state->inner.neighbours, state->inner.neighbours_len, &inner);
}

static unsigned wanted_mtu(const struct vpn *v, const struct vpn_device_state *state)
{
    return v->self.mtu_bytes ? v->self.mtu_bytes : state->chosen_mtu_bytes;
}

static int is_ready(const struct netlink_link *link, unsigned mtu_bytes)
{
    return link->index && link->up && link->mtu_bytes == mtu_bytes &&
           strcmp(link->alias, NETLINK_ALIAS) == 0;
}

/* Open vSwitch's own datapath takes packets as they are and doesn't finish their checksums. */
static int must_finish_checksums(const struct vpn_device_state *state)
{
    return strcmp(state->bridge.kind, "openvswitch") != 0;
}

static int is_built(const struct vpn *v, const struct vpn_device_state *state)
{
    const struct vpn_inner_state *inner = &state->inner;
    unsigned mtu_bytes = wanted_mtu(v, state);

    return inner->present && !inner->strange && inner->furnished &&
           inner->voice == v->self.address && is_ready(&inner->port, mtu_bytes) &&
           is_ready(&inner->inner, mtu_bytes) &&
           memcmp(inner->inner.hardware, INNER.hardware, sizeof INNER.hardware) == 0;
}

static int is_connected(const struct vpn *v, const struct vpn_device_state *state)
{
    struct wanted_routes wanted = inner_routes(v, state);
    const struct vpn_inner_state *inner = &state->inner;
    int all = inner->routes_len == wanted.len && has_inner_address(inner) &&
              has_neighbours(state) && !(inner->offloads && must_finish_checksums(state));

    for (size_t i = 0; i < wanted.len; i++) {
        all &= has_route(inner->routes, inner->routes_len, &wanted.routes[i]);
    }
    return all;
}

/* An unmarked one is ours if its other end is in our namespace: we were stopped in between. */
static int owns_port(const struct vpn_inner_state *inner)
{
    return inner->port.index &&
           (strcmp(inner->port.alias, NETLINK_ALIAS) == 0 ||
            (inner->port.alias[0] == '\0' && inner->inner.index && !inner->strange));
}

int vpn_inner_present(const struct vpn_device_state *state)
{
    return (state->inner.present && !state->inner.strange) || owns_port(&state->inner);
}

int vpn_inner_matches(const struct vpn *v, const struct vpn_device_state *state)
{
    if (!v->self.sdn) {
        return !vpn_inner_present(state);
    }
    return state->inside && is_built(v, state) && is_connected(v, state);
}

/* --- making it so --- */

static int write_sysctls(void *arg)
{
    int rc = fault_point();

    for (size_t i = 0; i < ARRAY_LEN(SYSCTLS) && rc == 0; i++) {
        FILE *file = fopen(SYSCTLS[i].path, "we");
        if (file) {
            rc = fputs(SYSCTLS[i].value, file) < 0 ? -EIO : 0;
            rc = fclose(file) != 0 ? -errno : rc;
        } else if (errno != ENOENT) {
            rc = -errno;
        }
    }
    return rc;
}

static int mark_namespace(struct vpn *v)
{
    struct netlink_link lo;
    int rc = netlink_link_get(v->inner.nl, "lo", &lo);

    if (rc == 0 && strcmp(lo.alias, NETLINK_ALIAS) != 0) {
        rc = netlink_link_set_alias(v->inner.nl, lo.index, NETLINK_ALIAS);
    }
    return rc;
}

static int ensure_namespace(struct vpn *v, struct error *error)
{
    int rc = 0;

    if (v->device.inner.strange) {
        return error_set(error, 409, NULL,
                         "there is a network namespace " OVERLAY_NAMESPACE " that isn't ours");
    }
    if (!v->device.inner.present) {
        rc = netns_make(OVERLAY_NAMESPACE, error);
        if (rc < 0) {
            return rc;
        }
        rc = hold(v);
    }
    if (rc == 0 && v->inner.fd < 0) {
        return error_set(error, 500, NULL, "the namespace " OVERLAY_NAMESPACE " can't be opened");
    }
    rc = rc < 0 ? rc : mark_namespace(v);
    if (rc == 0 && !v->device.inner.furnished) {
        rc = netns_run(v->inner.fd, write_sysctls, NULL);
    }
    return vpn_failed(rc, error, "make the namespace " OVERLAY_NAMESPACE);
}

/* Makes it anew if one end is missing or isn't as it must be. */
static int ensure_veth(struct vpn *v, struct error *error)
{
    struct vpn_inner_state *inner = &v->device.inner;
    struct netlink_link *port = &inner->port;
    int whole = port->index && inner->inner.index &&
                memcmp(inner->inner.hardware, INNER.hardware, sizeof INNER.hardware) == 0;

    if (port->index && !owns_port(inner)) {
        return error_set(error, 409, NULL, "there is a device " OVERLAY_PORT " that isn't ours");
    }
    if (whole) {
        return 0;
    }
    int rc = port->index ? netlink_link_delete(v->nl, port->index) : 0;
    if (rc == 0 && !port->index && inner->inner.index) {
        rc = netlink_link_delete(v->inner.nl, inner->inner.index);
    }
    if (rc < 0 && rc != -ENODEV) {
        return vpn_failed(rc, error, "remove half of a veth");
    }
    rc = netlink_veth_create(v->nl, &PORT, &INNER, v->inner.fd);
    rc = rc < 0 ? rc : netlink_link_get(v->nl, OVERLAY_PORT, port);
    rc = rc < 0 ? rc : netlink_link_get(v->inner.nl, OVERLAY_INNER, &inner->inner);
    return vpn_failed(rc, error, "create the veth " OVERLAY_PORT);
}

static int prepare(struct netlink *nl, const struct netlink_link *link, unsigned mtu_bytes)
{
    int rc = 0;

    if (strcmp(link->alias, NETLINK_ALIAS) != 0) {
        rc = netlink_link_set_alias(nl, link->index, NETLINK_ALIAS);
    }
    if (rc == 0 && link->mtu_bytes != mtu_bytes) {
        rc = netlink_link_set_mtu(nl, link->index, mtu_bytes);
    }
    return rc == 0 && !link->up ? netlink_link_set_up(nl, link->index, 1) : rc;
}

int vpn_inner_apply(struct vpn *v, struct error *error)
{
    unsigned mtu_bytes = wanted_mtu(v, &v->device);

    if (is_built(v, &v->device)) {
        return 0;
    }
    int rc = ensure_namespace(v, error);
    if (rc == 0) {
        rc = ensure_veth(v, error);
    }
    if (rc < 0) {
        return rc;
    }
    rc = prepare(v->inner.nl, &v->device.inner.inner, mtu_bytes);
    rc = rc < 0 ? rc : prepare(v->nl, &v->device.inner.port, mtu_bytes);
    rc = rc < 0 ? rc : vpn_voice_apply(v);
    return vpn_failed(rc, error, "set up the veth " OVERLAY_PORT);
}

static int set_routes(struct vpn *v)
{
    struct wanted_routes wanted = inner_routes(v, &v->device);
    const struct vpn_inner_state *inner = &v->device.inner;
    int rc = 0;

    for (size_t i = 0; i < inner->routes_len && rc == 0; i++) {
        if (!has_route(wanted.routes, wanted.len, &inner->routes[i])) {
            rc = netlink_route_delete(v->inner.nl, &inner->routes[i]);
            rc = rc == -ESRCH || rc == -ENODEV ? 0 : rc;
        }
    }
    for (size_t i = 0; i < wanted.len && rc == 0; i++) {
        if (!has_route(inner->routes, inner->routes_len, &wanted.routes[i])) {
            rc = netlink_route_add(v->inner.nl, &wanted.routes[i]);
        }
    }
    return rc;
}

static int set_neighbours(struct vpn *v)
{
    struct netlink_neighbour host =
        neighbour_of(v->device.bridge.index, VPN_INNER_ADDRESS, INNER.hardware);
    struct netlink_neighbour inner =
        neighbour_of(v->device.inner.inner.index, VPN_BRIDGE_ADDRESS, BRIDGE_HARDWARE);

    if (has_neighbours(&v->device)) {
        return 0;
    }
    int rc = netlink_neighbour_set(v->nl, &host);
    return rc < 0 ? rc : netlink_neighbour_set(v->inner.nl, &inner);
}

static int finish_checksums(void *arg)
{
    uint32_t off = 0;
    int rc = fault_point();

    return rc < 0 ? rc : ethtool(ETHTOOL_STXCSUM, &off);
}

int vpn_inner_connect(struct vpn *v, struct error *error)
{
    struct vpn_inner_state *inner = &v->device.inner;
    int rc = 0;

    if (!has_inner_address(inner)) {
        rc = netlink_address_add(v->inner.nl, inner->inner.index,
                                 (struct ip4_prefix){VPN_INNER_ADDRESS, 32});
        rc = rc == -EEXIST ? 0 : rc;
    }
    if (rc == 0 && inner->offloads && must_finish_checksums(&v->device)) {
        rc = netns_run(v->inner.fd, finish_checksums, NULL);
    }
    rc = rc < 0 ? rc : set_neighbours(v);
    rc = rc < 0 ? rc : set_routes(v);
    return vpn_failed(rc, error, "connect the bridge with the tunnel");
}

/* --- removing --- */

int vpn_inner_remove(struct vpn *v, struct error *error)
{
    const struct vpn_inner_state *inner = &v->device.inner;
    int rc = 0;

    if (owns_port(inner)) {
        rc = netlink_link_delete(v->nl, inner->port.index);
        rc = rc == -ENODEV ? 0 : rc;
    }
    if (rc < 0) {
        return vpn_failed(rc, error, "remove the veth " OVERLAY_PORT);
    }
    if (!inner->present || inner->strange) {
        return 0;
    }
    vpn_inner_release(v);
    return netns_remove(OVERLAY_NAMESPACE, error);
}
