/* Filters claim rows; see sdn-public-driver.h. Touches nothing on the host. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "services/sdn/sdn-public-driver.h"

#define FILTER_PREFIX "sdn/filter/"

enum {
    BUCKETS_MIN = 8, /* a power of two */
};

/* --- the list of rows that wait --- */

static void unlink_row(struct public *p, struct public_row *row)
{
    if (row->previous) {
        row->previous->next = row->next;
    } else {
        p->waiting = row->next;
    }
    if (row->next) {
        row->next->previous = row->previous;
    }
    row->next = row->previous = NULL;
    row->waits = 0;
    row->owner->waiting--;
}

static void link_row(struct public *p, struct public_row *row)
{
    row->next = p->waiting;
    if (row->next) {
        row->next->previous = row;
    }
    p->waiting = row;
    row->waits = 1;
    row->owner->waiting++;
}

void public_row_changed(struct public *p, struct public_row *row)
{
    int wanted = row->claims > 0, differs = wanted != row->in_kernel || (wanted && row->renamed);

    if (row->waits && !differs) {
        unlink_row(p, row);
    } else if (!row->waits && differs) {
        link_row(p, row);
    }
}

static void set_owner(struct public *p, struct public_row *row, struct public_held *owner)
{
    if (row->waits) {
        unlink_row(p, row);
    }
    row->owner = owner;
    row->renamed = row->in_kernel;
    public_row_changed(p, row);
}

/* --- rows --- */

static size_t bucket_of(const struct public_set *set, const uint8_t *key, size_t size)
{
    uint64_t hash = size;

    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ key[i]) * 0x100000001b3; /* FNV-1a */
    }
    return (hash ^ hash >> 32) & (set->bucket_len - 1);
}

static void put_row(struct public_set *set, struct public_row *row)
{
    struct public_row **at = &set->buckets[bucket_of(set, row->key, row->key_size)];

    row->chain = *at;
    *at = row;
}

static void grow(struct public_set *set)
{
    struct public_row **old = set->buckets;
    size_t old_len = set->bucket_len;

    set->bucket_len = old_len ? 2 * old_len : BUCKETS_MIN;
    set->buckets = xcalloc(set->bucket_len, sizeof(struct public_row *));
    for (size_t i = 0; i < old_len; i++) {
        for (struct public_row *row = old[i], *next; row; row = next) {
            next = row->chain;
            put_row(set, row);
        }
    }
    free(old);
}

static struct public_row *first_from(const struct public_set *set, size_t bucket)
{
    while (bucket < set->bucket_len && !set->buckets[bucket]) {
        bucket++;
    }
    return bucket < set->bucket_len ? set->buckets[bucket] : NULL;
}

struct public_row *public_row_first(const struct public_set *set)
{
    return first_from(set, 0);
}

struct public_row *public_row_after(const struct public_set *set, const struct public_row *row)
{
    return row->chain ? row->chain : first_from(set, bucket_of(set, row->key, row->key_size) + 1);
}

void public_set_free(void *value)
{
    struct public_set *set = value;

    public_rows_foreach (row, set) {
        free(row);
    }
    free(set->buckets);
    free(set);
}

struct public_set *public_set_get(struct public *p, const struct public_shape *shape)
{
    char name[PUBLIC_NAME_SIZE];
    struct public_set *set = omap_get(&p->sets, public_shape_name(shape, name));

    if (!set) {
        set = xnew(struct public_set);
        set->shape = *shape;
        omap_put(&p->sets, name, set);
    }
    return set;
}

struct public_row *public_row_find(struct public_set *set, const uint8_t *key, size_t key_size)
{
    struct public_row *row = set->bucket_len ? set->buckets[bucket_of(set, key, key_size)] : NULL;

    while (row && (row->key_size != key_size || memcmp(row->key, key, key_size) != 0)) {
        row = row->chain;
    }
    return row;
}

static struct public_row *make_row(struct public_set *set, struct public_held *owner,
                                   const uint8_t *key, size_t key_size)
{
    struct public_row *row = xcalloc(1, offsetof(struct public_row, key) + key_size);

    row->set = set;
    row->owner = owner;
    row->key_size = (uint8_t)key_size;
    memcpy(row->key, key, key_size);
    if (set->rows_len >= set->bucket_len) {
        grow(set);
    }
    put_row(set, row);
    set->rows_len++;
    return row;
}

void public_row_bank(struct public *p, struct public_row *row)
{
    if (row->packets == 0) {
        return;
    }
    p->unsaved = p->is_urgent = 1;
    row->owner->base_packets += row->packets;
    row->owner->base_bytes += row->bytes;
    row->packets = row->bytes = 0;
}

void public_row_free(struct public *p, struct public_row *row)
{
    struct public_set *set = row->set;
    struct public_row **at = &set->buckets[bucket_of(set, row->key, row->key_size)];

    if (row->waits) {
        unlink_row(p, row);
    }
    while (*at != row) {
        at = &(*at)->chain;
    }
    *at = row->chain;
    set->rows_len--;
    free(row);
}

/* --- claims --- */

static void claim(struct public *p, struct public_held *held, struct public_row *row)
{
    if (row->claims++ == 0) {
        p->rows_len++;
        row->set->claimed++;
        if (row->owner != held) {
            set_owner(p, row, held);
        }
    }
    held->rows[held->rows_len++] = row;
    public_row_changed(p, row);
}

static int claims(const struct public_held *held, const struct public_row *row)
{
    for (size_t i = 0; i < held->rows_len; i++) {
        if (held->rows[i] == row) {
            return 1;
        }
    }
    return 0;
}

