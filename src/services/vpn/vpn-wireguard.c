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
#include <stdlib.h>
#include <string.h>

#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "services/vpn/vpn-driver.h"

enum {
    CHILD_PATIENCE_USEC = 3000000,
    STOP_MSEC = 2000,
};

#define PROGRAM "wireguard-go"
#define KERNEL_KIND "wireguard"
#define CHILD_KIND "tun"
#define INSIDE_DEVICE "cnsmo-tun" /* wireguard-go's, which comes to be on the host */

/* There may be two for a moment: what is moved from one place to the other is made anew there. */
struct place {
    const char *child;
    const char *argv[4];
};

static const struct place HOST = {PROGRAM, {PROGRAM, "-f", VPN_DEVICE, NULL}};
static const struct place INSIDE = {PROGRAM "-inside", {PROGRAM, "-f", INSIDE_DEVICE, NULL}};

static const struct place *place_of(int inside)
{
    return inside ? &INSIDE : &HOST;
}

static int runs(const struct vpn *v, const struct place *place)
{
    return children_pid(v->children, place->child) > 0;
}

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
        return runs(v, place_of(v->device.inside));
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

    for (int inside = 0; inside < 2; inside++) {
        const struct place *place = place_of(inside);
        if (runs(v, place)) {
            children_ensure(v->children, place->child, place->argv, on_child_ended, v, &ignored);
        }
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
    return runs(v, &HOST) || runs(v, &INSIDE) || (v->device.ours && owns_link(&v->device.link));
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
    return vpn_key_ready(v, &ignored) == 0 && tunnel_matches(v) &&
           !runs(v, place_of(!v->device.inside));
}

/* --- making it so --- */

static int stop_child(struct vpn *v, const struct place *place, struct error *error)
{
    int rc = runs(v, place) ? children_stop(v->children, place->child, STOP_MSEC) : 0;

    return vpn_failed(rc, error, "stop " PROGRAM);
}

static int start_child(struct vpn *v, const struct place *place, struct error *error)
{
    int64_t now = clock_monotonic_usec();

    if (runs(v, place)) {
        if (now - v->child_started_usec < CHILD_PATIENCE_USEC) {
            return -EAGAIN;
        }
        /* It runs without its device, which somebody deleted under it. */
        int rc = stop_child(v, place, error);
        if (rc < 0) {
            return rc;
        }
    }
    int rc = children_ensure(v->children, place->child, place->argv, on_child_ended, v, error);
    if (rc == -ENOENT) {
        error_set(error, 500, NULL,
                  "the kernel has no WireGuard and the program " PROGRAM " is missing: install "
                  "the package " PROGRAM);
    }
    v->child_started_usec = now;
    return rc < 0 ? rc : -EAGAIN;
}

/* wireguard-go makes its device on the host, so that its socket stays there. */
static int move_child_device(struct vpn *v, struct error *error)
{
    struct netlink_link link;
    int rc = netlink_link_get(v->nl, INSIDE_DEVICE, &link);

    if (rc == 0) {
        rc = netlink_link_move(v->nl, link.index, v->inner.fd);
    }
    return rc == -ENODEV ? 0 : vpn_failed(rc, error, "move the tunnel into the namespace");
}

static int bring_up_inside(struct vpn *v, struct netlink_link *ret_link, struct error *error)
{
    int rc = move_child_device(v, error);

    if (rc < 0) {
        return rc;
    }
    rc = netlink_link_get(v->inner.nl, INSIDE_DEVICE, ret_link);
    if (rc == -ENODEV) {
        return start_child(v, &INSIDE, error);
    }
    if (rc == 0 && strcmp(ret_link->alias, NETLINK_ALIAS) != 0) {
        rc = netlink_link_set_alias(v->inner.nl, ret_link->index, NETLINK_ALIAS);
    }
    if (rc == 0 && !ret_link->up) {
        rc = netlink_link_set_up(v->inner.nl, ret_link->index, 1);
    }
    return vpn_failed(rc, error, "bring the tunnel up in the namespace");
}

/* -EAGAIN: wireguard-go isn't ready to be asked; 0: its device isn't up for all it knows; else the
 * port. It sees whether a device in another namespace is up by trying it once a second. */
