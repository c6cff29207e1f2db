/* Data-channel offload is the package openvpn-dco-dkms: a kind of link that must be told at its
 * making whether it has one peer or many. openvpn then uses the one that it finds, and doesn't
 * destroy it. Where the kernel doesn't know the kind we make a tun device, which becomes
 * persistent only when it carries our mark: if we are killed before, the kernel takes it away. */
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

/* ovpn_dco_linux.h of OpenVPN: IFLA_OVPN_MODE, OVPN_MODE_P2P and OVPN_MODE_MP. */
enum {
    ATTRIBUTE_MODE = 1,
    MODE_ONE_PEER = 0,
    MODE_MANY_PEERS = 1,
};

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

int ovpn_device_make(struct netlink *nl, const char *name, int server)
{
    struct netlink_link link;
    int rc = netlink_link_get(nl, name, &link);

    /* TUNSETIFF would take a device that is there. */
    if (rc != -ENODEV) {
        return rc < 0 ? rc : -EEXIST;
    }
    rc = netlink_link_create_with(nl, name, KIND_OFFLOAD, ATTRIBUTE_MODE,
                                  server ? MODE_MANY_PEERS : MODE_ONE_PEER);
    return rc == -EOPNOTSUPP ? make_tun(nl, name) : rc < 0 ? rc : mark(nl, name);
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
