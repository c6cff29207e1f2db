/* vpn-clients-driver.h - the parts of the driver for outside clients, and what they share.
 *
 *     vpn-clients-openvpn.c  the backend: brings the parts together
 *     vpn-clients-device.c   device, address, route, MTU, forwarding
 *     vpn-clients-report.c   status
 *     ovpn.h                 the daemon, who may connect, who is connected
 *
 * A hub's client range has two halves: OpenVPN clients have addresses of the lower one, the same
 * clients over WireGuard of the upper one. Our own address is the first of the upper half: the
 * first of the lower is, to a client whose network is the whole range, that network's own
 * address, which older systems don't take for a gateway. */
#pragma once

#include <jansson.h>
#include <uv.h>

#include "core/backend.h"
#include "lib/netlink.h"
#include "services/vpn/ovpn.h"

#define CLIENTS_DEVICE "cnsmo-clients"
#define CLIENTS_DAEMON "openvpn-clients"

/* vpn/clients/<node>, checked. */
struct clients_spec {
    struct ip4_prefix range; /* of all clients of this hub */
    struct ip4_prefix lower; /* of those that come through us */
    uint32_t address;        /* ours */
    struct ip4_prefix overlay;
    uint16_t port;
    uint32_t resolver; /* the clients' DNS server; 0: none */
    char domain[254];  /* of names there */
};

/* What of ours is on the host, but for the daemon. */
struct clients_device {
    struct netlink_link link; /* index 0: there is no device of that name */
    int ours;
    struct netlink_address *addresses; /* on the device */
    size_t addresses_len;
    struct netlink_route *routes; /* over the device, with our mark */
    size_t routes_len;
    int forwarding;
    unsigned wanted_mtu_bytes;
};

struct clients {
    const struct backend_env *env;
    struct netlink *nl;
    struct netlink_watch *watch;
    struct children *children;
    uv_timer_t *calm; /* route events are looked at when they have calmed down */
    struct ovpn *daemon;

    json_t *json; /* vpn/clients as last taken over; NULL: none */
    struct clients_spec spec;
    struct clients_device device; /* as of the last look */
    char problem[512];            /* why it isn't as it should be; "" if it is, or on its way */
};

int clients_spec_parse(const json_t *json, struct clients_spec *ret_spec, struct error *error);

/* Fills c->device. */
int clients_device_observe(struct clients *c, struct error *error);
int clients_device_matches(const struct clients *c);
/* Does the kernel move the packets? A device that is there decides. */
int clients_device_offload(const struct clients *c);
int clients_device_apply(struct clients *c, struct error *error);
int clients_device_remove(struct clients *c, struct error *error);
void clients_device_done(struct clients_device *device);
/* Is it otherwise than c->spec says? For a look after a route event. */
int clients_device_drifted(struct clients *c);

json_t *clients_status(void *self);
