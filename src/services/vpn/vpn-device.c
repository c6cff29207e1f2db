#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "services/vpn/vpn-driver.h"
#include "services/vpn/vpn-link.h"

enum {
    MTU_MAX = 1420, /* an Ethernet of 1500 less what WireGuard needs on IPv6, the most of all */
    /* Below every route that anybody sets, above none. */
    UNREACHABLE_METRIC = 4278198272U,
};

/* --- observing --- */

void vpn_device_state_done(struct vpn_device_state *state)
{
    free(state->addresses);
    free(state->routes);
    *state = (struct vpn_device_state){0};
}

static void keep_own_addresses(struct vpn_device_state *state)
{
    size_t len = 0;

    for (size_t i = 0; i < state->addresses_len; i++) {
        if (state->addresses[i].index == state->link.index) {
            state->addresses[len++] = state->addresses[i];
        }
    }
    state->addresses_len = len;
}

/* Routes over the clients' device carry the same mark, but aren't ours to judge. */
static void keep_own_routes(struct vpn_device_state *state, int clients_index)
{
    size_t len = 0;

    for (size_t i = 0; i < state->routes_len; i++) {
        if (!clients_index || state->routes[i].index != clients_index) {
            state->routes[len++] = state->routes[i];
        }
    }
    state->routes_len = len;
}

static int look(struct vpn *v, struct vpn_device_state *ret_state)
{
    struct vpn_device_state state = {0};
    _cleanup_free_ struct netlink_link *links = NULL;
    int clients_index = 0;
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
        } else if (strcmp(links[i].name, VPN_CLIENTS_DEVICE) == 0) {
            clients_index = links[i].index;
        }
    }
    keep_own_addresses(&state);
    keep_own_routes(&state, clients_index);
    state.ours = state.link.index && strcmp(state.link.alias, NETLINK_ALIAS) == 0;
    state.forwarding = state.link.index && vpn_link_forwards(VPN_DEVICE);
    state.chosen_mtu_bytes =
        vpn_link_choose_mtu(v->nl, links, len, v->device.chosen_mtu_bytes, MTU_MAX);
    *ret_state = state;
    return 0;
}

int vpn_device_observe(struct vpn *v, struct error *error)
{
    struct vpn_device_state *state = &v->device, seen;

    int rc = look(v, &seen);
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
           vpn_redirects_kept(v) || other_fabric_present(v) ||
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

static struct wanted_routes wanted_routes(const struct vpn *v, int index)
{
    struct wanted_routes wanted = {.routes = {unreachable(v->self.range)}, .len = 1};

    /* Else what goes to a client that isn't there would go back where it came from. */
    if (v->self.client_range.len && !v->fabric->routes_clients) {
        wanted.routes[wanted.len++] = unreachable(v->self.client_range);
    }
    wanted.routes[wanted.len++] = (struct netlink_route){.destination = v->self.range,
                                                         .type = RTN_UNICAST,
                                                         .index = index,
                                                         .source = v->self.address};
    return wanted;
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

/* What netlink says. */
static int links_match(const struct vpn *v, const struct vpn_device_state *state)
{
    struct wanted_routes routes = wanted_routes(v, state->link.index);

    return state->link.index && strcmp(state->link.alias, NETLINK_ALIAS) == 0 && state->link.up &&
           v->fabric->owns_link(&state->link) && state->link.mtu_bytes == wanted_mtu(v, state) &&
           state->addresses_len == 1 && is_own_address(v, &state->addresses[0]) &&
           state->routes_len == routes.len && has_routes(state, &routes) &&
           state->forwarding == v->self.hub;
}

int vpn_device_matches(struct vpn *v)
{
    return links_match(v, &v->device) && !other_fabric_present(v) && v->fabric->matches(v) &&
           vpn_guard_matches(v);
}

int vpn_device_drifted(struct vpn *v)
{
    struct vpn_device_state state;

    if (look(v, &state) < 0) {
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
    struct wanted_routes wanted = wanted_routes(v, v->device.link.index);

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
    struct wanted_routes wanted = wanted_routes(v, over_link ? v->device.link.index : 0);
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
        vpn_redirects_keep(v);
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
        return error_set(error, 409, NULL, "there is a device " VPN_DEVICE " that isn't ours");
    }
    if (strcmp(link->alias, NETLINK_ALIAS) != 0) {
        int rc = netlink_link_set_alias(v->nl, link->index, NETLINK_ALIAS);
        if (rc < 0) {
            return vpn_failed(rc, error, "mark the device");
        }
    }
    return 0;
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
            return vpn_failed(rc, error, "remove an address");
        }
    }
    int rc = there ? 0
                   : netlink_address_add(v->nl, v->device.link.index,
                                         (struct ip4_prefix){v->self.address, 32});
    return rc == -EEXIST ? 0 : vpn_failed(rc, error, "set the overlay address");
}

static int ensure_link_settings(struct vpn *v, struct error *error)
{
    const struct netlink_link *link = &v->device.link;
    int rc = 0;

    unsigned mtu_bytes = wanted_mtu(v, &v->device);

    if (link->mtu_bytes != mtu_bytes) {
        rc = vpn_failed(netlink_link_set_mtu(v->nl, link->index, mtu_bytes), error, "set the MTU");
    }
    if (rc == 0 && !link->up) {
        rc = netlink_link_set_up(v->nl, link->index, 1);
        if (rc == -EADDRINUSE) {
            return error_set(error, 409, NULL, "UDP port %u is taken by another program",
                             v->self.port);
        }
        rc = vpn_failed(rc, error, "bring the device up");
    }
    if (rc == 0 && v->device.forwarding != v->self.hub) {
        rc = vpn_failed(vpn_link_set_forwarding(VPN_DEVICE, v->self.hub), error,
                        "let the host forward for " VPN_DEVICE);
    }
    return rc;
}

int vpn_device_apply(struct vpn *v, struct error *error)
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
    if (rc == 0) {
        rc = ensure_address(v, error);
    }
    if (rc == 0) {
        rc = ensure_link_settings(v, error);
    }
    if (rc == 0) {
        rc = add_routes(v, 1, error);
    }
    if (rc == 0 && v->fabric->finish) {
        rc = v->fabric->finish(v, error);
    }
    return rc;
}

/* --- removing --- */

int vpn_device_drop_link(struct vpn *v, const struct vpn_fabric *fabric, struct error *error)
{
    if (!v->device.ours || !v->device.link.index || !fabric->owns_link(&v->device.link)) {
        return 0;
    }
    int rc = netlink_link_delete(v->nl, v->device.link.index);
    if (rc < 0 && rc != -ENODEV) {
        return vpn_failed(rc, error, "remove the device " VPN_DEVICE);
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
    v->device.addresses_len = 0;
    v->device.link = (struct netlink_link){0};
    v->device.ours = v->device.forwarding = 0;
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
    rc = rc == 0 ? vpn_redirects_restore(v, error) : rc;
    return rc == 0 && v->guard.present ? vpn_guard_remove(v, error) : rc;
}
