#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/file.h"
#include "lib/mem.h"
#include "services/vpn/vpn-driver.h"

enum {
    MTU_MAX = 1420, /* an Ethernet of 1500 less what WireGuard needs on IPv6 */
    MTU_OVERHEAD = 80,
    MTU_MIN = 576,
    /* Below every route that anybody sets, above none. */
    UNREACHABLE_METRIC = 4278198272U,
    SOMEWHERE = 0x01010101, /* an address that only the default route can lead to */
    CHILD_PATIENCE_USEC = 3000000,
    STOP_MSEC = 2000,
};

#define FORWARDING "/proc/sys/net/ipv4/conf/" VPN_DEVICE "/forwarding"

/* --- observing --- */

void vpn_device_state_done(struct vpn_device_state *state)
{
    free(state->addresses);
    free(state->routes);
    *state = (struct vpn_device_state){0};
}

/* What fits through the way to the rest of the world. */
static unsigned choose_mtu(const struct vpn *v, const struct netlink_link *links, size_t len)
{
    int index;

    if (netlink_route_lookup(v->nl, SOMEWHERE, &index) < 0) {
        return MTU_MAX;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned mtu = links[i].mtu_bytes;
        if (links[i].index == index && strcmp(links[i].name, VPN_DEVICE) != 0 &&
            mtu < MTU_MAX + MTU_OVERHEAD) {
            return mtu > MTU_MIN + MTU_OVERHEAD ? mtu - MTU_OVERHEAD : MTU_MIN;
        }
    }
    return MTU_MAX;
}

static int read_forwarding(void)
{
    _cleanup_buf_ struct buf buf = BUF_INIT(16);

    return file_read(FORWARDING, &buf) == 0 && buf.data && buf.data[0] != '0';
}

static int keep_own_addresses(struct vpn_device_state *state)
{
    size_t len = 0;

    for (size_t i = 0; i < state->addresses_len; i++) {
        if (state->addresses[i].index == state->link.index) {
            state->addresses[len++] = state->addresses[i];
        }
    }
    state->addresses_len = len;
    return 0;
}

int vpn_device_look(struct vpn *v, struct vpn_device_state *ret_state)
{
    struct vpn_device_state state = {0};
    _cleanup_free_ struct netlink_link *links = NULL;
    size_t len = 0;

    int rc = netlink_links(v->nl, &links, &len);
    if (rc == 0) {
        rc = netlink_addresses(v->nl, &state.addresses, &state.addresses_len);
    }
    if (rc == 0) {
        rc = netlink_routes(v->nl, &state.routes, &state.routes_len);
    }
    if (rc < 0) {
        vpn_device_state_done(&state);
        return rc;
    }
    for (size_t i = 0; i < len; i++) {
        if (strcmp(links[i].name, VPN_DEVICE) == 0) {
            state.link = links[i];
        }
    }
    keep_own_addresses(&state);
    state.ours = state.link.index && strcmp(state.link.alias, NETLINK_ALIAS) == 0;
    state.forwarding = state.link.index && read_forwarding();
    state.chosen_mtu_bytes = choose_mtu(v, links, len);
    *ret_state = state;
    return 0;
}

/* A device that we made, but were stopped before we could mark it: our child's, or a WireGuard
 * device that nobody gave a key yet. */
static int is_unmarked_ours(const struct vpn *v, const struct vpn_device_state *state)
{
    if (state->link.alias[0]) {
        return 0;
    }
    if (strcmp(state->link.kind, "tun") == 0) {
        return children_pid(v->children, VPN_CHILD) > 0;
    }
    return state->reachable &&
           (v->dump.private_key[0] == '\0' || strcmp(v->dump.private_key, v->private_key) == 0);
}

static void on_child_ended(void *arg, const char *name, int status)
{
    struct vpn *v = arg;

    reconcile_wake(v->env->reconcile);
}

static const char *const CHILD_ARGV[] = {"wireguard-go", "-f", VPN_DEVICE, NULL};

