#include "lib/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <string.h>

#include "lib/fault.h"
#include "lib/mem.h"
#include "lib/netlink-internal.h"
#include "lib/netns.h"

enum {
    DUMP_TRIES = 5,
    LOWER_UP = 1 << 16, /* IFF_LOWER_UP of linux/if.h, which can't stand beside net/if.h */
};

struct netlink {
    struct nl_sock *socket;
};

/* --- requests --- */

static int on_valid(struct nl_msg *msg, void *arg)
{
    struct netlink_answer *answer = arg;

    if (answer->take && answer->take(msg, answer) < 0) {
        answer->rc = -EBADMSG;
    }
    return NL_OK;
}

static int on_error(struct sockaddr_nl *from, struct nlmsgerr *failure, void *arg)
{
    struct netlink_answer *answer = arg;

    answer->rc = failure->error;
    return NL_STOP;
}

/* Sends `msg`, frees it, and collects the answer. */
static int request(struct netlink *nl, struct nl_msg *msg, struct netlink_answer *answer)
{
    struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);

    nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_valid, answer);
    nl_cb_err(cb, NL_CB_CUSTOM, on_error, answer);
    int rc = nl_send_auto(nl->socket, msg);
    nlmsg_free(msg);
    if (rc >= 0) {
        rc = nl_recvmsgs(nl->socket, cb);
    }
    nl_cb_put(cb);
    if (answer->rc < 0) {
        return answer->rc;
    }
    return rc == -NLE_DUMP_INTR ? -EINTR : rc < 0 ? -EIO : 0;
}

/* The same for a change, which the kernel only acknowledges. */
int netlink_change(struct netlink *nl, struct nl_msg *msg)
{
    struct netlink_answer answer = {0};
    int rc = fault_point();

    if (rc < 0) {
        nlmsg_free(msg);
        return rc;
    }
    return request(nl, msg, &answer);
}

int netlink_dump(struct netlink *nl, struct nl_msg *msg, netlink_take_fn *take, void **ret_items,
                 size_t *ret_len)
{
    struct netlink_answer answer = {0};
    int rc = -EINTR;

    /* What changed while it was told may be in it twice, or not at all: then it is asked again. */
    for (int i = 0; i < DUMP_TRIES && rc == -EINTR; i++) {
        free(answer.items);
        answer = (struct netlink_answer){.take = take};
        nlmsg_hdr(msg)->nlmsg_seq = NL_AUTO_SEQ;
        nlmsg_get(msg);
        rc = request(nl, msg, &answer);
    }
    nlmsg_free(msg);
    if (rc < 0) {
        free(answer.items);
        return rc;
    }
    *ret_items = answer.items;
    *ret_len = answer.len;
    return 0;
}

void *netlink_answer_add(struct netlink_answer *answer, size_t size)
{
    answer->items = xrealloc(answer->items, (answer->len + 1) * size);
    void *item = (char *)answer->items + answer->len++ * size;
    memset(item, 0, size);
    return item;
}

int netlink_new(struct netlink **ret_netlink)
{
    struct netlink *nl = xnew(struct netlink);
    int strict = 1;

    nl->socket = nl_socket_alloc();
    if (!nl->socket || nl_connect(nl->socket, NETLINK_ROUTE) < 0) {
        netlink_free(nl);
        return -EIO;
    }
    nl_socket_disable_auto_ack(nl->socket);
    nl_socket_set_msg_buf_size(nl->socket, 64 << 10);
    /* With it the kernel filters route dumps by protocol; without it we get more than we ask
     * for, and sort it out ourselves. */
    setsockopt(nl_socket_get_fd(nl->socket), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &strict,
               sizeof strict);
    *ret_netlink = nl;
    return 0;
}

static int open_new(void *arg)
{
    return netlink_new(arg);
}

int netlink_new_in(int netns_fd, struct netlink **ret_netlink)
{
    return netns_run(netns_fd, open_new, ret_netlink);
}

