/* netlink.h - links, IPv4 addresses, routes and neighbours of this machine, and a watch over them.
 *
 * A `struct netlink` is one request socket; every call asks the kernel and waits for its answer,
 * which takes microseconds. Nothing is cached. Numbers are in host byte order. Functions return 0
 * or a negative errno, as the kernel gave it (-ENODEV, -EEXIST, -EPERM ...). Every change is a
 * fault point (fault.h).
 *
 * Marks of ownership: a link that is ours has the alias "cnsmo", a route of ours has the protocol
 * number NETLINK_PROTOCOL. Addresses belong to their link.
 *
 * Sources: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h, linux/netfilter/nf_tables.h. */
#pragma once

#include <net/if.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/ip.h"

enum {
    NETLINK_PROTOCOL = 77, /* rtm_protocol of every route that is ours */
};

#define NETLINK_ALIAS "cnsmo"

struct netlink;

int netlink_new(struct netlink **ret_netlink);
struct netlink *netlink_free(struct netlink *nl);
/* The same in a network namespace (netns.h). */
int netlink_new_in(int netns_fd, struct netlink **ret_netlink);

/* --- links --- */

struct netlink_link {
    int index;
    char name[IFNAMSIZ];
    char kind[16]; /* "wireguard", "tun", "bridge"; "" for hardware */
    char alias[64];
    uint8_t hardware[6]; /* zeros if it has none */
    unsigned mtu_bytes;
    int up;         /* administratively */
    int carrier;    /* a cable is in; of a tun device: a program holds it */
    int persistent; /* a tun device that stays without a program */
};

/* -ENODEV if there is none of this name. */
int netlink_link_get(struct netlink *nl, const char *name, struct netlink_link *ret_link);
/* All links; the caller frees the array. */
int netlink_links(struct netlink *nl, struct netlink_link **ret_links, size_t *ret_len);

int netlink_link_create(struct netlink *nl, const char *name, const char *kind);
/* The same into another namespace; a tunnel's own sockets stay in ours. */
int netlink_link_create_in(struct netlink *nl, const char *name, const char *kind, int netns_fd);
/* One end of a veth; the kernel chooses no hardware address. */
struct netlink_veth_end {
    const char *name;
    uint8_t hardware[6];
};

/* A veth with one end here and one in another namespace. */
int netlink_veth_create(struct netlink *nl, const struct netlink_veth_end *here,
                        const struct netlink_veth_end *there, int netns_fd);
/* It goes down, and loses addresses and routes. -EEXIST: there is one of its name. */
int netlink_link_move(struct netlink *nl, int index, int netns_fd);
int netlink_link_delete(struct netlink *nl, int index);
int netlink_link_set_alias(struct netlink *nl, int index, const char *alias);
int netlink_link_set_mtu(struct netlink *nl, int index, unsigned mtu_bytes);
int netlink_link_set_up(struct netlink *nl, int index, int up);

/* --- addresses --- */

struct netlink_address {
    int index; /* the link's */
    struct ip4_prefix prefix;
    uint8_t scope; /* RT_SCOPE_UNIVERSE ... */
};

/* IPv4 addresses of all links; the caller frees the array. */
int netlink_addresses(struct netlink *nl, struct netlink_address **ret_addresses, size_t *ret_len);
int netlink_address_add(struct netlink *nl, int index, struct ip4_prefix prefix);
int netlink_address_delete(struct netlink *nl, int index, struct ip4_prefix prefix);

/* --- routes of the main table --- */

struct netlink_route {
    struct ip4_prefix destination;
    uint8_t type; /* RTN_UNICAST, RTN_UNREACHABLE */
    int index;    /* the link's; 0 for one without */
    uint32_t metric;
    uint32_t source;  /* preferred source address; 0: none */
    uint32_t gateway; /* reached through the link itself ("onlink"); 0: none */
};

/* Those that carry our protocol number; the caller frees the array. */
int netlink_routes(struct netlink *nl, struct netlink_route **ret_routes, size_t *ret_len);
/* -EEXIST if there is one with the same destination and metric, whoever owns it. */
int netlink_route_add(struct netlink *nl, const struct netlink_route *route);
int netlink_route_delete(struct netlink *nl, const struct netlink_route *route);

/* Takes away the route by which the kernel keeps packets to an address of its own for itself. */
int netlink_route_delete_local(struct netlink *nl, uint32_t address);

/* The index of the link through which packets to `address` leave. */
int netlink_route_lookup(struct netlink *nl, uint32_t address, int *ret_index);

/* --- neighbours --- */

struct netlink_neighbour {
    int index;
    uint32_t address;
    uint8_t hardware[6];
};

/* The permanent ones of IPv4; the caller frees the array. */
int netlink_neighbours(struct netlink *nl, struct netlink_neighbour **ret_neighbours,
                       size_t *ret_len);
/* A permanent one; replaces another of this address. */
int netlink_neighbour_set(struct netlink *nl, const struct netlink_neighbour *neighbour);

/* --- watch --- */

struct netlink_watch;

enum netlink_event {
    NETLINK_EVENT_ROUTE,    /* links, IPv4 addresses or routes changed */
    NETLINK_EVENT_NFTABLES, /* `table` changed; NULL: don't know which */
};

/* Called from the loop, several times for one change. */
typedef void netlink_event_fn(void *arg, enum netlink_event event, const char *table);

int netlink_watch_new(uv_loop_t *loop, netlink_event_fn *event, void *arg,
                      struct netlink_watch **ret_watch);
/* The same for another network namespace. */
int netlink_watch_new_in(int netns_fd, uv_loop_t *loop, netlink_event_fn *event, void *arg,
                         struct netlink_watch **ret_watch);
/* Closes it; the memory is freed when the loop runs next. */
void netlink_watch_free(struct netlink_watch *watch);
