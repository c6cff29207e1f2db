#include "openflow/flow.h"

#include <errno.h>

#include "openflow/field.h"
#include "openflow/instruction.h"
#include "openflow/wire.h"

/* Bytes before the match */
enum {
    MOD_BYTES = 48,
    STATS_BYTES = 48,
    REMOVED_BYTES = 48,
};

void of_flow_output(struct of_flow *flow, uint32_t port)
{
    if (flow->actions_len < OF_ACTIONS_MAX) {
        flow->actions[flow->actions_len] =
            (struct of_action){.type = OF_ACTION_OUTPUT, .port = port};
    }
    flow->actions_len++;
}

void of_flow_set_field(struct of_flow *flow, enum of_field field, uint64_t value)
{
    if (flow->actions_len < OF_ACTIONS_MAX) {
        flow->actions[flow->actions_len] =
            (struct of_action){.type = OF_ACTION_SET_FIELD, .field = field, .value = value};
    }
    flow->actions_len++;
}

static int action_equal(const struct of_action *a, const struct of_action *b)
{
    return a->type == b->type &&
           (a->type == OF_ACTION_OUTPUT ? a->port == b->port
                                        : a->field == b->field && a->value == b->value);
}

static int instructions_equal(const struct of_flow *a, const struct of_flow *b)
{
    if (a->actions_len != b->actions_len || a->unknown_len > 0 || b->unknown_len > 0 ||
        a->metadata != b->metadata || a->metadata_mask != b->metadata_mask ||
        a->goto_table != b->goto_table) {
        return 0;
    }
    for (unsigned i = 0; i < a->actions_len; i++) {
        if (!action_equal(&a->actions[i], &b->actions[i])) {
            return 0;
        }
    }
    return 1;
}

int of_flow_equal(const struct of_flow *a, const struct of_flow *b)
{
    return a->table == b->table && a->priority == b->priority && a->cookie == b->cookie &&
           a->idle_sec == b->idle_sec && a->hard_sec == b->hard_sec &&
           a->importance == b->importance && ((a->flags ^ b->flags) & OF_FLOW_SEND_REMOVED) == 0 &&
           instructions_equal(a, b) && of_match_equal(&a->match, &b->match);
}

int of_flow_mod_encode(struct buf *buf, uint8_t version, uint32_t xid,
                       const struct of_flow_mod *mod)
{
    const struct of_flow *flow = &mod->flow;
    struct of_out out;

    if (flow->actions_len > OF_ACTIONS_MAX) {
        return -EINVAL;
    }
    out.size = 0;
    of_begin(&out, version, OF_FLOW_MOD, xid);
    of_put(&out, flow->cookie, 8);
    of_put(&out, mod->cookie_mask, 8);
    of_put(&out, flow->table, 1);
    of_put(&out, mod->command, 1);
    of_put(&out, flow->idle_sec, 2);
    of_put(&out, flow->hard_sec, 2);
    of_put(&out, flow->priority, 2);
    of_put(&out, 0xffffffff, 4); /* no buffered packet */
    of_put(&out, mod->out_port ? mod->out_port : OF_PORT_ANY, 4);
    of_put(&out, 0xffffffff, 4); /* any group */
    of_put(&out, flow->flags, 2);
    of_put(&out, version >= OF_VERSION_14 ? flow->importance : 0, 2);
    of_match_put(&out, &flow->match);
    of_instructions_put(&out, flow);
    of_finish(&out, 0);
    return buf_append(buf, out.bytes, out.size);
}

/* Match and instructions, from `at` to the end. */
static int get_rest(const uint8_t *data, size_t at, size_t size, struct of_flow *flow)
{
    size_t match_size;
    int rc = of_match_get(data + at, size - at, &flow->match, &match_size);

    return rc < 0 ? rc : of_instructions_get(data + at + match_size, size - at - match_size, flow);
}

