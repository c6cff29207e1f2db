/* field.h - the table of match fields, and single OXM fields. Private to src/openflow. */
#pragma once

#include "openflow/match.h"
#include "openflow/wire.h"

struct of_field_info {
    const char *name;
    uint16_t oxm_class;
    uint8_t oxm_field;
    uint8_t size; /* bytes on the wire */
    uint8_t bits; /* of which so many count */
    uint8_t is_maskable;
    /* What else the match must have, up to ip_proto: 0 for no demand. */
    uint16_t eth_type;
    uint8_t ip_proto;
};

extern const struct of_field_info OF_FIELDS[OF_FIELD_LEN];

struct of_oxm {
    enum of_field field; /* OF_FIELD_LEN: not one of ours, then there is only the size */
    uint64_t value, mask;
    size_t size; /* with its header */
};

void of_oxm_put(struct of_out *out, enum of_field field, uint64_t value, uint64_t mask);
/* -EBADMSG: cut off, a length that isn't the field's, or bits outside of mask or field. */
int of_oxm_get(const uint8_t *data, size_t size, struct of_oxm *ret_oxm);

/* The whole ofp_match with its padding. */
void of_match_put(struct of_out *out, const struct of_match *match);
/* *ret_size is what it took of `data`. -EBADMSG also for a field that comes twice. */
int of_match_get(const uint8_t *data, size_t size, struct of_match *ret_match, size_t *ret_size);
