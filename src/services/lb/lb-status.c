/* lb-status.c - what people see of a service: its fronts, and of each the back ends as that node's
 * HAProxy sees them. */
#include <string.h>

#include "core/counters.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/lb/lb-kinds.h"

enum {
    FRONTS_SHOWN_MAX = 50,
};

struct summing {
    const char *id;
    const struct reports *reports;
    json_t *fronts;
    size_t len;
    struct count sum;
    json_int_t up, all;
    char *problem; /* the first one */
};

/* What the node's agent says of the service: a new reference, or NULL. */
static json_t *report_of(const struct summing *s, const char *node)
{
    const json_t *report = s->reports->of_node(s->reports, node);
    json_t *item;
    size_t i;

    json_array_foreach (json_object_get(report, "fronts"), i, item) {
        if (strcmp(json_get_string(item, "service", ""), s->id) == 0) {
            return json_copy(item);
        }
    }
    return NULL;
}

static void add_backends(struct summing *s, const json_t *front)
{
    json_t *backend;
    size_t i;

    json_array_foreach (json_object_get(front, "backends"), i, backend) {
        s->up += strcmp(json_get_string(backend, "state", ""), "up") == 0;
        s->all++;
    }
}

static void add_front(void *arg, const char *node)
{
    struct summing *s = arg;
    _cleanup_free_ char *name = xasprintf("lb/service/%s", s->id);
    struct count total;

    s->reports->count(s->reports, node, name, &total);
    s->sum = count_add(s->sum, total);
    json_t *front = report_of(s, node);
    if (!front) {
        front = json_pack("{s:s, s:s, s:[]}", "state", "unknown", "message",
                          "the node hasn't told of it yet", "backends");
    }
    json_object_del(front, "service");
    json_object_set_new(front, "node", json_string(node));
    add_backends(s, front);
    if (!s->problem && strcmp(json_get_string(front, "state", ""), "failed") == 0) {
        s->problem = xasprintf("%s: %s", node, json_get_string(front, "message", ""));
    }
    if (s->len++ < FRONTS_SHOWN_MAX) {
        json_array_append(s->fronts, front);
    }
    json_decref(front);
}

static void count_node(void *arg, const char *node)
{
    ++*(size_t *)arg;
}

/* Of its certificate, or NULL. The caller frees it. */
static char *certificate_problem(const char *id, const json_t *object)
{
    const char *expires = json_get_string(json_object_get(object, "sealed"), "expires", "");
    int64_t at_usec;

    if (lb_lacks_certificate(object)) {
        return xasprintf("it has no certificate; make one: cnsmo lb service renew %s", id);
    }
    return clock_parse(expires, &at_usec) == 0 && at_usec <= clock_now_usec()
               ? xstrdup("its certificate has expired")
               : NULL;
}

/* The caller frees it. */
static char *problem_of(struct summing *s, const json_t *object, struct view *view)
{
    const json_t *spec = json_object_get(object, "spec");
    const char *node = json_get_string(spec, "node", NULL);
    char *problem = certificate_problem(s->id, object);
    size_t backends = 0;

    if (problem) {
        return problem;
    }
    if (s->len == 0 && !node) {
        return xstrdup("no node that runs lb has these labels");
    }
    if (s->len == 0) {
        return view_spec(view, "nodes", node)
                   ? xasprintf("%s doesn't run lb; turn it on: cnsmo node set %s --services "
                               "vpn,lb",
                               node, node)
                   : xasprintf("its node %s was deleted", node);
    }
    if (s->problem) {
        return TAKE(s->problem);
    }
    lb_each_backend(spec, view, count_node, &backends);
    if (backends == 0) {
        return xstrdup("it has no back ends: no node matches");
    }
    return xstrdup(s->all > 0 && s->up == 0 ? "none of its back ends is up" : "");
}

void lb_status(const char *kind, const char *id, const json_t *object, struct view *view,
               const struct reports *reports, json_t *status)
{
    const json_t *spec = json_object_get(object, "spec"),
                 *sealed = json_object_get(object, "sealed");
    const char *expires = json_get_string(sealed, "expires", NULL);
    struct summing s = {.id = id, .reports = reports, .fronts = json_array()};
    char text[50];

    where_each("lb", spec, view, add_front, &s);
    _cleanup_free_ char *problem = problem_of(&s, object, view);
    snprintf(text, sizeof text, "%d of %d", (int)s.up, (int)s.all);
    json_object_set_new(status, "connections", json_integer((json_int_t)s.sum.packets));
    json_object_set_new(status, "bytes", json_integer((json_int_t)s.sum.bytes));
    json_object_set_new(status, "up", json_string(text));
    json_object_set_new(status, "fronts", s.fronts);
    if (expires) {
        json_object_set_new(status, "certificateExpires", json_string(expires));
    }
    json_object_set_new(status, "problem", json_string(problem));
    free(s.problem);
}
