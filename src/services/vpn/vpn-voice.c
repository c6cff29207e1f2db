/* The namespace forwards, so it is a hop: it tells senders when a packet is too large for the next
 * link (nodes' MTUs differ), or has had its hops. Only what comes from an overlay address is let
 * through the tunnels, so such messages must have ours.
 *
 * The kernel chooses the address: the first that there is, beginning with the loopback device. So
 * ours is put there, and the route is taken away with which the kernel would keep packets to it:
 * they go on to the host, whose own come from the same address (accept_local; the bridge's
 * admission refuses that from the tunnel). The loopback device is down and stays so; if somebody
 * brings it up the route comes back, which a look sees. */
#include <errno.h>
#include <linux/rtnetlink.h>

#include "services/vpn/vpn-driver.h"

static int is_voice(const struct vpn_inner_state *inner, const struct netlink_address *address)
{
    return address->index == inner->lo_index && address->scope != RT_SCOPE_HOST;
}

void vpn_voice_look(struct vpn *v, struct vpn_inner_state *inner)
{
    size_t len = 0;
    int index;

    for (size_t i = 0; i < inner->addresses_len; i++) {
        if (is_voice(inner, &inner->addresses[i])) {
            inner->voice = inner->addresses[i].prefix.address;
            len++;
        }
    }
    if (len > 1 || (len == 1 && netlink_route_lookup(v->inner.nl, inner->voice, &index) == 0 &&
                    index == inner->lo_index)) {
        inner->voice = 0;
    }
}

int vpn_voice_apply(struct vpn *v)
{
    struct vpn_inner_state *inner = &v->device.inner;
    struct netlink_link lo;
    int rc = inner->voice == v->self.address ? 0 : netlink_link_get(v->inner.nl, "lo", &lo);

    if (rc < 0 || inner->voice == v->self.address) {
        return rc;
    }
    for (size_t i = 0; i < inner->addresses_len && rc == 0; i++) {
        const struct netlink_address *address = &inner->addresses[i];
        if (is_voice(inner, address) && address->prefix.address != v->self.address) {
            rc = netlink_address_delete(v->inner.nl, address->index, address->prefix);
            rc = rc == -EADDRNOTAVAIL ? 0 : rc;
        }
    }
    rc = rc < 0 ? rc
                : netlink_address_add(v->inner.nl, lo.index,
                                      (struct ip4_prefix){v->self.address, 32});
    rc = rc == -EEXIST ? 0 : rc;
    rc = rc < 0 ? rc : netlink_route_delete_local(v->inner.nl, v->self.address);
    return rc == -ESRCH ? 0 : rc;
}
