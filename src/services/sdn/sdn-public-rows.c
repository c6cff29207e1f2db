/* Filters claim rows; see sdn-public-driver.h. Touches nothing on the host. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "services/sdn/sdn-public-driver.h"

#define FILTER_PREFIX "sdn/filter/"

enum {
    TEXT_SIZE = 2 * PUBLIC_KEY_SIZE + PUBLIC_KEY_SIZE / 4 + 1,
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

/* Short, since there are many: each field without the zeros behind it. */
static const char *text_of(const uint8_t *key, size_t size, char text[TEXT_SIZE])
{
    static const char DIGITS[] = "0123456789abcdef";
    char *at = text;

    for (size_t begin = 0; begin < size; begin += 4) {
        size_t end = begin + 4 < size ? begin + 4 : size;
        while (end > begin && key[end - 1] == 0) {
            end--;
        }
        for (size_t i = begin; i < end; i++) {
            *at++ = DIGITS[key[i] >> 4];
            *at++ = DIGITS[key[i] & 15];
        }
        *at++ = '.';
    }
    *at = '\0';
    return text;
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
    char text[TEXT_SIZE];

    return key_size <= PUBLIC_KEY_SIZE ? omap_get(&set->rows, text_of(key, key_size, text)) : NULL;
}

static struct public_row *make_row(struct public_set *set, struct public_held *owner,
                                   const uint8_t *key, size_t key_size)
{
    struct public_row *row = xnew(struct public_row);
    char text[TEXT_SIZE];

    row->set = set;
    row->owner = owner;
    row->key_size = (uint8_t)key_size;
    memcpy(row->key, key, key_size);
    omap_put(&set->rows, text_of(key, key_size, text), row);
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
    char text[TEXT_SIZE];

    if (row->waits) {
        unlink_row(p, row);
    }
    omap_del(&row->set->rows, text_of(row->key, row->key_size, text));
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
                                    const struct public_kernel_element *element)
{
    const char *id = public_comment_id(element->comment);
    struct public_held *held = public_held_get(p, id && public_id_valid(id) ? id : PUBLIC_NOBODY);

    if (element->key_size > PUBLIC_KEY_SIZE) {
        return NULL;
    }
    struct public_row *row = make_row(set, held, element->key, element->key_size);
    row->in_kernel = 1;
    if (held->spec) {
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
    struct public_held *held = public_held_get(p, id);
    if (held->spec && (held->spec == spec || json_equal(held->spec, spec))) {
        json_decref(held->spec);
        held->spec = json_incref((json_t *)spec);
        return 0;
    }
    int rc = public_filter_parse(spec, &filter, error);
    if (rc < 0) {
        return rc;
    }
    json_decref(held->spec);
    held->spec = json_incref((json_t *)spec);
    judge(p, held, &filter);
    p->unsaved = 1;
    return 0;
}

void public_held_retake(struct public *p)
{
    omap_foreach (e, &p->held) {
        struct public_held *held = e->value;
        struct public_filter filter;
        if (held->spec && public_filter_parse(held->spec, &filter, NULL) == 0) {
            judge(p, held, &filter);
        }
    }
}

void public_held_drop(struct public *p, struct public_held *held)
{
    json_decref(held->spec);
    held->spec = NULL;
    judge(p, held, NULL);
}

static void held_free(void *value)
{
    struct public_held *held = value;

    json_decref(held->spec);
    free(held->rows);
    free(held);
}

void public_held_sweep(struct public *p, struct public_held *held)
{
    if (held->spec || held->rows_len > 0 || held->waiting > 0) {
        return;
    }
    _cleanup_free_ char *key = key_of(p, held->id);
    omap_del(&p->held, key);
    held_free(held);
    p->unsaved = 1;
}

static void set_free(void *value)
{
    struct public_set *set = value;

    omap_clear(&set->rows, free);
    free(set);
}

void public_held_clear(struct public *p)
{
    omap_clear(&p->sets, set_free);
    omap_clear(&p->held, held_free);
    p->waiting = NULL;
}