int vpn_device_observe(struct vpn *v, struct error *error)
{
    struct error ignored;

    vpn_device_state_done(&v->device);
    int rc = vpn_device_look(v, &v->device);
    if (rc < 0) {
        return error_set(error, error_status(rc), NULL, "cannot ask the kernel for links: %s",
                         strerror(-rc));
    }
    if (children_pid(v->children, VPN_CHILD) > 0) {
        children_ensure(v->children, VPN_CHILD, CHILD_ARGV, on_child_ended, v, &ignored);
    }
    struct vpn_device_state *state = &v->device;
    int tunnel =
        strcmp(state->link.kind, "wireguard") == 0 || strcmp(state->link.kind, "tun") == 0;
    dump_done(&v->dump);
    if (state->link.index && tunnel) {
        state->reachable = vpn_peers_dump(v, &ignored) == 0;
    }
    state->ours |= state->link.index && is_unmarked_ours(v, state);
    if (!state->ours) {
        dump_done(&v->dump);
        state->reachable = 0;
    }
    return 0;
}

int vpn_device_present(const struct vpn *v)
{
    return v->device.ours || v->device.routes_len > 0 || v->guard.present ||
           children_pid(v->children, VPN_CHILD) > 0;
}

/* --- comparing --- */

struct wanted_routes {
    struct netlink_route unreachable, device;
};

static struct wanted_routes wanted_routes(const struct vpn *v, int index)
{
    return (struct wanted_routes){
        .unreachable = {.destination = v->self.range,
                        .type = RTN_UNREACHABLE,
                        .metric = UNREACHABLE_METRIC},
        .device = {.destination = v->self.range,
                   .type = RTN_UNICAST,
                   .index = index,
                   .source = v->self.address},
    };
}

static int same_route(const struct netlink_route *a, const struct netlink_route *b)
{
    /* The kernel tells a device for unreachable routes in some versions. */
    return a->destination.address == b->destination.address &&
           a->destination.len == b->destination.len && a->type == b->type &&
           a->metric == b->metric && a->source == b->source &&
           (a->type == RTN_UNREACHABLE || a->index == b->index);
}

static int has_route(const struct vpn_device_state *state, const struct netlink_route *route)
{
    for (size_t i = 0; i < state->routes_len; i++) {
        if (same_route(&state->routes[i], route)) {
            return 1;
        }
    }
    return 0;
}

static int is_own_address(const struct vpn *v, const struct netlink_address *address)
{
    return address->prefix.address == v->self.address && address->prefix.len == 32;
}

static unsigned wanted_mtu(const struct vpn *v, const struct vpn_device_state *state)
{
    return v->self.mtu_bytes ? v->self.mtu_bytes : state->chosen_mtu_bytes;
}

/* What netlink says. */
static int links_match(const struct vpn *v, const struct vpn_device_state *state)
{
    struct wanted_routes routes = wanted_routes(v, state->link.index);

    return state->link.index && strcmp(state->link.alias, NETLINK_ALIAS) == 0 && state->link.up &&
           state->link.mtu_bytes == wanted_mtu(v, state) && state->addresses_len == 1 &&
           is_own_address(v, &state->addresses[0]) && state->routes_len == 2 &&
           has_route(state, &routes.unreachable) && has_route(state, &routes.device) &&
           state->forwarding == v->self.hub;
}

static int tunnel_matches(const struct vpn *v)
{
    return v->device.reachable && v->private_key[0] &&
           strcmp(v->dump.private_key, v->private_key) == 0 && v->dump.port == v->self.port;
}

int vpn_device_matches(const struct vpn *v)
{
    return links_match(v, &v->device) && tunnel_matches(v) && vpn_guard_matches(v);
}

int vpn_device_drifted(struct vpn *v)
{
    struct vpn_device_state state;

    if (vpn_device_look(v, &state) < 0) {
        return 1;
    }
    int drifted = !links_match(v, &state);
    vpn_device_state_done(&state);
    return drifted;
}

/* --- making it so --- */

static int failed(int rc, struct error *error, const char *what)
{
    return rc >= 0
               ? 0
               : error_set(error, error_status(rc), NULL, "cannot %s: %s", what, strerror(-rc));
}

/* Ours that we don't want any more. */
static int remove_stale_routes(struct vpn *v, struct error *error)
{
    struct wanted_routes routes = wanted_routes(v, v->device.link.index);

    for (size_t i = 0; i < v->device.routes_len; i++) {
        const struct netlink_route *route = &v->device.routes[i];
        if (!same_route(route, &routes.unreachable) && !same_route(route, &routes.device)) {
            int rc = netlink_route_delete(v->nl, route);
            if (rc < 0 && rc != -ESRCH) {
                return failed(rc, error, "remove an old route");
            }
        }
    }
    return 0;
}

