#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "services/vpn/vpn-clients-driver.h"
#include "services/vpn/vpn-link.h"

enum {
    MTU_MAX = 1400, /* what clients' configurations say, which older openvpn don't negotiate */
};

/* --- observing --- */

void clients_device_done(struct clients_device *device)
{
    free(device->addresses);
    free(device->routes);
    *device = (struct clients_device){0};
}

static void keep_own(struct clients_device *device)
{
    int index = device->link.index;
    size_t len = 0;

    for (size_t i = 0; i < device->addresses_len; i++) {
        if (index && device->addresses[i].index == index) {
            device->addresses[len++] = device->addresses[i];
        }
    }
    device->addresses_len = len;
    len = 0;
    for (size_t i = 0; i < device->routes_len; i++) {
        if (index && device->routes[i].index == index) {
            device->routes[len++] = device->routes[i];
        }
    }
    device->routes_len = len;
}

static int look(struct clients *c, struct clients_device *ret_device)
{
    struct clients_device device = {0};
    _cleanup_free_ struct netlink_link *links = NULL;
    size_t len = 0;

    int rc = netlink_links(c->nl, &links, &len);
    rc = rc < 0 ? rc : netlink_addresses(c->nl, &device.addresses, &device.addresses_len);
    rc = rc < 0 ? rc : netlink_routes(c->nl, &device.routes, &device.routes_len);
    if (rc < 0) {
        clients_device_done(&device);
        return rc;
    }
    for (size_t i = 0; i < len; i++) {
        if (strcmp(links[i].name, CLIENTS_DEVICE) == 0) {
            device.link = links[i];
        }
    }
    keep_own(&device);
    device.ours = device.link.index && ovpn_device_ours(&device.link);
    device.forwarding = device.link.index && vpn_link_forwards(CLIENTS_DEVICE);
    device.wanted_mtu_bytes =
        vpn_link_choose_mtu(c->nl, links, len, device.link.mtu_bytes, MTU_MAX);
    *ret_device = device;
    return 0;
}

int clients_device_observe(struct clients *c, struct error *error)
{
    clients_device_done(&c->device);
    int rc = look(c, &c->device);
    return rc < 0 ? error_set(error, error_status(rc), NULL, "cannot ask the kernel for links: %s",
                              strerror(-rc))
                  : 0;
}

/* --- comparing --- */

static struct netlink_route wanted_route(const struct clients *c, int index)
{
    return (struct netlink_route){.destination = c->spec.lower,
                                  .type = RTN_UNICAST,
                                  .index = index,
                                  .source = c->spec.address};
}

static int is_wanted_route(const struct clients *c, const struct netlink_route *route)
{
    struct netlink_route wanted = wanted_route(c, route->index);

    return route->destination.address == wanted.destination.address &&
           route->destination.len == wanted.destination.len && route->type == wanted.type &&
           route->metric == wanted.metric && route->source == wanted.source;
}

static int is_wanted_address(const struct clients *c, const struct netlink_address *address)
{
    return address->prefix.address == c->spec.address && address->prefix.len == 32;
}

static int matches(const struct clients *c, const struct clients_device *device)
{
    return device->ours && device->link.up && device->link.alias[0] &&
           device->link.mtu_bytes == device->wanted_mtu_bytes && device->addresses_len == 1 &&
           is_wanted_address(c, &device->addresses[0]) && device->routes_len == 1 &&
           is_wanted_route(c, &device->routes[0]) && device->forwarding;
}

int clients_device_matches(const struct clients *c)
{
    return matches(c, &c->device);
}

int clients_device_offload(const struct clients *c)
{
    const struct netlink_link *link = &c->device.link;

    return link->index ? ovpn_device_offload(link) : ovpn_device_can_offload(c->nl);
}

int clients_device_drifted(struct clients *c)
{
    struct clients_device device;

    if (look(c, &device) < 0) {
        return 1;
    }
    int drifted = !matches(c, &device);
    clients_device_done(&device);
    return drifted;
}

/* --- making it so --- */

static int failed(int rc, struct error *error, const char *what)
{
    return rc >= 0
               ? 0
               : error_set(error, error_status(rc), NULL, "cannot %s: %s", what, strerror(-rc));
}

