/* What of ours is on the host, as netlink tells it: the tunnel, here or in the namespace, and what
 * leads to it. */
#include <errno.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/netns.h"
#include "services/vpn/vpn-driver.h"
#include "services/vpn/vpn-link.h"

enum {
    MTU_MAX = 1420, /* an Ethernet of 1500 less what WireGuard needs on IPv6, the most of all */
};

void vpn_device_state_done(struct vpn_device_state *state)
{
    vpn_inner_state_done(&state->inner);
    free(state->addresses);
    free(state->routes);
    free(state->neighbours);
    *state = (struct vpn_device_state){0};
}

/* Routes over the clients' device carry the same mark, but aren't ours to judge. */
static void keep_own_routes(struct vpn_device_state *state, int clients_index)
{
    size_t len = 0;

    for (size_t i = 0; i < state->routes_len; i++) {
        if (!clients_index || state->routes[i].index != clients_index) {
            state->routes[len++] = state->routes[i];
        }
    }
    state->routes_len = len;
}

static int is_marked(const struct netlink_link *link)
{
    return strcmp(link->alias, NETLINK_ALIAS) == 0;
}

static int look_at_links(struct vpn *v, struct vpn_device_state *state)
{
    _cleanup_free_ struct netlink_link *links = NULL;
    int clients_index = 0;
    size_t len = 0;

    int rc = netlink_links(v->nl, &links, &len);
    for (size_t i = 0; i < len; i++) {
        if (strcmp(links[i].name, VPN_DEVICE) == 0) {
            state->link = links[i];
        } else if (strcmp(links[i].name, VPN_CLIENTS_DEVICE) == 0) {
            clients_index = links[i].index;
        } else if (strcmp(links[i].name, OVERLAY_PORT) == 0) {
            state->inner.port = links[i];
        } else if (strcmp(links[i].name, OVERLAY_BRIDGE) == 0 && is_marked(&links[i])) {
            state->bridge = links[i];
        }
    }
    keep_own_routes(state, clients_index);
    state->chosen_mtu_bytes =
        vpn_link_choose_mtu(v->nl, links, len, v->device.chosen_mtu_bytes, MTU_MAX);
    return rc;
}

static int look_at_host(struct vpn *v, struct vpn_device_state *state)
{
    int rc = netlink_addresses(v->nl, &state->addresses, &state->addresses_len);

    rc = rc < 0 ? rc : netlink_routes(v->nl, &state->routes, &state->routes_len);
    rc = rc < 0 ? rc : netlink_neighbours(v->nl, &state->neighbours, &state->neighbours_len);
    return rc < 0 ? rc : look_at_links(v, state);
}

int vpn_look(struct vpn *v, struct vpn_device_state *ret_state)
{
    struct vpn_device_state state = {0};

    int rc = look_at_host(v, &state);
    if (rc == 0) {
        rc = vpn_inner_look(v, &state);
    }
    if (rc < 0) {
        vpn_device_state_done(&state);
        return rc;
    }
    state.ours = state.link.index && is_marked(&state.link);
    *ret_state = state;
    return 0;
}

/* Has the tunnel on the host the overlay's address? Then it is in use. */
static int is_in_use(const struct vpn *v, const struct vpn_device_state *state)
{
    for (size_t i = 0; i < state->addresses_len; i++) {
        if (state->addresses[i].index == state->link.index &&
            ip4_contains(v->self.range, state->addresses[i].prefix.address)) {
            return 1;
        }
    }
    return 0;
}

int vpn_is_inside(const struct vpn *v, const struct vpn_device_state *state)
{
    return v->self.sdn && !(state->link.index && !state->inside && is_in_use(v, state));
}

const struct netlink_link *vpn_overlay_link(const struct vpn *v,
                                            const struct vpn_device_state *state)
{
    return vpn_is_inside(v, state) ? &state->bridge : &state->link;
}

const char *vpn_overlay_name(const struct vpn *v)
{
    return vpn_is_inside(v, &v->device) ? OVERLAY_BRIDGE : VPN_DEVICE;
}

struct netlink *vpn_tunnel_netlink(const struct vpn *v)
{
    return v->device.inside ? v->inner.nl : v->nl;
}

struct command {
    const char *const *argv;
    struct buf *out;
    struct error *error;
};

static int run_command(void *arg)
{
    const struct command *command = arg;

    return vpn_run(command->argv, NULL, command->out, command->error);
}

int vpn_run_at_tunnel(struct vpn *v, const char *const *argv, struct buf *out, struct error *error)
{
    struct command command = {.argv = argv, .out = out, .error = error};

    return v->device.inside ? netns_run(v->inner.fd, run_command, &command)
                            : run_command(&command);
}
