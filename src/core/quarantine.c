/* quarantine.c - addresses of deleted nodes rest until nobody sends to their old owners any more.
 */
#include <string.h>

#include "core/deployment-internal.h"
#include "lib/json.h"
#include "lib/mem.h"

static void free_quarantine(void *value)
{
    struct quarantine *q = value;

    if (q) {
        omap_clear(&q->nodes, NULL);
        free(q);
    }
}

/* Puts it into the queue of transactions: the claim goes. */
static void release(struct deployment *d, const char *key)
{
    struct change *change = change_new(d);

    change_expect(change, key);
    change_put(change, key, NULL);
    change_commit(change, NULL, NULL);
}

static void note_nodes(struct deployment *d, struct quarantine *q, const struct omap *concerned)
{
    static const char NODES[] = "object/nodes/";

    if (concerned) {
        omap_foreach (e, concerned) {
            omap_put(&q->nodes, e->key, q);
        }
        return;
    }
    for (struct omap_entry *e = tree_first(&d->tree, NODES); e;
         e = tree_next(&d->tree, e, NODES)) {
        omap_put(&q->nodes, e->key + sizeof NODES - 1, q);
    }
}

void quarantine_follow(struct deployment *d, const char *key, const json_t *value,
                       int64_t revision, const struct omap *concerned)
{
    static const char CLAIM[] = "claim/";

    if (strncmp(key, CLAIM, sizeof CLAIM - 1) != 0) {
        return;
    }
    free_quarantine(omap_del(&d->quarantine, key));
    if (!json_get_bool(value, "quarantined", 0)) {
        return;
    }
    struct quarantine *q = xnew(struct quarantine);
    q->revision = revision;
    note_nodes(d, q, concerned);
    omap_put(&d->quarantine, key, q);
    if (q->nodes.len == 0) {
        release(d, key);
    }
}

void quarantine_acked(struct deployment *d, const char *node, int64_t revision)
{
    omap_foreach (e, &d->quarantine) {
        struct quarantine *q = e->value;
        if (revision >= q->revision && omap_del(&q->nodes, node) && q->nodes.len == 0) {
            release(d, e->key);
        }
    }
}

void quarantine_done(struct deployment *d)
{
    omap_clear(&d->quarantine, free_quarantine);
}