/* Another filter wants the row, too: the first that does gets it. */
static void hand_over(struct public *p, struct public_row *row)
{
    omap_foreach (e, &p->held) {
        if (e->value != row->owner && claims(e->value, row)) {
            set_owner(p, row, e->value);
            return;
        }
    }
}

static void release(struct public *p, struct public_held *held, struct public_row *row)
{
    if (--row->claims > 0) {
        if (row->owner == held && !claims(held, row)) {
            hand_over(p, row);
        }
        return;
    }
    p->rows_len--;
    row->set->claimed--;
    if (row->in_kernel) {
        public_row_changed(p, row);
    } else {
        public_row_free(p, row);
    }
}

/* Gives up what it claimed; `rows` and `len` are what that was. */
static void release_all(struct public *p, struct public_held *held, struct public_row **rows,
                        size_t len)
{
    for (size_t i = 0; i < len; i++) {
        release(p, held, rows[i]);
    }
    free(rows);
}

struct public_row *public_row_found(struct public *p, struct public_set *set,
                                    const struct nft_kernel_element *element)
{
    const char *id = public_comment_id(element->comment);
    struct public_held *held = public_held_get(p, id && public_id_valid(id) ? id : PUBLIC_NOBODY);

    if (element->key_size > PUBLIC_KEY_SIZE) {
        return NULL;
    }
    struct public_row *row = make_row(set, held, element->key, element->key_size);
    row->in_kernel = 1;
    if (held->is_wanted) {
        public_row_changed(p, row); /* not what we gave it: it is to go */
    } else {
        held->rows = xrealloc(held->rows, (held->rows_len + 1) * sizeof(struct public_row *));
        claim(p, held, row);
    }
    return row;
}

/* --- filters --- */

int public_id_valid(const char *id)
{
    return *id && strspn(id, "0123456789") == strlen(id);
}

static char *key_of(const struct public *p, const char *id)
{
    return xasprintf(FILTER_PREFIX "%s/%s", id, p->env->node);
}

struct public_held *public_held_get(struct public *p, const char *id)
{
    _cleanup_free_ char *key = key_of(p, id);
    struct public_held *held = omap_get(&p->held, key);

    if (!held) {
        held = xcalloc(1, sizeof *held + strlen(id) + 1);
        memcpy(held->id, id, strlen(id) + 1);
        omap_put(&p->held, key, held);
    }
    return held;
}

/* The <id> of sdn/filter/<id>/<node>, if the node is ours. */
static char *id_of(const struct public *p, const char *key)
{
    const char *id = key + strlen(FILTER_PREFIX), *slash = strchr(id, '/');

    if (!slash || slash == id || strcmp(slash + 1, p->env->node) != 0) {
        return NULL;
    }
    return xstrndup(id, (size_t)(slash - id));
}

static void claim_parts(struct public *p, struct public_held *held,
                        const struct public_filter *filter)
{
    struct public_row **old = held->rows;
    struct public_part parts[PUBLIC_PARTS_MAX];
    size_t old_len = held->rows_len;
    size_t len = held->is_public ? public_filter_parts(filter, parts) : 0;

    held->is_deaf = 0;
    held->rows = len > 0 ? xcalloc(len, sizeof(struct public_row *)) : NULL;
    held->rows_len = 0;
    for (size_t i = 0; i < len; i++) {
        if (parts[i].shape.leaving && !public_can_leave(p)) {
            held->is_deaf = 1;
            continue;
        }
        struct public_set *set = public_set_get(p, &parts[i].shape);
        struct public_row *row = public_row_find(set, parts[i].key, parts[i].key_size);
        if (!row) {
            row = make_row(set, held, parts[i].key, parts[i].key_size);
        }
        claim(p, held, row);
    }
    release_all(p, held, old, old_len);
}

/* `filter` is NULL for one that is to go. */
static void judge(struct public *p, struct public_held *held, const struct public_filter *filter)
{
    int is_public = filter && !(p->has_overlay && public_filter_is_inside(filter, p->overlay));

    p->public_len += (size_t)is_public;
    p->public_len -= (size_t)held->is_public;
    held->is_public = is_public;
    claim_parts(p, held, filter);
}

int public_held_take(struct public *p, const char *key, const json_t *spec, struct error *error)
{
    _cleanup_free_ char *id = id_of(p, key);
    struct public_filter filter;

    if (!id) {
        return error_set(error, 400, NULL, "%s is not about this node", key);
    }
    int rc = public_filter_parse(spec, &filter, error);
    if (rc < 0) {
        return rc;
    }
    struct public_held *held = public_held_get(p, id);
    if (held->is_wanted && public_filter_equal(&held->filter, &filter)) {
        return 0;
    }
    held->is_wanted = 1;
    held->filter = filter;
    judge(p, held, &filter);
    p->unsaved = 1;
    return 0;
}

void public_held_retake(struct public *p)
{
    omap_foreach (e, &p->held) {
        struct public_held *held = e->value;
        if (held->is_wanted) {
            judge(p, held, &held->filter);
        }
    }
}

void public_held_drop(struct public *p, struct public_held *held)
{
    held->is_wanted = 0;
    judge(p, held, NULL);
}

static void held_free(void *value)
{
    struct public_held *held = value;

    free(held->rows);
    free(held);
}

void public_held_sweep(struct public *p, struct public_held *held)
{
    if (held->is_wanted || held->rows_len > 0 || held->waiting > 0) {
        return;
    }
    _cleanup_free_ char *key = key_of(p, held->id);
    omap_del(&p->held, key);
    held_free(held);
    p->unsaved = 1;
}

void public_held_clear(struct public *p)
{
    omap_clear(&p->sets, public_set_free);
    omap_clear(&p->held, held_free);
    p->waiting = NULL;
}
