#include "services/nft-kernel.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <string.h>

#include "lib/mem.h"

enum {
    BUFFER_SIZE = 64 << 10,
    COMMENT_TYPE = 0, /* NFTNL_UDATA_SET_ELEM_COMMENT */
    COMMENT_MAX = 128,
};

struct nft_kernel {
    struct nl_sock *socket;
};

int nft_kernel_new(struct nft_kernel **ret_kernel)
{
    struct nft_kernel *kernel = xnew(struct nft_kernel);

    kernel->socket = nl_socket_alloc();
    if (!kernel->socket || nl_connect(kernel->socket, NETLINK_NETFILTER) < 0) {
        nft_kernel_free(kernel);
        return -EIO;
    }
    nl_socket_disable_auto_ack(kernel->socket);
    nl_socket_set_msg_buf_size(kernel->socket, BUFFER_SIZE);
    *ret_kernel = kernel;
    return 0;
}

struct nft_kernel *nft_kernel_free(struct nft_kernel *kernel)
{
    if (kernel) {
        nl_socket_free(kernel->socket);
        free(kernel);
    }
    return NULL;
}

/* --- requests --- */

struct answer {
    int rc;
    void (*take)(struct answer *answer, struct nl_msg *msg);
    nft_kernel_element_fn *each;
    nft_kernel_counter_fn *counter;
    void *arg;
    uint32_t generation;
};

static int on_valid(struct nl_msg *msg, void *arg)
{
    struct answer *answer = arg;

    answer->take(answer, msg);
    return NL_OK;
}

static int on_error(struct sockaddr_nl *from, struct nlmsgerr *failure, void *arg)
{
    struct answer *answer = arg;

    answer->rc = failure->error;
    return NL_STOP;
}

static struct nl_msg *message(int type, int flags, uint8_t family)
{
    struct nfgenmsg header = {.nfgen_family = family, .version = NFNETLINK_V0};
    struct nl_msg *msg = nlmsg_alloc_simple(NFNL_SUBSYS_NFTABLES << 8 | type, flags);

    if (!msg || nlmsg_append(msg, &header, sizeof header, NLMSG_ALIGNTO) < 0) {
        abort(); /* out of memory, as in mem.h */
    }
    return msg;
}

/* Sends `msg`, frees it, and collects the answer. */
static int request(struct nft_kernel *kernel, struct nl_msg *msg, struct answer *answer)
{
    struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);

    nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_valid, answer);
    nl_cb_err(cb, NL_CB_CUSTOM, on_error, answer);
    int rc = nl_send_auto(kernel->socket, msg);
    nlmsg_free(msg);
    if (rc >= 0) {
        rc = nl_recvmsgs(kernel->socket, cb);
    }
    nl_cb_put(cb);
    if (answer->rc < 0 || rc >= 0) {
        return answer->rc;
    }
    /* What is left of that answer mustn't be taken for the next one. */
    nl_close(kernel->socket);
    nl_connect(kernel->socket, NETLINK_NETFILTER);
    return rc == -NLE_DUMP_INTR ? -EAGAIN : -EIO;
}

/* --- generation --- */

static void take_generation(struct answer *answer, struct nl_msg *msg)
{
    struct nlattr *attrs[NFTA_GEN_MAX + 1];

    if (nlmsg_parse(nlmsg_hdr(msg), sizeof(struct nfgenmsg), attrs, NFTA_GEN_MAX, NULL) == 0 &&
        attrs[NFTA_GEN_ID] && nla_len(attrs[NFTA_GEN_ID]) == sizeof(uint32_t)) {
        answer->generation = ntohl(nla_get_u32(attrs[NFTA_GEN_ID]));
    }
}

int nft_kernel_generation(struct nft_kernel *kernel, uint32_t *ret_generation)
{
    struct answer answer = {.take = take_generation};
    int rc = request(kernel, message(NFT_MSG_GETGEN, NLM_F_REQUEST, NFPROTO_UNSPEC), &answer);

    if (rc == 0) {
        *ret_generation = answer.generation;
    }
    return rc;
}

/* --- elements --- */

static uint64_t number_of(struct nlattr *attr)
{
    return attr && nla_len(attr) == sizeof(uint64_t) ? be64toh(nla_get_u64(attr)) : 0;
}

static void take_counter(struct nlattr *expr, struct nft_kernel_element *element)
{
    struct nlattr *attrs[NFTA_EXPR_MAX + 1], *values[NFTA_COUNTER_MAX + 1];

    if (expr && nla_parse_nested(attrs, NFTA_EXPR_MAX, expr, NULL) == 0 && attrs[NFTA_EXPR_NAME] &&
        nla_strcmp(attrs[NFTA_EXPR_NAME], "counter") == 0 && attrs[NFTA_EXPR_DATA] &&
        nla_parse_nested(values, NFTA_COUNTER_MAX, attrs[NFTA_EXPR_DATA], NULL) == 0) {
        element->packets = number_of(values[NFTA_COUNTER_PACKETS]);
        element->bytes = number_of(values[NFTA_COUNTER_BYTES]);
    }
}