static int add_route(struct vpn *v, const struct netlink_route *route, struct error *error)
{
    char range[IP4_PREFIX_TEXT_SIZE];

    if (has_route(&v->device, route)) {
        return 0;
    }
    int rc = netlink_route_add(v->nl, route);
    if (rc == -EEXIST) {
        return error_set(error, 409, NULL, "this machine has another route to the overlay %s",
                         ip4_prefix_format(v->self.range, range));
    }
    return failed(rc, error, "add the overlay's route");
}

static int start_child(struct vpn *v, struct error *error)
{
    int64_t now = clock_monotonic_usec();

    if (children_pid(v->children, VPN_CHILD) > 0) {
        if (now - v->child_started_usec < CHILD_PATIENCE_USEC) {
            return -EAGAIN;
        }
        /* It runs without its device, which somebody deleted under it. */
        int rc = children_stop(v->children, VPN_CHILD, STOP_MSEC);
        if (rc < 0) {
            return failed(rc, error, "stop wireguard-go");
        }
    }
    int rc = children_ensure(v->children, VPN_CHILD, CHILD_ARGV, on_child_ended, v, error);
    if (rc == -ENOENT) {
        error_set(error, 500, NULL,
                  "the kernel has no WireGuard and the program wireguard-go is missing: install "
                  "the package wireguard-go");
    }
    v->child_started_usec = now;
    return rc < 0 ? rc : -EAGAIN;
}

static int make_link(struct vpn *v, struct error *error)
{
    vpn_redirects_keep(v);
    int rc = netlink_link_create(v->nl, VPN_DEVICE, "wireguard");

    if (rc == -EOPNOTSUPP) {
        return start_child(v, error);
    }
    if (rc == -EEXIST) {
        return -EAGAIN; /* a child's came since we looked */
    }
    return rc < 0 ? failed(rc, error, "create the device " VPN_DEVICE) : -EAGAIN;
}

static int ensure_link(struct vpn *v, struct error *error)
{
    const struct netlink_link *link = &v->device.link;

    if (!link->index) {
        int rc = make_link(v, error);
        if (rc == -EAGAIN) {
            /* A kernel's device is there at once, a child's takes a moment. */
            int again = vpn_device_observe(v, error);
            rc = again < 0 ? again : v->device.link.index ? 0 : rc;
        }
        if (rc < 0) {
            return rc;
        }
    }
    if (!v->device.ours) {
        return error_set(error, 409, NULL, "there is a device " VPN_DEVICE " that isn't ours");
    }
    if (strcmp(link->alias, NETLINK_ALIAS) != 0) {
        int rc = netlink_link_set_alias(v->nl, link->index, NETLINK_ALIAS);
        if (rc < 0) {
            return failed(rc, error, "mark the device");
        }
    }
    if (!v->device.reachable && strcmp(link->kind, "tun") == 0 &&
        children_pid(v->children, VPN_CHILD) == 0) {
        /* What ran it is gone. */
        int rc = netlink_link_delete(v->nl, link->index);
        return rc < 0 ? failed(rc, error, "remove a dead device") : -EAGAIN;
    }
    if (v->device.reachable) {
        return 0;
    }
    /* A child that has just made its device doesn't listen yet; a missing program stays away. */
    int rc = vpn_peers_dump(v, error);
    v->device.reachable = rc == 0;
    return rc < 0 && rc != -ENOENT ? -EAGAIN : rc;
}

/* wireguard-go only logs that it can't have its port, so we look first. */
static int check_port(struct vpn *v, struct error *error)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(v->self.port)};
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) < 0 &&
        errno == EADDRINUSE) {
        return error_set(error, 409, NULL, "UDP port %u is taken by another program",
                         v->self.port);
    }
    return 0;
}

static int ensure_tunnel(struct vpn *v, struct error *error)
{
    _cleanup_free_ char *path = vpn_key_path(v);
    char port[8];
    const char *const argv[] = {"wg", "set",         VPN_DEVICE, "listen-port",
                                port, "private-key", path,       NULL};

    if (tunnel_matches(v)) {
        return 0;
    }
    int rc = v->dump.port != v->self.port ? check_port(v, error) : 0;
    if (rc < 0) {
        return rc;
    }
    snprintf(port, sizeof port, "%u", v->self.port);
    rc = vpn_run(argv, NULL, NULL, error);
    if (rc < 0) {
        return rc;
    }
    return vpn_peers_dump(v, error);
}

