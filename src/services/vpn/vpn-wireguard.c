/* The WireGuard fabric: the kernel's device, or wireguard-go where the kernel has none; its key
 * and port. Which allowed IPs, endpoint and keepalive a peer has is decided by vpn-path.c from
 * second to second, in the tick, and compared in each pass too, so that a pass repairs what was
 * changed by hand.
 *
 *     tick (1 s or 4 s) ──► wg show dump ──► vpn-path ──► wg set
 *     wireguard-go ended ──► reconcile_wake()
 *
 * Peers on the device carry only their public key; <run_dir>/vpn-peers.json says whose it is. One
 * without a name is found under "vpn/peer/?<key>", so that it is removed - unless the same pass
 * adds a peer with this key: then it is left as it is, with its session. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "services/vpn/vpn-driver.h"

enum {
    CHILD_PATIENCE_USEC = 3000000,
    STOP_MSEC = 2000,
};

#define CHILD "wireguard-go"
#define KERNEL_KIND "wireguard"
#define CHILD_KIND "tun"

static const char *const CHILD_ARGV[] = {CHILD, "-f", VPN_DEVICE, NULL};

/* --- looking --- */

/* A tun device that stays without its program isn't wireguard-go's. */
static int owns_link(const struct netlink_link *link)
{
    return strcmp(link->kind, KERNEL_KIND) == 0 ||
           (strcmp(link->kind, CHILD_KIND) == 0 && !link->persistent);
}

/* Our child's, or a WireGuard device that nobody gave a key yet. */
static int made_link(const struct vpn *v)
{
    if (strcmp(v->device.link.kind, CHILD_KIND) == 0) {
        return children_pid(v->children, CHILD) > 0;
    }
    return v->reachable &&
           (v->dump.private_key[0] == '\0' || strcmp(v->dump.private_key, v->keys.private) == 0);
}

static void on_child_ended(void *arg, const char *name, int status)
{
    struct vpn *v = arg;

    reconcile_wake(v->env->reconcile);
}

static void observe(struct vpn *v)
{
    struct error ignored;

    if (children_pid(v->children, CHILD) > 0) {
        children_ensure(v->children, CHILD, CHILD_ARGV, on_child_ended, v, &ignored);
    }
    const struct netlink_link *link = &v->device.link;
    dump_done(&v->dump);
    v->reachable = link->index && owns_link(link) && vpn_wireguard_dump(v, &ignored) == 0;
    if (v->reachable && !v->device.ours && (link->alias[0] || !made_link(v))) {
        dump_done(&v->dump);
        v->reachable = 0;
    }
}

static int present(struct vpn *v)
{
    return children_pid(v->children, CHILD) > 0 || vpn_redirects_kept(v) ||
           (v->device.ours && owns_link(&v->device.link));
}

static int tunnel_matches(const struct vpn *v)
{
    return v->reachable && v->keys.private[0] &&
           strcmp(v->dump.private_key, v->keys.private) == 0 && v->dump.port == v->self.port;
}

static int matches(struct vpn *v)
{
    struct error ignored;

    /* The key is needed to compare with; not having it is for prepare() to mend. */
    return vpn_key_ready(v, &ignored) == 0 && tunnel_matches(v);
}

/* --- making it so --- */

static int start_child(struct vpn *v, struct error *error)
{
    int64_t now = clock_monotonic_usec();

    if (children_pid(v->children, CHILD) > 0) {
        if (now - v->child_started_usec < CHILD_PATIENCE_USEC) {
            return -EAGAIN;
        }
        /* It runs without its device, which somebody deleted under it. */
        int rc = children_stop(v->children, CHILD, STOP_MSEC);
        if (rc < 0) {
            return vpn_failed(rc, error, "stop wireguard-go");
        }
    }
    int rc = children_ensure(v->children, CHILD, CHILD_ARGV, on_child_ended, v, error);
    if (rc == -ENOENT) {
        error_set(error, 500, NULL,
                  "the kernel has no WireGuard and the program wireguard-go is missing: install "
                  "the package wireguard-go");
    }
    v->child_started_usec = now;
    return rc < 0 ? rc : -EAGAIN;
}

