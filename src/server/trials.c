#include "server/trials.h"

#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/mem.h"

enum {
    AGAIN_MSEC = 10000, /* after an attempt that failed: a full disk, say */
};

struct server_trials {
    struct deployment *deployment;
    struct deployment_listener listener;
    struct omap deadlines; /* "object/sdn/filters/7" -> int64_t: seconds since 1970 */
    uv_timer_t timer;
};

static const char OBJECT[] = "object/";

static void on_timer(uv_timer_t *timer);

static void schedule(struct server_trials *t)
{
    int64_t now = clock_now_usec() / 1000, first = INT64_MAX;

    omap_foreach (e, &t->deadlines) {
        int64_t due = *(const int64_t *)e->value * 1000;
        first = due < first ? due : first;
    }
    if (first == INT64_MAX) {
        uv_timer_stop(&t->timer);
    } else {
        uv_timer_start(&t->timer, on_timer, first > now ? (uint64_t)(first - now) : 0, 0);
    }
}

static void on_undone(void *arg, int rc, const struct write_result *result,
                      const struct error *error)
{
    /* Deleted by somebody else, or changed meanwhile: confirmed, say. */
    if (rc < 0 && error->status != 404 && error->status != 412) {
        log_error("what nobody confirmed can't be undone", "reason", error->detail, NULL);
    }
}

/* What was made is deleted, what was changed is as it was before. */
static void undo(struct server_trials *t, const char *key)
{
    static const struct actor SYSTEM = {.name = "system", .source = "-", .role = ROLE_ADMIN};
    const char *id = strrchr(key, '/') + 1;
    _cleanup_free_ char *kind =
        xstrndup(key + sizeof OBJECT - 1, (size_t)(id - 1 - key) - (sizeof OBJECT - 1));
    const struct tree_entry *entry = tree_get(deployment_tree(t->deployment), key);
    const json_t *before =
        entry ? json_object_get(json_object_get(entry->value, "sealed"), "before") : NULL;
    json_t *none = json_object();
    const struct write write = {.verb = before ? WRITE_REPLACE : WRITE_DELETE,
                                .kind = kind,
                                .id = id,
                                .spec = before,
                                .sealed = before ? none : NULL,
                                .if_match = entry ? entry->revision : 0,
                                .returns = 1,
                                .reason = "undone"};

    log_info("undone: nobody confirmed it in time", "object", key + sizeof OBJECT - 1, NULL);
    deployment_write(t->deployment, &SYSTEM, &write, on_undone, NULL);
    json_decref(none);
}

/* One stays on the list until it is gone. */
static void on_timer(uv_timer_t *timer)
{
    struct server_trials *t = timer->data;
    int64_t now = clock_now_usec() / 1000000;

    omap_foreach (e, &t->deadlines) {
        int64_t *due = e->value;
        if (*due <= now) {
            *due = now + AGAIN_MSEC / 1000;
            undo(t, e->key);
        }
    }
    schedule(t);
}

static void on_key(void *arg, const char *key, int64_t revision, const json_t *value)
{
    struct server_trials *t = arg;
    json_int_t due = json_get_integer(json_object_get(value, "sealed"), "confirmBy", 0);

    if (strncmp(key, OBJECT, sizeof OBJECT - 1) != 0 ||
        (due == 0 && !omap_get(&t->deadlines, key))) {
        return;
    }
    if (due == 0) {
        free(omap_del(&t->deadlines, key));
    } else {
        int64_t *deadline = xnew(int64_t);
        *deadline = due;
        free(omap_put(&t->deadlines, key, deadline));
    }
    schedule(t);
}

struct server_trials *server_trials_new(uv_loop_t *loop, struct deployment *deployment)
{
    struct server_trials *t = xnew(struct server_trials);
    const struct tree *tree = deployment_tree(deployment);

    t->deployment = deployment;
    uv_timer_init(loop, &t->timer);
    t->timer.data = t;
    for (struct omap_entry *e = tree_first(tree, OBJECT); e; e = tree_next(tree, e, OBJECT)) {
        on_key(t, e->key, 0, tree_value(tree, e->key));
    }
    t->listener = (struct deployment_listener){.key_changed = on_key, .arg = t};
    deployment_listen(deployment, &t->listener);
    return t;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void server_trials_free(struct server_trials *t)
{
    if (t) {
        deployment_unlisten(t->deployment, &t->listener);
        omap_clear(&t->deadlines, free);
        uv_close((uv_handle_t *)&t->timer, on_closed);
    }
}
