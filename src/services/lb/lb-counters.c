/* lb-counters.c - totals of connections and bytes, which outlive HAProxy's workers.
 *
 * A worker counts from zero. So what the one before had counted stands in the base; a number that
 * has become smaller says that there is another one. Sessions that a worker on its way out still
 * serves aren't counted. */

#include "lib/clock.h"
#include "lib/mem.h"
#include "services/lb/lb-driver.h"
#include "services/totals.h"

enum {
    SAVE_USEC = 60000000,
};

static char *file_path(const struct lb *lb)
{
    return xasprintf("%s/lb-counters.json", lb->env->state_dir);
}

static void load_total(void *arg, const char *name, const uint64_t numbers[TOTALS_NUMBERS])
{
    struct lb *lb = arg;
    struct lb_total *total = xnew(struct lb_total);

    *total = (struct lb_total){numbers[0], numbers[1], numbers[2], numbers[3]};
    free(omap_put(&lb->totals, name, total));
}

void lb_counters_load(struct lb *lb)
{
    _cleanup_free_ char *path = file_path(lb);
    json_t *all = totals_read(path);

    totals_each(all, load_total, lb);
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

static int write_file(const struct lb *lb)
{
    _cleanup_buf_ struct buf text = BUF_INIT(TOTALS_SIZE_MAX);
    _cleanup_free_ char *path = file_path(lb);
    const char *comma = "";
    int rc = buf_printf(&text, "{");

    omap_foreach (e, &lb->totals) {
        const struct lb_total *t = e->value;
        const uint64_t numbers[] = {t->base_connections, t->base_bytes, t->connections, t->bytes};
        rc = rc < 0 ? rc : totals_write(&text, &comma, e->key, numbers);
    }
    rc = rc < 0 ? rc : buf_printf(&text, "}\n");
    return totals_save(path, &text, rc);
}

void lb_counters_save(struct lb *lb, int now)
{
    int64_t time = clock_monotonic_usec();

    if (lb->totals_unsaved && (now || time - lb->totals_saved_usec >= SAVE_USEC)) {
        lb->totals_unsaved = write_file(lb) < 0;
        lb->totals_saved_usec = time;
    }
}

int lb_counters_remove(struct lb *lb, struct error *error)
{
    _cleanup_free_ char *path = file_path(lb);

    omap_clear(&lb->totals, free);
    lb->totals_unsaved = 0;
    return totals_remove(path, error);
}
