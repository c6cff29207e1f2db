#include "core/reconcile-look-fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/digest.h"
#include "core/replica.h"

static struct fixture *the; /* drivers are told where they are by their start() only */

static int owns_all(const char *key)
{
    return strncmp(key, "all/", 4) == 0 || strncmp(key, "both/", 5) == 0;
}

static int owns_key(const char *key)
{
    return strncmp(key, "key/", 4) == 0 || strncmp(key, "both/", 5) == 0;
}

static int start_all(const struct backend_env *env, void **ret_self, struct error *error)
{
    the->all.env = env;
    *ret_self = &the->all;
    return 0;
}

static int start_key(const struct backend_env *env, void **ret_self, struct error *error)
{
    the->key.env = env;
    *ret_self = &the->key;
    return 0;
}

static void stop(void *self)
{
}

static void drop(void *value)
{
    json_decref(value);
}

static int observe(void *self, struct omap *states, struct error *error)
{
    struct part *part = self;

    part->observed++;
    omap_foreach (thing, &part->things) {
        omap_put(states, thing->key, json_incref(thing->value));
    }
    return 0;
}

static const void *look(void *self, const char *key)
{
    struct part *part = self;

    part->looked++;
    if (part->wakes > 0) {
        part->wakes--;
        reconcile_wake(part->env->reconcile);
    }
    return omap_get(&part->things, key);
}

static enum backend_match compare(void *self, const char *key, const json_t *spec,
                                  const void *state)
{
    ((struct part *)self)->compared++;
    return json_equal(spec, state) ? MATCH_SAME : MATCH_UPDATE;
}

static void come_true(struct part *part, const char *key, const json_t *spec)
{
    json_decref(spec ? omap_put(&part->things, key, json_incref((json_t *)spec))
                     : omap_del(&part->things, key));
}

static void apply(void *self, struct backend_item *items, size_t len)
{
    struct part *part = self;
    const struct part *other = part == &the->all ? &the->key : &the->all;

    part->others = other->observed + other->looked;
    part->applied++;
    part->items += (unsigned)len;
    for (size_t i = 0; i < len; i++) {
        assert_false(i > 0 && items[i - 1].spec && !items[i].spec);
        items[i].result = part->fails     ? RESULT_FAILED
                          : part->is_slow ? RESULT_NOT_YET
                                          : RESULT_DONE;
        if (part->is_slow) {
            json_decref(
                omap_put(&part->accepted, items[i].key,
                         items[i].spec ? json_incref((json_t *)items[i].spec) : json_null()));
        } else if (!part->fails) {
            come_true(part, items[i].key, items[i].spec);
        }
    }
}

void finish(struct part *part)
{
    omap_foreach (entry, &part->accepted) {
        come_true(part, entry->key, json_is_null((json_t *)entry->value) ? NULL : entry->value);
        reconcile_wake_key(part->env->reconcile, entry->key);
    }
    omap_clear(&part->accepted, drop);
}

static const struct backend ALL = {
    .service = "all",
    .name = "all",
    .owns = owns_all,
    .start = start_all,
    .stop = stop,
    .observe = observe,
    .free_state = drop,
    .compare = compare,
    .apply = apply,
};

static const struct backend KEY = {
    .service = "key",
    .name = "key",
    .owns = owns_key,
    .start = start_key,
    .stop = stop,
    .observe = observe,
    .free_state = drop,
    .compare = compare,
    .apply = apply,
    .look = look,
};

static const struct backend *const BOTH[] = {&ALL, &KEY, NULL};

/* --- the server and the loop --- */

/* What is acknowledged is on the disk. */
static void on_applied(void *arg, int64_t revision, const json_t *errors)
{
    struct fixture *f = arg;
    struct replica saved = {0};

    _cleanup_free_ char *path = xasprintf("%s/replica.json", f->folder);
    assert_int_equal(replica_load(&saved, path, NULL), 0);
    assert_int_equal(saved.revision, revision);
    assert_int_equal(saved.resources.len, f->wanted.len);
    replica_done(&saved);
    f->reports++;
    f->acked = revision;
    f->errors = (unsigned)json_array_size(errors);
}

void put(struct fixture *f, const char *key, int value)
{
    json_t *body = json_pack("{s:i}", "v", value);

    reconcile_put(f->r, key, 1, body);
    json_decref(omap_put(&f->wanted, key, body));
}

void delete (struct fixture *f, const char *key)
{
    reconcile_delete(f->r, key, 1);
    json_decref(omap_del(&f->wanted, key));
}

void sync_now(struct fixture *f)
{
    struct digest sum = {0};
    char hex[33];

    omap_foreach (entry, &f->wanted) {
        digest_add(&sum, digest_of(entry->key, entry->value));
    }
    assert_int_equal(reconcile_sync(f->r, ++f->sent, digest_format(sum, hex)), 0);
}

void run_until_acked(struct fixture *f)
{
    int64_t deadline = clock_monotonic_usec() + 20000000;

    while (f->acked < f->sent || f->errors > 0) {
        assert_true(clock_monotonic_usec() < deadline);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

void forget_counts(struct fixture *f)
{
    struct part *parts[] = {&f->all, &f->key};

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        parts[i]->observed = parts[i]->looked = parts[i]->compared = 0;
        parts[i]->applied = parts[i]->items = 0;
    }
}

void start(struct fixture *f)
{
    struct backend_env env = {.node = "n"};

    assert_int_equal(reconcile_new(&f->loop, f->folder, BOTH, &env, on_applied, f, &f->r, NULL),
                     0);
}

static void on_tick(uv_timer_t *timer)
{
}

int set_up(void **state)
{
    struct fixture *f = xnew(struct fixture);
    char key[32];

    the = f;
    snprintf(f->folder, sizeof f->folder, "/tmp/reconcile-look-test.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    uv_loop_init(&f->loop);
    uv_timer_init(&f->loop, &f->ticker);
    uv_timer_start(&f->ticker, on_tick, 1, 1);
    start(f);
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "%s/%d", i % 2 ? "all" : "key", i);
        put(f, key, i);
    }
    sync_now(f);
    run_until_acked(f);
    forget_counts(f);
    *state = f;
    return 0;
}

int tear_down(void **state)
{
    struct fixture *f = *state;

    reconcile_free(f->r);
    uv_close((uv_handle_t *)&f->ticker, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    omap_clear(&f->all.things, drop);
    omap_clear(&f->key.things, drop);
    omap_clear(&f->key.accepted, drop);
    omap_clear(&f->wanted, drop);
    _cleanup_free_ char *path = xasprintf("%s/replica.json", f->folder);
    unlink(path);
    assert_int_equal(rmdir(f->folder), 0);
    free(f);
    return 0;
}
