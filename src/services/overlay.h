/* overlay.h - what a node's overlay is called on the host: names that the services' drivers share.
 *
 *     without sdn    cnsmo0, the tunnel, has the overlay address
 *
 *     with sdn       host                        │ namespace cnsmo
 *                    cnsmo-sdn ─ bridge ─ cnsmo-up ══ cnsmo-dn ─ (forwards) ─ tunnel
 *                    has the overlay address     │                      its UDP socket stays
 * outside
 *
 * vpn makes the namespace and the veth, and moves tunnel and address; sdn makes the bridge, and
 * marks its device (netlink.h's alias) when its flows are in force. All three devices have fixed
 * hardware addresses: they only ever talk to each other. */
#pragma once

#define OVERLAY_TUNNEL "cnsmo0"
#define OVERLAY_BRIDGE "cnsmo-sdn"
#define OVERLAY_PORT "cnsmo-up"  /* the bridge's port to the tunnel */
#define OVERLAY_INNER "cnsmo-dn" /* the veth's other end, in the namespace */
#define OVERLAY_NAMESPACE "cnsmo"

#define OVERLAY_BRIDGE_MAC "0a:63:6e:73:6d:01"
#define OVERLAY_INNER_MAC "0a:63:6e:73:6d:02"
#define OVERLAY_BRIDGE_BYTES                                                                      \
    {                                                                                             \
        0x0a, 0x63, 0x6e, 0x73, 0x6d, 0x01                                                        \
    }
#define OVERLAY_INNER_BYTES                                                                       \
    {                                                                                             \
        0x0a, 0x63, 0x6e, 0x73, 0x6d, 0x02                                                        \
    }
#define OVERLAY_PORT_BYTES                                                                        \
    {                                                                                             \
        0x0a, 0x63, 0x6e, 0x73, 0x6d, 0x03                                                        \
    }
