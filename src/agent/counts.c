#include "agent/counts.h"

#include "lib/mem.h"
#include "lib/omap.h"
#include "link/message.h"

struct total {
    uint64_t packets, bytes;
    int is_gone;
};

struct counts {
    struct omap totals; /* name -> struct total */
    struct omap unsent; /* names; the value means nothing */
    uv_timer_t timer;   /* until the next batch may go */
    int is_connected;
    void (*send)(void *arg, json_t *message);
    void *arg;
};

/* What most of ten thousand filters have counted: one for all. */
static struct total nothing;

static void free_total(void *total)
{
    if (total != &nothing) {
        free(total);
    }
}

/* Sets the name's total; what it was before is freed. */
static void set_total(struct counts *counts, const char *name, struct total value)
{
    struct total *total = &nothing;

    if (value.packets > 0 || value.bytes > 0 || value.is_gone) {
        total = xnew(struct total);
        *total = value;
    }
    free_total(omap_put(&counts->totals, name, total));
}

static void send_values(struct counts *counts, json_t *values)
{
    counts->send(counts->arg, json_pack("{s:s, s:o}", "type", "counters", "values", values));
}

static void flush(struct counts *counts)
{
    json_t *values = json_object();

    omap_foreach (e, &counts->unsent) {
        const struct total *total = omap_get(&counts->totals, e->key);
        json_object_set_new(values, e->key,
                            total->is_gone ? json_null()
                                           : json_pack("[I, I]", (json_int_t)total->packets,
                                                       (json_int_t)total->bytes));
        if (total->is_gone) {
            free_total(omap_del(&counts->totals, e->key));
        }
        if (json_object_size(values) == MESSAGE_COUNTERS_MAX) {
            send_values(counts, values);
            values = json_object();
        }
    }
    omap_clear(&counts->unsent, NULL);
    if (json_object_size(values) > 0) {
        send_values(counts, values);
    } else {
        json_decref(values);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct counts *counts = timer->data;

    if (counts->is_connected && counts->unsent.len > 0) {
        flush(counts);
        uv_timer_start(timer, on_timer, COUNTS_MSEC, 0);
    }
}

/* The first change goes out in the next turn of the loop, the next ones together later. */
static void changed(struct counts *counts, const char *name)
{
    omap_put(&counts->unsent, name, counts);
    if (counts->is_connected && !uv_is_active((uv_handle_t *)&counts->timer)) {
        uv_timer_start(&counts->timer, on_timer, 0, 0);
    }
}

void counts_put(struct counts *counts, const char *name, uint64_t packets, uint64_t bytes)
{
    const struct total *total = omap_get(&counts->totals, name);

    if (total && !total->is_gone && total->packets == packets && total->bytes == bytes) {
        return;
    }
    if (!total && counts->totals.len >= COUNTS_MAX) {
        return;
    }
    set_total(counts, name, (struct total){.packets = packets, .bytes = bytes});
    changed(counts, name);
}

void counts_gone(struct counts *counts, const char *name)
{
    const struct total *total = omap_get(&counts->totals, name);

    if (total && !total->is_gone) {
        set_total(counts, name, (struct total){.is_gone = 1});
        changed(counts, name);
    }
}

void counts_welcomed(struct counts *counts)
{
    counts->is_connected = 1;
    omap_foreach (e, &counts->totals) {
        omap_put(&counts->unsent, e->key, counts);
    }
    uv_timer_start(&counts->timer, on_timer, 0, 0);
}

void counts_disconnected(struct counts *counts)
{
    counts->is_connected = 0;
    uv_timer_stop(&counts->timer);
}

struct counts *counts_new(uv_loop_t *loop, void (*send)(void *arg, json_t *message), void *arg)
{
    struct counts *counts = xnew(struct counts);

    counts->send = send;
    counts->arg = arg;
    uv_timer_init(loop, &counts->timer);
    counts->timer.data = counts;
    return counts;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void counts_free(struct counts *counts)
{
    if (counts) {
        omap_clear(&counts->totals, free_total);
        omap_clear(&counts->unsent, NULL);
        uv_close((uv_handle_t *)&counts->timer, on_closed);
    }
}
