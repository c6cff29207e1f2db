/* fleet.c - the live state of nodes: who is connected, what they have applied, who waits for it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/deployment-internal.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"

struct live *fleet_live(const struct deployment *d, const char *node)
{
    return omap_get(&d->live, node);
}

static struct live *make_live(struct deployment *d, const char *node)
{
    struct live *live = fleet_live(d, node);

    if (!live) {
        live = xnew(struct live);
        omap_put(&d->live, node, live);
    }
    return live;
}

static void free_live(void *value)
{
    struct live *live = value;

    if (live) {
        free(live->address);
        json_decref(live->errors);
        json_decref(live->status);
        free(live);
    }
}

static void tell(struct deployment *d, const char *node)
{
    for (struct deployment_listener *l = d->listeners, *next; l; l = next) {
        next = l->next;
        if (l->fleet_changed) {
            l->fleet_changed(l->arg, node);
        }
    }
}

/* --- channels --- */

char **fleet_channel_names(const char *node, const json_t *spec)
{
    const json_t *services = json_object_get(spec, "services");
    int hub = json_get_bool(spec, "hub", 0);
    char **names = xcalloc(2 * json_array_size(services) + 2, sizeof *names);
    size_t i, at = 0;
    json_t *name;

    if (spec) {
        names[at++] = xasprintf("node/%s", node);
    }
    json_array_foreach ((json_t *)services, i, name) {
        names[at++] = xasprintf("service/%s", json_string_value(name));
        if (hub) {
            names[at++] = xasprintf("hub/%s", json_string_value(name));
        }
    }
    return names;
}

void fleet_free_names(char **names)
{
    for (char **name = names; *name; name++) {
        free(*name);
    }
    free(names);
}

int fleet_channels(struct deployment *d, const char *node, int64_t revision)
{
    char **names = fleet_channel_names(node, tree_spec(&d->tree, "nodes", node));
    int changed = channels_join(&d->channels, node, (const char *const *)names, revision);

    fleet_free_names(names);
    return changed;
}

/* --- what agents say --- */

void fleet_connected(struct deployment *d, const char *node, const char *address)
{
    struct live *live = make_live(d, node);

    live->connected = 1;
    live->last_seen_usec = clock_now_usec();
    free(live->address);
    live->address = xstrdup(address);
    tell(d, node);
}

void fleet_disconnected(struct deployment *d, const char *node, const char *why)
{
    struct live *live = fleet_live(d, node);

    if (live && live->connected) {
        live->connected = 0;
        live->last_seen_usec = clock_now_usec();
        fleet_check_waiters(d);
        tell(d, node);
    }
}

int fleet_is_connected(const struct deployment *d, const char *node)
{
    const struct live *live = fleet_live(d, node);

    return live && live->connected;
}

void fleet_acked(struct deployment *d, const char *node, int64_t revision, const json_t *errors)
{
    struct live *live = make_live(d, node);

    live->acked = revision;
    live->last_seen_usec = clock_now_usec();
    json_decref(live->errors);
    live->errors = json_array_size(errors) > 0 ? json_deep_copy(errors) : NULL;
    quarantine_acked(d, node, revision);
    fleet_check_waiters(d);
    tell(d, node);
}

void fleet_status(struct deployment *d, const char *node, const json_t *status)
{
    struct live *live = make_live(d, node);

    json_decref(live->status);
    live->status = json_deep_copy(status);
    live->last_seen_usec = clock_now_usec();
    tell(d, node);
}

void fleet_forget(struct deployment *d, const char *node)
{
    quarantine_acked(d, node, INT64_MAX);
    free_live(omap_del(&d->live, node));
    fleet_check_waiters(d);
    tell(d, node);
}

const char *fleet_problem(const struct deployment *d, const char *node, const char *key,
                          int64_t revision)
{
    const struct live *live = fleet_live(d, node);
    size_t i;
    json_t *item;

    if (!live || live->acked < revision) {
        return live && live->connected ? "hasn't applied it yet" : "is away";
    }
    json_array_foreach (live->errors, i, item) {
        if (strcmp(json_get_string(item, "key", ""), key) == 0) {
            return json_get_string(item, "message", "failed");
        }
    }
    return "";
}

/* --- waiting --- */

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

static const struct recent *find_recent(const struct deployment *d, int64_t revision)
{
    for (size_t i = 0; i < RECENT_MAX; i++) {
        if (d->recent[i].revision == revision) {
            return &d->recent[i];
        }
    }
    return NULL;
}

static json_t *make_report(const struct waiter *w)
{
    const struct recent *recent = find_recent(w->d, w->revision);
    json_t *pending = json_deep_copy(w->away), *errors = json_array();

    omap_foreach (e, &w->pending) {
        json_array_append_new(
            pending, json_pack("{s:s, s:s}", "node", e->key, "reason", "hasn't applied it yet"));
    }
    if (recent) {
        omap_foreach (e, &recent->nodes) {
            add_errors(w->d, e->key, w->revision, errors);
        }
    }
    size_t missing = json_array_size(pending) + json_array_size(errors);
    size_t applied = missing < w->concerned ? w->concerned - missing : 0;
    return json_pack("{s:I, s:I, s:o, s:o}", "nodes", (json_int_t)w->concerned, "applied",
                     (json_int_t)applied, "pending", pending, "errors", errors);
}

static void free_waiter(uv_handle_t *handle)
{
    struct waiter *w = handle->data;

    omap_clear(&w->pending, NULL);
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

/* Drops the nodes that have applied it or went away; ends when nobody is left to wait for. */
static int check_waiter(struct waiter *w)
{
    omap_foreach (e, &w->pending) {
        const struct live *live = fleet_live(w->d, e->key);
        if (!live || !live->connected) {
            json_array_append_new(w->away,
                                  json_pack("{s:s, s:s}", "node", e->key, "reason", "is away"));
            omap_del(&w->pending, e->key);
        } else if (live->acked >= w->revision) {
            omap_del(&w->pending, e->key);
        }
    }
    return w->pending.len == 0;
}

void fleet_check_waiters(struct deployment *d)
{
    for (struct waiter *w = d->waiters, *next; w; w = next) {
        next = w->next;
        if (check_waiter(w)) {
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
        }
    }
    w->concerned = w->pending.len;
    uv_timer_init(d->loop, &w->timer);
    w->timer.data = w;
    uv_timer_start(&w->timer, on_timeout, timeout_msec, 0);
    w->next = d->waiters;
    d->waiters = w;
    if (check_waiter(w)) {
        end_waiter(w);
    }
}

void fleet_done(struct deployment *d)
{
    while (d->waiters) {
        end_waiter(d->waiters);
    }
    omap_clear(&d->live, free_live);
}
