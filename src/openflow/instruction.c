#include "openflow/instruction.h"

#include <errno.h>

#include "openflow/field.h"

enum {
    HEAD_BYTES = 4, /* type and length, of instructions and actions alike */
    APPLY_BYTES = 8,
    METADATA_BYTES = 24,
    GOTO_BYTES = 8,
    OUTPUT_BYTES = 16,
};

/* --- encoding --- */

static void put_action(struct of_out *out, const struct of_action *action)
{
    size_t start = out->size;

    if (action->type == OF_ACTION_OUTPUT) {
        of_put(out, OF_ACTION_TYPE_OUTPUT, 2);
        of_put(out, OUTPUT_BYTES, 2);
        of_put(out, action->port, 4);
        of_put(out, action->port == OF_PORT_CONTROLLER ? 0xffff : 0, 2); /* whole packets */
        of_pad(out, 6);
        return;
    }
    of_put(out, OF_ACTION_TYPE_SET_FIELD, 2);
    of_put(out, 0, 2);
    of_oxm_put(out, action->field, action->value,
               ~(uint64_t)0 >> (64 - of_field_bits(action->field)));
    of_pad(out, of_align8(out->size - start) - (out->size - start));
    of_finish(out, start);
}

void of_instructions_put(struct of_out *out, const struct of_flow *flow)
{
    size_t start = out->size;

    if (flow->actions_len > 0) {
        of_put(out, OF_INSTRUCTION_APPLY, 2);
        of_put(out, 0, 2);
        of_pad(out, 4);
        for (unsigned i = 0; i < flow->actions_len; i++) {
            put_action(out, &flow->actions[i]);
        }
        of_finish(out, start);
    }
    if (flow->metadata_mask) {
        of_put(out, OF_INSTRUCTION_METADATA, 2);
        of_put(out, METADATA_BYTES, 2);
        of_pad(out, 4);
        of_put(out, flow->metadata, 8);
        of_put(out, flow->metadata_mask, 8);
    }
    if (flow->goto_table) {
        of_put(out, OF_INSTRUCTION_GOTO, 2);
        of_put(out, GOTO_BYTES, 2);
        of_put(out, flow->goto_table, 1);
        of_pad(out, 3);
    }
}

/* --- decoding --- */

static int get_set_field(const uint8_t *data, size_t size, struct of_flow *flow)
{
    struct of_oxm oxm;
    int rc = of_oxm_get(data + HEAD_BYTES, size - HEAD_BYTES, &oxm);

    if (rc < 0 || of_align8(HEAD_BYTES + oxm.size) != size) {
        return -EBADMSG;
    }
    if (oxm.field == OF_FIELD_LEN || of_u8(data, HEAD_BYTES + 2) & 1) {
        flow->unknown_len++; /* a field we don't know, or only some of its bits */
    } else {
        of_flow_set_field(flow, oxm.field, oxm.value);
    }
    return 0;
}

static int get_action(const uint8_t *data, size_t size, struct of_flow *flow)
{
    if (flow->actions_len == OF_ACTIONS_MAX) {
        flow->unknown_len++;
        return 0;
    }
    switch (of_u16(data, 0)) {
    case OF_ACTION_TYPE_OUTPUT:
        if (size != OUTPUT_BYTES) {
            return -EBADMSG;
        }
        of_flow_output(flow, of_u32(data, 4));
        return 0;
    case OF_ACTION_TYPE_SET_FIELD:
        return get_set_field(data, size, flow);
    default:
        flow->unknown_len++;
        return 0;
    }
}

/* A size from the wire that is a multiple of 8 and not beyond the end. */
static int get_size(const uint8_t *data, size_t left, size_t *ret_size)
{
    if (left < 8 || of_u16(data, 2) < 8 || of_u16(data, 2) % 8 || of_u16(data, 2) > left) {
        return -EBADMSG;
    }
    *ret_size = of_u16(data, 2);
    return 0;
}

static int get_actions(const uint8_t *data, size_t size, struct of_flow *flow)
{
    size_t len;

    for (size_t at = APPLY_BYTES; at < size; at += len) {
        int rc = get_size(data + at, size - at, &len);
        if (rc == 0) {
            rc = get_action(data + at, len, flow);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int get_instruction(const uint8_t *data, size_t size, struct of_flow *flow)
{
    switch (of_u16(data, 0)) {
    case OF_INSTRUCTION_APPLY:
        return get_actions(data, size, flow);
    case OF_INSTRUCTION_METADATA:
        if (size != METADATA_BYTES) {
            return -EBADMSG;
        }
        flow->metadata_mask = of_u64(data, 16);
        flow->metadata = of_u64(data, 8) & flow->metadata_mask;
        return 0;
    case OF_INSTRUCTION_GOTO:
        if (size != GOTO_BYTES) {
            return -EBADMSG;
        }
        flow->goto_table = of_u8(data, 4);
        return 0;
    default:
        flow->unknown_len++;
        return 0;
    }
}

int of_instructions_get(const uint8_t *data, size_t size, struct of_flow *flow)
{
    size_t len;

    for (size_t at = 0; at < size; at += len) {
        int rc = get_size(data + at, size - at, &len);
        if (rc == 0) {
            rc = get_instruction(data + at, len, flow);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}
