#include "services/sdn/sdn-set.h"

#include <errno.h>
#include <string.h>

#include "lib/mem.h"

enum {
    CAPACITY_MIN = 64,
};

/* Who has the flow. Key 0: empty. */
struct sdn_claim {
    uint64_t key;
    struct sdn_object *object;
};

/* --- the set --- */

static size_t bucket_of(const struct sdn_objects *objects, enum sdn_kind kind, uint64_t number)
{
    /* Numbers come one after the other, so they spread by themselves; and a slice is in few
     * buckets. */
    return (number + (kind << 20)) & (objects->bucket_len - 1);
}

struct sdn_object *sdn_object_get(const struct sdn_objects *objects, enum sdn_kind kind,
                                  uint64_t number)
{
    struct sdn_object *object =
        objects->bucket_len ? objects->buckets[bucket_of(objects, kind, number)] : NULL;

    while (object && (object->kind != kind || object->number != number)) {
        object = object->next;
    }
    return object;
}

static void put(struct sdn_objects *objects, struct sdn_object *object)
{
    struct sdn_object **at = &objects->buckets[bucket_of(objects, object->kind, object->number)];

    object->next = *at;
    *at = object;
}

static void grow(struct sdn_objects *objects)
{
    struct sdn_object **old = objects->buckets;
    size_t old_len = objects->bucket_len;

    objects->bucket_len = old_len ? 2 * old_len : CAPACITY_MIN;
    objects->buckets = xcalloc(objects->bucket_len, sizeof(struct sdn_object *));
    for (size_t i = 0; i < old_len; i++) {
        for (struct sdn_object *object = old[i], *next; object; object = next) {
            next = object->next;
            put(objects, object);
        }
    }
    free(old);
}

struct sdn_object *sdn_object_make(struct sdn_objects *objects, enum sdn_kind kind,
                                   uint64_t number)
{
    struct sdn_object *object = sdn_object_get(objects, kind, number);

    if (object) {
        return object;
    }
    if (objects->len >= objects->bucket_len) {
        grow(objects);
    }
    object = xnew(struct sdn_object);
    object->kind = (uint8_t)kind;
    object->number = number;
    put(objects, object);
    objects->len++;
    objects->kind_len[kind]++;
    return object;
}

void sdn_mark(struct sdn_objects *objects, struct sdn_object *object)
{
    if (object->is_marked) {
        return;
    }
    if (objects->marked_len == objects->marked_capacity) {
        objects->marked_capacity = objects->marked_capacity ? 2 * objects->marked_capacity : 16;
        objects->marked =
            xrealloc(objects->marked, objects->marked_capacity * sizeof(struct sdn_object *));
    }
    objects->marked[objects->marked_len++] = object;
    object->is_marked = 1;
}

void sdn_unmark(struct sdn_objects *objects)
{
    for (size_t i = 0; i < objects->marked_len; i++) {
        objects->marked[i]->is_marked = 0;
    }
    free(TAKE(objects->marked));
    objects->marked_len = objects->marked_capacity = 0;
}

/* What is dropped was marked last, as a rule. */
static void forget_mark(struct sdn_objects *objects, const struct sdn_object *object)
{
    size_t at = objects->marked_len;

    if (!object->is_marked) {
        return;
    }
    while (objects->marked[at - 1] != object) {
        at--;
    }
    objects->marked[at - 1] = objects->marked[--objects->marked_len];
}

void sdn_object_drop(struct sdn_objects *objects, struct sdn_object *object)
{
    struct sdn_object **at = &objects->buckets[bucket_of(objects, object->kind, object->number)];

    sdn_unwant(objects, object);
    forget_mark(objects, object);
    while (*at != object) {
        at = &(*at)->next;
    }
    *at = object->next;
    objects->len--;
    objects->kind_len[object->kind]--;
    free(object->error);
    free(object);
}

static struct sdn_object *first_from(const struct sdn_objects *objects, size_t bucket)
{
    while (bucket < objects->bucket_len && !objects->buckets[bucket]) {
        bucket++;
    }
    return bucket < objects->bucket_len ? objects->buckets[bucket] : NULL;
}

struct sdn_object *sdn_object_first(const struct sdn_objects *objects)
{
    return first_from(objects, 0);
}

struct sdn_object *sdn_object_next(const struct sdn_objects *objects,
                                   const struct sdn_object *object)
{
    return object->next
               ? object->next
               : first_from(objects, bucket_of(objects, object->kind, object->number) + 1);
}

struct sdn_object **sdn_slice(const struct sdn_objects *objects, unsigned slice, size_t *ret_len)
{
    struct sdn_object **list = NULL;
    size_t len = 0, capacity = 0;

    for (size_t i = slice; i < objects->bucket_len; i += SDN_SLICES) {
        for (struct sdn_object *object = objects->buckets[i]; object; object = object->next) {
            if (len == capacity) {
                capacity = capacity ? 2 * capacity : 64;
                list = xrealloc(list, capacity * sizeof *list);
            }
            list[len++] = object;
        }
    }
    *ret_len = len;
    return list;
}

