#include "openflow/hello.h"

#include <errno.h>

#include "openflow/flow.h"

enum {
    ELEMENT_BITMAP = 1,
    ELEMENT_BYTES = 8,
    OURS = 1 << OF_VERSION_13 | 1 << OF_VERSION_14,
};

void of_hello_encode(struct of_out *out, uint32_t xid)
{
    out->size = 0;
    of_begin(out, OF_VERSION_14, OF_HELLO, xid);
    of_put(out, ELEMENT_BITMAP, 2);
    of_put(out, ELEMENT_BYTES, 2);
    of_put(out, OURS, 4);
    of_finish(out, 0);
}

/* The versions below 32, as bits. */
static int get_versions(const uint8_t *message, size_t size, uint32_t *ret_versions)
{
    size_t len;

    /* Without a bitmap: every version up to that of the header. */
    *ret_versions = (uint32_t)((uint64_t)2 << (of_u8(message, 0) & 31)) - 1;
    for (size_t at = OF_HEADER_BYTES; at < size; at += of_align8(len)) {
        if (size - at < 4) {
            return -EBADMSG;
        }
        len = of_u16(message + at, 2);
        if (len < 4 || len > size - at) {
            return -EBADMSG;
        }
        if (of_u16(message + at, 0) == ELEMENT_BITMAP && len >= ELEMENT_BYTES) {
            *ret_versions = of_u32(message + at, 4);
        }
    }
    return 0;
}

int of_hello_decode(const uint8_t *message, size_t size, uint8_t *ret_version, struct error *error)
{
    uint32_t theirs;

    if (get_versions(message, size, &theirs) < 0) {
        error_set(error, 503, NULL, "the switch broke the protocol: its hello");
        return -EBADMSG;
    }
    if (theirs & 1 << OF_VERSION_14) {
        *ret_version = OF_VERSION_14;
    } else if (theirs & 1 << OF_VERSION_13) {
        *ret_version = OF_VERSION_13;
    } else {
        return error_set(
            error, 503, NULL,
            "the switch speaks neither OpenFlow 1.4 nor 1.3 (its versions: 0x%x); the "
            "bridge's protocols must have OpenFlow14",
            theirs);
    }
    return 0;
}

void of_hello_refuse(struct of_out *out, uint32_t xid, const char *why)
{
    size_t size = strnlen(why, 256);

    out->size = 0;
    of_begin(out, OF_VERSION_14, OF_ERROR, xid);
    of_put(out, 0, 4); /* hello failed, incompatible */
    memcpy(of_out_room(out, size), why, size);
    of_finish(out, 0);
}
