#include <arpa/inet.h>
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <string.h>

#include "lib/netlink-internal.h"

static int take_neighbour(struct nl_msg *msg, struct netlink_answer *answer)
{
    struct nlmsghdr *header = nlmsg_hdr(msg);
    struct nlattr *attrs[NDA_MAX + 1];

    if (header->nlmsg_type != RTM_NEWNEIGH ||
        nlmsg_parse(header, sizeof(struct ndmsg), attrs, NDA_MAX, NULL) < 0) {
        return -EBADMSG;
    }
    const struct ndmsg *ndm = nlmsg_data(header);
    struct netlink_neighbour *neighbour;
    if (ndm->ndm_family != AF_INET || !(ndm->ndm_state & NUD_PERMANENT) || !attrs[NDA_DST] ||
        !attrs[NDA_LLADDR] || nla_len(attrs[NDA_LLADDR]) != sizeof neighbour->hardware) {
        return 0;
    }
    neighbour = netlink_answer_add(answer, sizeof *neighbour);
    neighbour->index = ndm->ndm_ifindex;
    neighbour->address = ntohl(nla_get_u32(attrs[NDA_DST]));
    memcpy(neighbour->hardware, nla_data(attrs[NDA_LLADDR]), sizeof neighbour->hardware);
    return 0;
}

int netlink_neighbours(struct netlink *nl, struct netlink_neighbour **ret_neighbours,
                       size_t *ret_len)
{
    struct ndmsg ndm = {.ndm_family = AF_INET};

    return netlink_dump(
        nl, netlink_message(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, &ndm, sizeof ndm),
        take_neighbour, (void **)ret_neighbours, ret_len);
}

int netlink_neighbour_set(struct netlink *nl, const struct netlink_neighbour *neighbour)
{
    struct ndmsg ndm = {
        .ndm_family = AF_INET, .ndm_ifindex = neighbour->index, .ndm_state = NUD_PERMANENT};
    struct nl_msg *msg = netlink_message(
        RTM_NEWNEIGH, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, &ndm, sizeof ndm);

    nla_put_u32(msg, NDA_DST, htonl(neighbour->address));
    nla_put(msg, NDA_LLADDR, sizeof neighbour->hardware, neighbour->hardware);
    return netlink_change(nl, msg);
}
