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
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "services/sdn/sdn-public-driver.h"

enum {
    FILE_SIZE_MAX = 16 << 20,
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

static void load_filter(struct public *p, const char *id, const json_t *numbers)
{
    uint64_t values[4];

    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        json_int_t value = json_integer_value(json_array_get(numbers, i));
        values[i] = value > 0 ? (uint64_t)value : 0;
    }
    if (!public_id_valid(id)) {
        return;
    }
    struct public_held *held = public_held_get(p, id);
    held->base_packets = values[0];
    held->base_bytes = values[1];
    held->told_packets = values[2];
    held->told_bytes = values[3];
}

void public_counters_load(struct public *p)
{
    _cleanup_free_ char *path = path_of(p);
    _cleanup_buf_ struct buf text = BUF_INIT(FILE_SIZE_MAX);
    json_t *file = NULL, *numbers;
    struct error error = {0};
    const char *id;

    int rc = file_read(path, &text);
    if (rc == -ENOENT) {
        return;
    }
    if (rc < 0 || json_parse(text.data ? text.data : "", text.size, &file, &error) < 0) {
        log_warn("counters of filters can't be read from their file", "file", path, "error",
                 rc < 0 ? strerror(-rc) : error.detail, NULL);
        return;
    }
    p->has_overlay = ip4_prefix_parse(json_get_string(file, "range", ""), &p->overlay) == 0;
    json_object_foreach (json_object_get(file, "filters"), id, numbers) {
        load_filter(p, id, numbers);
    }
    json_decref(file);
}

static int write_file(const struct public *p, const char *path)
{
    _cleanup_buf_ struct buf text = BUF_INIT(FILE_SIZE_MAX);
    char range[IP4_PREFIX_TEXT_SIZE] = "";
    const char *comma = "";

    if (p->has_overlay) {
        ip4_prefix_format(p->overlay, range);
    }
    int rc = buf_printf(&text, "{\"range\":\"%s\",\"filters\":{", range);
    omap_foreach (e, &p->held) {
        const struct public_held *held = e->value;
        uint64_t packets, bytes;
        if (strcmp(held->id, PUBLIC_NOBODY) == 0) {
            continue;
        }
        sum_up(held, &packets, &bytes);
        if (rc == 0) {
            rc = buf_printf(&text, "%s\n\"%s\":[%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]",
                            comma, held->id, held->base_packets, held->base_bytes, packets, bytes);
        }
        comma = ",";
    }
    if (rc == 0) {
        rc = buf_printf(&text, "}}\n");
    }
    return rc < 0 ? rc : file_write_atomic(path, text.data, text.size, 0600);
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
    if (rc < 0) {
        log_warn("counters of filters can't be saved", "file", path, "error", strerror(-rc), NULL);
        return;
    }
    p->unsaved = 0;
}

int public_counters_forget(struct public *p, struct error *error)
{
    _cleanup_free_ char *path = path_of(p);

    p->unsaved = 0;
    int rc = fault_point();
    if (rc == 0 && unlink(path) < 0 && errno != ENOENT) {
        rc = -errno;
    }
    if (rc < 0) {
        return error_set(error, error_status(rc), NULL, "cannot remove %s: %s", path,
                         strerror(-rc));
    }
    return 0;
}
