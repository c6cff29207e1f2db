/* Filters on the public side: what arrives at and leaves from the machine's own NICs, outside of
 * the overlay, in nftables' netdev hooks. A NIC is never put into a bridge for it.
 *
 * Filters that lie within the overlay's range have no part here; without any other there is no
 * table and no work. The table may be read by anybody (`nft list table netdev cnsmo_sdn`); who
 * changes it sees it put back at once.
 *
 * Of a fragmented packet only the first fragment has a port, and only that is dropped by a filter
 * with one: the rest can't be put together any more, and is dropped where it arrives.
 *
 *     netlink: links, addresses ──► calm timer ──► other NICs? ──┐
 *     nftables: our table, and not by us ────────────────────────┴──► reconcile_wake()
 *     poll timer ──► counters ──► env->count() */
#include "services/sdn/sdn-public.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/reconcile.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/sdn/sdn-public-driver.h"

enum {
    CALM_MSEC = 200, /* events within this time are looked at once */
    POLL_MSEC = 5000,
    POLL_BUSY_MSEC = 1000, /* while counters move */
};

#define FILTER_PREFIX "sdn/filter/"
#define SELF_PREFIX "sdn/self/"

static int is_self(const char *key)
{
    return strncmp(key, SELF_PREFIX, strlen(SELF_PREFIX)) == 0;
}

static int owns(const char *key)
{
    return is_self(key) || strncmp(key, FILTER_PREFIX, strlen(FILTER_PREFIX)) == 0;
}

/* --- timers and events --- */

static void on_poll(uv_timer_t *timer)
{
    struct public *p = timer->data;

    /* What can't be read now is read next time: nothing is lost. */
    int changed = public_counters_read(p, NULL) == 0 && public_counters_tell(p);
    public_counters_save(p, 0);
    if (p->present) {
        uv_timer_start(p->poll, on_poll, changed ? POLL_BUSY_MSEC : POLL_MSEC, 0);
    }
}

static void poll_if_needed(struct public *p)
{
    if (!p->present) {
        uv_timer_stop(p->poll);
    } else if (!uv_is_active((uv_handle_t *)p->poll)) {
        uv_timer_start(p->poll, on_poll, POLL_BUSY_MSEC, 0);
    }
}

static int look_at_nics(struct public *p, struct error *error)
{
    int rc = p->nics_dirty ? public_nics_look(p, error) : 0;

    if (rc < 0) {
        return rc;
    }
    p->nics_dirty = 0;
    /* With a device the kernel may have taken its chain away, and told nobody. */
    p->dirty |= rc;
    return rc;
}

static void on_calm(uv_timer_t *timer)
{
    struct public *p = timer->data;

    if (p->rows_len > 0 && look_at_nics(p, NULL) != 0) {
        reconcile_wake(p->env->reconcile);
    }
}

static void on_event(void *arg, enum netlink_event event, const char *table)
{
    struct public *p = arg;
    uint32_t generation;

    if (event == NETLINK_EVENT_ROUTE) {
        p->nics_dirty = 1;
        if (!uv_is_active((uv_handle_t *)p->calm)) {
            uv_timer_start(p->calm, on_calm, CALM_MSEC, 0);
        }
        return;
    }
    if ((table && strcmp(table, PUBLIC_TABLE) != 0) || p->dirty) {
        return;
    }
    if (nft_kernel_generation(p->kernel, &generation) < 0 || generation != p->generation) {
        p->dirty = 1;
        reconcile_wake(p->env->reconcile);
    }
}

/* --- life --- */

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

static uv_timer_t *timer_new(struct public *p)
{
    uv_timer_t *timer = xnew(uv_timer_t);

    uv_timer_init(p->env->loop, timer);
    timer->data = p;
    return timer;
}

static void stop(void *self)
{
    struct public *p = self;

    public_counters_save(p, 1);
    netlink_watch_free(p->watch);
    uv_close((uv_handle_t *)p->calm, on_timer_closed);
    uv_close((uv_handle_t *)p->poll, on_timer_closed);
    netlink_free(p->nl);
    nft_kernel_free(p->kernel);
    public_held_clear(p);
    public_nics_done(p);
    public_table_done(p);
    free(p);
}

static int start(const struct backend_env *env, void **ret_self, struct error *error)
{
    struct public *p = xnew(struct public);

    p->env = env;
    p->dirty = p->nics_dirty = 1;
    p->can_leave = -1;
    p->calm = timer_new(p);
    p->poll = timer_new(p);
    int rc = netlink_new(&p->nl);
    if (rc == 0) {
        rc = nft_kernel_new(&p->kernel);
    }
    if (rc == 0) {
        rc = netlink_watch_new(env->loop, on_event, p, &p->watch);
    }
    if (rc < 0) {
        error_set(error, error_status(rc), NULL, "cannot talk to the kernel: %s", strerror(-rc));
        stop(p);
        return rc;
    }
    public_counters_load(p);
    *ret_self = p;
    return 0;
}

/* --- observe and compare --- */

