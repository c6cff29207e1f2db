#include "services/vpn/vpn-link.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "lib/fault.h"
#include "lib/file.h"
#include "lib/mem.h"

enum {
    OVERHEAD = 80, /* WireGuard on IPv6; OpenVPN needs less */
    MTU_MIN = 576,
    SOMEWHERE = 0x01010101, /* an address that only the default route can lead to */
};

unsigned vpn_link_choose_mtu(struct netlink *nl, const struct netlink_link *links, size_t len,
                             unsigned now_bytes, unsigned max_bytes)
{
    int index;

    if (netlink_route_lookup(nl, SOMEWHERE, &index) < 0) {
        return now_bytes && now_bytes < max_bytes ? now_bytes : max_bytes;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned mtu = links[i].mtu_bytes;
        int is_ours = strcmp(links[i].alias, NETLINK_ALIAS) == 0;
        if (links[i].index == index && !is_ours && mtu < max_bytes + OVERHEAD) {
            return mtu > MTU_MIN + OVERHEAD ? mtu - OVERHEAD : MTU_MIN;
        }
    }
    return max_bytes;
}

static char *forwarding_path(const char *device)
{
    return xasprintf("/proc/sys/net/ipv4/conf/%s/forwarding", device);
}

int vpn_link_forwards(const char *device)
{
    _cleanup_free_ char *path = forwarding_path(device);
    _cleanup_buf_ struct buf buf = BUF_INIT(16);

    return file_read(path, &buf) == 0 && buf.data && buf.data[0] != '0';
}

int vpn_link_set_forwarding(const char *device, int on)
{
    _cleanup_free_ char *path = forwarding_path(device);
    int rc = fault_point();

    if (rc < 0) {
        return rc;
    }
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 || write(fd, on ? "1" : "0", 1) != 1 ? -errno : 0;
}
