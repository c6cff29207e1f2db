#include "services/where.h"

#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"

int where_runs(const char *service, const json_t *node_spec)
{
    const json_t *services = json_object_get(node_spec, "services");

    return json_array_has(services, "vpn") && json_array_has(services, service);
}

/* --- rules --- */

int where_check_services(const char *service, const json_t *node_spec, struct error *error)
{
    const json_t *services = json_object_get(node_spec, "services");

    return json_array_has(services, service) && !json_array_has(services, "vpn")
               ? error_set(error, 400, "/services", "\"services\": %s needs vpn beside it",
                           service)
               : 0;
}

int where_check_node(const char *service, const json_t *spec, const json_t *before,
                     struct view *view, struct error *error)
{
    const char *node = json_get_string(spec, "node", NULL);

    if (!node || strcmp(json_get_string(before, "node", ""), node) == 0) {
        return 0;
    }
    const json_t *node_spec = view_spec(view, "nodes", node);
    if (!node_spec) {
        return error_set(error, 400, "/node", "\"node\": there is no node \"%s\"", node);
    }
    return where_runs(service, node_spec)
               ? 0
               : error_set(error, 409, "/node",
                           "\"node\": %s doesn't run %s; turn it on: cnsmo node set %s "
                           "--services vpn,%s",
                           node, service, node, service);
}

static int check_labels(const json_t *selector, struct error *error)
{
    const char *name;
    json_t *value;

    json_object_foreach ((json_t *)selector, name, value) {
        if (!*name || name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                        "0123456789._-")] != '\0') {
            return error_set(error, 400, "/selector",
                             "\"selector\": a label's name has letters, digits, dots, hyphens and "
                             "underscores, and \"%.100s\" hasn't",
                             name);
        }
    }
    return 0;
}

int where_check(const char *service, const json_t *spec, const json_t *before, struct view *view,
                struct error *error)
{
    const json_t *node = json_object_get(spec, "node");
    const json_t *selector = json_object_get(spec, "selector");

    if (!node && !selector) {
        return error_set(error, 400, "/node", "\"node\" or \"selector\" is required");
    }
    if (node && selector) {
        return error_set(error, 400, "/selector",
                         "\"selector\" and \"node\" exclude each other: give one of them");
    }
    int rc = check_labels(selector, error);
    return rc < 0 ? rc : where_check_node(service, spec, before, view, error);
}

/* --- the nodes --- */

struct walking {
    const char *service;
    struct view *view;
    const json_t *selector;
    where_fn *each;
    void *arg;
};

static int has_labels(const json_t *node_spec, const json_t *selector)
{
    const json_t *labels = json_object_get(node_spec, "labels");
    const char *name;
    json_t *value;

    json_object_foreach ((json_t *)selector, name, value) {
        const json_t *label = json_object_get(labels, name);
        if (!label || !json_equal((json_t *)label, value)) {
            return 0;
        }
    }
    return 1;
}

int where_holds_on(const char *service, const json_t *spec, const char *node,
                   const json_t *node_spec)
{
    const char *named = json_get_string(spec, "node", NULL);

    return where_runs(service, node_spec) &&
           (named ? strcmp(named, node) == 0
                  : has_labels(node_spec, json_object_get(spec, "selector")));
}

/* By the index alone: so a change of the node that is neither of services nor of labels concerns
 * no object. */
static int is_indexed(struct view *view, const char *what, const char *node)
{
    _cleanup_free_ char *key = xasprintf("index/%s/%s", what, node);

    return view_get(view, key) != NULL;
}

static int has_indexed_labels(const struct walking *w, const char *node)
{
    const char *name;
    json_t *value;

    json_object_foreach ((json_t *)w->selector, name, value) {
        _cleanup_free_ char *label = xasprintf("label/%s=%s", name, json_string_value(value));
        if (!is_indexed(w->view, label, node)) {
            return 0;
        }
    }
    return 1;
}

static void look_at_node(void *arg, const char *node, const json_t *value)
{
    struct walking *w = arg;

    _cleanup_free_ char *service = xasprintf("service/%s", w->service);

    if (is_indexed(w->view, service, node) && is_indexed(w->view, "service/vpn", node) &&
        has_indexed_labels(w, node)) {
        w->each(w->arg, node);
    }
}

/* Of a selector one label's index is walked, so that other nodes' changes concern nobody. */
void where_each(const char *service, const json_t *spec, struct view *view, where_fn *each,
                void *arg)
{
    const char *node = json_get_string(spec, "node", NULL);
    struct walking w = {.service = service,
                        .view = view,
                        .selector = json_object_get(spec, "selector"),
                        .each = each,
                        .arg = arg};
    void *first = json_object_iter((json_t *)w.selector);

    if (node) {
        look_at_node(&w, node, NULL);
    } else if (first) {
        _cleanup_free_ char *prefix = xasprintf("index/label/%s=%s/", json_object_iter_key(first),
                                                json_string_value(json_object_iter_value(first)));
        view_each(view, prefix, look_at_node, &w);
    } else if (w.selector) {
        _cleanup_free_ char *prefix = xasprintf("index/service/%s/", service);
        view_each(view, prefix, look_at_node, &w);
    }
}
