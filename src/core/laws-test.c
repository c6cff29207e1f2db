/* The laws against the smallest driver there can be: bridges with an MTU. And against worse
 * ones, which the laws must catch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/laws-host.h"
#include "core/laws.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "lib/spawn.h"

enum {
    OUTPUT_MAX = 1 << 20,
};

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})
#define MARK "laws"

static int links_own(const char *key)
{
    return strncmp(key, "link/", 5) == 0;
}

static int links_start(const struct backend_env *env, void **ret_self, struct error *error)
{
    *ret_self = xnew(char);
    return 0;
}

static int links_observe(void *self, struct omap *states, struct error *error)
{
    _cleanup_buf_ struct buf out = BUF_INIT(OUTPUT_MAX);
    json_t *links, *link;
    size_t i;

    int rc =
        spawn_check(&(struct spawn){.argv = ARGV("ip", "-j", "link", "show"), .out = &out}, error);
    if (rc < 0) {
        return rc;
    }
    rc = json_parse(out.data, out.size, &links, error);
    if (rc < 0) {
        return rc;
    }
    json_array_foreach (links, i, link) {
        _cleanup_free_ char *key = xasprintf("link/%s", json_get_string(link, "ifname", ""));
        if (strcmp(json_get_string(link, "ifalias", ""), MARK) == 0) {
            omap_put(states, key, json_incref(link));
        }
    }
    json_decref(links);
    return 0;
}

static void links_free_state(void *state)
{
    json_decref(state);
}

static enum backend_match links_compare(void *self, const char *key, const json_t *spec,
                                        const void *state)
{
    return json_get_integer(spec, "mtu", 0) == json_get_integer(state, "mtu", -1) ? MATCH_SAME
                                                                                  : MATCH_UPDATE;
}

static int run(const char *const *argv, struct backend_item *item)
{
    return spawn_check(&(struct spawn){.argv = argv}, &item->error);
}

/* Without the mark it would be nobody's, so one step makes both. */
static int create_link(const char *name, struct backend_item *item)
{
    int rc = run(ARGV("ip", "link", "add", name, "address", "02:00:00:00:00:01", "type", "bridge"),
                 item);
    if (rc == 0) {
        rc = run(ARGV("ip", "link", "set", name, "alias", MARK), item);
    }
    return rc;
}

static int apply_link(const char *name, struct backend_item *item)
{
    char mtu[16];
    int rc = 0;

    if (!item->spec) {
        return run(ARGV("ip", "link", "delete", name), item);
    }
    if (!item->state) {
        /* A link of this name without our mark is what a killed process left. */
        spawn_run(&(struct spawn){.argv = ARGV("ip", "link", "delete", name)});
        rc = create_link(name, item);
    }
    snprintf(mtu, sizeof mtu, "%d", (int)json_get_integer(item->spec, "mtu", 1500));
    return rc < 0 ? rc : run(ARGV("ip", "link", "set", name, "mtu", mtu), item);
}

static void links_apply(void *self, struct backend_item *items, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        int rc = apply_link(items[i].key + strlen("link/"), &items[i]);
        items[i].result = rc < 0 ? RESULT_FAILED : RESULT_DONE;
    }
}

static const struct backend LINKS = {
    .service = "links",
    .name = "links",
    .owns = links_own,
    .start = links_start,
    .stop = free,
    .observe = links_observe,
    .free_state = links_free_state,
    .compare = links_compare,
    .apply = links_apply,
};

static const void *links_look(void *self, const char *key)
{
    static struct omap lent; /* each key's until it is looked at again */
    struct omap states = {0};
    struct error error;
    json_t *state = NULL;

    if (links_observe(self, &states, &error) == 0) {
        state = json_incref(omap_get(&states, key));
    }
    json_decref(state ? omap_put(&lent, key, state) : omap_del(&lent, key));
    omap_clear(&states, links_free_state);
    return state;
}

/* --- drivers that break a law --- */

static const char AWAY[] = "away";

/* Says of each key that it is as it must be. */
static const void *look_away(void *self, const char *key)
{
    return strcmp(key, "link/a1") == 0 ? NULL : AWAY;
}

static enum backend_match same_if_not_looked_at(void *self, const char *key, const json_t *spec,
                                                const void *state)
{
    return state == AWAY ? MATCH_SAME : links_compare(self, key, spec, state);
}

static enum backend_match never_same(void *self, const char *key, const json_t *spec,
                                     const void *state)
{
    static unsigned calls;

    return calls++ % 3 == 2 ? MATCH_UPDATE : MATCH_SAME;
}

static void forget_to_remove(void *self, struct backend_item *items, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!items[i].spec) {
            spawn_run(&(struct spawn){
                .argv = ARGV("ip", "link", "set", items[i].key + 5, "alias", "nobody's")});
            items[i].result = RESULT_DONE;
        } else {
            links_apply(self, &items[i], 1);
        }
    }
}

static void remove_strangers(void *self, struct backend_item *items, size_t len)
{
    spawn_run(&(struct spawn){.argv = ARGV("ip", "rule", "delete", "pref", "77")});
    links_apply(self, items, len);
}

/* Exits with 0 if a law was broken. */
static int expect_broken(const struct backend *backend)
{
    const struct laws_case laws = {.backend = backend,
                                   .node = "n",
                                   .a = "{\"link/a0\":{\"mtu\":1400},\"link/a1\":{\"mtu\":1400}}",
                                   .b = "{\"link/a0\":{\"mtu\":1300}}"};

    return laws_check(&laws) < 0 ? 0 : -1;
}

static void bad_drivers_are_caught(void **state)
{
    struct backend bad = LINKS;

    bad.compare = never_same;
    assert_int_equal(expect_broken(&bad), 0);
    bad = LINKS;
    bad.apply = forget_to_remove;
    assert_int_equal(expect_broken(&bad), 0);
    bad = LINKS;
    bad.apply = remove_strangers;
    assert_int_equal(expect_broken(&bad), 0);
    bad = LINKS;
    bad.look = look_away;
    bad.compare = same_if_not_looked_at;
    assert_int_equal(expect_broken(&bad), 0);
}

int main(void)
{
    struct laws_case laws = {
        .backend = &LINKS,
        .node = "n",
        .a = "{\"link/a0\":{\"mtu\":1400},\"link/a1\":{\"mtu\":1400}}",
        .b = "{\"link/a0\":{\"mtu\":1300},\"link/a2\":{\"mtu\":1500}}",
        .foreign = (const char *const *const[]){
            ARGV("ip", "link", "add", "other0", "mtu", "1234", "type", "bridge"), NULL}};
    const struct CMUnitTest tests[] = {cmocka_unit_test(bad_drivers_are_caught)};

    int failed = laws_main(&laws);
    struct backend with_look = LINKS;
    with_look.name = "links, looked at by key";
    with_look.look = links_look;
    laws.backend = &with_look;
    failed += laws_main(&laws);
    return failed + cmocka_run_group_tests_name("laws", tests, NULL, NULL);
}
