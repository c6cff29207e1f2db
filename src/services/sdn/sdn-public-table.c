/* What the kernel has of ours: structure as nft lists it, elements as the kernel tells them.
 *
 * It is read at the start and whenever somebody else may have changed it; after our own
 * transactions it is known. The generation tells them apart: if it was the known one before, and
 * is one more after, nobody came between. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "lib/spawn.h"
#include "services/nft-table.h"
#include "services/sdn/sdn-public-driver.h"

enum {
    NFT_MSEC = 20000,
    TRIES = 5,
};

/* --- nft --- */

int public_nft(const struct buf *commands, int check_only, struct error *error)
{
    const char *const argv[] = {"nft", "-j", "-f", "-", check_only ? "-c" : NULL, NULL};
    struct spawn spawn = {.argv = argv,
                          .input = commands->data,
                          .input_size = commands->size,
                          .timeout_msec = NFT_MSEC};

    return spawn_check(&spawn, error);
}

int public_table_list(struct public *p, json_t **ret_listed, struct error *error)
{
    /* What isn't listed by every version, or is read from the kernel. */
    static const char *const WITHOUT[] = {"elem", "dev", NULL};

    return nft_table_list("netdev", PUBLIC_TABLE, NFT_TABLE_TERSE, WITHOUT, ret_listed, error);
}

/* --- structure --- */

/* Rules stand in their order, everything else in that of its name. */
static const char *name_of(const json_t *item, const char **ret_kind)
{
    const char *kind = json_object_iter_key(json_object_iter((json_t *)item));
    const json_t *value = json_object_get(item, kind);

    *ret_kind = kind;
    return strcmp(kind, "rule") == 0 ? json_get_string(value, "chain", "")
                                     : json_get_string(value, "name", "");
}

/* {"set own": {…}, "rule arriving": [{…}, …], …}; takes the reference `list`. */
json_t *public_table_by_name(json_t *list)
{
    json_t *all = json_object(), *item;
    const char *kind;
    size_t i;

    json_array_foreach (list, i, item) {
        const char *name = name_of(item, &kind);
        _cleanup_free_ char *key = xasprintf("%s %s", kind, name);
        json_t *known = json_object_get(all, key);
        if (!known) {
            known = json_array();
            json_object_set_new(all, key, known);
        }
        json_array_append(known, item);
    }
    json_decref(list);
    return all;
}

static int compare_sets(const void *a, const void *b)
{
    const struct public_set *const *x = a, *const *y = b;

    return public_shape_compare(&(*x)->shape, &(*y)->shape);
}

static void add_sets(const struct public *p, int wanted, json_t *list)
{
    _cleanup_free_ const struct public_set **sets = xcalloc(p->sets.len + 1, sizeof *sets);
    size_t len = 0;

    omap_foreach (e, &p->sets) {
        const struct public_set *set = e->value;
        if (wanted ? set->claimed > 0 : set->in_kernel) {
            sets[len++] = set;
        }
    }
    qsort(sets, len, sizeof *sets, compare_sets);
    for (size_t i = 0; i < len; i++) {
        json_array_append_new(list, public_shape_set(&sets[i]->shape));
    }
    for (size_t i = 0; i < len; i++) {
        json_array_append_new(list, public_shape_rule(&sets[i]->shape));
    }
}

static void add_hook(const struct public *p, int index, const char *device, json_t *list)
{
    for (int leaving = 0; leaving < 1 + (p->can_leave != 0); leaving++) {
        json_array_append_new(list, public_hook(leaving, index, device));
        json_array_append_new(list, public_hook_rule(leaving, index));
    }
}

json_t *public_table_document(const struct public *p, int wanted)
{
    json_t *list = json_array();

    json_array_append_new(list, public_table());
    json_array_append_new(list, public_own_set());
    json_array_append_new(list, public_chain(0));
    json_array_append_new(list, public_chain(1));
    add_sets(p, wanted, list);
    for (size_t i = 0; wanted && i < p->nics_len; i++) {
        add_hook(p, p->nics[i].index, p->nics[i].name, list);
    }
    for (size_t i = 0; !wanted && i < p->hooked_len; i++) {
        add_hook(p, p->hooked[i], NULL, list);
    }
    return list;
}

static void take_set(struct public *p, const char *name)
{
    struct public_shape shape;

    if (public_shape_parse(name, &shape) == 0) {
        public_set_get(p, &shape)->in_kernel = 1;
    }
}

static void take_chain(struct public *p, const char *name)
{
    int leaving, index;

    if (public_hook_parse(name, &leaving, &index) == 0 && !leaving) {
        p->hooked = xrealloc(p->hooked, (p->hooked_len + 1) * sizeof *p->hooked);
        p->hooked[p->hooked_len++] = index;
    }
}

static int compare_indexes(const void *a, const void *b)
{
    const int *x = a, *y = b;

    return *x - *y;
}

static int is_intact(struct public *p, json_t *listed)
{
    json_t *expected = public_table_by_name(public_table_document(p, 0));
    json_t *found = public_table_by_name(json_incref(listed));
    int same = json_equal(expected, found);

    p->is_faithful |= same;
    same = same || (p->made && json_equal(expected, p->made) && json_equal(found, p->listed));
    json_decref(expected);
    json_decref(found);
    return same;
}

static void take_structure(struct public *p, json_t *listed)
{
    json_t *item;
    size_t i;

    p->present = listed != NULL;
    p->hooked_len = 0;
    omap_foreach (e, &p->sets) {
        ((struct public_set *)e->value)->in_kernel = 0;
    }
    json_array_foreach (listed, i, item) {
        const char *kind, *name = name_of(item, &kind);
        if (strcmp(kind, "set") == 0) {
            take_set(p, name);
        } else if (strcmp(kind, "chain") == 0) {
            take_chain(p, name);
        }
    }
    if (p->hooked_len > 0) {
        qsort(p->hooked, p->hooked_len, sizeof *p->hooked, compare_indexes);
    }
    p->intact = listed && is_intact(p, listed);
}

