#include "core/deployment-fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/join.h"
#include "lib/json.h"
#include "lib/mem.h"

/* --- the toy service: everybody knows the "colour" that each node reports --- */

unsigned toy_plans_made;

static void toy_plan(const char *kind, const char *id, const json_t *spec, struct view *view,
                     struct plan *plan)
{
    toy_plans_made++;
    if (!json_array_has(json_object_get(spec, "services"), "toy")) {
        return;
    }
    _cleanup_free_ char *fact = xasprintf("fact/%s/toy.colour", id);
    _cleanup_free_ char *self = xasprintf("toy/self/%s", id);
    _cleanup_free_ char *peer = xasprintf("toy/peer/%s", id);
    _cleanup_free_ char *channel = xasprintf("node/%s", id);
    const json_t *colour = view_get(view, fact);
    plan_put(plan, channel, self, json_pack("{s:O}", "address", json_object_get(spec, "address")));
    if (colour) {
        plan_put(plan, "service/toy", peer, json_pack("{s:O}", "colour", colour));
    }
}

static void toy_claims(const char *key, const json_t *value,
                       void (*claim)(void *arg, const char *name, const char *pointer), void *arg)
{
    if (strstr(key, "/toy.colour")) {
        _cleanup_free_ char *name = xasprintf("colour/%s", json_string_value(value));
        claim(arg, name, "");
    }
}

static int toy_validate(const char *kind, const char *id, const json_t *spec, struct view *view,
                        struct error *error)
{
    return json_get_bool(spec, "sharp", 0) && !view->force
               ? error_set(error, 409, NULL, "it could cut somebody off")
               : 0;
}

static const struct fact_type TOY_FACTS[] = {
    {.name = "toy.colour", .schema_text = "{\"type\":\"string\",\"maxLength\":20}"},
    {.name = NULL},
};
static const struct kind TOY_MARKS = {
    .name = "toy/marks",
    .singular = "toy mark",
    .summary = "A thing that is counted.",
    .schema_text = "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
                   "\"sharp\":{\"type\":\"boolean\"}}}",
    .ids = KIND_ID_COUNTED,
    .can_be_forced = 1,
    .read_role = ROLE_VIEWER,
    .write_role = ROLE_OPERATOR,
};

static const struct kind *const TOY_KINDS[] = {&TOY_MARKS, NULL};
static const char *const TOY_PLANS[] = {"nodes", NULL};
static const struct service SERVICE_TOY = {
    .name = "toy",
    .kinds = TOY_KINDS,
    .facts = TOY_FACTS,
    .plans = TOY_PLANS,
    .claims = toy_claims,
    .plan = toy_plan,
    .validate = toy_validate,
};

const struct service *const SERVICES[] = {&SERVICE_CORE, &SERVICE_TOY, NULL};

/* --- fixture --- */

void fixture_open(struct fixture *f)
{
    struct error error = {0};
    _cleanup_free_ char *path = xasprintf("%s/db", f->folder);

    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(store_open(&f->loop, path, &f->store, &error), 0);
    assert_int_equal(deployment_open(&f->loop, f->store, SERVICES, &f->d, &error), 0);
}

void fixture_close(struct fixture *f)
{
    store_close(f->store);
    deployment_close(f->d);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

int fixture_set_up(void **state)
{
    struct fixture *f = xnew(struct fixture);

    strcpy(f->folder, "/tmp/cnsmo-deployment-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    fixture_open(f);
    *state = f;
    return 0;
}

int fixture_tear_down(void **state)
{
    static const char *const NAMES[] = {"db", "db-wal", "db-shm", "db.lock"};
    struct fixture *f = *state;

    fixture_close(f);
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", f->folder, NAMES[i]);
        unlink(path);
    }
    rmdir(f->folder);
    free(f);
    return 0;
}

void fixture_done(void *arg, int rc, const struct write_result *result, const struct error *error)
{
    struct outcome *o = arg;

    assert_false(o->finished); /* exactly once */
    o->finished = 1;
    o->rc = rc;
    if (rc < 0) {
        o->error = *error;
        return;
    }
    o->revision = result->revision;
    snprintf(o->id, sizeof o->id, "%s", result->id ? result->id : ""); /* a list has none */
    o->deltas = json_deep_copy(result->deltas);
}

void fixture_run(struct fixture *f, const int *finished)
{
    while (!*finished) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static const struct actor TESTER = {.name = "tester", .source = "127.0.0.1", .role = ROLE_ADMIN};

void begin_write(struct fixture *f, struct write write, const char *spec, struct outcome *o)
{
    json_t *json = NULL;

    if (spec) {
        assert_int_equal(json_parse(spec, strlen(spec), &json, NULL), 0);
    }
    write.spec = json;
    deployment_write(f->d, &TESTER, &write, fixture_done, o);
    json_decref(json);
}

struct outcome do_write(struct fixture *f, struct write write, const char *spec)
{
    struct outcome o = {0};

    begin_write(f, write, spec, &o);
    fixture_run(f, &o.finished);
    return o;
}

struct outcome create_node(struct fixture *f, const char *id, const char *spec)
{
    return do_write(f, (struct write){.verb = WRITE_CREATE, .kind = "nodes", .id = id}, spec);
}

struct outcome report(struct fixture *f, const char *node, const char *facts)
{
    struct outcome o = {0};
    json_t *json;

    assert_int_equal(json_parse(facts, strlen(facts), &json, NULL), 0);
    deployment_report(f->d, node, json, 0, fixture_done, &o);
    json_decref(json);
    fixture_run(f, &o.finished);
    return o;
}

void collect_resource(void *arg, const char *key, int64_t revision, const json_t *body)
{
    _cleanup_free_ char *text = body ? json_canonical(body) : xstrdup("-");
    buf_printf(arg, "%s %s;", key, text);
}

void assert_lawful(struct fixture *f)
{
    struct error error = {0};

    if (deployment_recompute(f->d, &error) < 0) {
        fail_msg("%s", error.detail);
    }
}