struct netlink *netlink_free(struct netlink *nl)
{
    if (nl) {
        if (nl->socket) {
            nl_socket_free(nl->socket);
        }
        free(nl);
    }
    return NULL;
}

struct nl_msg *netlink_message(int type, int flags, const void *header, size_t header_size)
{
    struct nl_msg *msg = nlmsg_alloc_simple(type, flags);

    if (!msg || nlmsg_append(msg, (void *)header, header_size, NLMSG_ALIGNTO) < 0) {
        abort(); /* out of memory, as in mem.h */
    }
    return msg;
}

/* --- links --- */

static void copy_text(char *to, size_t size, struct nlattr *from)
{
    if (from) {
        nla_strlcpy(to, from, size);
    }
}

static int is_persistent_tun(struct nlattr *data)
{
    struct nlattr *attrs[IFLA_TUN_MAX + 1];

    return data && nla_parse_nested(attrs, IFLA_TUN_MAX, data, NULL) == 0 &&
           attrs[IFLA_TUN_PERSIST] && nla_get_u8(attrs[IFLA_TUN_PERSIST]) != 0;
}

static int take_link(struct nl_msg *msg, struct netlink_answer *answer)
{
    struct nlmsghdr *header = nlmsg_hdr(msg);
    struct nlattr *attrs[IFLA_MAX + 1], *info[IFLA_INFO_MAX + 1];

    if (header->nlmsg_type != RTM_NEWLINK ||
        nlmsg_parse(header, sizeof(struct ifinfomsg), attrs, IFLA_MAX, NULL) < 0) {
        return -EBADMSG;
    }
    const struct ifinfomsg *ifi = nlmsg_data(header);
    struct netlink_link *link = netlink_answer_add(answer, sizeof *link);
    link->index = ifi->ifi_index;
    link->up = (ifi->ifi_flags & IFF_UP) != 0;
    link->carrier = (ifi->ifi_flags & LOWER_UP) != 0;
    link->mtu_bytes = attrs[IFLA_MTU] ? nla_get_u32(attrs[IFLA_MTU]) : 0;
    if (attrs[IFLA_ADDRESS] && nla_len(attrs[IFLA_ADDRESS]) == sizeof link->hardware) {
        memcpy(link->hardware, nla_data(attrs[IFLA_ADDRESS]), sizeof link->hardware);
    }
    copy_text(link->name, sizeof link->name, attrs[IFLA_IFNAME]);
    copy_text(link->alias, sizeof link->alias, attrs[IFLA_IFALIAS]);
    if (attrs[IFLA_LINKINFO] &&
        nla_parse_nested(info, IFLA_INFO_MAX, attrs[IFLA_LINKINFO], NULL) == 0) {
        copy_text(link->kind, sizeof link->kind, info[IFLA_INFO_KIND]);
        link->persistent =
            strcmp(link->kind, "tun") == 0 && is_persistent_tun(info[IFLA_INFO_DATA]);
    }
    return 0;
}

int netlink_link_get(struct netlink *nl, const char *name, struct netlink_link *ret_link)
{
    struct ifinfomsg ifi = {.ifi_family = AF_UNSPEC};
    struct nl_msg *msg = netlink_message(RTM_GETLINK, NLM_F_REQUEST, &ifi, sizeof ifi);
    _cleanup_free_ void *items = NULL;
    size_t len = 0;

    nla_put_string(msg, IFLA_IFNAME, name);
    int rc = netlink_dump(nl, msg, take_link, &items, &len);
    if (rc < 0) {
        return rc;
    }
    if (len == 0) {
        return -ENODEV;
    }
    *ret_link = *(struct netlink_link *)items;
    return 0;
}

int netlink_links(struct netlink *nl, struct netlink_link **ret_links, size_t *ret_len)
{
    struct ifinfomsg ifi = {.ifi_family = AF_UNSPEC};

    return netlink_dump(nl,
                        netlink_message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, &ifi, sizeof ifi),
                        take_link, (void **)ret_links, ret_len);
}