void sdn_objects_done(struct sdn_objects *objects)
{
    for (size_t i = 0; i < objects->bucket_len; i++) {
        for (struct sdn_object *object = objects->buckets[i], *next; object; object = next) {
            next = object->next;
            free(object->error);
            free(object);
        }
    }
    free(objects->buckets);
    free(objects->claims);
    free(objects->marked);
    *objects = (struct sdn_objects){0};
}

/* --- who has which flow: open addressing --- */

static struct sdn_claim *slot_of(const struct sdn_objects *objects, uint64_t key)
{
    size_t mask = objects->claim_capacity - 1, at = key & mask;

    while (objects->claims[at].object && objects->claims[at].key != key) {
        at = (at + 1) & mask;
    }
    return &objects->claims[at];
}

static void grow_claims(struct sdn_objects *objects)
{
    struct sdn_claim *old = objects->claims;
    size_t old_capacity = objects->claim_capacity;

    objects->claim_capacity = old_capacity ? 2 * old_capacity : CAPACITY_MIN;
    objects->claims = xcalloc(objects->claim_capacity, sizeof *objects->claims);
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].object) {
            *slot_of(objects, old[i].key) = old[i];
        }
    }
    free(old);
}

/* Those behind it may have been displaced by it, so they are put again. */
static void free_slot(struct sdn_objects *objects, struct sdn_claim *slot)
{
    size_t mask = objects->claim_capacity - 1, at = (size_t)(slot - objects->claims);

    slot->object = NULL;
    objects->claim_len--;
    for (at = (at + 1) & mask; objects->claims[at].object; at = (at + 1) & mask) {
        struct sdn_claim moved = objects->claims[at];
        objects->claims[at].object = NULL;
        *slot_of(objects, moved.key) = moved;
    }
}

static const struct sdn_object *owner_of(const struct sdn_objects *objects, uint64_t key)
{
    return objects->claim_capacity ? slot_of(objects, key)->object : NULL;
}

/* All flows of the object, whoever has them. */
static int any_flow(const struct sdn_objects *objects, const struct sdn_object *object,
                    size_t index, struct of_flow *ret_flow)
{
    if (object->kind == SDN_BASE) {
        return sdn_base_flow(&objects->self, (unsigned)object->number, index, ret_flow);
    }
    return sdn_rule_flow(&object->rule, object->number, index, ret_flow);
}

int sdn_object_flow(const struct sdn_objects *objects, const struct sdn_object *object,
                    size_t index, struct of_flow *ret_flow)
{
    int rc = object->is_wanted ? any_flow(objects, object, index, ret_flow) : 0;

    return rc > 0 && owner_of(objects, sdn_flow_key(ret_flow)) != object ? -EEXIST : rc;
}

static void set_shadowed(struct sdn_objects *objects, struct sdn_object *object, uint16_t len)
{
    objects->shadowed_len += (len > 0) - (object->shadowed_len > 0);
    object->shadowed_len = len;
}

/* What it is to have, after claims have changed. */
static void sum_up(struct sdn_objects *objects, struct sdn_object *object)
{
    uint16_t shadowed_len = 0;
    struct of_flow flow;
    int rc;

    object->wanted_len = 0;
    object->wanted_digest = 0;
    for (size_t i = 0; (rc = sdn_object_flow(objects, object, i, &flow)) != 0; i++) {
        if (rc < 0) {
            shadowed_len++;
        } else {
            object->wanted_len++;
            object->wanted_digest += sdn_flow_digest(&flow);
        }
    }
    set_shadowed(objects, object, shadowed_len);
    sdn_mark(objects, object);
}

static void claim(struct sdn_objects *objects, struct sdn_object *object)
{
    struct of_flow flow;

    for (size_t i = 0; any_flow(objects, object, i, &flow) > 0; i++) {
        uint64_t key = sdn_flow_key(&flow);
        if (3 * objects->claim_len >= 2 * objects->claim_capacity) {
            grow_claims(objects);
        }
        struct sdn_claim *slot = slot_of(objects, key);
        struct sdn_object *before = slot->object;
        if (!before) {
            *slot = (struct sdn_claim){key, object};
            objects->claim_len++;
        } else if (before != object && before->number > object->number) {
            slot->object = object;
            sum_up(objects, before);
        }
    }
    sum_up(objects, object);
}

static void release(struct sdn_objects *objects, struct sdn_object *object)
{
    struct of_flow flow;

    for (size_t i = 0; any_flow(objects, object, i, &flow) > 0; i++) {
        struct sdn_claim *slot = slot_of(objects, sdn_flow_key(&flow));
        if (slot->object == object) {
            free_slot(objects, slot);
        }
    }
    set_shadowed(objects, object, 0);
}

