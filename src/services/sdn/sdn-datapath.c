/* sdn-datapath.c - has this kernel Open vSwitch's datapath? Asked by its generic netlink family;
 * the question makes the kernel load the module, if there is one (linux/genetlink.h). */
#include <linux/genetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "lib/mem.h"
#include "services/sdn/sdn-driver.h"

#define FAMILY "ovs_datapath"

enum {
    ANSWER_SEC = 2, /* a module may have to be loaded first */
};

struct question {
    struct nlmsghdr header;
    struct genlmsghdr command;
    struct nlattr attr;
    char name[NLA_ALIGN(sizeof FAMILY)];
};

static int ask(int fd)
{
    struct question question = {
        .header = {.nlmsg_len = sizeof question,
                   .nlmsg_type = GENL_ID_CTRL,
                   .nlmsg_flags = NLM_F_REQUEST},
        .command = {.cmd = CTRL_CMD_GETFAMILY, .version = 1},
        .attr = {.nla_len = NLA_HDRLEN + sizeof FAMILY, .nla_type = CTRL_ATTR_FAMILY_NAME},
        .name = FAMILY,
    };
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    const struct timeval timeout = {.tv_sec = ANSWER_SEC};
    struct nlmsghdr answer[64];

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (sendto(fd, &question, sizeof question, 0, (void *)&kernel, sizeof kernel) < 0) {
        return 0;
    }
    ssize_t size = recv(fd, answer, sizeof answer, 0);
    return size >= (ssize_t)sizeof *answer && answer->nlmsg_type == GENL_ID_CTRL;
}

const char *sdn_datapath_find(void)
{
    _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);

    return fd >= 0 && ask(fd) ? "system" : "netdev";
}
