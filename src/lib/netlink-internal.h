/* netlink-internal.h - how the files of netlink.h talk to the kernel. */
#pragma once

#include <netlink/msg.h>

#include "lib/netlink.h"

/* What an answer is collected into. */
struct netlink_answer {
    int rc;
    int (*take)(struct nl_msg *msg, struct netlink_answer *answer);
    void *items; /* array of what take() makes */
    size_t len;
};

/* Adds what one message says with netlink_answer_add(), if it is of interest; -EBADMSG if it can't
 * be understood. */
typedef int netlink_take_fn(struct nl_msg *msg, struct netlink_answer *answer);

/* A zeroed item of this size at the array's end. */
void *netlink_answer_add(struct netlink_answer *answer, size_t size);

struct nl_msg *netlink_message(int type, int flags, const void *header, size_t header_size);

/* Sends and frees the message. A change is a fault point. The caller frees *ret_items. */
int netlink_change(struct netlink *nl, struct nl_msg *msg);
int netlink_dump(struct netlink *nl, struct nl_msg *msg, netlink_take_fn *take, void **ret_items,
                 size_t *ret_len);