/* --- elements --- */

struct reading {
    struct public *p;
    struct public_set *set;
};

static void on_element(void *arg, const struct nft_kernel_element *element)
{
    const struct reading *reading = arg;
    struct public_row *row = public_row_find(reading->set, element->key, element->key_size);

    if (!row) {
        row = public_row_found(reading->p, reading->set, element);
    }
    if (!row) {
        reading->p->intact = 0;
        return;
    }
    if (!row->in_kernel) {
        row->in_kernel = 1;
        /* Somebody else put it back. */
        const char *id = public_comment_id(element->comment);
        row->renamed = !id || strcmp(id, row->owner->id) != 0;
    }
    if (element->packets < row->packets || element->bytes < row->bytes) {
        public_row_bank(reading->p, row);
    }
    row->packets = element->packets;
    row->bytes = element->bytes;
    row->seen = 1;
}

static void forget_seen(struct public_set *set)
{
    public_rows_foreach (row, set) {
        row->seen = 0;
    }
}

/* Those that weren't seen are gone from the kernel. */
static void settle_rows(struct public *p, struct public_set *set)
{
    public_rows_foreach (row, set) {
        if (!row->seen) {
            public_row_bank(p, row);
            row->in_kernel = row->renamed = 0;
        }
        row->seen = 0;
        if (!row->in_kernel && row->claims == 0) {
            public_row_free(p, row);
        } else {
            public_row_changed(p, row);
        }
    }
}

static int read_elements(struct public *p)
{
    int rc = 0;

    omap_foreach (e, &p->sets) {
        struct reading reading = {p, e->value};
        if (rc == 0 && reading.set->in_kernel) {
            rc = nft_kernel_elements(p->kernel, NFT_KERNEL_NETDEV, PUBLIC_TABLE, e->key,
                                     on_element, &reading);
        }
    }
    omap_foreach (e, &p->sets) {
        struct public_set *set = e->value;
        if (rc < 0) {
            forget_seen(set);
            continue;
        }
        settle_rows(p, set);
        if (set->rows_len == 0 && !set->in_kernel) {
            omap_del(&p->sets, e->key);
            public_set_free(set);
        }
    }
    return rc;
}

static void on_own(void *arg, const struct nft_kernel_element *element)
{
    struct public *p = arg;
    uint32_t address;

    if (element->key_size == sizeof address) {
        memcpy(&address, element->key, sizeof address);
        p->own_in_kernel = xrealloc(p->own_in_kernel, (p->own_in_kernel_len + 1) * sizeof address);
        p->own_in_kernel[p->own_in_kernel_len++] = ntohl(address);
    }
}

static int compare_addresses(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static int read_own(struct public *p)
{
    p->own_in_kernel_len = 0;
    int rc =
        nft_kernel_elements(p->kernel, NFT_KERNEL_NETDEV, PUBLIC_TABLE, PUBLIC_OWN, on_own, p);
    if (p->own_in_kernel_len > 0) {
        qsort(p->own_in_kernel, p->own_in_kernel_len, sizeof *p->own_in_kernel, compare_addresses);
    }
    if (rc == -ENOENT) {
        p->intact = 0;
        return 0;
    }
    return rc;
}

/* --- all of it --- */

static int read_once(struct public *p, struct error *error)
{
    json_t *listed = NULL;

    int rc = public_table_list(p, &listed, error);
    if (rc < 0) {
        return rc;
    }
    if (listed) {
        public_can_leave(p); /* which chains there must be */
    }
    take_structure(p, listed);
    json_decref(listed);
    rc = read_elements(p);
    if (rc == 0 && p->present) {
        rc = read_own(p);
    }
    if (rc < 0 && rc != -EAGAIN && rc != -ENOENT) {
        error_set(error, error_status(rc), NULL, "cannot read the nftables table %s: %s",
                  PUBLIC_TABLE, strerror(-rc));
    }
    /* A set or table that went meanwhile: once more. */
    return rc == -ENOENT ? -EAGAIN : rc;
}

int public_table_observe(struct public *p, struct error *error)
{
    uint32_t before = 0, after = 0;

    for (int i = 0; p->dirty && i < TRIES; i++) {
        int rc = nft_kernel_generation(p->kernel, &before);
        if (rc == 0) {
            rc = read_once(p, error);
        }
        if (rc == 0) {
            rc = nft_kernel_generation(p->kernel, &after);
        }
        if (rc < 0 && rc != -EAGAIN) {
            return rc;
        }
        p->dirty = rc < 0 || before != after;
        p->generation = after;
    }
    if (p->dirty) {
        return error_set(error, 503, NULL, "nftables changes too fast to be read");
    }
    public_counters_compare(p);
    return 0;
}

int public_table_matches(const struct public *p)
{
    if (p->rows_len == 0) {
        return !p->present;
    }
    if (!p->present || !p->intact || p->hooked_len != p->nics_len ||
        p->own_in_kernel_len != p->own_len) {
        return 0;
    }
    for (size_t i = 0; i < p->nics_len; i++) {
        if (p->hooked[i] != p->nics[i].index) {
            return 0;
        }
    }
    return p->own_len == 0 || memcmp(p->own_in_kernel, p->own, p->own_len * sizeof *p->own) == 0;
}

void public_table_done(struct public *p)
{
    json_decref(p->made);
    json_decref(p->listed);
    free(p->hooked);
    free(p->own_in_kernel);
}