static int make_link(struct vpn *v, struct error *error)
{
    int rc = vpn_key_ready(v, error);

    if (rc < 0) {
        return rc;
    }
    vpn_redirects_keep(v);
    rc = netlink_link_create(v->nl, VPN_DEVICE, KERNEL_KIND);
    if (rc == -EOPNOTSUPP) {
        return start_child(v, error);
    }
    if (rc == -EEXIST) {
        return -EAGAIN; /* a child's came since we looked */
    }
    return rc < 0 ? vpn_failed(rc, error, "create the device " VPN_DEVICE) : -EAGAIN;
}

/* Makes wg able to talk to the device. */
static int ensure_reachable(struct vpn *v, struct error *error)
{
    const struct netlink_link *link = &v->device.link;

    if (v->reachable) {
        return 0;
    }
    if (strcmp(link->kind, CHILD_KIND) == 0 && children_pid(v->children, CHILD) == 0) {
        /* What ran it is gone. */
        int rc = netlink_link_delete(v->nl, link->index);
        return rc < 0 ? vpn_failed(rc, error, "remove a dead device") : -EAGAIN;
    }
    /* A child that has just made its device doesn't listen yet; a missing program stays away. */
    int rc = vpn_wireguard_dump(v, error);
    v->reachable = rc == 0;
    return rc < 0 && rc != -ENOENT ? -EAGAIN : rc;
}

static int prepare(struct vpn *v, struct error *error)
{
    _cleanup_free_ char *path = vpn_key_path(v);
    char port[8];
    const char *const argv[] = {"wg", "set",         VPN_DEVICE, "listen-port",
                                port, "private-key", path,       NULL};

    int rc = ensure_reachable(v, error);
    rc = rc == 0 ? vpn_key_ready(v, error) : rc;
    if (rc < 0 || tunnel_matches(v)) {
        return rc;
    }
    rc = v->dump.port != v->self.port ? vpn_port_free(v, error) : 0;
    if (rc < 0) {
        return rc;
    }
    int new_key = v->dump.private_key[0] && strcmp(v->dump.private_key, v->keys.private) != 0;
    snprintf(port, sizeof port, "%u", v->self.port);
    rc = vpn_run(argv, NULL, NULL, error);
    if (rc == 0 && new_key) {
        rc = vpn_wireguard_begin_again(v, error);
    }
    return rc < 0 ? rc : vpn_wireguard_dump(v, error);
}

static int take_away(struct vpn *v, struct error *error)
{
    if (children_pid(v->children, CHILD) > 0) {
        int rc = children_stop(v->children, CHILD, STOP_MSEC);
        if (rc < 0) {
            return vpn_failed(rc, error, "stop wireguard-go");
        }
        rmdir("/run/wireguard"); /* it made the folder; fails if somebody else uses it */
    }
    int rc = vpn_device_drop_link(v, &VPN_WIREGUARD, error);
    if (rc == 0) {
        rc = vpn_redirects_restore(v, error);
    }
    dump_done(&v->dump);
    v->reachable = 0;
    v->path.start_usec = 0;
    return rc;
}

static const char *backend(const struct vpn *v)
{
    if (!v->reachable || !v->dump.public_key[0]) {
        return NULL;
    }
    return strcmp(v->device.link.kind, KERNEL_KIND) == 0 ? "kernel" : CHILD;
}

const struct vpn_fabric VPN_WIREGUARD = {
    .name = "wireguard",
    .routes_clients = 1,
    .owns_link = owns_link,
    .made_link = made_link,
    .observe = observe,
    .states = vpn_wireguard_states,
    .present = present,
    .make_link = make_link,
    .matches = matches,
    .prepare = prepare,
    .remove = take_away,
    .compare_peer = vpn_wireguard_compare_peer,
    .compare_client = vpn_wireguard_compare_client,
    .apply_peers = vpn_wireguard_apply_peers,
    .peer_note = vpn_wireguard_peer_note,
    .tick_msec = vpn_wireguard_tick_msec,
    .tick = vpn_wireguard_tick,
    .backend = backend,
    .peer_status = vpn_wireguard_peer_status,
};
