/* api-watch.c - /watch: changes of objects as server-sent events.
 *
 *     id: 17 · event: put     {"kind","object":{...}}   created or changed, or its status changed
 *     id: 18 · event: delete  {"kind","id"}
 *              event: counters {"node","totals":{"sdn/filter/7":[packets,bytes],…}}  those that
 *                                                       changed; null: no more
 *              event: ready   {"revision":n}            first of all: what follows is after it
 *              event: resync  {"revision":n}            instead, when Last-Event-ID is too long
 *                                                       ago: read the lists again
 *
 * A stream ends when its token does. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "server/api-internal.h"

enum {
    HEARTBEAT_MSEC = 15000,
    QUEUE_MAX = 4 << 20, /* bytes that a slow reader may have waiting */
    WATCH_KINDS_MAX = 32,
};

static const char COUNTERS[] = "counters";

struct watcher {
    struct api *api;
    struct http_stream *stream;
    struct identity who;
    char *kinds[WATCH_KINDS_MAX + 1]; /* NULL-terminated; none: all */
    struct watcher *previous, *next;
};

static void on_gone(void *arg)
{
    struct watcher *w = arg;

    if (w->next) {
        w->next->previous = w->previous;
    }
    *(w->previous ? &w->previous->next : &w->api->watchers) = w->next;
    w->api->watchers_len--;
    for (size_t i = 0; w->kinds[i]; i++) {
        free(w->kinds[i]);
    }
    api_unref(w->api);
    free(w);
}

static int wants(const struct watcher *w, const struct kind *kind)
{
    if (w->who.role < kind->read_role) {
        return 0;
    }
    for (size_t i = 0; w->kinds[i]; i++) {
        if (strcmp(w->kinds[i], kind->name) == 0) {
            return 1;
        }
    }
    return w->kinds[0] == NULL;
}

/* Counters aren't a kind, but asked for like one. Every viewer may see them. */
static int wants_counters(const struct watcher *w)
{
    for (size_t i = 0; w->kinds[i]; i++) {
        if (strcmp(w->kinds[i], COUNTERS) == 0) {
            return 1;
        }
    }
    return w->kinds[0] == NULL;
}

/* Splits "object/vpn/clients/x" into the kind and the id; NULL if it isn't an object's key. */
static const struct kind *kind_of(const struct api *api, const char *key, const char **ret_id)
{
    const char *slash = strrchr(key, '/');

    if (strncmp(key, "object/", 7) != 0 || slash < key + 7) {
        return NULL;
    }
    _cleanup_free_ char *name = xstrndup(key + 7, (size_t)(slash - key) - 7);
    *ret_id = slash + 1;
    return deployment_kind(api->deployment, name, slash + 1);
}

/* The event of a key as it is now: its name and data (freed by the caller). */
static const char *make_event(struct api *api, const char *key, const struct kind *kind,
                              const char *id, char **ret_data)
{
    const struct tree_entry *entry = tree_get(deployment_tree(api->deployment), key);
    json_t *data = entry ? json_pack("{s:s, s:o}", "kind", kind->name, "object",
                                     object_json(api, kind, id, entry))
                         : json_pack("{s:s, s:s}", "kind", kind->name, "id", id);

    *ret_data = json_dumps(data, JSON_COMPACT);
    json_decref(data);
    return entry ? "put" : "delete";
}

static void tell(struct api *api, const char *key, const char *event_id)
{
    const char *id, *event = NULL;
    const struct kind *kind = kind_of(api, key, &id);
    _cleanup_free_ char *data = NULL;

    for (struct watcher *w = api->watchers, *next; kind && w; w = next) {
        next = w->next; /* sending may end it */
        if (wants(w, kind)) {
            if (!data) {
                event = make_event(api, key, kind, id, &data);
            }
            http_stream_send(w->stream, event, event_id, data);
        }
    }
}

/* Ends the streams whose token, user or role is gone. */
static void check_watchers(struct api *api)
{
    for (struct watcher *w = api->watchers, *next; w; w = next) {
        next = w->next;
        if (auth_check_again(api->auth, &w->who) < 0 || w->who.role < ROLE_VIEWER) {
            http_stream_end(w->stream);
        }
    }
}

static void remember(struct api *api, const char *key, int64_t revision)
{
    struct change *slot = &api->recent[api->recent_at++ % API_RECENT_MAX];

    if (slot->key) {
        api->recent_from = slot->revision;
        free(slot->key);
    }
    *slot = (struct change){.revision = revision, .key = xstrdup(key)};
}

static void on_key(void *arg, const char *key, int64_t revision, const json_t *value)
{
    struct api *api = arg;
    char id[24];

    if (strncmp(key, "auth/", 5) == 0 || strncmp(key, "object/users/", 13) == 0) {
        check_watchers(api);
    }
    if (strncmp(key, "object/", 7) == 0) {
        remember(api, key, revision);
        snprintf(id, sizeof id, "%" PRId64, revision);
        tell(api, key, id);
    }
}

static void on_fleet(void *arg, const char *node)
{
    struct api *api = arg;
    _cleanup_free_ char *key = xasprintf("object/nodes/%s", node);

    if (api->watchers && tree_get(deployment_tree(api->deployment), key)) {
        tell(api, key, NULL);
    }
}

