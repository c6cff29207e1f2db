#include "openflow/match.h"

#include <errno.h>
#include <string.h>

#include "lib/mem.h"
#include "openflow/field.h"
#include "openflow/wire.h"

static uint64_t all_bits(enum of_field field)
{
    return ~(uint64_t)0 >> (64 - OF_FIELDS[field].bits);
}

void of_match_set_masked(struct of_match *match, enum of_field field, uint64_t value,
                         uint64_t mask)
{
    mask &= all_bits(field);
    match->value[field] = value & mask;
    match->mask[field] = mask;
    if (mask) {
        match->fields |= (uint64_t)1 << field;
    } else {
        match->fields &= ~((uint64_t)1 << field);
    }
}

void of_match_set(struct of_match *match, enum of_field field, uint64_t value)
{
    of_match_set_masked(match, field, value, ~(uint64_t)0);
}

int of_match_equal(const struct of_match *a, const struct of_match *b)
{
    return a->unknown_len == 0 && b->unknown_len == 0 && a->fields == b->fields &&
           memcmp(a->value, b->value, sizeof a->value) == 0 &&
           memcmp(a->mask, b->mask, sizeof a->mask) == 0;
}

/* --- encoding --- */

void of_oxm_put(struct of_out *out, enum of_field field, uint64_t value, uint64_t mask)
{
    const struct of_field_info *info = &OF_FIELDS[field];
    int is_masked = mask != all_bits(field);

    of_put(out, info->oxm_class, 2);
    of_put(out, (uint64_t)(info->oxm_field << 1 | is_masked), 1);
    of_put(out, (uint64_t)info->size << is_masked, 1);
    of_put(out, value, info->size);
    if (is_masked) {
        of_put(out, mask, info->size);
    }
}

void of_match_put(struct of_out *out, const struct of_match *match)
{
    size_t start = out->size;

    of_put(out, OF_OXM_MATCH, 2);
    of_put(out, 0, 2);
    for (enum of_field field = 0; field < OF_FIELD_LEN; field++) {
        if (of_match_has(match, field)) {
            of_oxm_put(out, field, match->value[field], match->mask[field]);
        }
    }
    of_finish(out, start);
    of_pad(out, of_align8(out->size - start) - (out->size - start));
}

/* --- decoding --- */

/* OF_FIELD_LEN if it isn't one of ours. */
static enum of_field find(uint16_t oxm_class, uint8_t oxm_field)
{
    for (enum of_field field = 0; field < OF_FIELD_LEN; field++) {
        if (OF_FIELDS[field].oxm_field == oxm_field && OF_FIELDS[field].oxm_class == oxm_class) {
            return field;
        }
    }
    return OF_FIELD_LEN;
}

int of_oxm_get(const uint8_t *data, size_t size, struct of_oxm *ret_oxm)
{
    if (size < 4 || size - 4 < of_u8(data, 3)) {
        return -EBADMSG;
    }
    int is_masked = of_u8(data, 2) & 1;
    size_t len = of_u8(data, 3);
    struct of_oxm oxm = {.size = 4 + len,
                         .field = find(of_u16(data, 0), (uint8_t)(of_u8(data, 2) >> 1))};
    if (oxm.field != OF_FIELD_LEN) {
        size_t half = OF_FIELDS[oxm.field].size;
        if (len != half << is_masked) {
            return -EBADMSG;
        }
        oxm.value = of_load(data + 4, half);
        oxm.mask = is_masked ? of_load(data + 4 + half, half) : all_bits(oxm.field);
        if (oxm.value & ~oxm.mask || oxm.mask & ~all_bits(oxm.field)) {
            return -EBADMSG;
        }
    }
    *ret_oxm = oxm;
    return 0;
}

static int get_fields(const uint8_t *data, size_t size, struct of_match *match)
{
    for (size_t at = 0; at < size;) {
        struct of_oxm oxm;
        int rc = of_oxm_get(data + at, size - at, &oxm);
        if (rc < 0) {
            return rc;
        }
        if (oxm.field == OF_FIELD_LEN) {
            match->unknown_len++;
        } else if (of_match_has(match, oxm.field)) {
            return -EBADMSG;
        } else {
            of_match_set_masked(match, oxm.field, oxm.value, oxm.mask);
        }
        at += oxm.size;
    }
    return 0;
}

int of_match_get(const uint8_t *data, size_t size, struct of_match *ret_match, size_t *ret_size)
{
    if (size < 4 || of_u16(data, 0) != OF_OXM_MATCH || of_u16(data, 2) < 4 ||
        of_align8(of_u16(data, 2)) > size) {
        return -EBADMSG;
    }
    size_t len = of_u16(data, 2);
    *ret_match = (struct of_match){0};
    *ret_size = of_align8(len);
    return get_fields(data + 4, len - 4, ret_match);
}

/* --- ranges of ports --- */

size_t of_port_masks(uint16_t first, uint16_t last,
                     struct of_port_mask ret_masks[OF_PORT_MASKS_MAX])
{
    size_t len = 0;

    for (uint32_t at = first; at <= last;) {
        uint32_t block = at ? at & -at : 0x10000; /* the largest that may begin here */
        while (at + block - 1 > last) {
            block /= 2;
        }
        ret_masks[len++] = (struct of_port_mask){(uint16_t)at, (uint16_t)(0x10000 - block)};
        at += block;
    }
    return len;
}
