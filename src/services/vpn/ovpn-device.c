/* Data-channel offload is the package openvpn-dco-dkms: a kind of link that openvpn makes when it
 * starts (a client: when it is connected first), and that goes with it. It can't be made before:
 * openvpn 2.6 takes one that is there, but forgets its index, and dies of that at its first peer.
 * Where the kernel doesn't know the kind we make a tun device, which becomes persistent only when
 * it carries our mark: if we are killed before, the kernel takes it away. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lib/fault.h"
#include "lib/mem.h"
#include "services/vpn/ovpn.h"

#define KIND_OFFLOAD "ovpn-dco"
#define KIND_TUN "tun"

#define PROBE "cnsmo-probe"

static int mark(struct netlink *nl, const char *name)
{
    struct netlink_link link;
    int rc = netlink_link_get(nl, name, &link);

    return rc < 0 ? rc : netlink_link_set_alias(nl, link.index, NETLINK_ALIAS);
}

static int make_tun(struct netlink *nl, const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int rc = fault_point();

    if (rc < 0) {
        return rc;
    }
    _cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (ioctl(fd, TUNSETIFF, &request) < 0) {
        return -errno;
    }
    rc = mark(nl, name);
    if (rc < 0) {
        return rc;
    }
    return ioctl(fd, TUNSETPERSIST, 1) < 0 ? -errno : 0;
}

int ovpn_device_can_offload(struct netlink *nl)
{
    struct netlink_link link;

    /* Whether the kernel can is told by making one; nobody else uses the name. */
    int rc = netlink_link_create(nl, PROBE, KIND_OFFLOAD);
    if (netlink_link_get(nl, PROBE, &link) == 0) {
        netlink_link_delete(nl, link.index);
    }
    return rc == 0 || rc == -EEXIST;
}

int ovpn_device_make(struct netlink *nl, const char *name)
{
    struct netlink_link link;
    int rc = netlink_link_get(nl, name, &link);

    /* TUNSETIFF would take a device that is there. */
    if (rc != -ENODEV) {
        return rc < 0 ? rc : -EEXIST;
    }
    return make_tun(nl, name);
}

int ovpn_device_ours(const struct netlink_link *link)
{
    int offload = strcmp(link->kind, KIND_OFFLOAD) == 0;

    return (strcmp(link->alias, NETLINK_ALIAS) == 0 &&
            (offload || strcmp(link->kind, KIND_TUN) == 0)) ||
           (offload && link->alias[0] == '\0');
}

int ovpn_device_offload(const struct netlink_link *link)
{
    return strcmp(link->kind, KIND_OFFLOAD) == 0;
}

int ovpn_device_held(const char *name)
{
    struct netlink_link link;
    struct netlink *nl;

    if (netlink_new(&nl) < 0) {
        return 0;
    }
    int held = netlink_link_get(nl, name, &link) == 0 && link.carrier;
    netlink_free(nl);
    return held;
}