static struct nl_msg *create_message(const char *name)
{
    struct ifinfomsg ifi = {.ifi_family = AF_UNSPEC};
    struct nl_msg *msg = netlink_message(
        RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &ifi, sizeof ifi);

    nla_put_string(msg, IFLA_IFNAME, name);
    return msg;
}

int netlink_link_create_in(struct netlink *nl, const char *name, const char *kind, int netns_fd)
{
    struct nl_msg *msg = create_message(name);

    if (netns_fd >= 0) {
        nla_put_u32(msg, IFLA_NET_NS_FD, (uint32_t)netns_fd);
    }
    struct nlattr *info = nla_nest_start(msg, IFLA_LINKINFO);
    nla_put_string(msg, IFLA_INFO_KIND, kind);
    nla_nest_end(msg, info);
    return netlink_change(nl, msg);
}

int netlink_link_create(struct netlink *nl, const char *name, const char *kind)
{
    return netlink_link_create_in(nl, name, kind, -1);
}

int netlink_veth_create(struct netlink *nl, const struct netlink_veth_end *here,
                        const struct netlink_veth_end *there, int netns_fd)
{
    struct ifinfomsg peer_header = {.ifi_family = AF_UNSPEC};
    struct nl_msg *msg = create_message(here->name);

    nla_put(msg, IFLA_ADDRESS, sizeof here->hardware, here->hardware);
    struct nlattr *info = nla_nest_start(msg, IFLA_LINKINFO);
    nla_put_string(msg, IFLA_INFO_KIND, "veth");
    struct nlattr *data = nla_nest_start(msg, IFLA_INFO_DATA);
    struct nlattr *peer = nla_nest_start(msg, VETH_INFO_PEER);
    nlmsg_append(msg, &peer_header, sizeof peer_header, NLMSG_ALIGNTO);
    nla_put_string(msg, IFLA_IFNAME, there->name);
    nla_put(msg, IFLA_ADDRESS, sizeof there->hardware, there->hardware);
    nla_put_u32(msg, IFLA_NET_NS_FD, (uint32_t)netns_fd);
    nla_nest_end(msg, peer);
    nla_nest_end(msg, data);
    nla_nest_end(msg, info);
    return netlink_change(nl, msg);
}

static struct nl_msg *link_message(int type, int index, unsigned flags)
{
    struct ifinfomsg ifi = {
        .ifi_family = AF_UNSPEC, .ifi_index = index, .ifi_flags = flags, .ifi_change = flags};

    return netlink_message(type, NLM_F_REQUEST | NLM_F_ACK, &ifi, sizeof ifi);
}

int netlink_link_delete(struct netlink *nl, int index)
{
    return netlink_change(nl, link_message(RTM_DELLINK, index, 0));
}

int netlink_link_move(struct netlink *nl, int index, int netns_fd)
{
    struct nl_msg *msg = link_message(RTM_NEWLINK, index, 0);

    nla_put_u32(msg, IFLA_NET_NS_FD, (uint32_t)netns_fd);
    return netlink_change(nl, msg);
}

int netlink_link_set_alias(struct netlink *nl, int index, const char *alias)
{
    struct nl_msg *msg = link_message(RTM_NEWLINK, index, 0);

    nla_put_string(msg, IFLA_IFALIAS, alias);
    return netlink_change(nl, msg);
}

int netlink_link_set_mtu(struct netlink *nl, int index, unsigned mtu_bytes)
{
    struct nl_msg *msg = link_message(RTM_NEWLINK, index, 0);

    nla_put_u32(msg, IFLA_MTU, mtu_bytes);
    return netlink_change(nl, msg);
}

int netlink_link_set_up(struct netlink *nl, int index, int up)
{
    struct ifinfomsg ifi = {.ifi_family = AF_UNSPEC,
                            .ifi_index = index,
                            .ifi_flags = up ? IFF_UP : 0,
                            .ifi_change = IFF_UP};

    return netlink_change(
        nl, netlink_message(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, &ifi, sizeof ifi));
}

