#include "openflow/refusal.h"

#include <errno.h>
#include <stdio.h>

#include "lib/mem.h"
#include "openflow/flow.h"
#include "openflow/wire.h"

enum {
    ERROR_BYTES = 12, /* before the data */
    EXPERIMENTER_TYPE = 0xffff,
    EXPERIMENTER_BYTES = 16,
    BUNDLE_FAILED = 17,
    ONF_BUNDLE_FAILED = 2300, /* and the code */
};

static const struct reason {
    uint16_t type, code;
    uint16_t status; /* as in struct error */
    const char *name;
    const char *sentence;
} REASONS[] = {
    {0, 0, 503, "OFPHFC_INCOMPATIBLE", "it speaks no version of OpenFlow that we do"},
    {0, 1, 403, "OFPHFC_EPERM", "it doesn't permit the connection"},
    {1, 0, 400, "OFPBRC_BAD_VERSION", "it doesn't know this version of the protocol"},
    {1, 1, 400, "OFPBRC_BAD_TYPE", "it doesn't know this kind of message"},
    {1, 2, 400, "OFPBRC_BAD_MULTIPART", "it doesn't know this kind of question"},
    {1, 3, 400, "OFPBRC_BAD_EXPERIMENTER", "it doesn't know the extension"},
    {1, 4, 400, "OFPBRC_BAD_EXP_TYPE", "it doesn't know this message of the extension"},
    {1, 5, 403, "OFPBRC_EPERM", "it doesn't permit that"},
    {1, 6, 400, "OFPBRC_BAD_LEN", "the message's length is wrong"},
    {1, 9, 400, "OFPBRC_BAD_TABLE_ID", "there is no such table"},
    {1, 10, 403, "OFPBRC_IS_SLAVE", "another controller is its master"},
    {1, 11, 404, "OFPBRC_BAD_PORT", "there is no such port"},
    {1, 13, 507, "OFPBRC_MULTIPART_BUFFER_OVERFLOW", "the question is too long for it"},
    {2, 0, 400, "OFPBAC_BAD_TYPE", "it doesn't know the action"},
    {2, 1, 400, "OFPBAC_BAD_LEN", "an action's length is wrong"},
    {2, 4, 400, "OFPBAC_BAD_OUT_PORT", "an action sends to a port that can't be"},
    {2, 5, 400, "OFPBAC_BAD_ARGUMENT", "an action's argument is wrong"},
    {2, 6, 403, "OFPBAC_EPERM", "it doesn't permit the action"},
    {2, 7, 400, "OFPBAC_TOO_MANY", "there are more actions than it can do"},
    {2, 10, 400, "OFPBAC_MATCH_INCONSISTENT",
     "an action changes a field that packets of this match don't have"},
    {2, 11, 400, "OFPBAC_UNSUPPORTED_ORDER", "it can't do the actions in this order"},
    {2, 13, 400, "OFPBAC_BAD_SET_TYPE", "it can't set the field"},
    {2, 14, 400, "OFPBAC_BAD_SET_LEN", "a value to set has a wrong length"},
    {2, 15, 400, "OFPBAC_BAD_SET_ARGUMENT", "a field can't be set to the value"},
    {3, 0, 400, "OFPBIC_UNKNOWN_INST", "it doesn't know the instruction"},
    {3, 1, 400, "OFPBIC_UNSUP_INST", "it can't do the instruction"},
    {3, 2, 400, "OFPBIC_BAD_TABLE_ID", "a flow can only go on in a later table that exists"},
    {3, 3, 400, "OFPBIC_UNSUP_METADATA", "it can't write this metadata"},
    {3, 4, 400, "OFPBIC_UNSUP_METADATA_MASK", "it can't write metadata with this mask"},
    {3, 7, 400, "OFPBIC_BAD_LEN", "an instruction's length is wrong"},
    {3, 8, 403, "OFPBIC_EPERM", "it doesn't permit the instruction"},
    {3, 9, 400, "OFPBIC_DUP_INST", "an instruction comes twice"},
    {4, 0, 400, "OFPBMC_BAD_TYPE", "it doesn't know the form of the match"},
    {4, 1, 400, "OFPBMC_BAD_LEN", "the match's length is wrong"},
    {4, 2, 400, "OFPBMC_BAD_TAG", "the match has an unknown tag or encapsulation"},
    {4, 3, 400, "OFPBMC_BAD_DL_ADDR_MASK", "it can't match this mask of an Ethernet address"},
    {4, 4, 400, "OFPBMC_BAD_NW_ADDR_MASK", "it can't match this mask of an IP address"},
    {4, 5, 400, "OFPBMC_BAD_WILDCARDS", "it can't leave out this combination of fields"},
    {4, 6, 400, "OFPBMC_BAD_FIELD", "it doesn't know a field of the match"},
    {4, 7, 400, "OFPBMC_BAD_VALUE", "it can't match this value of a field"},
    {4, 8, 400, "OFPBMC_BAD_MASK", "it can't match this mask of a field"},
    {4, 9, 400, "OFPBMC_BAD_PREREQ",
     "a field that the match needs is missing or has another value"},
    {4, 10, 400, "OFPBMC_DUP_FIELD", "a field of the match comes twice"},
    {4, 11, 403, "OFPBMC_EPERM", "it doesn't permit the match"},
    {5, 0, 400, "OFPFMFC_UNKNOWN", "it doesn't say why"},
    {5, 1, 507, "OFPFMFC_TABLE_FULL", "the table is full"},
    {5, 2, 400, "OFPFMFC_BAD_TABLE_ID", "there is no such table"},
    {5, 3, 409, "OFPFMFC_OVERLAP", "another flow of the same priority matches the same packets"},
    {5, 4, 403, "OFPFMFC_EPERM", "it doesn't permit that"},
    {5, 5, 400, "OFPFMFC_BAD_TIMEOUT", "it can't do the time-out"},
    {5, 6, 400, "OFPFMFC_BAD_COMMAND", "it doesn't know the command"},
    {5, 7, 400, "OFPFMFC_BAD_FLAGS", "it doesn't know the flags"},
    {5, 9, 400, "OFPFMFC_BAD_PRIORITY", "it can't do the priority"},
    {17, 0, 400, "OFPBFC_UNKNOWN", "it doesn't say why"},
    {17, 1, 403, "OFPBFC_EPERM", "it doesn't permit bundles"},
    {17, 2, 410, "OFPBFC_BAD_ID", "it doesn't have this bundle (any more)"},
    {17, 3, 409, "OFPBFC_BUNDLE_EXIST", "it has a bundle of this number"},
    {17, 4, 409, "OFPBFC_BUNDLE_CLOSED", "the bundle is closed"},
    {17, 5, 507, "OFPBFC_OUT_OF_BUNDLES", "it has too many bundles open"},
    {17, 6, 400, "OFPBFC_BAD_TYPE", "it doesn't know this order for bundles"},
    {17, 7, 400, "OFPBFC_BAD_FLAGS", "it can't do an ordered, atomic bundle"},
    {17, 8, 400, "OFPBFC_MSG_BAD_LEN", "the length of a message in the bundle is wrong"},
    {17, 9, 400, "OFPBFC_MSG_BAD_XID", "the number of a message in the bundle is wrong"},
    {17, 10, 400, "OFPBFC_MSG_UNSUP", "it can't do this message in a bundle"},
    {17, 11, 409, "OFPBFC_MSG_CONFLICT", "two messages of the bundle contradict each other"},
    {17, 12, 507, "OFPBFC_MSG_TOO_MANY", "the bundle is too long for it"},
    {17, 13, 400, "OFPBFC_MSG_FAILED", "a message of the bundle can't be carried out"},
    {17, 14, 408, "OFPBFC_TIMEOUT", "the bundle stood open for too long"},
    {17, 15, 409, "OFPBFC_BUNDLE_IN_PROGRESS", "another bundle is being carried out"},
};

