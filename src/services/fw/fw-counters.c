/* What rules and defaults have counted, told and kept.
 *
 *     total = base + what the kernel says now
 *
 * The kernel forgets a count with the element or rule that has it. So counters are read right
 * before a transaction and right after it, and what is less then than it was is added to the base.
 * Packets that come between a reading and its transaction may go uncounted. The file has both
 * parts, so a table that was lost meanwhile (a reboot) is seen the same way. */
#include <string.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "services/fw/fw-driver.h"
#include "services/totals.h"

enum {
    SAVE_SEC = 60,
};

static char *path_of(const struct fw *fw)
{
    return xasprintf("%s/fw-counters.json", fw->env->state_dir);
}

static struct fw_count *count_of(struct fw *fw, const char *name)
{
    struct fw_count *count = omap_get(&fw->counts, name);

    if (!count) {
        count = xnew(struct fw_count);
        omap_put(&fw->counts, name, count);
    }
    return count;
}

/* --- reading --- */

static void add(struct fw *fw, const char *name, uint64_t packets, uint64_t bytes)
{
    if (packets > 0) {
        struct fw_count *count = count_of(fw, name);
        count->sum_packets += packets;
        count->sum_bytes += bytes;
    }
}

struct reading {
    struct fw *fw;
    const char *set;
    uint64_t elements;
};

static void on_element(void *arg, const struct nft_kernel_element *element)
{
    struct reading *reading = arg;
    char id[FW_MARK_SIZE];
    size_t len = strcspn(element->comment, ".");

    reading->elements += fw_element_hash(reading->set, element);
    if (element->packets > 0 && len < sizeof id) {
        memcpy(id, element->comment, len);
        id[len] = '\0';
        add(reading->fw, id, element->packets, element->bytes);
    }
}

/* "r.<hash>.<id>", "policy-in". */
static void on_counter(void *arg, const char *name, uint64_t packets, uint64_t bytes)
{
    const char *id = strrchr(name, '.');

    if (strncmp(name, "policy-", 7) == 0) {
        add(arg, name, packets, bytes);
    } else if (strncmp(name, "r.", 2) == 0 && id) {
        add(arg, id + 1, packets, bytes);
    }
}

static void settle(struct fw *fw)
{
    omap_foreach (e, &fw->counts) {
        struct fw_count *count = e->value;
        if (count->sum_packets < count->packets || count->sum_bytes < count->bytes) {
            fw->is_urgent = 1; /* what is only in the base is nowhere else */
            count->base_packets += count->packets - count->sum_packets;
            count->base_bytes +=
                count->bytes > count->sum_bytes ? count->bytes - count->sum_bytes : 0;
        }
        count->packets = count->sum_packets;
        count->bytes = count->sum_bytes;
    }
}

int fw_counters_read(struct fw *fw, uint64_t *ret_elements)
{
    struct reading reading = {.fw = fw};
    json_t *set;
    size_t i;
    int rc = 0;

    omap_foreach (e, &fw->counts) {
        struct fw_count *count = e->value;
        count->sum_packets = count->sum_bytes = 0;
    }
    if (fw->present) {
        rc = nft_kernel_counters(fw->kernel, NFT_KERNEL_INET, FW_TABLE, on_counter, fw);
    }
    json_array_foreach (fw->sets, i, set) {
        reading.set = json_string_value(set);
        if (rc == 0) {
            rc = nft_kernel_elements(fw->kernel, NFT_KERNEL_INET, FW_TABLE, reading.set,
                                     on_element, &reading);
        }
    }
    if (rc == 0) {
        settle(fw);
    }
    if (rc == 0 && ret_elements) {
        *ret_elements = reading.elements;
    }
    return rc;
}

/* --- telling --- */

/* Rules by their resource, defaults by the node's. */
static char *told_name(const char *name)
{
    return strncmp(name, "policy-", 7) == 0 ? xasprintf("fw/node/%s", name)
                                            : xasprintf("fw/rule/%s", name);
}

int fw_counters_tell(struct fw *fw)
{
    int told = 0;

    omap_foreach (e, &fw->counts) {
        struct fw_count *count = e->value;
        uint64_t packets = count->base_packets + count->packets;
        uint64_t bytes = count->base_bytes + count->bytes;
        if (packets <= count->told_packets || bytes < count->told_bytes) {
            continue;
        }
        count->told_packets = packets;
        count->told_bytes = bytes;
        told = fw->unsaved = 1;
        if (fw->env->count) {
            _cleanup_free_ char *name = told_name(e->key);
            fw->env->count(fw->env->count_arg, name, packets, bytes);
        }
    }
    return told;
}

void fw_counters_gone(struct fw *fw, const char *id)
{
    _cleanup_free_ char *name = told_name(id); /* `id` may be the map's */
    struct fw_count *count = omap_del(&fw->counts, id);

    if (count && count->told_packets > 0 && fw->env->count_gone) {
        fw->env->count_gone(fw->env->count_arg, name);
    }
    fw->unsaved |= count != NULL;
    free(count);
}

void fw_counters_clear(struct fw *fw)
{
    omap_foreach (e, &fw->counts) {
        fw_counters_gone(fw, e->key);
    }
}

/* --- the file --- */

static void load_count(void *arg, const char *name, const uint64_t numbers[TOTALS_NUMBERS])
{
    if (strlen(name) < FW_ID_SIZE) {
        struct fw_count *count = count_of(arg, name);
        count->base_packets = numbers[0];
        count->base_bytes = numbers[1];
        count->packets = numbers[2];
        count->bytes = numbers[3];
    }
}

void fw_counters_load(struct fw *fw)
{
    _cleanup_free_ char *path = path_of(fw);
    json_t *totals = totals_read(path);

    totals_each(totals, load_count, fw);
    json_decref(totals);
}

static int write_file(const struct fw *fw, const char *path)
{
    _cleanup_buf_ struct buf text = BUF_INIT(TOTALS_SIZE_MAX);
    const char *comma = "";
    int rc = buf_printf(&text, "{");

    omap_foreach (e, &fw->counts) {
        const struct fw_count *count = e->value;
        const uint64_t numbers[] = {count->base_packets, count->base_bytes, count->packets,
                                    count->bytes};
        rc = rc < 0 ? rc : totals_write(&text, &comma, e->key, numbers);
    }
    rc = rc < 0 ? rc : buf_printf(&text, "}\n");
    return totals_save(path, &text, rc);
}

void fw_counters_save(struct fw *fw, int now)
{
    _cleanup_free_ char *path = path_of(fw);
    int64_t usec = clock_monotonic_usec();

    now = now || fw->is_urgent;
    if (!fw->unsaved || (!now && usec < fw->saved_usec + SAVE_SEC * 1000000LL)) {
        return;
    }
    fw->saved_usec = usec;
    int rc = fw->counts.len == 0 ? fw_counters_forget(fw, NULL) : write_file(fw, path);
    if (rc == 0) {
        fw->unsaved = fw->is_urgent = 0;
    }
}

int fw_counters_forget(struct fw *fw, struct error *error)
{
    _cleanup_free_ char *path = path_of(fw);

    fw->unsaved = 0;
    return totals_remove(path, error);
}