static int ensure_address(struct vpn *v, struct error *error)
{
    int there = 0;

    for (size_t i = 0; i < v->device.addresses_len; i++) {
        const struct netlink_address *address = &v->device.addresses[i];
        if (is_own_address(v, address)) {
            there = 1;
            continue;
        }
        int rc = netlink_address_delete(v->nl, v->device.link.index, address->prefix);
        if (rc < 0 && rc != -EADDRNOTAVAIL) {
            return failed(rc, error, "remove an address");
        }
    }
    int rc = there ? 0
                   : netlink_address_add(v->nl, v->device.link.index,
                                         (struct ip4_prefix){v->self.address, 32});
    return rc == -EEXIST ? 0 : failed(rc, error, "set the overlay address");
}

static int write_forwarding(int on)
{
    int rc = fault_point();

    if (rc < 0) {
        return rc;
    }
    _cleanup_close_ int fd = open(FORWARDING, O_WRONLY | O_CLOEXEC);
    return fd < 0 || write(fd, on ? "1" : "0", 1) != 1 ? -errno : 0;
}

static int ensure_link_settings(struct vpn *v, struct error *error)
{
    const struct netlink_link *link = &v->device.link;
    int rc = 0;

    unsigned mtu_bytes = wanted_mtu(v, &v->device);

    if (link->mtu_bytes != mtu_bytes) {
        rc = failed(netlink_link_set_mtu(v->nl, link->index, mtu_bytes), error, "set the MTU");
    }
    if (rc == 0 && !link->up) {
        rc = netlink_link_set_up(v->nl, link->index, 1);
        if (rc == -EADDRINUSE) {
            return error_set(error, 409, NULL, "UDP port %u is taken by another program",
                             v->self.port);
        }
        rc = failed(rc, error, "bring the device up");
    }
    if (rc == 0 && v->device.forwarding != v->self.hub) {
        rc = failed(write_forwarding(v->self.hub), error, "set " FORWARDING);
    }
    return rc;
}

int vpn_device_apply(struct vpn *v, struct error *error)
{
    int rc = vpn_device_key(v, error);

    /* What keeps packets in comes before what lets them out. */
    if (rc == 0 && !vpn_guard_matches(v)) {
        rc = vpn_guard_apply(v, error);
    }
    if (rc == 0) {
        struct wanted_routes routes = wanted_routes(v, 0);
        rc = add_route(v, &routes.unreachable, error);
    }
    if (rc == 0) {
        rc = ensure_link(v, error);
    }
    if (rc == 0) {
        rc = remove_stale_routes(v, error);
    }
    if (rc == 0) {
        rc = ensure_tunnel(v, error);
    }
    if (rc == 0) {
        rc = ensure_address(v, error);
    }
    if (rc == 0) {
        rc = ensure_link_settings(v, error);
    }
    if (rc == 0) {
        struct wanted_routes routes = wanted_routes(v, v->device.link.index);
        rc = add_route(v, &routes.device, error);
    }
    return rc;
}

/* --- removing --- */

int vpn_device_remove(struct vpn *v, struct error *error)
{
    int rc = 0;

    if (children_pid(v->children, VPN_CHILD) > 0) {
        rc = children_stop(v->children, VPN_CHILD, STOP_MSEC);
        if (rc < 0) {
            return failed(rc, error, "stop wireguard-go");
        }
        rmdir("/run/wireguard"); /* it made the folder; fails if somebody else uses it */
    }
    if (v->device.ours) {
        rc = netlink_link_delete(v->nl, v->device.link.index);
        if (rc < 0 && rc != -ENODEV) {
            return failed(rc, error, "remove the device " VPN_DEVICE);
        }
    }
    for (size_t i = 0; i < v->device.routes_len; i++) {
        rc = netlink_route_delete(v->nl, &v->device.routes[i]);
        if (rc < 0 && rc != -ESRCH && rc != -ENODEV) {
            return failed(rc, error, "remove a route");
        }
    }
    rc = vpn_redirects_restore(v, error);
    if (rc < 0) {
        return rc;
    }
    return v->guard.present ? vpn_guard_remove(v, error) : 0;
}