/* What was refused, from the beginning of it. */
static void find_about(const uint8_t *data, size_t size, struct of_refusal *refusal)
{
    size_t inner = 0; /* of the message that a bundle was given */

    if (size < OF_HEADER_BYTES) {
        return;
    }
    if (of_u8(data, 1) == OF_BUNDLE_ADD) {
        inner = 16;
    } else if (of_u8(data, 1) == OF_EXPERIMENTER && size >= 16 && of_u32(data, 8) == OF_ONF) {
        inner = of_u32(data, 12) == OF_ONF_BUNDLE_ADD ? 24 : 0;
        refusal->about = OF_BUNDLE_CONTROL;
    }
    if (inner == 0 && refusal->about < 0) {
        refusal->about = of_u8(data, 1);
    } else if (inner > 0 && size > inner + 1) {
        refusal->about = of_u8(data, inner + 1);
    }
    if (refusal->about == OF_FLOW_MOD && size > inner + 25) {
        refusal->command = of_u8(data, inner + 25);
    }
}

int of_refusal_decode(const uint8_t *message, size_t size, struct of_refusal *ret_refusal)
{
    size_t data_at = ERROR_BYTES;

    if (size < ERROR_BYTES || of_u8(message, 1) != OF_ERROR) {
        return -EBADMSG;
    }
    struct of_refusal refusal = {.xid = of_u32(message, 4),
                                 .type = of_u16(message, 8),
                                 .code = of_u16(message, 10),
                                 .about = -1,
                                 .command = -1};
    if (refusal.type == EXPERIMENTER_TYPE) {
        if (size < EXPERIMENTER_BYTES) {
            return -EBADMSG;
        }
        refusal.experimenter = of_u32(message, 12);
        data_at = EXPERIMENTER_BYTES;
        if (refusal.experimenter == OF_ONF && refusal.code >= ONF_BUNDLE_FAILED) {
            refusal.type = BUNDLE_FAILED;
            refusal.code -= ONF_BUNDLE_FAILED;
            refusal.experimenter = 0;
        }
    }
    if (refusal.type != 0) { /* after a failed hello there is text */
        find_about(message + data_at, size - data_at, &refusal);
    }
    *ret_refusal = refusal;
    return 0;
}