/* --- addresses --- */

static int take_address(struct nl_msg *msg, struct netlink_answer *answer)
{
    struct nlmsghdr *header = nlmsg_hdr(msg);
    struct nlattr *attrs[IFA_MAX + 1];

    if (header->nlmsg_type != RTM_NEWADDR ||
        nlmsg_parse(header, sizeof(struct ifaddrmsg), attrs, IFA_MAX, NULL) < 0) {
        return -EBADMSG;
    }
    const struct ifaddrmsg *ifa = nlmsg_data(header);
    struct nlattr *local = attrs[IFA_LOCAL] ? attrs[IFA_LOCAL] : attrs[IFA_ADDRESS];
    if (ifa->ifa_family != AF_INET || !local) {
        return 0;
    }
    struct netlink_address *address = netlink_answer_add(answer, sizeof *address);
    address->index = (int)ifa->ifa_index;
    address->scope = ifa->ifa_scope;
    address->prefix = (struct ip4_prefix){ntohl(nla_get_u32(local)), ifa->ifa_prefixlen};
    return 0;
}

int netlink_addresses(struct netlink *nl, struct netlink_address **ret_addresses, size_t *ret_len)
{
    struct ifaddrmsg ifa = {.ifa_family = AF_INET};

    return netlink_dump(nl,
                        netlink_message(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, &ifa, sizeof ifa),
                        take_address, (void **)ret_addresses, ret_len);
}

static int address_change(struct netlink *nl, int type, int flags, int index,
                          struct ip4_prefix prefix)
{
    struct ifaddrmsg ifa = {.ifa_family = AF_INET,
                            .ifa_prefixlen = prefix.len,
                            .ifa_scope = RT_SCOPE_UNIVERSE,
                            .ifa_index = (unsigned)index};
    struct nl_msg *msg =
        netlink_message(type, NLM_F_REQUEST | NLM_F_ACK | flags, &ifa, sizeof ifa);

    nla_put_u32(msg, IFA_LOCAL, htonl(prefix.address));
    nla_put_u32(msg, IFA_ADDRESS, htonl(prefix.address));
    return netlink_change(nl, msg);
}

int netlink_address_add(struct netlink *nl, int index, struct ip4_prefix prefix)
{
    return address_change(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, prefix);
}

int netlink_address_delete(struct netlink *nl, int index, struct ip4_prefix prefix)
{
    return address_change(nl, RTM_DELADDR, 0, index, prefix);
}

/* --- routes --- */

static uint32_t get_address(struct nlattr *attr)
{
    return attr ? ntohl(nla_get_u32(attr)) : 0;
}

static int take_route(struct nl_msg *msg, struct netlink_answer *answer)
{
    struct nlmsghdr *header = nlmsg_hdr(msg);
    struct nlattr *attrs[RTA_MAX + 1];

    if (header->nlmsg_type != RTM_NEWROUTE ||
        nlmsg_parse(header, sizeof(struct rtmsg), attrs, RTA_MAX, NULL) < 0) {
        return -EBADMSG;
    }
    const struct rtmsg *rtm = nlmsg_data(header);
    if (rtm->rtm_family != AF_INET || rtm->rtm_table != RT_TABLE_MAIN ||
        rtm->rtm_protocol != NETLINK_PROTOCOL) {
        return 0;
    }
    struct netlink_route *route = netlink_answer_add(answer, sizeof *route);
    route->destination = (struct ip4_prefix){get_address(attrs[RTA_DST]), rtm->rtm_dst_len};
    route->type = rtm->rtm_type;
    route->index = attrs[RTA_OIF] ? (int)nla_get_u32(attrs[RTA_OIF]) : 0;
    route->metric = attrs[RTA_PRIORITY] ? nla_get_u32(attrs[RTA_PRIORITY]) : 0;
    route->source = get_address(attrs[RTA_PREFSRC]);
    route->gateway = get_address(attrs[RTA_GATEWAY]);
    return 0;
}

