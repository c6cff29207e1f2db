#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "services/vpn/vpn-driver.h"
#include "services/vpn/vpn-link.h"

enum {
    BRIDGE_USEC = 5000000, /* that sdn may take to make it, before that is an error */
    /* Below every route that anybody sets, above none. */
    UNREACHABLE_METRIC = 4278198272U,
};

/* --- observing --- */

int vpn_device_observe(struct vpn *v, struct error *error)
{
    struct vpn_device_state *state = &v->device, seen;

    int rc = vpn_look(v, &seen);
    vpn_device_state_done(state);
    if (rc < 0) {
        return vpn_failed(rc, error, "ask the kernel for links");
    }
    *state = seen;
    for (size_t i = 0; VPN_FABRICS[i]; i++) {
        VPN_FABRICS[i]->observe(v);
        if (state->link.index && !state->link.alias[0] &&
            VPN_FABRICS[i]->owns_link(&state->link)) {
            state->ours |= VPN_FABRICS[i]->made_link(v);
        }
    }
    return 0;
}

static int other_fabric_present(struct vpn *v)
{
    int found = 0;

    for (size_t i = 0; VPN_FABRICS[i]; i++) {
        found |= VPN_FABRICS[i] != v->fabric && VPN_FABRICS[i]->present(v);
    }
    return found;
}

int vpn_device_present(struct vpn *v)
{
    return v->device.ours || v->device.routes_len > 0 || v->guard.present ||
           vpn_redirects_kept(v) || vpn_inner_present(&v->device) || other_fabric_present(v) ||
           (v->fabric && v->fabric->present(v));
}

/* --- comparing --- */

enum {
    ROUTES_MAX = 3,
};

/* The order is that of making them; the last goes over the device. */
struct wanted_routes {
    struct netlink_route routes[ROUTES_MAX];
    size_t len;
};

static struct netlink_route unreachable(struct ip4_prefix range)
{
    return (struct netlink_route){
        .destination = range, .type = RTN_UNREACHABLE, .metric = UNREACHABLE_METRIC};
}

/* Through the bridge the way leads to the namespace, whose neighbour is permanent. */
static struct wanted_routes wanted_routes(const struct vpn *v,
                                          const struct vpn_device_state *state)
{
    int inside = vpn_is_inside(v, state);
    struct wanted_routes wanted = {.routes = {unreachable(v->self.range)}, .len = 1};

    /* Else what goes to a client that isn't there would go back where it came from. */
    if (v->self.client_range.len && !v->fabric->routes_clients && !inside) {
        wanted.routes[wanted.len++] = unreachable(v->self.client_range);
    }
    wanted.routes[wanted.len++] =
        (struct netlink_route){.destination = v->self.range,
                               .type = RTN_UNICAST,
                               .index = vpn_overlay_link(v, state)->index,
                               .source = v->self.address,
                               .gateway = inside ? VPN_INNER_ADDRESS : 0};
    return wanted;
}