/* Type, length and value, one after the other; a text has its NUL. */
static void take_comment(struct nlattr *attr, char comment[COMMENT_MAX])
{
    const uint8_t *data = attr ? nla_data(attr) : NULL;
    size_t size = attr ? (size_t)nla_len(attr) : 0;

    while (size >= 2 && size - 2 >= data[1]) {
        if (data[0] == COMMENT_TYPE && data[1] > 0 && data[1] < COMMENT_MAX) {
            memcpy(comment, data + 2, data[1]);
            comment[data[1]] = '\0';
            return;
        }
        size -= 2U + data[1];
        data += 2 + data[1];
    }
}

static void take_element(struct answer *answer, struct nlattr *attr)
{
    struct nlattr *attrs[NFTA_SET_ELEM_MAX + 1], *data[NFTA_DATA_MAX + 1];
    char comment[COMMENT_MAX] = "";

    if (nla_parse_nested(attrs, NFTA_SET_ELEM_MAX, attr, NULL) < 0 || !attrs[NFTA_SET_ELEM_KEY] ||
        nla_parse_nested(data, NFTA_DATA_MAX, attrs[NFTA_SET_ELEM_KEY], NULL) < 0 ||
        !data[NFTA_DATA_VALUE]) {
        return;
    }
    struct nft_kernel_element element = {.key = nla_data(data[NFTA_DATA_VALUE]),
                                         .key_size = (size_t)nla_len(data[NFTA_DATA_VALUE]),
                                         .comment = comment};
    take_counter(attrs[NFTA_SET_ELEM_EXPR], &element);
    take_comment(attrs[NFTA_SET_ELEM_USERDATA], comment);
    answer->each(answer->arg, &element);
}

static void take_elements(struct answer *answer, struct nl_msg *msg)
{
    struct nlattr *attrs[NFTA_SET_ELEM_LIST_MAX + 1], *attr;
    int left;

    if (nlmsg_parse(nlmsg_hdr(msg), sizeof(struct nfgenmsg), attrs, NFTA_SET_ELEM_LIST_MAX, NULL) <
            0 ||
        !attrs[NFTA_SET_ELEM_LIST_ELEMENTS]) {
        return;
    }
    nla_for_each_nested(attr, attrs[NFTA_SET_ELEM_LIST_ELEMENTS], left)
    {
        take_element(answer, attr);
    }
}

int nft_kernel_elements(struct nft_kernel *kernel, enum nft_kernel_family family,
                        const char *table, const char *set, nft_kernel_element_fn *each, void *arg)
{
    struct answer answer = {.take = take_elements, .each = each, .arg = arg};
    struct nl_msg *msg = message(NFT_MSG_GETSETELEM, NLM_F_REQUEST | NLM_F_DUMP, (uint8_t)family);

    nla_put_string(msg, NFTA_SET_ELEM_LIST_TABLE, table);
    nla_put_string(msg, NFTA_SET_ELEM_LIST_SET, set);
    return request(kernel, msg, &answer);
}

/* --- named counters --- */

static void take_object(struct answer *answer, struct nl_msg *msg)
{
    struct nlattr *attrs[NFTA_OBJ_MAX + 1], *values[NFTA_COUNTER_MAX + 1];

    if (nlmsg_parse(nlmsg_hdr(msg), sizeof(struct nfgenmsg), attrs, NFTA_OBJ_MAX, NULL) == 0 &&
        attrs[NFTA_OBJ_NAME] && attrs[NFTA_OBJ_DATA] &&
        nla_parse_nested(values, NFTA_COUNTER_MAX, attrs[NFTA_OBJ_DATA], NULL) == 0) {
        answer->counter(answer->arg, nla_get_string(attrs[NFTA_OBJ_NAME]),
                        number_of(values[NFTA_COUNTER_PACKETS]),
                        number_of(values[NFTA_COUNTER_BYTES]));
    }
}

int nft_kernel_counters(struct nft_kernel *kernel, enum nft_kernel_family family,
                        const char *table, nft_kernel_counter_fn *each, void *arg)
{
    struct answer answer = {.take = take_object, .counter = each, .arg = arg};
    struct nl_msg *msg = message(NFT_MSG_GETOBJ, NLM_F_REQUEST | NLM_F_DUMP, (uint8_t)family);

    nla_put_string(msg, NFTA_OBJ_TABLE, table);
    nla_put_u32(msg, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
    return request(kernel, msg, &answer);
}
