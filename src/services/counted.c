#include "services/counted.h"

#include "core/counters.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/where.h"

enum {
    NODES_SHOWN_MAX = 100, /* the sums are over all of them */
};

struct summing {
    const struct reports *reports;
    const char *name; /* of the counter */
    json_t *nodes;
    size_t len;
    struct count sum;
};

static void add_node(void *arg, const char *node)
{
    struct summing *s = arg;
    struct count total;

    s->reports->count(s->reports, node, s->name, &total);
    s->sum = count_add(s->sum, total);
    if (s->len++ < NODES_SHOWN_MAX) {
        json_array_append_new(s->nodes, json_pack("{s:s, s:I, s:I}", "node", node, "packets",
                                                  (json_int_t)total.packets, "bytes",
                                                  (json_int_t)total.bytes));
    }
}

/* Why it is on no node. The caller frees it. */
static char *problem_of(const char *service, const json_t *spec, struct view *view, size_t nodes)
{
    const char *node = json_get_string(spec, "node", NULL);

    if (nodes > 0) {
        return xstrdup("");
    }
    if (!node) {
        return xasprintf("no node that runs %s has these labels", service);
    }
    return view_spec(view, "nodes", node)
               ? xasprintf("%s doesn't run %s; turn it on: cnsmo node set %s --services vpn,%s",
                           node, service, node, service)
               : xasprintf("its node %s was deleted", node);
}

void counted_add_deadline(const json_t *object, json_t *status)
{
    json_int_t by = json_get_integer(json_object_get(object, "sealed"), "confirmBy", 0);
    char text[CLOCK_TEXT_SIZE];

    if (by > 0) {
        json_object_set_new(status, "confirmBy", json_string(clock_format(by * 1000000, text)));
    }
}

void counted_status(const char *service, const char *name, const json_t *object, struct view *view,
                    const struct reports *reports, json_t *status)
{
    const json_t *spec = json_object_get(object, "spec");
    struct summing s = {.reports = reports, .name = name, .nodes = json_array()};

    where_each(service, spec, view, add_node, &s);
    _cleanup_free_ char *problem = problem_of(service, spec, view, s.len);
    json_object_set_new(status, "packets", json_integer((json_int_t)s.sum.packets));
    json_object_set_new(status, "bytes", json_integer((json_int_t)s.sum.bytes));
    json_object_set_new(status, "nodes", s.nodes);
    json_object_set_new(status, "problem", json_string(problem));
    counted_add_deadline(object, status);
}
