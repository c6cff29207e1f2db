/* wire.h - numbers of the OpenFlow protocol and big-endian access. Private to src/openflow.
 *
 * A message is made in a `struct of_out` on the stack, which is large enough for the largest one
 * that we make, and goes into a growable buffer in one piece. Reading is by offset from a pointer
 * whose size the caller has checked.
 *
 * Sources: OpenFlow Switch Specification 1.4.1 section 7 (1.3.5 section 7 where it differs);
 * the bundle messages of 1.3 are the ONF extension 230 (experimenter 0x4f4e4600). */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"

enum {
    OF_HEADER_BYTES = 8,
    OF_MESSAGE_MAX = 65535, /* the header's length has 16 bits */
    OF_OUT_BYTES = 2048,
};

/* Section 7.1.1 */
enum of_type {
    OF_HELLO = 0,
    OF_ERROR = 1,
    OF_ECHO_REQUEST = 2,
    OF_ECHO_REPLY = 3,
    OF_EXPERIMENTER = 4,
    OF_FEATURES_REQUEST = 5,
    OF_FEATURES_REPLY = 6,
    OF_SET_CONFIG = 9,
    OF_FLOW_REMOVED = 11,
    OF_PORT_STATUS = 12,
    OF_FLOW_MOD = 14,
    OF_MULTIPART_REQUEST = 18,
    OF_MULTIPART_REPLY = 19,
    OF_BARRIER_REQUEST = 20,
    OF_BARRIER_REPLY = 21,
    OF_BUNDLE_CONTROL = 33,
    OF_BUNDLE_ADD = 34,
};

/* Section 7.3.5 */
enum {
    OF_MULTIPART_FLOW = 1,
    OF_MULTIPART_TABLE = 3,
    OF_MULTIPART_PORT = 4,
    OF_MULTIPART_PORT_DESC = 13,
    OF_MULTIPART_MORE = 1, /* a flag */
    OF_MULTIPART_BYTES = 16,
};

/* Section 7.3.9; the reply to a request has the next number */
enum {
    OF_BUNDLE_OPEN = 0,
    OF_BUNDLE_CLOSE = 2,
    OF_BUNDLE_COMMIT = 4,
    OF_BUNDLE_DISCARD = 6,
    OF_BUNDLE_ATOMIC = 1, /* flags */
    OF_BUNDLE_ORDERED = 2,
    OF_ONF = 0x4f4e4600, /* the experimenter, and its numbers for 1.3 */
    OF_ONF_BUNDLE_CONTROL = 2300,
    OF_ONF_BUNDLE_ADD = 2301,
};

/* Section 7.2.4 */
enum {
    OF_INSTRUCTION_GOTO = 1,
    OF_INSTRUCTION_METADATA = 2,
    OF_INSTRUCTION_APPLY = 4,
    OF_ACTION_TYPE_OUTPUT = 0,
    OF_ACTION_TYPE_SET_FIELD = 25,
    OF_OXM_MATCH = 1,
};

struct of_out {
    size_t size;
    uint8_t bytes[OF_OUT_BYTES];
};

static inline void *of_out_room(struct of_out *out, size_t size)
{
    if (size > sizeof out->bytes - out->size) {
        abort(); /* no message of ours is so large */
    }
    void *room = out->bytes + out->size;
    out->size += size;
    return room;
}

static inline void of_store(uint8_t *p, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        p[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
    }
}

static inline uint64_t of_load(const uint8_t *p, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++) {
        value = value << 8 | p[i];
    }
    return value;
}

static inline void of_put(struct of_out *out, uint64_t value, size_t size)
{
    of_store((uint8_t *)of_out_room(out, size), value, size);
}

static inline void of_pad(struct of_out *out, size_t size)
{
    memset(of_out_room(out, size), 0, size);
}

static inline uint8_t of_u8(const uint8_t *p, size_t at)
{
    return p[at];
}

static inline uint16_t of_u16(const uint8_t *p, size_t at)
{
    return (uint16_t)of_load(p + at, 2);
}

static inline uint32_t of_u32(const uint8_t *p, size_t at)
{
    return (uint32_t)of_load(p + at, 4);
}

static inline uint64_t of_u64(const uint8_t *p, size_t at)
{
    return of_load(p + at, 8);
}

static inline size_t of_align8(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

/* A header whose length of_finish() fills in. */
static inline void of_begin(struct of_out *out, uint8_t version, uint8_t type, uint32_t xid)
{
    of_put(out, version, 1);
    of_put(out, type, 1);
    of_put(out, 0, 2);
    of_put(out, xid, 4);
}

/* Writes the length of what begins at `start` into its header. */
static inline void of_finish(struct of_out *out, size_t start)
{
    of_store(out->bytes + start + 2, out->size - start, 2);
}
