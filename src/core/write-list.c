/* write-list.c - many new objects of one kind in one transaction: all of them, or none.
 *
 * Each is checked with those before it in the list in place, so that a list is refused where the
 * same objects one by one would be. For that the tree has them for a moment, until the transaction
 * is built; nothing is planned meanwhile. */
#include <errno.h>

#include "core/deployment-internal.h"
#include "lib/json.h"
#include "lib/mem.h"

struct listing {
    struct writing *w; /* what they have in common; its spec and id are those of one at a time */
    json_t *list;
    json_t *ids;   /* of this try */
    int is_forced; /* one of them is */
};

/* What a key was before the list. */
struct undo {
    char *key;
    int64_t revision;
    json_t *value;
};

struct tentative {
    struct tree *tree;
    struct undo *undos;
    size_t len;
    size_t ops_seen; /* of the change */
};

static void listing_free(struct listing *l)
{
    json_decref(l->list);
    json_decref(l->ids);
    free(l);
}

static void remember(struct tentative *t, const char *key)
{
    const struct tree_entry *entry = tree_get(t->tree, key);

    t->undos = xrealloc(t->undos, (t->len + 1) * sizeof *t->undos);
    t->undos[t->len++] = (struct undo){.key = xstrdup(key),
                                       .revision = entry ? entry->revision : 0,
                                       .value = json_incref(entry ? entry->value : NULL)};
}

/* The present revision stays with the key: it is what the store compares. */
static void put(struct tentative *t, const char *key, json_t *value)
{
    remember(t, key);
    tree_put(t->tree, key, t->undos[t->len - 1].revision, value, NULL, NULL);
}

static void put_op(struct tentative *t, const struct store_op *op)
{
    json_t *value = op->value ? json_loadb(op->value, op->size, JSON_DECODE_ANY, NULL) : NULL;

    put(t, op->key, value);
    json_decref(value);
}

/* What the last object added to the change, and what is rewritten by each. */
static void put_ops(struct tentative *t, const struct change *change, const char *counter)
{
    const struct store_op *op = omap_get(&change->put, counter);

    if (op && op < &change->ops[t->ops_seen]) {
        put_op(t, op);
    }
    for (; t->ops_seen < change->ops_len; t->ops_seen++) {
        put_op(t, &change->ops[t->ops_seen]);
    }
}

static void take_back(struct tentative *t)
{
    while (t->len > 0) {
        struct undo *undo = &t->undos[--t->len];
        tree_put(t->tree, undo->key, undo->revision, undo->value, NULL, NULL);
        free(undo->key);
        json_decref(undo->value);
    }
    free(TAKE(t->undos));
}

static int build_one(struct listing *l, const json_t *item, struct change *change,
                     struct error *error)
{
    struct writing *w = l->w;
    const char *id = json_get_string(item, "id", NULL);
    _cleanup_free_ char *key = NULL;
    json_t *value = NULL;

    free(w->id);
    w->id = id ? xstrdup(id) : NULL;
    w->draws_id = !id;
    json_decref(w->spec);
    w->spec = json_incref(json_object_get(item, "spec"));
    int rc = writing_build(w, change, &key, &value, error);
    json_decref(value);
    if (rc == 0) {
        json_array_append_new(l->ids, json_string(w->id));
        l->is_forced |= w->is_forced;
    }
    return rc;
}

static int build_all(struct listing *l, struct change *change, struct error *error)
{
    struct tentative t = {.tree = &l->w->d->tree};
    _cleanup_free_ char *counter = xasprintf("counter/%s", l->w->kind);
    json_t *item;
    size_t i;
    int rc = 0;

    json_array_foreach (l->list, i, item) {
        rc = build_one(l, item, change, error);
        if (rc < 0) {
            _cleanup_free_ char *place = xasprintf("/%zu", i);
            error_prefix(error, place);
            break;
        }
        put_ops(&t, change, counter);
    }
    take_back(&t);
    return rc;
}

static void add_event(struct listing *l, struct change *change)
{
    size_t len = json_array_size(l->ids);
    const char *first = json_string_value(json_array_get(l->ids, 0));
    const char *last = json_string_value(json_array_get(l->ids, len - 1));
    _cleanup_free_ char *what = xasprintf("%zu %s, from %s to %s", len, l->w->kind, first, last);

    l->w->is_forced = l->is_forced;
    writing_add_event(l->w, change, l->w->kind, what);
}

static void attempt(struct listing *l);

static void on_committed(void *arg, int rc, int64_t revision)
{
    struct listing *l = arg;
    struct writing *w = l->w;
    struct error error;

    if (rc == -ECANCELED && ++w->tries < WRITE_TRIES_MAX) {
        attempt(l);
        return;
    }
    if (rc < 0) {
        change_error(rc, &error);
        writing_fail(w, rc, &error);
    } else {
        struct write_result result = {.ids = l->ids, .revision = revision};
        w->done(w->arg, 0, &result, NULL);
        writing_free(w);
    }
    listing_free(l);
}

static void attempt(struct listing *l)
{
    struct change *change = change_new(l->w->d);
    struct error error = {0};

    json_array_clear(l->ids);
    l->is_forced = 0;
    int rc = build_all(l, change, &error);
    if (rc < 0) {
        change_free(change);
        writing_fail(l->w, rc, &error);
        listing_free(l);
        return;
    }
    add_event(l, change);
    change_commit(change, on_committed, l);
}

void deployment_create_list(struct deployment *d, const struct actor *actor,
                            const struct write *common, const json_t *list, write_done_fn *done,
                            void *arg)
{
    struct listing *l = xnew(struct listing);

    l->w = writing_new(d, actor, common, done, arg);
    l->list = json_deep_copy(list);
    l->ids = json_array();
    attempt(l);
}
