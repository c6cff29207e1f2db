/* node.c - what is particular to nodes: their addresses and client ranges, and what goes with
 * them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/addresses.h"
#include "core/deployment-internal.h"
#include "lib/ip.h"
#include "lib/json.h"
#include "lib/mem.h"

/* The address stays as it is, or is chosen. 0, or 409. */
static int complete_address(struct deployment *d, const json_t *before, json_t *spec,
                            struct view *view, struct error *error)
{
    const json_t *kept = json_object_get(before, "address");
    uint32_t address;
    char text[IP4_TEXT_SIZE];

    if (json_object_get(spec, "address")) {
        return 0;
    }
    if (kept) {
        return json_object_set(spec, "address", (json_t *)kept);
    }
    if (addresses_choose(view, d->address_hint, &address) < 0) {
        return error_set(error, 409, "/spec/address", "the overlay has no free address");
    }
    d->address_hint = address;
    return json_object_set_new(spec, "address", json_string(ip4_format(address, text)));
}

/* A hub keeps its client range or gets one; who is a hub no more loses it. */
static int complete_range(const char *id, const json_t *before, json_t *spec, struct view *view,
                          struct error *error)
{
    const json_t *kept = json_object_get(before, "clientRange");
    const json_t *given = json_object_get(spec, "clientRange");
    struct ip4_prefix range;
    char text[IP4_PREFIX_TEXT_SIZE];

    if (!json_get_bool(spec, "hub", 0)) {
        if (given && !json_equal(given, kept)) {
            return error_set(error, 400, "/spec/clientRange",
                             "\"clientRange\" is for hubs only, and \"%s\" isn't one", id);
        }
        json_object_del(spec, "clientRange");
    } else if (!given && kept) {
        json_object_set(spec, "clientRange", (json_t *)kept);
    } else if (!given && addresses_choose_range(view, id, &range) == 0) {
        /* A hub without one is a hub all the same: it only can't have clients from outside. */
        json_object_set_new(spec, "clientRange", json_string(ip4_prefix_format(range, text)));
    }
    return 0;
}

json_t *node_complete(struct deployment *d, const char *id, const json_t *spec,
                      struct error *error)
{
    const json_t *before = tree_spec(&d->tree, "nodes", id);
    struct view view = {.tree = &d->tree};
    json_t *result = json_copy((json_t *)spec);

    if (complete_address(d, before, result, &view, error) < 0 ||
        complete_range(id, before, result, &view, error) < 0) {
        json_decref(result);
        return NULL;
    }
    return result;
}

static int changes(const json_t *before, const json_t *after, const char *name)
{
    const json_t *x = json_object_get(before, name), *y = json_object_get(after, name);

    return x != y && !json_equal(x, y);
}

void node_gate(struct change *change, const json_t *before, const json_t *after)
{
    static const char GATE[] = "counter/client-ranges";

    if (changes(before, after, "clientRange") || (after && changes(before, after, "address"))) {
        json_int_t last = json_get_integer(tree_value(&change->d->tree, GATE), "last", 0);
        json_t *value = json_pack("{s:I}", "last", last + 1);
        change_expect(change, GATE);
        change_put(change, GATE, value);
        json_decref(value);
    }
}

static void forget_fact(struct change *change, const struct omap_entry *e)
{
    change_claims(change, e->key, ((struct tree_entry *)e->value)->value, NULL, NULL);
    change_put(change, e->key, NULL);
}

enum {
    SWEEP_MAX = 50, /* facts deleted in one transaction, each with room for a claim */
};

void node_forget(struct change *change, const char *id)
{
    _cleanup_free_ char *prefix = xasprintf("fact/%s/", id);
    size_t count = 0;

    for (struct omap_entry *e = tree_first(&change->d->tree, prefix); e && count < SWEEP_MAX;
         e = tree_next(&change->d->tree, e, prefix), count++) {
        forget_fact(change, e);
    }
}

static int is_orphan(const struct deployment *d, const char *fact_key)
{
    const char *node = fact_key + strlen("fact/");
    _cleanup_free_ char *id = xstrndup(node, strcspn(node, "/"));

    return !tree_spec(&d->tree, "nodes", id);
}

static void on_swept(void *arg, int rc, int64_t revision)
{
    if (rc == 0) {
        node_sweep(arg, "fact/");
    }
}

void node_sweep(struct deployment *d, const char *prefix)
{
    struct change *change = NULL;
    size_t count = 0;

    for (struct omap_entry *e = tree_first(&d->tree, prefix); e && count < SWEEP_MAX;
         e = tree_next(&d->tree, e, prefix)) {
        if (is_orphan(d, e->key)) {
            change = change ? change : change_new(d);
            forget_fact(change, e);
            count++;
        }
    }
    if (change) {
        change_commit(change, on_swept, d);
    }
}