static int same_route(const struct netlink_route *a, const struct netlink_route *b)
{
    /* The kernel tells a device for unreachable routes in some versions. */
    return a->destination.address == b->destination.address &&
           a->destination.len == b->destination.len && a->type == b->type &&
           a->metric == b->metric && a->source == b->source && a->gateway == b->gateway &&
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

/* Is the link the tunnel or the bridge? */
static int is_ours(const struct vpn_device_state *state, int index)
{
    return index &&
           (index == state->bridge.index || (index == state->link.index && !state->inside));
}

static int has_routes(const struct vpn_device_state *state, const struct wanted_routes *wanted)
{
    int all = 1;

    for (size_t i = 0; i < wanted->len; i++) {
        all &= has_route(state, &wanted->routes[i]);
    }
    return all;
}

static unsigned wanted_mtu(const struct vpn *v, const struct vpn_device_state *state)
{
    return v->self.mtu_bytes ? v->self.mtu_bytes : state->chosen_mtu_bytes;
}

/* Tunnel and bridge have no other addresses than the overlay's, and only one of them has that. */
static int addresses_match(const struct vpn *v, const struct vpn_device_state *state)
{
    int index = vpn_overlay_link(v, state)->index, found = 0, others = 0;

    for (size_t i = 0; i < state->addresses_len; i++) {
        const struct netlink_address *address = &state->addresses[i];
        int right = address->index == index && is_own_address(v, address);
        found += right;
        others += is_ours(state, address->index) && !right;
    }
    return found == 1 && others == 0;
}

/* What netlink says. */
static int links_match(const struct vpn *v, const struct vpn_device_state *state)
{
    const struct netlink_link *overlay = vpn_overlay_link(v, state);
    struct wanted_routes routes = wanted_routes(v, state);
    unsigned mtu_bytes = wanted_mtu(v, state);

    return state->ours && state->link.up && v->fabric->owns_link(&state->link) &&
           state->link.mtu_bytes == mtu_bytes && overlay->index && overlay->up &&
           overlay->mtu_bytes == mtu_bytes && addresses_match(v, state) &&
           state->routes_len == routes.len && has_routes(state, &routes) &&
           vpn_link_forwards(overlay->name) == v->self.hub && vpn_inner_matches(v, state);
}

int vpn_device_matches(struct vpn *v)
{
    return links_match(v, &v->device) && !other_fabric_present(v) && v->fabric->matches(v) &&
           vpn_guard_matches(v);
}

int vpn_device_drifted(struct vpn *v)
{
    struct vpn_device_state state;

    if (vpn_look(v, &state) < 0) {
        return 1;
    }
    int drifted = !links_match(v, &state);
    vpn_device_state_done(&state);
    return drifted;
}

/* --- making it so --- */

/* Ours that we don't want any more. */
static int remove_stale_routes(struct vpn *v, struct error *error)
{
    struct wanted_routes wanted = wanted_routes(v, &v->device);

    for (size_t i = 0; i < v->device.routes_len; i++) {
        const struct netlink_route *route = &v->device.routes[i];
        int stale = 1;
        for (size_t k = 0; k < wanted.len; k++) {
            stale &= !same_route(route, &wanted.routes[k]);
        }
        int rc = stale ? netlink_route_delete(v->nl, route) : 0;
        if (rc < 0 && rc != -ESRCH && rc != -ENODEV) {
            return vpn_failed(rc, error, "remove an old route");
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
    return vpn_failed(rc, error, "add the overlay's route");
}

/* Those before and after the link is there. */
static int add_routes(struct vpn *v, int over_link, struct error *error)
{
    struct wanted_routes wanted = wanted_routes(v, &v->device);
    int rc = 0;

    for (size_t i = 0; i < wanted.len && rc == 0; i++) {
        if ((wanted.routes[i].type == RTN_UNICAST) == over_link) {
            rc = add_route(v, &wanted.routes[i], error);
        }
    }
    return rc;
}

/* What a fabric that isn't in force left. */
static int remove_others(struct vpn *v, struct error *error)
{
    int rc = 0;

    for (size_t i = 0; VPN_FABRICS[i] && rc == 0; i++) {
        if (VPN_FABRICS[i] != v->fabric && VPN_FABRICS[i]->present(v)) {
            rc = VPN_FABRICS[i]->remove(v, error);
        }
    }
    return rc;
}

static int ensure_link(struct vpn *v, struct error *error)
{
    const struct netlink_link *link = &v->device.link;

    if (!link->index) {
        if (!vpn_is_inside(v, &v->device)) {
            vpn_redirects_keep(v);
        }
        int rc = v->fabric->make_link(v, error);
        if (rc == -EAGAIN) {
            /* Most are there at once, a child's takes a moment. */
            int again = vpn_device_observe(v, error);
            rc = again < 0 ? again : v->device.link.index ? 0 : rc;
        }
        if (rc < 0) {
            return rc;
        }
    }
    if (!v->device.ours || !v->fabric->owns_link(link)) {
        return error_set(error, 409, NULL, "there is a device %s that isn't ours", link->name);
    }
    if (strcmp(link->alias, NETLINK_ALIAS) != 0) {
        int rc = netlink_link_set_alias(vpn_tunnel_netlink(v), link->index, NETLINK_ALIAS);
        if (rc < 0) {
            return vpn_failed(rc, error, "mark the device");
        }
    }
    return 0;
}

/* Takes away what isn't to be there, also from the device that the address was on before. */
static int ensure_address(struct vpn *v, struct error *error)
{
    int index = vpn_overlay_link(v, &v->device)->index, there = 0;

    for (size_t i = 0; i < v->device.addresses_len; i++) {
        const struct netlink_address *address = &v->device.addresses[i];
        if (address->index == index && is_own_address(v, address)) {
            there = 1;
        } else if (is_ours(&v->device, address->index)) {
            int rc = netlink_address_delete(v->nl, address->index, address->prefix);
            if (rc < 0 && rc != -EADDRNOTAVAIL && rc != -ENODEV) {
                return vpn_failed(rc, error, "remove an address");
            }
        }
    }
    int rc =
        there ? 0 : netlink_address_add(v->nl, index, (struct ip4_prefix){v->self.address, 32});
    return rc == -EEXIST ? 0 : vpn_failed(rc, error, "set the overlay address");
}

static int set_mtu_and_up(struct netlink *nl, const struct netlink_link *link, unsigned mtu_bytes)
{
    int rc = 0;

    if (link->mtu_bytes != mtu_bytes) {
        rc = netlink_link_set_mtu(nl, link->index, mtu_bytes);
    }
    return rc == 0 && !link->up ? netlink_link_set_up(nl, link->index, 1) : rc;
}

static int ensure_link_settings(struct vpn *v, struct error *error)
{
    const struct netlink_link *overlay = vpn_overlay_link(v, &v->device);
    unsigned mtu_bytes = wanted_mtu(v, &v->device);

    int rc = set_mtu_and_up(vpn_tunnel_netlink(v), &v->device.link, mtu_bytes);
    if (rc == -EADDRINUSE) {
        return error_set(error, 409, NULL, "UDP port %u is taken by another program",
                         v->self.port);
    }
    if (rc == 0 && overlay != &v->device.link) {
        rc = set_mtu_and_up(v->nl, overlay, mtu_bytes);
    }
    if (rc < 0) {
        return vpn_failed(rc, error, "set the device's MTU, and bring it up");
    }
    if (vpn_link_forwards(overlay->name) != v->self.hub) {
        rc = vpn_failed(vpn_link_set_forwarding(overlay->name, v->self.hub), error,
                        "let the host forward overlay packets");
    }
    return rc;
}

/* --- into the namespace and back --- */

static int move(struct vpn *v, int inside, struct error *error)
{
    int rc = v->fabric->move(v, inside, error);

    return rc < 0 ? rc : vpn_device_observe(v, error);
}

/* A tunnel on the host, in use or not yet, goes inside as soon as there is a bridge for it. */
static int go_inside(struct vpn *v, struct error *error)
{
    int rc = vpn_inner_apply(v, error);

    if (rc < 0 || !v->device.link.index || v->device.inside || !v->device.ours) {
        return rc;
    }
    if (!v->device.bridge.index) {
        return vpn_is_inside(v, &v->device) ? -EAGAIN : 0;
    }
    rc = v->fabric->can_move ? v->fabric->can_move(v, error) : 0;
    if (rc == -EAGAIN && !vpn_is_inside(v, &v->device)) {
        return 0; /* it goes on as it is until then */
    }
    return rc < 0 ? rc : move(v, 1, error);
}

/* The bridge is sdn's, and stays until that takes it away. */
static int clear_bridge(struct vpn *v, struct error *error)
{
    const struct netlink_link *bridge = &v->device.bridge;
    int rc = 0;

    for (size_t i = 0; i < v->device.addresses_len && bridge->index && rc == 0; i++) {
        const struct netlink_address *address = &v->device.addresses[i];
        if (address->index == bridge->index) {
            rc = netlink_address_delete(v->nl, address->index, address->prefix);
            rc = rc == -EADDRNOTAVAIL || rc == -ENODEV ? 0 : rc;
        }
    }
    if (rc == 0 && bridge->index && vpn_link_forwards(bridge->name)) {
        rc = vpn_link_set_forwarding(bridge->name, 0);
        rc = rc == -ENOENT ? 0 : rc;
    }
    return vpn_failed(rc, error, "take the overlay off the bridge");
}

static int go_outside(struct vpn *v, struct error *error)
{
    int rc = clear_bridge(v, error);

    if (rc == 0 && v->device.inside) {
        rc = move(v, 0, error);
    }
    if (rc == 0 && vpn_inner_present(&v->device)) {
        rc = vpn_inner_remove(v, error);
        rc = rc < 0 ? rc : vpn_device_observe(v, error);
    }
    return rc;
}

/* Without the bridge the tunnel waits; in use it does so on the host, and nothing is lost. */
static int wait_for_bridge(struct vpn *v, struct error *error)
{
    int64_t now = clock_monotonic_usec();

    if (!v->waits_usec) {
        v->waits_usec = now;
    }
    error_set(error, 503, NULL,
              vpn_is_inside(v, &v->device)
                  ? "the overlay waits for sdn's bridge " OVERLAY_BRIDGE
                  : "the overlay works without sdn: its bridge " OVERLAY_BRIDGE " isn't ready");
    return now - v->waits_usec < BRIDGE_USEC ? -EAGAIN : -ENOLINK;
}

/* --- all of it --- */

static int ensure_tunnel(struct vpn *v, struct error *error)
{
    /* What keeps packets in comes before what lets them out. */
    int rc = vpn_guard_matches(v) ? 0 : vpn_guard_apply(v, error);

    if (rc == 0) {
        rc = add_routes(v, 0, error);
    }
    if (rc == 0) {
        rc = remove_others(v, error);
    }
    if (rc == 0) {
        rc = ensure_link(v, error);
    }
    if (rc == 0) {
        rc = remove_stale_routes(v, error);
    }
    if (rc == 0 && v->fabric->prepare) {
        rc = v->fabric->prepare(v, error);
    }
    return rc;
}

static int ensure_overlay(struct vpn *v, struct error *error)
{
    int rc = ensure_address(v, error);

    if (rc == 0) {
        rc = ensure_link_settings(v, error);
    }
    if (rc == 0 && vpn_is_inside(v, &v->device)) {
        rc = vpn_inner_connect(v, error);
    }
    if (rc == 0) {
        rc = add_routes(v, 1, error);
    }
    return rc;
}

int vpn_device_apply(struct vpn *v, struct error *error)
{
    int rc = v->self.sdn ? go_inside(v, error) : go_outside(v, error);

    if (rc == 0) {
        rc = ensure_tunnel(v, error);
    }
    if (rc == 0 && vpn_is_inside(v, &v->device) &&
        (!v->device.inside || !v->device.bridge.index)) {
        /* The tunnel can be got ready; the packets' way can't. */
        rc = v->fabric->finish ? v->fabric->finish(v, error) : 0;
        return rc < 0 ? rc : v->device.bridge.index ? -EAGAIN : wait_for_bridge(v, error);
    }
    if (rc == 0) {
        rc = ensure_overlay(v, error);
    }
    if (rc == 0 && v->fabric->finish) {
        rc = v->fabric->finish(v, error);
    }
    if (rc == 0 && v->self.sdn && !v->device.inside) {
        return v->device.bridge.index ? -EAGAIN : wait_for_bridge(v, error);
    }
    v->waits_usec = 0;
    return rc;
}

/* --- removing --- */

int vpn_device_drop_link(struct vpn *v, const struct vpn_fabric *fabric, struct error *error)
{
    if (!v->device.ours || !v->device.link.index || !fabric->owns_link(&v->device.link)) {
        return 0;
    }
    int rc = netlink_link_delete(vpn_tunnel_netlink(v), v->device.link.index);
    if (rc < 0 && rc != -ENODEV) {
        return vpn_failed(rc, error, "remove the tunnel's device");
    }
    if (v->device.inside) {
        v->device.link = (struct netlink_link){0};
        v->device.ours = v->device.inside = 0;
        return 0;
    }
    /* Its addresses and routes went with it. */
    int index = v->device.link.index;
    size_t len = 0;
    for (size_t i = 0; i < v->device.routes_len; i++) {
        if (v->device.routes[i].index != index) {
            v->device.routes[len++] = v->device.routes[i];
        }
    }
    v->device.routes_len = len;
    v->device.link = (struct netlink_link){0};
    v->device.ours = 0;
    return 0;
}

int vpn_device_remove(struct vpn *v, struct error *error)
{
    int rc = 0;

    for (size_t i = 0; VPN_FABRICS[i] && rc == 0; i++) {
        rc = VPN_FABRICS[i]->remove(v, error);
    }
    for (size_t i = 0; i < v->device.routes_len && rc == 0; i++) {
        rc = netlink_route_delete(v->nl, &v->device.routes[i]);
        rc = rc == -ESRCH || rc == -ENODEV ? 0 : vpn_failed(rc, error, "remove a route");
    }
    rc = rc == 0 ? clear_bridge(v, error) : rc;
    rc = rc == 0 ? vpn_inner_remove(v, error) : rc;
    rc = rc == 0 ? vpn_redirects_restore(v, error) : rc;
    return rc == 0 && v->guard.present ? vpn_guard_remove(v, error) : rc;
}