static int ensure_link(struct clients *c, struct error *error)
{
    if (!c->device.link.index) {
        int rc = ovpn_device_make(c->nl, CLIENTS_DEVICE);
        if (rc < 0 && rc != -EEXIST) {
            return rc == -ENOENT
                       ? error_set(error, 500, NULL,
                                   "this machine has no /dev/net/tun, which OpenVPN needs")
                       : failed(rc, error, "make the device " CLIENTS_DEVICE);
        }
        rc = clients_device_observe(c, error);
        if (rc < 0) {
            return rc;
        }
    }
    if (!c->device.ours) {
        return error_set(error, 409, NULL, "there is a device " CLIENTS_DEVICE " that isn't ours");
    }
    return c->device.link.alias[0]
               ? 0
               : failed(netlink_link_set_alias(c->nl, c->device.link.index, NETLINK_ALIAS), error,
                        "mark the device " CLIENTS_DEVICE);
}

static int ensure_address(struct clients *c, struct error *error)
{
    int there = 0;

    for (size_t i = 0; i < c->device.addresses_len; i++) {
        const struct netlink_address *address = &c->device.addresses[i];
        if (is_wanted_address(c, address)) {
            there = 1;
            continue;
        }
        int rc = netlink_address_delete(c->nl, c->device.link.index, address->prefix);
        if (rc < 0 && rc != -EADDRNOTAVAIL) {
            return failed(rc, error, "remove an address");
        }
    }
    int rc = there ? 0
                   : netlink_address_add(c->nl, c->device.link.index,
                                         (struct ip4_prefix){c->spec.address, 32});
    return rc == -EEXIST ? 0 : failed(rc, error, "set the clients' gateway address");
}

static int ensure_settings(struct clients *c, struct error *error)
{
    const struct netlink_link *link = &c->device.link;
    int rc = 0;

    if (link->mtu_bytes != c->device.wanted_mtu_bytes) {
        rc = failed(netlink_link_set_mtu(c->nl, link->index, c->device.wanted_mtu_bytes), error,
                    "set the MTU");
    }
    if (rc == 0 && !link->up) {
        rc = failed(netlink_link_set_up(c->nl, link->index, 1), error, "bring the device up");
    }
    if (rc == 0 && !c->device.forwarding) {
        rc = failed(vpn_link_set_forwarding(CLIENTS_DEVICE, 1), error,
                    "let the host forward for " CLIENTS_DEVICE);
    }
    return rc;
}

static int ensure_route(struct clients *c, struct error *error)
{
    struct netlink_route wanted = wanted_route(c, c->device.link.index);
    char range[IP4_PREFIX_TEXT_SIZE];
    int there = 0;

    for (size_t i = 0; i < c->device.routes_len; i++) {
        if (is_wanted_route(c, &c->device.routes[i])) {
            there = 1;
            continue;
        }
        int rc = netlink_route_delete(c->nl, &c->device.routes[i]);
        if (rc < 0 && rc != -ESRCH) {
            return failed(rc, error, "remove an old route");
        }
    }
    int rc = there ? 0 : netlink_route_add(c->nl, &wanted);
    if (rc == -EEXIST) {
        return error_set(error, 409, NULL, "this machine has another route to the clients' %s",
                         ip4_prefix_format(wanted.destination, range));
    }
    return failed(rc, error, "add the clients' route");
}

int clients_device_apply(struct clients *c, struct error *error)
{
    int rc = ensure_link(c, error);

    rc = rc < 0 ? rc : ensure_address(c, error);
    rc = rc < 0 ? rc : ensure_settings(c, error);
    rc = rc < 0 ? rc : ensure_route(c, error);
    return rc < 0 ? rc : clients_device_observe(c, error);
}

int clients_device_remove(struct clients *c, struct error *error)
{
    int rc = c->device.ours ? netlink_link_delete(c->nl, c->device.link.index) : 0;

    if (rc < 0 && rc != -ENODEV) {
        return failed(rc, error, "remove the device " CLIENTS_DEVICE);
    }
    clients_device_done(&c->device);
    return 0;
}
