/* vpn-link.h - what the devices of ours have in common, cnsmo0 and that of the outside clients. */
#pragma once

#include <stddef.h>

#include "lib/netlink.h"

/* What fits through the way to the rest of the world with a tunnel's headers around it, at most
 * `max_bytes`. `links` are all links of the host. While there is no way, as when a network is
 * configured anew, it stays as it is: `now_bytes`, 0 if nothing was chosen yet. */
unsigned vpn_link_choose_mtu(struct netlink *nl, const struct netlink_link *links, size_t len,
                             unsigned now_bytes, unsigned max_bytes);

/* Does the host forward what arrives on the device? */
int vpn_link_forwards(const char *device);
/* A fault point. */
int vpn_link_set_forwarding(const char *device, int on);