int of_flow_mod_decode(const uint8_t *message, size_t size, struct of_flow_mod *ret_mod)
{
    if (size < MOD_BYTES || of_u8(message, 1) != OF_FLOW_MOD ||
        of_u8(message, 25) > OF_DELETE_STRICT) {
        return -EBADMSG;
    }
    uint32_t port = of_u32(message, 36);
    *ret_mod = (struct of_flow_mod){
        .command = of_u8(message, 25),
        .cookie_mask = of_u64(message, 16),
        .out_port = port == OF_PORT_ANY ? 0 : port,
        .flow = {.cookie = of_u64(message, 8),
                 .table = of_u8(message, 24),
                 .idle_sec = of_u16(message, 26),
                 .hard_sec = of_u16(message, 28),
                 .priority = of_u16(message, 30),
                 .flags = of_u16(message, 44),
                 .importance = of_u16(message, 46)},
    };
    return get_rest(message, MOD_BYTES, size, &ret_mod->flow);
}

int of_flow_request_encode(struct buf *buf, uint8_t version, uint32_t xid,
                           const struct of_flow_filter *filter)
{
    static const struct of_match ANY;
    struct of_out out;

    out.size = 0;
    of_begin(&out, version, OF_MULTIPART_REQUEST, xid);
    of_put(&out, OF_MULTIPART_FLOW, 2);
    of_pad(&out, 6); /* no flags */
    of_put(&out, filter->table, 1);
    of_pad(&out, 3);
    of_put(&out, OF_PORT_ANY, 4);
    of_put(&out, 0xffffffff, 4); /* any group */
    of_pad(&out, 4);
    of_put(&out, filter->cookie, 8);
    of_put(&out, filter->cookie_mask, 8);
    of_match_put(&out, filter->match ? filter->match : &ANY);
    of_finish(&out, 0);
    return buf_append(buf, out.bytes, out.size);
}

int of_flow_stats_decode(const uint8_t *data, size_t size, struct of_flow_stats *ret_stats,
                         size_t *ret_size)
{
    if (size < STATS_BYTES || of_u16(data, 0) < STATS_BYTES || of_u16(data, 0) > size) {
        return -EBADMSG;
    }
    *ret_size = of_u16(data, 0);
    *ret_stats = (struct of_flow_stats){
        .flow = {.table = of_u8(data, 2),
                 .priority = of_u16(data, 12),
                 .idle_sec = of_u16(data, 14),
                 .hard_sec = of_u16(data, 16),
                 .flags = of_u16(data, 18),
                 .importance = of_u16(data, 20),
                 .cookie = of_u64(data, 24)},
        .duration_sec = of_u32(data, 4),
        .duration_nsec = of_u32(data, 8),
        .packets = of_u64(data, 32),
        .bytes = of_u64(data, 40),
    };
    return get_rest(data, STATS_BYTES, *ret_size, &ret_stats->flow);
}

int of_flow_removed_decode(const uint8_t *message, size_t size,
                           struct of_flow_removed *ret_removed)
{
    size_t match_size;

    if (size < REMOVED_BYTES || of_u8(message, 1) != OF_FLOW_REMOVED) {
        return -EBADMSG;
    }
    *ret_removed = (struct of_flow_removed){
        .reason = of_u8(message, 18),
        .flow = {.cookie = of_u64(message, 8),
                 .priority = of_u16(message, 16),
                 .table = of_u8(message, 19),
                 .idle_sec = of_u16(message, 28),
                 .hard_sec = of_u16(message, 30)},
        .duration_sec = of_u32(message, 20),
        .duration_nsec = of_u32(message, 24),
        .packets = of_u64(message, 32),
        .bytes = of_u64(message, 40),
    };
    int rc = of_match_get(message + REMOVED_BYTES, size - REMOVED_BYTES, &ret_removed->flow.match,
                          &match_size);
    return rc < 0 ? rc : match_size == size - REMOVED_BYTES ? 0 : -EBADMSG;
}
