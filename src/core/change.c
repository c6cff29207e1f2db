/* change.c - transactions: compares, operations, events and claims. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/deployment-internal.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"

struct change *change_new(struct deployment *d)
{
    struct change *change = xnew(struct change);

    change->d = d;
    return change;
}

void change_free(struct change *change)
{
    if (!change) {
        return;
    }
    for (size_t i = 0; i < change->compares_len; i++) {
        free((char *)change->compares[i].key);
    }
    for (size_t i = 0; i < change->ops_len; i++) {
        free((char *)change->ops[i].key);
        free((void *)change->ops[i].value);
    }
    omap_clear(&change->expected, NULL);
    omap_clear(&change->put, NULL);
    free(change);
}

void change_expect(struct change *change, const char *key)
{
    const struct tree_entry *entry = tree_get(&change->d->tree, key);

    if (omap_get(&change->expected, key)) {
        return;
    }
    if (change->compares_len == STORE_OPS_MAX) {
        change->overflow = 1;
        return;
    }
    struct store_compare *compare = &change->compares[change->compares_len++];
    *compare =
        (struct store_compare){.key = xstrdup(key), .revision = entry ? entry->revision : 0};
    omap_put(&change->expected, key, compare);
}

void change_put(struct change *change, const char *key, const json_t *value)
{
    struct store_op *op = omap_get(&change->put, key);

    if (!op && change->ops_len == STORE_OPS_MAX) {
        change->overflow = 1;
        return;
    }
    char *text = value ? json_canonical(value) : NULL;
    if (op) {
        free((void *)op->value);
    } else {
        op = &change->ops[change->ops_len++];
        op->key = xstrdup(key);
        omap_put(&change->put, key, op);
    }
    op->value = text;
    op->size = text ? strlen(text) : 0;
}

void change_event(struct change *change, const struct actor *actor, const char *reason,
                  const char *subject, const char *message)
{
    struct deployment *d = change->d;
    char time[CLOCK_TEXT_SIZE], key[64], cut[513];
    int64_t now = clock_now_usec();

    d->last_event = now > d->last_event ? now : d->last_event + 1;
    snprintf(cut, sizeof cut, "%s", message);
    json_t *value = json_pack("{s:{s:s, s:s, s:s, s:s, s:s, s:s}}", "spec", "time",
                              clock_format(now, time), "actor", actor->name, "source",
                              actor->source, "reason", reason, "subject", subject, "message", cut);
    snprintf(key, sizeof key, "object/events/%016" PRId64, d->last_event);
    if (value) { /* NULL when the message isn't UTF-8: cut within a character */
        change_put(change, key, value);
        json_decref(value);
    }
    struct omap_entry *oldest =
        d->events >= EVENTS_MAX ? tree_first(&d->tree, "object/events/") : NULL;
    for (int i = 0; oldest && i < 2; i++) {
        change_put(change, oldest->key, NULL);
        oldest = tree_next(&d->tree, oldest, "object/events/");
    }
}

/* --- claims: values that only one owner may have --- */

static void collect(void *arg, const char *name, const char *pointer)
{
    struct omap *claims = arg;

    free(omap_put(claims, name, xstrdup(pointer)));
}

static void collect_claims(struct deployment *d, const char *owner, const json_t *value,
                           struct omap *claims)
{
    for (size_t i = 0; value && d->services[i]; i++) {
        if (d->services[i]->claims) {
            d->services[i]->claims(owner, value, collect, claims);
        }
    }
}

static int take_claim(struct change *change, const char *owner, const char *name,
                      const char *pointer, struct error *error)
{
    _cleanup_free_ char *key = xasprintf("claim/%s", name);
    const json_t *present = tree_value(&change->d->tree, key);
    const char *holder = json_get_string(present, "owner", NULL);
    const char *what = strchr(name, '/');

    if (holder && strcmp(holder, owner) != 0) {
        const char *id = strchr(holder, '/');
        return error_set(error, 409, pointer, "\"%s\" is taken by %s", what ? what + 1 : name,
                         id ? id + 1 : holder);
    }
    if (present && !holder) {
        return error_set(error, 409, pointer,
                         "\"%s\" was a deleted node's; it is free once every node knows of that",
                         what ? what + 1 : name);
    }
    change_expect(change, key);
    json_t *value = json_pack("{s:s}", "owner", owner);
    change_put(change, key, value);
    json_decref(value);
    return 0;
}

/* An address isn't given away again before every peer has let go of its old owner. */
static void drop_claim(struct change *change, const char *name, int owner_gone)
{
    _cleanup_free_ char *key = xasprintf("claim/%s", name);

    if (owner_gone && strncmp(name, "address/", 8) == 0) {
        json_t *value = json_pack("{s:b}", "quarantined", 1);
        change_put(change, key, value);
        json_decref(value);
    } else {
        change_put(change, key, NULL);
    }
}

int change_claims(struct change *change, const char *owner, const json_t *before,
                  const json_t *after, struct error *error)
{
    struct omap old = {0}, new = {0};
    int rc = 0;

    collect_claims(change->d, owner, before, &old);
    collect_claims(change->d, owner, after, &new);
    omap_foreach (e, &new) {
        if (rc == 0 && !omap_get(&old, e->key)) {
            rc = take_claim(change, owner, e->key, e->value, error);
        }
    }
    omap_foreach (e, &old) {
        if (rc == 0 && !omap_get(&new, e->key)) {
            drop_claim(change, e->key, !after);
        }
    }
    omap_clear(&old, free);
    omap_clear(&new, free);
    return rc;
}

void change_commit(struct change *change, store_done_fn *done, void *arg)
{
    int rc = change->overflow ? -E2BIG
                              : store_txn(change->d->store, change->compares, change->compares_len,
                                          change->ops, change->ops_len, done, arg);
    change_free(change);
    if (rc < 0 && done) {
        done(arg, rc, 0);
    }
}

int change_error(int rc, struct error *error)
{
    switch (rc) {
    case -ENOSPC:
        return error_set(error, 507, NULL, "the server's disk is full; nothing was changed");
    case -E2BIG:
        return error_set(error, 413, NULL, "too much for one transaction; nothing was changed");
    case -ECANCELED:
        return error_set(error, 409, NULL,
                         "others change the same; nothing was changed, try again");
    default:
        return error_set(error, 500, NULL, "the server can't store it: %s; nothing was changed",
                         strerror(-rc));
    }
}
