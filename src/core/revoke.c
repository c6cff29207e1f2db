#include "core/revoke.h"

#include <string.h>

#include "core/deployment-internal.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    /* Of one holder. One that renews without end doesn't make its object grow without end: what
     * is too much is revoked, oldest first. */
    CERTIFICATES_MAX = 8,
    SWEEP_MAX = 50, /* keys deleted in one transaction */
};

/* An entry stays after its certificate has expired: hosts' clocks may be wrong by so much. */
static const int64_t GRACE_USEC = INT64_C(48) * 3600 * 1000000;
static const int64_t DAY_USEC = INT64_C(86400) * 1000000;

static int64_t expiry(const json_t *certificate)
{
    int64_t expires;

    return clock_parse(json_get_string(certificate, "expires", ""), &expires) < 0 ? 0 : expires;
}

json_t *certificate_noted(const json_t *serials, const struct certificate *certificate)
{
    json_t *noted = json_array(), *item;
    int64_t now = clock_now_usec();
    char text[CLOCK_TEXT_SIZE];
    size_t i;

    json_array_foreach ((json_t *)serials, i, item) {
        if (expiry(item) > now) {
            json_array_append(noted, item);
        }
    }
    json_array_append_new(noted, json_pack("{s:s, s:s, s:s}", "serial", certificate->serial,
                                           "authority", certificate->authority, "expires",
                                           clock_format(certificate->expires_usec, text)));
    return noted;
}

static void put_revoked(struct change *change, const char *owner, const json_t *certificate)
{
    const char *serial = json_get_string(certificate, "serial", "");
    _cleanup_free_ char *key = xasprintf(REVOKED_PREFIX "%s", serial);
    char now[CLOCK_TEXT_SIZE];

    if (*serial == '\0' || expiry(certificate) <= clock_now_usec()) {
        return;
    }
    json_t *value = json_pack("{s:s, s:s, s:s, s:s}", "authority",
                              json_get_string(certificate, "authority", ""), "owner", owner,
                              "expires", json_get_string(certificate, "expires", ""), "time",
                              clock_format(clock_now_usec(), now));
    change_put(change, key, value);
    json_decref(value);
}

static int is_noted(const json_t *serials, const json_t *certificate)
{
    const char *serial = json_get_string(certificate, "serial", "");
    json_t *item;
    size_t i;

    json_array_foreach ((json_t *)serials, i, item) {
        if (strcmp(json_get_string(item, "serial", ""), serial) == 0) {
            return 1;
        }
    }
    return 0;
}

void revoke_dropped(struct change *change, const char *owner, const json_t *before,
                    const json_t *after)
{
    const json_t *item;
    size_t i;

    json_array_foreach (json_object_get(before, "serials"), i, item) {
        if (!is_noted(json_object_get(after, "serials"), item)) {
            put_revoked(change, owner, item);
        }
    }
}

int revoke_comes_too_fast(const json_t *serials)
{
    size_t len = json_array_size(serials);
    int64_t span = expiry(json_array_get(serials, len - 1)) - expiry(json_array_get(serials, 0));

    return len > CERTIFICATES_MAX && span >= 0 && span < DAY_USEC; /* < 0: the clock was wrong */
}

void revoke_surplus(struct change *change, const char *owner, json_t *serials)
{
    while (json_array_size(serials) > CERTIFICATES_MAX) {
        put_revoked(change, owner, json_array_get(serials, 0));
        json_array_remove(serials, 0);
    }
}

/* --- sweeping --- */

struct sweep {
    struct deployment *d;
    store_done_fn *done;
    void *arg;
};

static void sweep_some(struct sweep *sweep);

static void on_swept(void *arg, int rc, int64_t revision)
{
    struct sweep *sweep = arg;

    if (rc == 0) {
        sweep_some(sweep);
        return;
    }
    if (sweep->done) {
        sweep->done(sweep->arg, rc, revision);
    }
    free(sweep);
}

static void sweep_some(struct sweep *sweep)
{
    struct deployment *d = sweep->d;
    int64_t before = clock_now_usec() - GRACE_USEC;
    struct change *change = NULL;
    size_t count = 0;

    for (struct omap_entry *e = tree_first(&d->tree, REVOKED_PREFIX); e && count < SWEEP_MAX;
         e = tree_next(&d->tree, e, REVOKED_PREFIX)) {
        if (expiry(((struct tree_entry *)e->value)->value) < before) {
            change = change ? change : change_new(d);
            change_put(change, e->key, NULL);
            count++;
        }
    }
    if (change) {
        change_commit(change, on_swept, sweep);
        return;
    }
    if (sweep->done) {
        sweep->done(sweep->arg, 0, d->revision);
    }
    free(sweep);
}

void revoked_sweep(struct deployment *d, store_done_fn *done, void *arg)
{
    struct sweep *sweep = xnew(struct sweep);

    *sweep = (struct sweep){.d = d, .done = done, .arg = arg};
    sweep_some(sweep);
}
