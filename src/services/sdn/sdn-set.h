/* sdn-set.h - what is wanted on the switch and what was found there, one object per cookie.
 *
 * An object is a filter, a flow or a part of the base. What is wanted is given by sdn_want(), what
 * is there by reading the switch:
 *
 *     sdn_found_begin(objects, NULL);            // all are read
 *     sdn_found_flow(objects, &stats);           // for each flow: 0 if it is somebody else's
 *     sdn_found_end(objects, NULL);
 *     sdn_is_in_force(object)
 *
 * Of two objects that want the very same flow (table, priority and match) the one with the lower
 * number has it, and its counter counts; the other is in force without. When the first goes the
 * second gets it.
 *
 * Counters. A switch counts per flow, and forgets with the flow. So an object keeps a base: what
 * it counts is base + the sum over its flows, and the base is changed so that the total neither
 * jumps nor goes back when flows are lost, or are new:
 *
 *     new object      base = -sum at the time of the first reading: Open vSwitch credits packets
 *                     from before a flow was there to it, up to some ms later
 *     flow removed    base += its last count, which the switch tells
 *     flows lost      base = last total - sum
 *
 * Pure; nothing here does more than its memory. */
#pragma once

#include "services/sdn/sdn-flows.h"

struct sdn_counts {
    int64_t packets, bytes;
};

struct sdn_object {
    struct sdn_object *next; /* in its bucket */
    uint64_t number;
    struct sdn_rule rule; /* wanted; not of the base */
    uint8_t kind;         /* enum sdn_kind */
    uint8_t is_wanted : 1;
    uint8_t is_leaving : 1;     /* its flows are to go, and then it */
    uint8_t is_changing : 1;    /* in the bundle that is under way */
    uint8_t needs_baseline : 1; /* counts from the next reading on */
    uint8_t is_known : 1;       /* from the file: it was in force before we came */
    uint8_t is_told : 1;        /* the server knows its counter: */
    uint8_t is_read : 1;        /* in the reading that is under way */
    uint8_t is_error_told : 1;
    uint8_t is_marked : 1; /* among `marked` */
    uint16_t shadowed_len; /* of its flows, those that another object has */
    uint32_t wanted_len, found_len, read_len;
    uint64_t wanted_digest, found_digest, read_digest; /* sums over its flows */
    struct sdn_counts base, read_sum;
    uint64_t packets, bytes; /* the total */
    uint64_t told_packets;
    struct error *error; /* why the switch refuses it; NULL: it doesn't */
};

struct sdn_claim;

struct sdn_objects {
    struct sdn_object **buckets;
    size_t bucket_len, len;
    struct sdn_claim *claims; /* who has which flow */
    size_t claim_capacity, claim_len;
    size_t shadowed_len; /* objects that lack a flow */
    size_t kind_len[SDN_KIND_LEN];
    struct sdn_object **marked; /* what may have to be changed: nothing else does */
    size_t marked_len, marked_capacity;
    struct sdn_self self; /* what the base is made from */
};

void sdn_objects_done(struct sdn_objects *objects);

struct sdn_object *sdn_object_get(const struct sdn_objects *objects, enum sdn_kind kind,
                                  uint64_t number);
struct sdn_object *sdn_object_make(struct sdn_objects *objects, enum sdn_kind kind,
                                   uint64_t number);
void sdn_object_drop(struct sdn_objects *objects, struct sdn_object *object);

/* In no particular order; the one at hand may be dropped. */
struct sdn_object *sdn_object_first(const struct sdn_objects *objects);
struct sdn_object *sdn_object_next(const struct sdn_objects *objects,
                                   const struct sdn_object *object);

#define sdn_objects_foreach(o, objects)                                                           \
    for (struct sdn_object *o = sdn_object_first(objects), *o##_next_;                            \
         o && ((o##_next_ = sdn_object_next((objects), o)), 1); o = o##_next_)

/* It may have to be changed. All that is wanted anew, or isn't found as wanted, is marked. */
void sdn_mark(struct sdn_objects *objects, struct sdn_object *object);
/* None is marked any more. */
void sdn_unmark(struct sdn_objects *objects);

/* --- slices: those whose cookies' lowest bits are the slice's number --- */

enum {
    SDN_SLICES = 32, /* a power of two, at most the least number of buckets */
};

/* An array that the caller frees. */
struct sdn_object **sdn_slice(const struct sdn_objects *objects, unsigned slice, size_t *ret_len);

/* From now on this is wanted of it: rule NULL for the base (objects->self). */
void sdn_want(struct sdn_objects *objects, struct sdn_object *object, const struct sdn_rule *rule);
/* Nothing of it is wanted any more. */
void sdn_unwant(struct sdn_objects *objects, struct sdn_object *object);

/* The flows that it is to have: 1, -EEXIST for one that another object has, 0 after the last. */
int sdn_object_flow(const struct sdn_objects *objects, const struct sdn_object *object,
                    size_t index, struct of_flow *ret_flow);

int sdn_is_as_wanted(const struct sdn_object *object);
/* As wanted, and counting. */
int sdn_is_in_force(const struct sdn_object *object);

/* --- reading --- */

/* `only` NULL: of all objects. */
void sdn_found_begin(struct sdn_objects *objects, struct sdn_object *const *only, size_t len);
/* Makes an object for a flow of ours that nobody wants; 0: it isn't ours. */
int sdn_found_flow(struct sdn_objects *objects, const struct of_flow_stats *stats);
/* Takes over what was read; is_baseline: those that need one have it now. Returns 1 if any base
 * has changed. */
int sdn_found_end(struct sdn_objects *objects, struct sdn_object *const *only, size_t len,
                  int is_baseline);
/* A flow of ours has gone, with this as its last count. */
void sdn_found_removed(struct sdn_objects *objects, const struct of_flow_removed *removed);
/* The switch has lost everything, or the bridge is gone. */
void sdn_found_nothing(struct sdn_objects *objects);
