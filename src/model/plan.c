#include "model/plan.h"

#include <string.h>

#include "lib/mem.h"

static void note(struct view *view, const char *key)
{
    if (view->reads) {
        omap_put(view->reads, key, view->reads); /* a set: the value only says "there" */
    }
}

const json_t *view_get(struct view *view, const char *key)
{
    note(view, key);
    return tree_value(view->tree, key);
}

const json_t *view_spec(struct view *view, const char *kind, const char *id)
{
    _cleanup_free_ char *key = xasprintf("object/%s/%s", kind, id);
    return json_object_get(view_get(view, key), "spec");
}

void view_each(struct view *view, const char *prefix, view_each_fn *each, void *arg)
{
    size_t size = strlen(prefix);

    note(view, prefix);
    for (struct omap_entry *e = tree_first(view->tree, prefix); e;
         e = tree_next(view->tree, e, prefix)) {
        each(arg, e->key + size, ((struct tree_entry *)e->value)->value);
    }
}

static struct {
    plan_unseal_fn *unseal;
    void *arg;
} sealing;

void plan_set_unseal(plan_unseal_fn *unseal, void *arg)
{
    sealing.unseal = unseal;
    sealing.arg = arg;
}

char *view_unseal(struct view *view, const char *sealed)
{
    if (!sealed) {
        return NULL;
    }
    return sealing.unseal ? sealing.unseal(sealing.arg, sealed) : xstrdup(sealed);
}

void plan_put(struct plan *plan, const char *channel, const char *key, json_t *body)
{
    struct plan_resource *resource = xnew(struct plan_resource);

    resource->channel = xstrdup(channel);
    resource->body = body;
    if (omap_put(&plan->resources, key, resource)) {
        abort();
    }
}

static void free_resource(void *value)
{
    struct plan_resource *resource = value;

    free(resource->channel);
    json_decref(resource->body);
    free(resource);
}

void plan_done(struct plan *plan)
{
    omap_clear(&plan->resources, free_resource);
}
