/* lb-plan.c - services as resources for the nodes on which their front ports are.
 *
 *     lb/service/<name>/<node> {"address","port","side","mode","algorithm","backendPort","check",
 *                                 "timeouts","sticky","backends":[{"node","address","drain"}],
 *                                 "certificate"?,"secret"?}
 *
 * Each stands on the node's own channel. README.md says what the members mean. */
#include <fnmatch.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/lb/lb-kinds.h"

/* --- back ends --- */

int lb_would_loop(const json_t *spec, const char *node, const json_t *node_spec)
{
    json_int_t port = json_get_integer(spec, "port", 0);

    return json_get_integer(spec, "backendPort", port) == port &&
           where_holds_on("lb", spec, node, node_spec);
}

struct matching {
    const json_t *spec;
    struct view *view;
    const char *pattern;
    where_fn *each;
    void *arg;
};

static void take_node(void *arg, const char *node)
{
    struct matching *m = arg;

    if (!lb_would_loop(m->spec, node, view_spec(m->view, "nodes", node))) {
        m->each(m->arg, node);
    }
}

static void match_node(void *arg, const char *node, const json_t *value)
{
    struct matching *m = arg;

    if (fnmatch(m->pattern, node, 0) == 0) {
        take_node(m, node);
    }
}

void lb_each_backend(const json_t *spec, struct view *view, where_fn *each, void *arg)
{
    struct matching matching = {.spec = spec, .view = view, .each = each, .arg = arg};
    const json_t *backends = json_object_get(spec, "backends");
    const char *pattern = json_get_string(backends, "pattern", NULL);
    size_t i;
    json_t *node;

    if (json_object_get(backends, "selector")) {
        where_each("vpn", backends, view, take_node, &matching);
    } else if (pattern) {
        matching.pattern = pattern;
        view_each(view, "index/service/vpn/", match_node, &matching);
    }
    json_array_foreach (json_object_get(backends, "nodes"), i, node) {
        json_t *one = json_pack("{s:O}", "node", node);
        where_each("vpn", one, view, take_node, &matching);
        json_decref(one);
    }
}

struct listing {
    const json_t *spec;
    struct view *view;
    json_t *list;
};

static void list_backend(void *arg, const char *node)
{
    struct listing *l = arg;
    const char *address = json_get_string(view_spec(l->view, "nodes", node), "address", NULL);

    if (address) {
        json_array_append_new(
            l->list, json_pack("{s:s, s:s, s:b}", "node", node, "address", address, "drain",
                               json_array_has(json_object_get(l->spec, "drain"), node)));
    }
}

/* --- resources --- */

int lb_lacks_certificate(const json_t *object)
{
    const json_t *tls = json_object_get(json_object_get(object, "spec"), "tls");
    const json_t *sealed = json_object_get(object, "sealed");

    return tls && !(json_object_get(sealed, "key") && (json_object_get(tls, "certificate") ||
                                                       json_object_get(sealed, "certificate")));
}

struct planning {
    const char *id;
    const json_t *spec;
    struct view *view;
    struct plan *plan;
    json_t *common; /* of all nodes */
};

/* Its certificate, and the key in clear: it leaves on the link only. */
static void add_tls(const struct planning *p)
{
    _cleanup_free_ char *key = xasprintf("object/%s/%s", LB_SERVICES.name, p->id);
    const json_t *tls = json_object_get(p->spec, "tls");
    const json_t *sealed = json_object_get(view_get(p->view, key), "sealed");
    const char *given = json_get_string(tls, "certificate", NULL);
    const char *certificate = given ? given : json_get_string(sealed, "certificate", NULL);
    char *secret = view_unseal(p->view, json_get_string(sealed, "key", NULL));

    if (tls) {
        json_object_set_new(p->common, "certificate", json_string(certificate ? certificate : ""));
        json_object_set_new(p->common, PLAN_SECRET, json_string(secret ? secret : ""));
    }
    if (secret) {
        mem_wipe(secret, strlen(secret));
    }
    free(secret);
}

static json_t *common_body(const struct planning *p)
{
    struct listing listing = {.spec = p->spec, .view = p->view, .list = json_array()};
    static const char *const COPIED[] = {"port",  "side",     "mode",  "algorithm",
                                         "check", "timeouts", "sticky"};
    json_t *body = json_object();

    for (size_t i = 0; i < ARRAY_LEN(COPIED); i++) {
        json_t *value = json_object_get(p->spec, COPIED[i]);
        if (value) {
            json_object_set(body, COPIED[i], value);
        }
    }
    lb_each_backend(p->spec, p->view, list_backend, &listing);
    json_object_set_new(body, "backends", listing.list);
    json_object_set_new(body, "backendPort",
                        json_integer(json_get_integer(p->spec, "backendPort",
                                                      json_get_integer(p->spec, "port", 0))));
    return body;
}

static void plan_front(void *arg, const char *node)
{
    struct planning *p = arg;
    const char *address = json_get_string(view_spec(p->view, "nodes", node), "address", NULL);

    if (!address) {
        return;
    }
    if (!p->common) {
        p->common = common_body(p);
        add_tls(p);
    }
    _cleanup_free_ char *channel = xasprintf("node/%s", node);
    _cleanup_free_ char *key = xasprintf("lb/service/%s/%s", p->id, node);
    json_t *body = json_copy(p->common);
    json_object_set_new(body, "address", json_string(address));
    plan_put(p->plan, channel, key, body);
}

void lb_plan(const char *kind, const char *id, const json_t *spec, struct view *view,
             struct plan *plan)
{
    struct planning p = {.id = id, .spec = spec, .view = view, .plan = plan};
    _cleanup_free_ char *key = xasprintf("object/%s/%s", kind, id);

    if (strcmp(kind, LB_SERVICES.name) == 0 && !lb_lacks_certificate(view_get(view, key))) {
        where_each("lb", spec, view, plan_front, &p);
        json_decref(p.common);
    }
}