static void on_counters(void *arg, const char *node, const json_t *totals)
{
    struct api *api = arg;
    _cleanup_free_ char *data = NULL;

    for (struct watcher *w = api->watchers, *next; w; w = next) {
        next = w->next;
        if (!wants_counters(w)) {
            continue;
        }
        if (!data) {
            json_t *event = json_pack("{s:s, s:O}", "node", node, "totals", totals);
            data = json_dumps(event, JSON_COMPACT);
            json_decref(event);
        }
        http_stream_send(w->stream, COUNTERS, NULL, data);
    }
}

static void on_heartbeat(uv_timer_t *timer)
{
    struct api *api = timer->data;

    check_watchers(api);
    for (struct watcher *w = api->watchers, *next; w; w = next) {
        next = w->next;
        http_stream_send(w->stream, NULL, NULL, "alive");
    }
}

void watch_init(struct api *api)
{
    api->recent_from = deployment_revision(api->deployment);
    api->listener = (struct deployment_listener){.key_changed = on_key,
                                                 .fleet_changed = on_fleet,
                                                 .counters_changed = on_counters,
                                                 .arg = api};
    deployment_listen(api->deployment, &api->listener);
    uv_timer_init(api->loop, &api->heartbeat);
    api->heartbeat.data = api_ref(api);
    uv_timer_start(&api->heartbeat, on_heartbeat, HEARTBEAT_MSEC, HEARTBEAT_MSEC);
    uv_unref((uv_handle_t *)&api->heartbeat);
}

static void on_closed(uv_handle_t *handle)
{
    api_unref(handle->data);
}

void watch_done(struct api *api)
{
    deployment_unlisten(api->deployment, &api->listener);
    uv_close((uv_handle_t *)&api->heartbeat, on_closed);
}

/* --- beginning a stream --- */

static int read_kinds(const struct api_call *call, struct watcher *w, struct error *error)
{
    const char *text = http_query(call->request, "kinds");
    size_t len = 0;

    while (text && *text) {
        size_t size = strcspn(text, ",");
        char *name = xstrndup(text, size);
        const struct kind *kind = deployment_kind(call->api->deployment, name, NULL);
        int is_known = kind || strcmp(name, COUNTERS) == 0;
        if (!is_known || len == WATCH_KINDS_MAX) {
            int rc = error_set(error, 400, NULL, "\"kinds\": there is no kind \"%.60s\"", name);
            free(name);
            return rc;
        }
        w->kinds[len++] = name;
        if (kind && call->who.role < kind->read_role) {
            return error_set(error, 403, NULL, "\"kinds\": %s can only be read by the role %s",
                             kind->name, auth_role_name(kind->read_role));
        }
        text += size;
        text += *text == ',';
    }
    return 0;
}

static void replay(struct watcher *w, int64_t last)
{
    struct api *api = w->api;
    char event_id[24];

    for (size_t i = 0; i < API_RECENT_MAX; i++) {
        const struct change *change = &api->recent[(api->recent_at + i) % API_RECENT_MAX];
        const char *id;
        const struct kind *kind = change->key ? kind_of(api, change->key, &id) : NULL;
        /* The last one may have been cut within its transaction: told twice is harmless. */
        if (!kind || change->revision < last || !wants(w, kind)) {
            continue;
        }
        char *data;
        const char *event = make_event(api, change->key, kind, id, &data);
        snprintf(event_id, sizeof event_id, "%" PRId64, change->revision);
        http_stream_send(w->stream, event, event_id, data);
        free(data);
    }
}

static void greet(struct watcher *w, const char *last_id)
{
    int64_t revision = deployment_revision(w->api->deployment);
    int64_t last = last_id ? strtoll(last_id, NULL, 10) : -1;
    int known = last >= w->api->recent_from && last <= revision;
    char id[24], data[48];

    snprintf(id, sizeof id, "%" PRId64, revision);
    snprintf(data, sizeof data, "{\"revision\":%" PRId64 "}", revision);
    if (last_id && known) {
        replay(w, last);
    } else {
        http_stream_send(w->stream, last_id ? "resync" : "ready", id, data);
    }
}

void watch_begin(struct api_call *call)
{
    static const char *const PARAMETERS[] = {"kinds", NULL};
    struct api *api = call->api;
    const char *last_id = http_header(call->request, "Last-Event-ID");
    _cleanup_free_ char *last = last_id ? xstrndup(last_id, 24) : NULL;
    struct watcher *w = xnew(struct watcher);
    struct error error;
    int rc = call_check_query(call, PARAMETERS, &error);

    rc = rc < 0 ? rc : read_kinds(call, w, &error);
    if (rc == 0 && api->watchers_len >= API_STREAMS_MAX) {
        rc = error_set(&error, 503, NULL, "too many streams are open");
    }
    if (rc < 0) {
        for (size_t i = 0; w->kinds[i]; i++) {
            free(w->kinds[i]);
        }
        free(w);
        call_fail(call, &error);
        return;
    }
    w->api = api_ref(api);
    w->who = call->who;
    w->next = api->watchers;
    if (w->next) {
        w->next->previous = w;
    }
    api->watchers = w;
    api->watchers_len++;
    w->stream = http_stream_begin(call->request, QUEUE_MAX, on_gone, w);
    call_done(call, 200);
    greet(w, last);
}