static const struct reason *find_reason(const struct of_refusal *refusal)
{
    for (size_t i = 0; refusal->experimenter == 0 && i < ARRAY_LEN(REASONS); i++) {
        if (REASONS[i].type == refusal->type && REASONS[i].code == refusal->code) {
            return &REASONS[i];
        }
    }
    return NULL;
}

const char *of_refusal_name(const struct of_refusal *refusal)
{
    const struct reason *reason = find_reason(refusal);

    return reason ? reason->name : NULL;
}

static const char *say_what(const struct of_refusal *refusal)
{
    static const char *const COMMANDS[] = {
        [OF_ADD] = "to add a flow",
        [OF_MODIFY] = "to change flows",
        [OF_MODIFY_STRICT] = "to change a flow",
        [OF_DELETE] = "to delete flows",
        [OF_DELETE_STRICT] = "to delete a flow",
    };

    switch (refusal->about) {
    case OF_FLOW_MOD:
        return refusal->command >= 0 && refusal->command <= OF_DELETE_STRICT
                   ? COMMANDS[refusal->command]
                   : "a flow";
    case OF_BUNDLE_CONTROL:
    case OF_BUNDLE_ADD:
        return "a bundle";
    case OF_MULTIPART_REQUEST:
        return "a question";
    case OF_HELLO:
    case -1:
        return "us";
    default:
        return "a message";
    }
}

int of_refusal_explain(const struct of_refusal *refusal, struct error *error)
{
    const struct reason *reason = find_reason(refusal);
    char number[48];

    snprintf(number, sizeof number, "error %u/%u, experimenter 0x%x", refusal->type, refusal->code,
             refusal->experimenter);
    return error_set(error, reason ? reason->status : 400, NULL,
                     "the switch refused %s: %s (%s, message 0x%x)", say_what(refusal),
                     reason ? reason->sentence : "for a reason of its own",
                     reason ? reason->name : number, refusal->xid);
}
