/* The firewall on a node: one nftables table, `nft list table inet cnsmo_fw`, whoever wants to may
 * read it. Who changes it sees it put back at once. Without rules and defaults there is a table
 * without chains, which no packet meets.
 *
 *     nftables: our table, and not by us ──► reconcile_wake() ──► looked at, made again
 *     poll timer ──► counters ──► env->count() */
#include "services/fw/fw-backend.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/reconcile.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/fw/fw-driver.h"

enum {
    POLL_MSEC = 5000,
    POLL_BUSY_MSEC = 1000, /* while counters move */
};

static int owns(const char *key)
{
    return strncmp(key, "fw/rule/", 8) == 0 || strncmp(key, "fw/policy/", 10) == 0 ||
           strncmp(key, "fw/self/", 8) == 0;
}

/* --- timer and events --- */

static void on_poll(uv_timer_t *timer)
{
    struct fw *fw = timer->data;

    /* What can't be read now is read next time: nothing is lost. */
    int changed = !fw->dirty && fw_counters_read(fw, NULL) == 0 && fw_counters_tell(fw);
    fw_counters_save(fw, 0);
    if (fw->present) {
        uv_timer_start(fw->poll, on_poll, changed ? POLL_BUSY_MSEC : POLL_MSEC, 0);
    }
}

static void poll_if_needed(struct fw *fw)
{
    if (!fw->present) {
        uv_timer_stop(fw->poll);
    } else if (!uv_is_active((uv_handle_t *)fw->poll)) {
        uv_timer_start(fw->poll, on_poll, POLL_BUSY_MSEC, 0);
    }
}

static void on_event(void *arg, enum netlink_event event, const char *table)
{
    struct fw *fw = arg;
    uint32_t generation;

    if (event != NETLINK_EVENT_NFTABLES) {
        return;
    }
    if (!table || strcmp(table, FW_TABLE) != 0) {
        fw->others_dirty = 1;
    }
    if ((table && strcmp(table, FW_TABLE) != 0) || fw->dirty) {
        return;
    }
    if (nft_kernel_generation(fw->kernel, &generation) < 0 || generation != fw->generation) {
        fw->dirty = 1;
        reconcile_wake(fw->env->reconcile);
    }
}

/* --- life --- */

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

static void stop(void *self)
{
    struct fw *fw = self;

    fw_counters_save(fw, 1);
    netlink_watch_free(fw->watch);
    uv_close((uv_handle_t *)fw->poll, on_timer_closed);
    nft_kernel_free(fw->kernel);
    fw_entries_clear(fw);
    omap_clear(&fw->counts, free);
    fw_document_free(fw->document);
    json_decref(fw->sets);
    free(fw->others);
    free(fw);
}

static int start(const struct backend_env *env, void **ret_self, struct error *error)
{
    struct fw *fw = xnew(struct fw);

    fw->env = env;
    fw->dirty = fw->others_dirty = 1;
    fw->poll = xnew(uv_timer_t);
    uv_timer_init(env->loop, fw->poll);
    fw->poll->data = fw;
    int rc = nft_kernel_new(&fw->kernel);
    if (rc == 0) {
        rc = netlink_watch_new(env->loop, on_event, fw, &fw->watch);
    }
    if (rc < 0) {
        error_set(error, error_status(rc), NULL, "cannot talk to the kernel: %s", strerror(-rc));
        stop(fw);
        return rc;
    }
    fw_table_load(fw);
    fw_counters_load(fw);
    *ret_self = fw;
    return 0;
}

/* --- observe and compare --- */

static int observe(void *self, struct omap *states, struct error *error)
{
    struct fw *fw = self;
    int rc = fw_table_observe(fw, error);

    if (rc < 0) {
        return rc;
    }
    poll_if_needed(fw);
    if (fw->present && fw->entries.len == 0) {
        fw_entry_get(fw, "fw/self/?")->in_kernel = 1; /* nobody's: to be removed */
    }
    omap_foreach (e, &fw->entries) {
        const struct fw_entry *entry = e->value;
        if (entry->in_kernel) {
            omap_put(states, e->key, e->value);
        }
    }
    return 0;
}

/* What apply() does for one key brings all of the table to what is wanted, so no other key is
 * compared with anything else afterwards. */
static const void *look(void *self, const char *key)
{
    const struct fw *fw = self;
    const struct fw_entry *entry = omap_get(&fw->entries, key);

    return entry && entry->in_kernel ? entry : NULL;
}

/* States are what the driver holds. */
static void free_state(void *state)
{
}

static enum backend_match compare(void *self, const char *key, const json_t *spec,
                                  const void *state)
{
    struct fw *fw = self;
    const struct fw_entry *entry = state;

    return fw_entry_take(fw, key, spec, NULL) == 0 && fw->intact &&
                   entry->hash == entry->kernel_hash
               ? MATCH_SAME
               : MATCH_UPDATE;
}

/* --- apply --- */

static void take_items(struct fw *fw, struct backend_item *items, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        struct fw_entry *entry = omap_get(&fw->entries, items[i].key);
        int rc = 0;
        if (items[i].spec) {
            rc = fw_entry_take(fw, items[i].key, items[i].spec, &items[i].error);
        } else if (entry) {
            fw_entry_drop(entry);
        }
        items[i].result = rc < 0 ? RESULT_FAILED : RESULT_DONE;
    }
    fw_entries_sweep(fw);
}

static void apply(void *self, struct backend_item *items, size_t len)
{
    struct fw *fw = self;
    struct error error = {0};

    take_items(fw, items, len);
    int rc = fw_commit(fw, &error);
    snprintf(fw->problem, sizeof fw->problem, "%s", rc < 0 ? error.detail : "");
    for (size_t i = 0; i < len && rc < 0; i++) {
        if (items[i].result != RESULT_FAILED) {
            items[i].result = RESULT_FAILED;
            items[i].error = error;
        }
    }
    if (rc == 0 && fw->entries.len == 0) {
        fw_counters_clear(fw);
        fw_counters_save(fw, 1);
    }
    poll_if_needed(fw);
}

static int restore(void *self, struct error *error)
{
    return fw_counters_forget(self, error);
}

/* --- status --- */

static json_t *status(void *self)
{
    static const char *const WORDS[] = {"accept", "drop", "reject"};
    struct fw *fw = self;
    struct fw_policy policy = fw_entries_policy(fw);
    json_int_t rules = 0;

    omap_foreach (e, &fw->entries) {
        const struct fw_entry *entry = e->value;
        rules += entry->is_wanted && entry->kind == FW_RULE;
    }
    const char *message = fw->problem[0] ? fw->problem : fw_others(fw);
    return json_pack("{s:s, s:s, s:I, s:{s:s, s:s}}", "state",
                     fw->problem[0] ? "failed" : "running", "message", message, "rules", rules,
                     "policy", "in", WORDS[policy.in], "out", WORDS[policy.out]);
}

const struct backend BACKEND_FW = {
    .service = "fw",
    .name = "fw",
    .owns = owns,
    .start = start,
    .stop = stop,
    .observe = observe,
    .free_state = free_state,
    .compare = compare,
    .apply = apply,
    .look = look,
    .restore = restore,
    .status = status,
};
