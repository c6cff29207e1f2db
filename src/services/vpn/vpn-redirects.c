/* The kernel's WireGuard, when its device is brought up, switches net.ipv4.conf.all.send_redirects
 * off for the whole machine (drivers/net/wireguard/device.c, wg_open) and leaves it so. What it
 * was before is kept in <state_dir>/vpn/send_redirects, and put back when the device goes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/fault.h"
#include "lib/file.h"
#include "lib/mem.h"
#include "services/vpn/vpn-driver.h"

#define REDIRECTS "/proc/sys/net/ipv4/conf/all/send_redirects"

static char *kept_path(const struct vpn *v)
{
    return xasprintf("%s/vpn/send_redirects", v->env->state_dir);
}

void vpn_redirects_keep(const struct vpn *v)
{
    _cleanup_free_ char *path = kept_path(v);
    _cleanup_buf_ struct buf value = BUF_INIT(16);

    if (access(path, F_OK) == 0) {
        return; /* of the first device; a later one finds what the kernel made of it */
    }
    /* Without it there is nothing to put back: no reason not to have a tunnel. */
    if (file_read(REDIRECTS, &value) == 0 && value.size > 0) {
        vpn_write(path, value.data, 0600);
    }
}

int vpn_redirects_kept(const struct vpn *v)
{
    _cleanup_free_ char *path = kept_path(v);

    return access(path, F_OK) == 0;
}

int vpn_redirects_restore(const struct vpn *v, struct error *error)
{
    _cleanup_free_ char *path = kept_path(v);
    _cleanup_buf_ struct buf value = BUF_INIT(16);
    int rc = file_read(path, &value);

    if (rc == -ENOENT) {
        return 0;
    }
    rc = rc < 0 ? rc : fault_point();
    if (rc == 0) {
        FILE *file = fopen(REDIRECTS, "we");
        rc = !file || fputs(value.data ? value.data : "", file) < 0 ? -errno : 0;
        if (file && fclose(file) != 0) {
            rc = -errno;
        }
    }
    if (rc == 0 && unlink(path) < 0) {
        rc = -errno;
    }
    return rc < 0 ? error_set(error, error_status(rc), NULL, "cannot put back " REDIRECTS ": %s",
                              strerror(-rc))
                  : 0;
}
