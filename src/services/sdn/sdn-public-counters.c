/* What filters have counted: on this machine, since they were made.
 *
 * A total is what the filter's elements in the kernel say, and a base for those that are gone.
 * Elements outlive the agent, but not a reboot; so bases, and what the elements said, are written
 * to a file now and then and when the agent stops:
 *
 *     {"range": "10.77.0.0/16", "filters": {"7": [base packets, base bytes, packets, bytes], …}}
 *
 * If the kernel says less than the file the table was lost meanwhile, and what the file says
 * belongs to the base. The file also knows filters that have no part here, which leave no other
 * trace on the host. */
#include <errno.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/sdn/sdn-public-driver.h"
#include "services/totals.h"

enum {
    SAVE_SEC = 60,
};

static char *path_of(const struct public *p)
{
    return xasprintf("%s/sdn-public.json", p->env->state_dir);
}

/* --- reading --- */

struct reading {
    struct public *p;
    struct public_set *set;
};

static void on_counter(void *arg, const struct nft_kernel_element *element)
{
    const struct reading *reading = arg;
    struct public_row *row = public_row_find(reading->set, element->key, element->key_size);

    if (!row || !row->in_kernel) {
        return; /* somebody else's; the event of that makes us look */
    }
    if (element->packets < row->packets || element->bytes < row->bytes) {
        public_row_bank(reading->p, row);
    }
    row->packets = element->packets;
    row->bytes = element->bytes;
}

int public_counters_read(struct public *p, struct error *error)
{
    omap_foreach (e, &p->sets) {
        struct reading reading = {p, e->value};
        int rc = 0;
        if (reading.set->in_kernel) {
            rc = nft_kernel_elements(p->kernel, NFT_KERNEL_NETDEV, PUBLIC_TABLE, e->key,
                                     on_counter, &reading);
        }
        if (rc < 0 && rc != -ENOENT && rc != -EAGAIN) {
            return error_set(error, error_status(rc), NULL, "cannot read counters: %s",
                             strerror(-rc));
        }
    }
    return 0;
}

/* What the kernel's elements of the filter say now. */
static void sum_up(const struct public_held *held, uint64_t *ret_packets, uint64_t *ret_bytes)
{
    uint64_t packets = 0, bytes = 0;

    for (size_t i = 0; i < held->rows_len; i++) {
        if (held->rows[i]->owner == held) {
            packets += held->rows[i]->packets;
            bytes += held->rows[i]->bytes;
        }
    }
    *ret_packets = packets;
    *ret_bytes = bytes;
}

void public_counters_compare(struct public *p)
{
    if (p->loaded) {
        return;
    }
    omap_foreach (e, &p->held) {
        struct public_held *held = e->value;
        uint64_t packets, bytes;
        sum_up(held, &packets, &bytes);
        if (packets < held->told_packets || bytes < held->told_bytes) {
            held->base_packets += held->told_packets;
            held->base_bytes += held->told_bytes;
        }
        held->told_packets = held->told_bytes = 0;
    }
    p->loaded = 1;
}

int public_counters_tell(struct public *p)
{
    int told = 0;

    omap_foreach (e, &p->held) {
        struct public_held *held = e->value;
        uint64_t packets, bytes;
        if (!held->is_wanted) {
            continue;
        }
        sum_up(held, &packets, &bytes);
        packets += held->base_packets;
        bytes += held->base_bytes;
        /* Never backwards, whatever others did to the table. */
        if (packets <= held->told_packets || bytes < held->told_bytes) {
            continue;
        }
        held->told_packets = packets;
        held->told_bytes = bytes;
        told = p->unsaved = 1;
        if (p->env->count) {
            _cleanup_free_ char *name = xasprintf("sdn/filter/%s/public", held->id);
            p->env->count(p->env->count_arg, name, packets, bytes);
        }
    }
    return told;
}

void public_counters_gone(struct public *p, const struct public_held *held)
{
    _cleanup_free_ char *name = xasprintf("sdn/filter/%s/public", held->id);

    if (p->env->count_gone && held->told_packets > 0) {
        p->env->count_gone(p->env->count_arg, name);
    }
}

/* --- the file --- */

static void load_filter(void *arg, const char *id, const uint64_t numbers[TOTALS_NUMBERS])
{
    if (public_id_valid(id)) {
        struct public_held *held = public_held_get(arg, id);
        held->base_packets = numbers[0];
        held->base_bytes = numbers[1];
        held->told_packets = numbers[2];
        held->told_bytes = numbers[3];
    }
}

void public_counters_load(struct public *p)
{
    _cleanup_free_ char *path = path_of(p);
    json_t *file = totals_read(path);

    p->has_overlay = ip4_prefix_parse(json_get_string(file, "range", ""), &p->overlay) == 0;
    totals_each(json_object_get(file, "filters"), load_filter, p);
    json_decref(file);
}

static int write_file(const struct public *p, const char *path)
{
    _cleanup_buf_ struct buf text = BUF_INIT(TOTALS_SIZE_MAX);
    char range[IP4_PREFIX_TEXT_SIZE] = "";
    const char *comma = "";

    if (p->has_overlay) {
        ip4_prefix_format(p->overlay, range);
    }
    int rc = buf_printf(&text, "{\"range\":\"%s\",\"filters\":{", range);
    omap_foreach (e, &p->held) {
        const struct public_held *held = e->value;
        uint64_t numbers[TOTALS_NUMBERS] = {held->base_packets, held->base_bytes};
        if (strcmp(held->id, PUBLIC_NOBODY) == 0) {
            continue;
        }
        sum_up(held, &numbers[2], &numbers[3]);
        rc = rc < 0 ? rc : totals_write(&text, &comma, held->id, numbers);
    }
    rc = rc < 0 ? rc : buf_printf(&text, "}}\n");
    return totals_save(path, &text, rc);
}

void public_counters_save(struct public *p, int now)
{
    _cleanup_free_ char *path = path_of(p);
    int64_t usec = clock_monotonic_usec();

    now = now || p->is_urgent || p->saved_usec == 0;
    if (!p->unsaved || !p->loaded || (!now && usec < p->saved_usec + SAVE_SEC * 1000000LL)) {
        return;
    }
    p->is_urgent = 0;
    p->saved_usec = usec;
    int is_empty = p->held.len == 0 && !p->has_overlay;
    int rc = is_empty ? public_counters_forget(p, NULL) : write_file(p, path);
    if (rc == 0) {
        p->unsaved = 0;
    }
}

int public_counters_forget(struct public *p, struct error *error)
{
    _cleanup_free_ char *path = path_of(p);

    p->unsaved = 0;
    return totals_remove(path, error);
}