static int child_port(struct vpn *v)
{
    const char *const argv[] = {"wg", "show", INSIDE_DEVICE, "listen-port", NULL};
    _cleanup_buf_ struct buf out = BUF_INIT(64);
    struct error ignored;

    return vpn_run(argv, NULL, &out, &ignored) == 0 && out.data ? atoi(out.data) : -EAGAIN;
}

static int make_child_inside(struct vpn *v, struct error *error)
{
    struct netlink_link link;
    int rc = runs(v, &INSIDE) ? child_port(v) : start_child(v, &INSIDE, error);

    if (rc == -EAGAIN && clock_monotonic_usec() - v->child_started_usec > CHILD_PATIENCE_USEC) {
        return start_child(v, &INSIDE, error);
    }
    /* Not before it is ready: until then it looks for its device by name. */
    rc = rc < 0 ? rc : bring_up_inside(v, &link, error);
    return rc < 0 ? rc : child_port(v) > 0 ? 0 : -EAGAIN;
}

/* The kernel's is made anew in an instant; wireguard-go takes its time, and the old one goes on
 * meanwhile. */
static int can_move(struct vpn *v, struct error *error)
{
    return strcmp(v->device.link.kind, KERNEL_KIND) == 0 ? 0 : make_child_inside(v, error);
}

static int move(struct vpn *v, int inside, struct error *error)
{
    int rc = stop_child(v, place_of(!inside), error);

    if (rc == 0) {
        rc = vpn_device_drop_link(v, &VPN_WIREGUARD, error);
        rc = rc == -ENODEV ? 0 : rc;
    }
    dump_done(&v->dump);
    v->reachable = 0;
    vpn_wireguard_forget(v);
    return rc;
}

static int make_link(struct vpn *v, struct error *error)
{
    int inside = vpn_is_inside(v, &v->device);
    int rc = vpn_key_ready(v, error);

    if (rc < 0) {
        return rc;
    }
    rc = runs(v, &INSIDE) && inside
             ? -EOPNOTSUPP
             : netlink_link_create_in(v->nl, VPN_DEVICE, KERNEL_KIND, inside ? v->inner.fd : -1);
    if (rc == -EOPNOTSUPP) {
        rc = inside ? make_child_inside(v, error) : start_child(v, &HOST, error);
        return rc == 0 ? -EAGAIN : rc;
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
    if (strcmp(link->kind, CHILD_KIND) == 0 && !runs(v, place_of(v->device.inside))) {
        /* What ran it is gone. */
        int rc = netlink_link_delete(vpn_tunnel_netlink(v), link->index);
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
    const char *const argv[] = {
        "wg", "set", v->device.link.name, "listen-port", port, "private-key", path, NULL};

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
    rc = vpn_run_at_tunnel(v, argv, NULL, error);
    if (rc == 0 && new_key) {
        rc = vpn_wireguard_begin_again(v, error);
    }
    return rc < 0 ? rc : vpn_wireguard_dump(v, error);
}

static int take_away(struct vpn *v, struct error *error)
{
    int ran = runs(v, &HOST) || runs(v, &INSIDE);
    int rc = stop_child(v, &HOST, error);

    rc = rc < 0 ? rc : stop_child(v, &INSIDE, error);
    if (rc < 0) {
        return rc;
    }
    if (ran) {
        rmdir("/run/wireguard"); /* it made the folder; fails if somebody else uses it */
    }
    rc = vpn_device_drop_link(v, &VPN_WIREGUARD, error);
    dump_done(&v->dump);
    v->reachable = 0;
    vpn_wireguard_forget(v);
    return rc;
}

static const char *backend(const struct vpn *v)
{
    if (!v->reachable || !v->dump.public_key[0]) {
        return NULL;
    }
    return strcmp(v->device.link.kind, KERNEL_KIND) == 0 ? "kernel" : PROGRAM;
}

const struct vpn_fabric VPN_WIREGUARD = {
    .name = "wireguard",
    .routes_clients = 1,
    .owns_link = owns_link,
    .made_link = made_link,
    .observe = observe,
    .states = vpn_wireguard_states,
    .present = present,
    .can_move = can_move,
    .move = move,
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