/* Others get what has become free. */
static void hand_over(struct sdn_objects *objects)
{
    if (objects->shadowed_len == 0) {
        return;
    }
    sdn_objects_foreach (object, objects) {
        if (object->shadowed_len > 0) {
            claim(objects, object);
        }
    }
}

void sdn_unwant(struct sdn_objects *objects, struct sdn_object *object)
{
    if (!object->is_wanted) {
        return;
    }
    release(objects, object);
    object->is_wanted = 0;
    object->wanted_len = 0;
    object->wanted_digest = 0;
    sdn_mark(objects, object);
    hand_over(objects);
}

void sdn_want(struct sdn_objects *objects, struct sdn_object *object, const struct sdn_rule *rule)
{
    sdn_unwant(objects, object);
    if (rule) {
        object->rule = *rule;
    }
    object->is_wanted = 1;
    object->is_leaving = 0;
    free(TAKE(object->error));
    claim(objects, object);
}

int sdn_is_as_wanted(const struct sdn_object *object)
{
    return object->found_len == object->wanted_len &&
           object->found_digest == object->wanted_digest;
}

int sdn_is_in_force(const struct sdn_object *object)
{
    int counts = !object->needs_baseline || object->wanted_len == 0;

    return object->is_wanted && sdn_is_as_wanted(object) && counts;
}

/* --- reading --- */

static void begin_one(struct sdn_object *object)
{
    object->is_read = 1;
    object->read_len = 0;
    object->read_digest = 0;
    object->read_sum = (struct sdn_counts){0};
}

void sdn_found_begin(struct sdn_objects *objects, struct sdn_object *const *only, size_t len)
{
    for (size_t i = 0; only && i < len; i++) {
        begin_one(only[i]);
    }
    if (!only) {
        sdn_objects_foreach (object, objects) {
            begin_one(object);
        }
    }
}

int sdn_found_flow(struct sdn_objects *objects, const struct of_flow_stats *stats)
{
    enum sdn_kind kind;
    uint64_t number;

    if (!sdn_cookie_parse(stats->flow.cookie, &kind, &number)) {
        return 0;
    }
    struct sdn_object *object = sdn_object_make(objects, kind, number);
    if (!object->is_read) {
        begin_one(object); /* it is new to us */
    }
    object->read_len++;
    object->read_digest += sdn_flow_digest(&stats->flow);
    object->read_sum.packets += (int64_t)stats->packets;
    object->read_sum.bytes += (int64_t)stats->bytes;
    return 1;
}

/* The total for this sum; the base if it would go back. Returns 1 if the base was changed. */
static int settle(int64_t *base, int64_t sum, uint64_t *total, int is_baseline)
{
    int64_t now = *base + sum;

    if (is_baseline && *base > (int64_t)*total) {
        *total = (uint64_t)*base; /* what the flows before had counted at their end */
    }
    if (!is_baseline && now >= (int64_t)*total) {
        *total = (uint64_t)now;
        return 0;
    }
    *base = (int64_t)*total - sum;
    return now != (int64_t)*total;
}

static int end_one(struct sdn_objects *objects, struct sdn_object *object, int is_baseline)
{
    is_baseline = is_baseline && object->needs_baseline;
    object->is_read = 0;
    object->found_len = object->read_len;
    object->found_digest = object->read_digest;
    int changed =
        settle(&object->base.packets, object->read_sum.packets, &object->packets, is_baseline);
    changed |= settle(&object->base.bytes, object->read_sum.bytes, &object->bytes, is_baseline);
    if (is_baseline && sdn_is_as_wanted(object)) {
        object->needs_baseline = 0;
        changed = 1; /* it is to be remembered that it counts, even from 0 */
    }
    if (!sdn_is_as_wanted(object) || object->needs_baseline) {
        sdn_mark(objects, object);
    }
    return changed;
}

int sdn_found_end(struct sdn_objects *objects, struct sdn_object *const *only, size_t len,
                  int is_baseline)
{
    int changed = 0;

    for (size_t i = 0; only && i < len; i++) {
        changed |= end_one(objects, only[i], is_baseline);
    }
    if (!only) {
        sdn_objects_foreach (object, objects) {
            changed |= end_one(objects, object, is_baseline);
        }
    }
    return changed;
}

void sdn_found_removed(struct sdn_objects *objects, const struct of_flow_removed *removed)
{
    enum sdn_kind kind;
    uint64_t number;
    struct sdn_object *object = NULL;

    if (sdn_cookie_parse(removed->flow.cookie, &kind, &number)) {
        object = sdn_object_get(objects, kind, number);
    }
    if (!object) {
        return;
    }
    object->base.packets += (int64_t)removed->packets;
    object->base.bytes += (int64_t)removed->bytes;
    object->found_len -= object->found_len > 0;
    object->found_digest = 0; /* which it was isn't known: it is read again */
    sdn_mark(objects, object);
}

void sdn_found_nothing(struct sdn_objects *objects)
{
    sdn_found_begin(objects, NULL, 0);
    sdn_found_end(objects, NULL, 0, 0);
}
