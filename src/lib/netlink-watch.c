#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/mem.h"
#include "lib/netlink.h"
#include "lib/netns.h"

/* Each of the two sockets is told of changes by the kernel and only ever read. When it overflows
 * (ENOBUFS) something was missed, so the owner is told that anything may have changed. */
struct socket_watch {
    uv_poll_t poll;
    int fd;
    enum netlink_event event;
    struct netlink_watch *watch;
};

struct netlink_watch {
    struct socket_watch route, nftables;
    netlink_event_fn *event;
    void *arg;
    unsigned open; /* handles that the loop still knows */
};

/* The first attribute of every nftables message is the name of its table. */
static const char *table_of(const struct nlmsghdr *header)
{
    const size_t offset = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nfgenmsg));

    if (NFNL_SUBSYS_ID(header->nlmsg_type) != NFNL_SUBSYS_NFTABLES ||
        header->nlmsg_len < offset + NLA_HDRLEN + 1) {
        return NULL;
    }
    const struct nlattr *attr = (const void *)((const char *)header + offset);
    const char *text = (const char *)attr + NLA_HDRLEN;
    if ((attr->nla_type & NLA_TYPE_MASK) != 1 || attr->nla_len <= NLA_HDRLEN ||
        attr->nla_len > header->nlmsg_len - offset ||
        !memchr(text, '\0', attr->nla_len - NLA_HDRLEN)) {
        return NULL;
    }
    return text;
}

static void tell(struct socket_watch *s, char *data, int size)
{
    struct netlink_watch *watch = s->watch;

    if (s->event == NETLINK_EVENT_ROUTE) {
        watch->event(watch->arg, s->event, NULL);
        return;
    }
    for (struct nlmsghdr *header = (void *)data; NLMSG_OK(header, size);
         header = NLMSG_NEXT(header, size)) {
        const char *table = table_of(header);
        if (table) {
            watch->event(watch->arg, s->event, table);
        }
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct socket_watch *s = poll->data;
    char data[32768] __attribute__((aligned(NLMSG_ALIGNTO)));

    /* A bounded number of datagrams a turn: what is left wakes us again. */
    for (unsigned i = 0; i < 64; i++) {
        ssize_t size = recv(s->fd, data, sizeof data, MSG_DONTWAIT);
        if (size < 0 && errno == ENOBUFS) {
            s->watch->event(s->watch->arg, s->event, NULL);
            continue;
        }
        if (size <= 0) {
            return;
        }
        tell(s, data, (int)size);
    }
}

static int open_socket(int protocol, unsigned groups)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);

    if (fd < 0) {
        return -errno;
    }
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

static int socket_watch_start(struct netlink_watch *watch, struct socket_watch *s, uv_loop_t *loop,
                              enum netlink_event event)
{
    s->watch = watch;
    s->event = event;
    s->fd = event == NETLINK_EVENT_ROUTE
                ? open_socket(NETLINK_ROUTE, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE)
                : open_socket(NETLINK_NETFILTER, 1U << (NFNLGRP_NFTABLES - 1));
    if (s->fd < 0) {
        return s->fd;
    }
    int rc = uv_poll_init(loop, &s->poll, s->fd);
    if (rc < 0) {
        close(s->fd);
        return rc;
    }
    s->poll.data = s;
    watch->open++;
    return uv_poll_start(&s->poll, UV_READABLE, on_readable);
}

int netlink_watch_new(uv_loop_t *loop, netlink_event_fn *event, void *arg,
                      struct netlink_watch **ret_watch)
{
    struct netlink_watch *watch = xnew(struct netlink_watch);

    watch->event = event;
    watch->arg = arg;
    int rc = socket_watch_start(watch, &watch->route, loop, NETLINK_EVENT_ROUTE);
    if (rc == 0) {
        rc = socket_watch_start(watch, &watch->nftables, loop, NETLINK_EVENT_NFTABLES);
    }
    if (rc < 0) {
        netlink_watch_free(watch);
        return rc;
    }
    *ret_watch = watch;
    return 0;
}

struct opening {
    uv_loop_t *loop;
    netlink_event_fn *event;
    void *arg;
    struct netlink_watch **ret_watch;
};

static int open_new(void *arg)
{
    struct opening *o = arg;

    return netlink_watch_new(o->loop, o->event, o->arg, o->ret_watch);
}

int netlink_watch_new_in(int netns_fd, uv_loop_t *loop, netlink_event_fn *event, void *arg,
                         struct netlink_watch **ret_watch)
{
    struct opening opening = {.loop = loop, .event = event, .arg = arg, .ret_watch = ret_watch};

    return netns_run(netns_fd, open_new, &opening);
}

static void on_closed(uv_handle_t *handle)
{
    struct socket_watch *s = handle->data;
    struct netlink_watch *watch = s->watch;

    close(s->fd);
    if (--watch->open == 0) {
        free(watch);
    }
}

void netlink_watch_free(struct netlink_watch *watch)
{
    if (!watch) {
        return;
    }
    if (watch->open == 0) {
        free(watch);
        return;
    }
    struct socket_watch *sockets[] = {&watch->route, &watch->nftables};
    for (size_t i = 0; i < ARRAY_LEN(sockets); i++) {
        if (sockets[i]->poll.data) {
            uv_close((uv_handle_t *)&sockets[i]->poll, on_closed);
        }
    }
}
