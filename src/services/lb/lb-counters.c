/* lb-counters.c - totals of connections and bytes, which outlive HAProxy's workers.
 *
 * A worker counts from zero. So what the one before had counted stands in the base; a number that
 * has become smaller says that there is another one. Sessions that a worker on its way out still
 * serves aren't counted. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/lb/lb-driver.h"

enum {
    FILE_MAX = 4 << 20,
    SAVE_USEC = 60000000,
};

static char *file_path(const struct lb *lb)
{
    return xasprintf("%s/lb-counters.json", lb->env->state_dir);
}

static uint64_t number_at(const json_t *list, size_t i)
{
    json_int_t value = json_integer_value(json_array_get(list, i));

    return value > 0 ? (uint64_t)value : 0;
}

/* {"web":[base connections, base bytes, connections, bytes]} */
void lb_counters_load(struct lb *lb)
{
    _cleanup_buf_ struct buf text = BUF_INIT(FILE_MAX);
    _cleanup_free_ char *path = file_path(lb);
    json_t *all = NULL, *list;
    const char *name;

    if (file_read(path, &text) < 0 || !text.data ||
        json_parse(text.data, text.size, &all, NULL) < 0) {
        return; /* begins anew */
    }
    json_object_foreach (all, name, list) {
        struct lb_total *total = xnew(struct lb_total);
        *total = (struct lb_total){number_at(list, 0), number_at(list, 1), number_at(list, 2),
                                   number_at(list, 3)};
        free(omap_put(&lb->totals, name, total));
    }
    json_decref(all);
}

static void tell(struct lb *lb, const char *name, const struct lb_total *total)
{
    _cleanup_free_ char *counter = xasprintf(LB_KEY_PREFIX "%s", name);

    if (lb->env->count) {
        lb->env->count(lb->env->count_arg, counter, total->base_connections + total->connections,
                       total->base_bytes + total->bytes);
    }
}

void lb_counters_take(struct lb *lb)
{
    omap_foreach (e, &lb->stat.proxies) {
        const struct lb_proxy *proxy = e->value;
        struct lb_total *total = omap_get(&lb->totals, e->key);
        if (!omap_get(&lb->wanted, e->key)) {
            continue;
        }
        if (!total) {
            total = xnew(struct lb_total);
            omap_put(&lb->totals, e->key, total);
        }
        if (proxy->total < total->connections || proxy->bytes < total->bytes) {
            total->base_connections += total->connections;
            total->base_bytes += total->bytes;
        }
        lb->totals_unsaved |= proxy->total != total->connections || proxy->bytes != total->bytes;
        total->connections = proxy->total;
        total->bytes = proxy->bytes;
        tell(lb, e->key, total);
    }
}

void lb_counters_drop(struct lb *lb, const char *name)
{
    _cleanup_free_ char *counter = xasprintf(LB_KEY_PREFIX "%s", name);
    void *total = omap_del(&lb->totals, name);

    if (total && lb->env->count_gone) {
        lb->env->count_gone(lb->env->count_arg, counter);
    }
    lb->totals_unsaved |= total != NULL;
    free(total);
}

void lb_counters_save(struct lb *lb, int now)
{
    int64_t time = clock_monotonic_usec();

    if (!lb->totals_unsaved || (!now && time - lb->totals_saved_usec < SAVE_USEC)) {
        return;
    }
    json_t *all = json_object();
    omap_foreach (e, &lb->totals) {
        const struct lb_total *t = e->value;
        json_object_set_new(all, e->key,
                            json_pack("[I, I, I, I]", (json_int_t)t->base_connections,
                                      (json_int_t)t->base_bytes, (json_int_t)t->connections,
                                      (json_int_t)t->bytes));
    }
    _cleanup_free_ char *path = file_path(lb);
    char *text = json_dumps(all, JSON_COMPACT);
    /* What can't be written is lost only if the agent ends. */
    lb->totals_unsaved = file_write_atomic(path, text, strlen(text), 0600) < 0;
    lb->totals_saved_usec = time;
    free(text);
    json_decref(all);
}

int lb_counters_remove(struct lb *lb, struct error *error)
{
    _cleanup_free_ char *path = file_path(lb);
    int rc = access(path, F_OK) < 0 ? 0 : fault_point();

    if (rc == 0 && unlink(path) < 0 && errno != ENOENT) {
        rc = -errno;
    }
    omap_clear(&lb->totals, free);
    lb->totals_unsaved = 0;
    return rc < 0 ? error_set(error, 500, NULL, "cannot remove %s: %s", path, strerror(-rc)) : 0;
}