int netlink_routes(struct netlink *nl, struct netlink_route **ret_routes, size_t *ret_len)
{
    struct rtmsg rtm = {
        .rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = NETLINK_PROTOCOL};

    return netlink_dump(
        nl, netlink_message(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, &rtm, sizeof rtm),
        take_route, (void **)ret_routes, ret_len);
}

static int route_change(struct netlink *nl, int type, int flags, const struct netlink_route *route)
{
    struct rtmsg rtm = {.rtm_family = AF_INET,
                        .rtm_dst_len = route->destination.len,
                        .rtm_table = RT_TABLE_MAIN,
                        .rtm_protocol = NETLINK_PROTOCOL,
                        .rtm_scope =
                            route->index && !route->gateway ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
                        .rtm_type = route->type,
                        .rtm_flags = route->gateway ? RTNH_F_ONLINK : 0};
    struct nl_msg *msg =
        netlink_message(type, NLM_F_REQUEST | NLM_F_ACK | flags, &rtm, sizeof rtm);

    nla_put_u32(msg, RTA_DST, htonl(route->destination.address));
    nla_put_u32(msg, RTA_PRIORITY, route->metric);
    if (route->index) {
        nla_put_u32(msg, RTA_OIF, (uint32_t)route->index);
    }
    if (route->source) {
        nla_put_u32(msg, RTA_PREFSRC, htonl(route->source));
    }
    if (route->gateway) {
        nla_put_u32(msg, RTA_GATEWAY, htonl(route->gateway));
    }
    return netlink_change(nl, msg);
}

int netlink_route_add(struct netlink *nl, const struct netlink_route *route)
{
    return route_change(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, route);
}

int netlink_route_delete(struct netlink *nl, const struct netlink_route *route)
{
    return route_change(nl, RTM_DELROUTE, 0, route);
}

int netlink_route_delete_local(struct netlink *nl, uint32_t address)
{
    struct rtmsg rtm = {.rtm_family = AF_INET,
                        .rtm_dst_len = 32,
                        .rtm_table = RT_TABLE_LOCAL,
                        .rtm_scope = RT_SCOPE_NOWHERE, /* any */
                        .rtm_type = RTN_LOCAL};
    struct nl_msg *msg =
        netlink_message(RTM_DELROUTE, NLM_F_REQUEST | NLM_F_ACK, &rtm, sizeof rtm);

    nla_put_u32(msg, RTA_DST, htonl(address));
    return netlink_change(nl, msg);
}

static int take_index(struct nl_msg *msg, struct netlink_answer *answer)
{
    struct nlattr *attrs[RTA_MAX + 1];

    if (nlmsg_parse(nlmsg_hdr(msg), sizeof(struct rtmsg), attrs, RTA_MAX, NULL) < 0) {
        return -EBADMSG;
    }
    if (attrs[RTA_OIF]) {
        *(int *)netlink_answer_add(answer, sizeof(int)) = (int)nla_get_u32(attrs[RTA_OIF]);
    }
    return 0;
}

int netlink_route_lookup(struct netlink *nl, uint32_t address, int *ret_index)
{
    struct rtmsg rtm = {.rtm_family = AF_INET, .rtm_dst_len = 32};
    struct nl_msg *msg = netlink_message(RTM_GETROUTE, NLM_F_REQUEST, &rtm, sizeof rtm);
    _cleanup_free_ void *items = NULL;
    size_t len = 0;

    nla_put_u32(msg, RTA_DST, htonl(address));
    int rc = netlink_dump(nl, msg, take_index, &items, &len);
    if (rc < 0) {
        return rc;
    }
    if (len == 0) {
        return -ENETUNREACH;
    }
    *ret_index = *(int *)items;
    return 0;
}