/* Costs something only after somebody else changed something. */
static int look_at_host(struct public *p, struct error *error)
{
    int rc = look_at_nics(p, error);

    return rc < 0 ? rc : public_table_observe(p, error);
}

static int observe(void *self, struct omap *states, struct error *error)
{
    struct public *p = self;

    int rc = look_at_host(p, error);

    if (rc < 0) {
        return rc;
    }
    poll_if_needed(p);
    if (p->present && p->rows_len == 0) {
        public_held_get(p, PUBLIC_NOBODY); /* a table without a filter: to be removed */
    }
    omap_foreach (e, &p->held) {
        omap_put(states, e->key, e->value);
    }
    if (p->has_overlay) {
        _cleanup_free_ char *key = xasprintf(SELF_PREFIX "%s", p->env->node);
        omap_put(states, key, &p->overlay);
    }
    return 0;
}

/* What apply() does for one key brings all of the table to what is held, so no other key is
 * compared with anything else afterwards. */
static const void *look(void *self, const char *key)
{
    struct public *p = self;

    if (is_self(key)) {
        return p->has_overlay ? &p->overlay : NULL;
    }
    return omap_get(&p->held, key);
}

/* States are what the driver holds. */
static void free_state(void *state)
{
}

static enum backend_match compare(void *self, const char *key, const json_t *spec,
                                  const void *state)
{
    struct public *p = self;
    const struct public_held *held = state;
    struct ip4_prefix range;

    if (is_self(key)) {
        int same = ip4_prefix_parse(json_get_string(spec, "range", ""), &range) == 0 &&
                   range.address == p->overlay.address && range.len == p->overlay.len;
        return same ? MATCH_SAME : MATCH_UPDATE;
    }
    if (public_held_take(p, key, spec, NULL) < 0 || held->is_deaf || held->waiting > 0 ||
        (held->rows_len > 0 && !public_table_matches(p))) {
        return MATCH_UPDATE;
    }
    return MATCH_SAME;
}

/* --- apply --- */

static int apply_self(struct public *p, const struct backend_item *item, struct error *error)
{
    const char *range = json_get_string(item->spec, "range", "");

    if (item->spec && ip4_prefix_parse(range, &p->overlay) < 0) {
        return error_set(error, 400, NULL, "the overlay's range \"%s\" is no prefix", range);
    }
    p->has_overlay = item->spec != NULL;
    p->unsaved = 1;
    public_held_retake(p);
    return 0;
}

static int apply_filter(struct public *p, const struct backend_item *item, struct error *error)
{
    struct public_held *held = omap_get(&p->held, item->key);

    if (item->spec) {
        return public_held_take(p, item->key, item->spec, error);
    }
    if (held) {
        public_held_drop(p, held);
    }
    return 0;
}

static void take_items(struct public *p, struct backend_item *items, size_t len, int selves)
{
    for (size_t i = 0; i < len; i++) {
        if (is_self(items[i].key) == selves) {
            int rc = selves ? apply_self(p, &items[i], &items[i].error)
                            : apply_filter(p, &items[i], &items[i].error);
            items[i].result = rc < 0 ? RESULT_FAILED : RESULT_NOT_YET;
        }
    }
}

/* In force now; or, of what leaves, never on this kernel. */
static void finish(struct public *p, struct backend_item *item)
{
    struct public_held *held = omap_get(&p->held, item->key);

    item->result = RESULT_DONE;
    if (held && item->spec && held->is_deaf) {
        item->result = RESULT_FAILED;
        error_set(
            &item->error, 501, NULL,
            "this kernel can't filter what leaves through the machine's own NICs: that needs "
            "Linux 5.16 or newer");
    } else if (held && !item->spec) {
        public_counters_gone(p, held);
        public_held_sweep(p, held);
    }
}

static void apply(void *self, struct backend_item *items, size_t len)
{
    struct public *p = self;
    struct error error = {0};

    take_items(p, items, len, 1);
    take_items(p, items, len, 0);
    int rc = look_at_host(p, &error);
    if (rc == 0) {
        rc = public_commit(p, &error);
    }
    for (size_t i = 0; i < len; i++) {
        if (items[i].result == RESULT_FAILED) {
            continue;
        }
        if (rc == 0) {
            finish(p, &items[i]);
        } else {
            items[i].result = RESULT_FAILED;
            items[i].error = error;
        }
    }
    poll_if_needed(p);
}

static int restore(void *self, struct error *error)
{
    return public_counters_forget(self, error);
}

/* --- status --- */

static json_t *status(void *self)
{
    const struct public *p = self;

    if (!p->present) {
        return NULL;
    }
    json_t *devices = json_array();
    for (size_t i = 0; i < p->nics_len; i++) {
        json_array_append_new(devices, json_string(p->nics[i].name));
    }
    return json_pack("{s:{s:o, s:I}}", "public", "devices", devices, "rules",
                     (json_int_t)p->rows_len);
}

const struct backend BACKEND_SDN_PUBLIC = {
    .service = "sdn",
    .name = "public",
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
