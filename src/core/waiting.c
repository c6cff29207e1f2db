/* waiting.c - who waits for a transaction to be in force on every node that it concerned. */
#include <errno.h>

#include "core/deployment-internal.h"
#include "lib/json.h"
#include "lib/mem.h"

/* --- whom a transaction concerned --- */

struct recent *waiting_begin_recent(struct deployment *d, int64_t revision)
{
    struct recent *recent = &d->recent[++d->recent_at % RECENT_MAX];

    d->recent_nodes -= recent->nodes.len;
    omap_clear(&recent->nodes, NULL);
    recent->revision = revision;
    return recent;
}

void waiting_end_recent(struct deployment *d)
{
    d->recent_nodes += d->recent[d->recent_at % RECENT_MAX].nodes.len;
    for (size_t i = 1; i < RECENT_MAX && d->recent_nodes > RECENT_NODES_MAX; i++) {
        struct recent *oldest = &d->recent[(d->recent_at + i) % RECENT_MAX];
        d->recent_nodes -= oldest->nodes.len;
        omap_clear(&oldest->nodes, NULL);
        oldest->revision = 0;
    }
}

static const struct recent *find_recent(const struct deployment *d, int64_t revision)
{
    for (size_t i = 0; i < RECENT_MAX; i++) {
        if (d->recent[i].revision == revision) {
            return &d->recent[i];
        }
    }
    return NULL;
}

/* --- the report --- */

static void add_errors(const struct deployment *d, const char *node, int64_t revision,
                       json_t *errors)
{
    const struct live *live = fleet_live(d, node);
    const struct member *member = channels_member(&d->channels, node);
    size_t i;
    json_t *item;

    json_array_foreach (live ? live->errors : NULL, i, item) {
        const char *key = json_get_string(item, "key", "");
        for (size_t j = 0; member && j < member->len; j++) {
            const struct resource *resource =
                omap_get(&member->channels[j].channel->resources, key);
            if (resource && resource->revision == revision) {
                json_array_append_new(
                    errors, json_pack("{s:s, s:s, s:s}", "node", node, "key", key, "message",
                                      json_get_string(item, "message", "failed")));
            }
        }
    }
}

static json_t *make_report(const struct waiter *w)
{
    json_t *pending = json_deep_copy(w->away), *errors = json_array();

    omap_foreach (e, &w->pending) {
        json_array_append_new(
            pending, json_pack("{s:s, s:s}", "node", e->key, "reason", "hasn't applied it yet"));
    }
    omap_foreach (e, &w->concerned) {
        add_errors(w->d, e->key, w->revision, errors);
    }
    size_t missing = json_array_size(pending) + json_array_size(errors);
    size_t applied = missing < w->concerned.len ? w->concerned.len - missing : 0;
    return json_pack("{s:I, s:I, s:o, s:o}", "nodes", (json_int_t)w->concerned.len, "applied",
                     (json_int_t)applied, "pending", pending, "errors", errors);
}

static void free_waiter(uv_handle_t *handle)
{
    struct waiter *w = handle->data;

    omap_clear(&w->pending, NULL);
    omap_clear(&w->concerned, NULL);
    json_decref(w->away);
    free(w);
}

static void end_waiter(struct waiter *w)
{
    json_t *report = make_report(w);
    int complete = json_array_size(json_object_get(report, "pending")) == 0 &&
                   json_array_size(json_object_get(report, "errors")) == 0;

    for (struct waiter **at = &w->d->waiters; *at; at = &(*at)->next) {
        if (*at == w) {
            *at = w->next;
            break;
        }
    }
    w->done(w->arg, complete ? 0 : -EHOSTUNREACH, report);
    json_decref(report);
    uv_close((uv_handle_t *)&w->timer, free_waiter);
}

static void on_timeout(uv_timer_t *timer)
{
    end_waiter(timer->data);
}

/* Drops a node that has applied it or went away. Returns 1 when nobody is left to wait for. */
static int check_node(struct waiter *w, const char *node)
{
    const struct live *live = fleet_live(w->d, node);

    if (!live || !live->connected) {
        if (omap_del(&w->pending, node)) {
            json_array_append_new(w->away,
                                  json_pack("{s:s, s:s}", "node", node, "reason", "is away"));
        }
    } else if (live->acked >= w->revision) {
        omap_del(&w->pending, node);
    }
    return w->pending.len == 0;
}

void waiting_check(struct deployment *d, const char *node)
{
    for (struct waiter *w = d->waiters, *next; w; w = next) {
        next = w->next;
        if (check_node(w, node)) {
            end_waiter(w);
        }
    }
}

void deployment_wait(struct deployment *d, int64_t revision, unsigned timeout_msec,
                     applied_fn *done, void *arg)
{
    struct waiter *w = xnew(struct waiter);
    const struct recent *recent = find_recent(d, revision);

    *w = (struct waiter){
        .d = d, .revision = revision, .away = json_array(), .done = done, .arg = arg};
    if (recent) {
        omap_foreach (e, &recent->nodes) {
            omap_put(&w->pending, e->key, w);
            omap_put(&w->concerned, e->key, w);
        }
    }
    uv_timer_init(d->loop, &w->timer);
    w->timer.data = w;
    uv_timer_start(&w->timer, on_timeout, timeout_msec, 0);
    w->next = d->waiters;
    d->waiters = w;
    omap_foreach (e, &w->concerned) {
        check_node(w, e->key);
    }
    if (w->pending.len == 0) {
        end_waiter(w);
    }
}

void waiting_done(struct deployment *d)
{
    while (d->waiters) {
        end_waiter(d->waiters);
    }
    for (size_t i = 0; i < RECENT_MAX; i++) {
        omap_clear(&d->recent[i].nodes, NULL);
    }
}
