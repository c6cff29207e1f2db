/* flow.h - flows: what is put into a switch's tables, and what is read back with its counters.
 *
 * A `struct of_flow` is one entry of a table. A packet that matches and has no higher match is
 * given to the actions in order, has metadata written, and goes on in a later table; with none
 * of these it is dropped. A `struct of_flow_mod` is an order to change the tables:
 *
 *     struct of_flow_mod mod = {.command = OF_ADD,
 *                               .flow = {.table = 1, .priority = 100, .cookie = COOKIE}};
 *     of_match_set(&mod.flow.match, OF_IN_PORT, 1);
 *     of_flow_output(&mod.flow, OF_PORT_LOCAL);
 *
 * All are plain structs that need no freeing; conn.h sends them. Functions that make a message
 * take the `version` (OF_VERSION_…) and the `xid` by which the switch's answer names it, and
 * append one whole message to a buffer: -EINVAL if the flow can't be said (more actions than fit),
 * -E2BIG at the buffer's limit. Functions that read take a whole message or an entry of one, check
 * every length in it, and return -EBADMSG for anything malformed; what is well-formed and not
 * known to us is skipped and counted in unknown_len.
 *
 * Sources: OpenFlow 1.4.1 sections 7.2.4 (instructions, actions), 7.3.4.1 (flow mod), 7.3.5.2
 * (statistics), 7.4.2 (flow removed). */
#pragma once

#include "openflow/match.h"

/* On the wire, section 7.1.1 */
enum {
    OF_VERSION_13 = 4,
    OF_VERSION_14 = 5,
};

/* Section 7.2.1; ports proper have numbers from 1 to 0xffffff00 */
enum of_port_number {
    OF_PORT_IN_PORT = 0xfffffff8,
    OF_PORT_NORMAL = 0xfffffffa,
    OF_PORT_CONTROLLER = 0xfffffffd,
    OF_PORT_LOCAL = 0xfffffffe,
    OF_PORT_ANY = 0xffffffff,
};

enum {
    OF_TABLE_ALL = 0xff, /* in orders to delete, and in questions */
    OF_ACTIONS_MAX = 8,
};

/* of_flow.flags */
enum {
    OF_FLOW_SEND_REMOVED = 1,
    OF_FLOW_CHECK_OVERLAP = 2, /* adding: refuse if one of the same priority matches too */
    OF_FLOW_RESET_COUNTS = 4,  /* modifying */
};

enum of_action_type {
    OF_ACTION_OUTPUT,
    OF_ACTION_SET_FIELD,
};

struct of_action {
    enum of_action_type type;
    uint32_t port;       /* output */
    enum of_field field; /* set-field */
    uint64_t value;
};

struct of_flow {
    uint8_t table;
    uint16_t priority;
    uint16_t idle_sec, hard_sec; /* it goes after so long without a packet, or at all; 0: stays */
    uint16_t flags;
    uint16_t importance; /* 1.4 only */
    uint64_t cookie;     /* whose it is; given by us, shown by the switch */
    struct of_match match;
    struct of_action actions[OF_ACTIONS_MAX];
    unsigned actions_len;
    uint64_t metadata, metadata_mask; /* written after the actions; mask 0: not */
    uint8_t goto_table;               /* after that; 0: none, for it is always a later table */
    unsigned unknown_len; /* decoded: instructions and actions that we don't know or hold */
};

enum of_flow_command {
    OF_ADD = 0, /* replaces one of the same table, match and priority, and zeroes its counters */
    OF_MODIFY = 1,        /* the instructions of all flows that are covered; counters go on */
    OF_MODIFY_STRICT = 2, /* of the one with this very match and priority */
    OF_DELETE = 3,
    OF_DELETE_STRICT = 4,
};

struct of_flow_mod {
    enum of_flow_command command;
    uint64_t
        cookie_mask;   /* modify, delete: only flows that agree with flow.cookie in these bits */
    uint32_t out_port; /* delete: only flows that send to this port; 0: whatever they do */
    struct of_flow flow;
};

/* Appends an action. More than OF_ACTIONS_MAX are found when the message is made. */
void of_flow_output(struct of_flow *flow, uint32_t port);
void of_flow_set_field(struct of_flow *flow, enum of_field field, uint64_t value);

/* Same match and instructions, table, priority, cookie, time-outs, and of the flags the one that
 * switches keep (send removed). False if either has something unknown. */
int of_flow_equal(const struct of_flow *a, const struct of_flow *b);

int of_flow_mod_encode(struct buf *buf, uint8_t version, uint32_t xid,
                       const struct of_flow_mod *mod);
/* The inverse, for tests and for those who listen. */
int of_flow_mod_decode(const uint8_t *message, size_t size, struct of_flow_mod *ret_mod);

/* --- reading back --- */

/* Which flows; {.table = OF_TABLE_ALL} is all. */
struct of_flow_filter {
    uint8_t table;
    uint64_t cookie, cookie_mask;
    const struct of_match *match; /* flows whose match is this or narrower; NULL: any */
};

struct of_flow_stats {
    struct of_flow flow;
    uint64_t packets, bytes;
    uint32_t duration_sec, duration_nsec; /* since it was added */
};

int of_flow_request_encode(struct buf *buf, uint8_t version, uint32_t xid,
                           const struct of_flow_filter *filter);

/* One entry at the beginning of `data`; *ret_size is what it took. */
int of_flow_stats_decode(const uint8_t *data, size_t size, struct of_flow_stats *ret_stats,
                         size_t *ret_size);

enum of_removed_reason {
    OF_REMOVED_IDLE = 0,
    OF_REMOVED_HARD = 1,
    OF_REMOVED_DELETE = 2,
    OF_REMOVED_GROUP = 3,
    OF_REMOVED_METER = 4,
    OF_REMOVED_EVICTION = 5,
};

struct of_flow_removed {
    enum of_removed_reason reason; /* may be a number that isn't listed */
    struct of_flow flow;           /* without its instructions */
    uint64_t packets, bytes;       /* the last word */
    uint32_t duration_sec, duration_nsec;
};

int of_flow_removed_decode(const uint8_t *message, size_t size,
                           struct of_flow_removed *ret_removed);
