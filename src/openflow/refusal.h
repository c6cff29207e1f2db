/* refusal.h - the switch's error messages, as sentences that a person understands.
 *
 * A switch that refuses a message answers with a type, a code and the beginning of what it
 * refused. of_refusal_decode() takes that apart (-EBADMSG if it is malformed);
 * of_refusal_explain() fills a `struct error`: what was refused, why, and the specification's
 * name for those who look it up:
 *
 *     the switch refused to add a flow: a field that the match needs is missing or has another
 *     value (OFPBMC_BAD_PREREQ, message 0x80000003)
 *
 * Sources: OpenFlow 1.4.1 section 7.5.4; with 1.3, the codes of bundles stand in ONF extension
 * 230's numbers from 2300. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

struct of_refusal {
    uint32_t xid; /* of the refused message */
    uint16_t type, code;
    uint32_t experimenter; /* 0: the type is the specification's */
    int about;             /* the type of the refused message, enum of_type; -1: not known */
    int command;           /* if that is a flow mod: enum of_flow_command; else -1 */
};

int of_refusal_decode(const uint8_t *message, size_t size, struct of_refusal *ret_refusal);

/* The specification's name ("OFPFMFC_TABLE_FULL"), or NULL if it isn't known. */
const char *of_refusal_name(const struct of_refusal *refusal);

/* Fills *error (may be NULL) and returns the errno that stands for it. */
int of_refusal_explain(const struct of_refusal *refusal, struct error *error);
