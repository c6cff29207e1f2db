/* node.c - what is particular to nodes: their addresses, and what goes with them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/deployment-internal.h"
#include "lib/ip.h"
#include "lib/json.h"
#include "lib/mem.h"

static int is_free(struct deployment *d, uint32_t address)
{
    char text[IP4_TEXT_SIZE], key[40];

    snprintf(key, sizeof key, "claim/address/%s", ip4_format(address, text));
    return !tree_get(&d->tree, key);
}

/* The next free address after the one given last, so that an address isn't soon given again and
 * joining costs the same with many nodes as with few. Network and broadcast address are left out.
 */
static int allocate(struct deployment *d, struct ip4_prefix range, uint32_t *ret_address)
{
    uint32_t first = (range.address & ip4_mask(range.len)) + 1;
    uint32_t count = (uint32_t)((UINT64_C(1) << (32 - range.len)) - 2);
    uint32_t start = d->address_hint >= first && d->address_hint - first < count
                         ? d->address_hint - first + 1
                         : 0;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t address = first + (start + i) % count;
        if (is_free(d, address)) {
            d->address_hint = address;
            *ret_address = address;
            return 0;
        }
    }
    return -ENOSPC;
}

json_t *node_with_address(struct deployment *d, const char *id, const json_t *spec,
                          struct error *error)
{
    const json_t *kept = json_object_get(tree_spec(&d->tree, "nodes", id), "address");
    const char *range_text =
        json_get_string(tree_spec(&d->tree, "settings", "overlay"), "range", "10.77.0.0/16");
    struct ip4_prefix range;
    uint32_t address;
    char text[IP4_TEXT_SIZE];
    json_t *result = json_copy((json_t *)spec);

    if (json_object_get(spec, "address")) {
        return result;
    }
    if (kept) {
        json_object_set(result, "address", (json_t *)kept);
        return result;
    }
    if (ip4_prefix_parse(range_text, &range) < 0 || allocate(d, range, &address) < 0) {
        error_set(error, 409, "/spec/address", "the overlay %s has no free address", range_text);
        json_decref(result);
        return NULL;
    }
    json_object_set_new(result, "address", json_string(ip4_format(address, text)));
    return result;
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
