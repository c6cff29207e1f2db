#include "core/laws.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/digest.h"
#include "core/laws-host.h"
#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/file.h"
#include "lib/mem.h"

enum {
    CONVERGE_MSEC = 20000,
    PAUSE_MSEC = 10,
    STEPS_MAX = 1000,
};

#define STATE_DIR "/tmp/state"
#define RUN_DIR "/run/agent"
#define LOG_DIR "/tmp/log"

/* Ends the test's process: it runs outside of cmocka's own. */
#define demand(condition, ...)                                                                    \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "law broken (%s:%d): ", __FILE__, __LINE__);                          \
            fprintf(stderr, __VA_ARGS__);                                                         \
            fputc('\n', stderr);                                                                  \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

/* One agent on the host. */
struct world {
    const struct laws_case *laws;
    uv_loop_t loop;
    const struct backend *backends[2];
    struct reconcile *reconcile;
    int64_t acknowledged;
};

static void drop_report(void *arg, const char *name, json_t *value)
{
    json_decref(value);
}

static void on_applied(void *arg, int64_t revision, const json_t *errors)
{
    struct world *world = arg;

    world->acknowledged = json_array_size(errors) == 0 ? revision : 0;
}

static struct world *world_start(const struct laws_case *laws)
{
    struct backend_env env = {.node = laws->node,
                              .state_dir = STATE_DIR,
                              .run_dir = RUN_DIR,
                              .log_dir = LOG_DIR,
                              .report = drop_report};
    struct world *world = xnew(struct world);
    struct error error = {0};

    signal(SIGPIPE, SIG_IGN); /* as the agent does */
    file_make_folder(STATE_DIR, 0700);
    file_make_folder(RUN_DIR, 0755);
    file_make_folder(LOG_DIR, 0755);
    world->laws = laws;
    world->backends[0] = laws->backend;
    uv_loop_init(&world->loop);
    demand(reconcile_new(&world->loop, STATE_DIR, world->backends, &env, on_applied, world,
                         &world->reconcile, &error) == 0,
           "the driver doesn't start: %s", error.detail);
    return world;
}

static void world_stop(struct world *world)
{
    reconcile_free(world->reconcile);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    demand(uv_loop_close(&world->loop) == 0, "the driver leaves handles open in the loop");
    free(world);
}

static void world_set(struct world *world, const char *resources)
{
    json_t *all = json_loads(resources, JSON_REJECT_DUPLICATES, NULL), *body;
    int64_t revision = reconcile_revision(world->reconcile) + 1;
    struct digest sum = {0};
    const char *key;
    char hex[33];

    demand(json_is_object(all), "not a JSON object: %s", resources);
    reconcile_begin_snapshot(world->reconcile);
    json_object_foreach (all, key, body) {
        demand(world->laws->backend->owns(key), "the driver doesn't own %s", key);
        reconcile_put(world->reconcile, key, revision, body);
        digest_add(&sum, digest_of(key, body));
    }
    demand(reconcile_sync(world->reconcile, revision, digest_format(sum, hex)) == 0,
           "the digest differs");
    json_decref(all);
}

/* Passes, as the agent would make them, until one finds nothing to do. */
static void converge(struct world *world)
{
    int64_t deadline = clock_monotonic_usec() + (int64_t)CONVERGE_MSEC * 1000;

    for (;;) {
        struct error error = {0};
        int changes = reconcile_pass(world->reconcile, &error);
        if (changes == 0 && error.detail[0] == '\0') {
            return;
        }
        demand(clock_monotonic_usec() < deadline, "doesn't converge: %d items differ; %s", changes,
               error.detail);
        uv_run(&world->loop, UV_RUN_NOWAIT);
        poll(NULL, 0, PAUSE_MSEC);
    }
}

static void reach(struct world *world, const char *resources)
{
    world_set(world, resources);
    converge(world);
}

/* The same by the loop alone, as after a change of the server's. */
static void reach_told(struct world *world, const char *resources)
{
    int64_t deadline = clock_monotonic_usec() + (int64_t)CONVERGE_MSEC * 1000;
    struct error error = {0};

    world_set(world, resources);
    while (world->acknowledged < reconcile_revision(world->reconcile)) {
        demand(clock_monotonic_usec() < deadline, "isn't acknowledged");
        uv_run(&world->loop, UV_RUN_NOWAIT);
        poll(NULL, 0, PAUSE_MSEC);
    }
    int changes = reconcile_pass(world->reconcile, &error);
    demand(changes == 0, "it was acknowledged, but %d items differ; %s", changes, error.detail);
}

static void demand_same(const json_t *before, const char *when, int with_sysctls)
{
    json_t *now = host_look();
    int differs = host_differs(before, now, with_sysctls);

    json_decref(now);
    demand(!differs, "the host looks different %s", when);
}

/* How the host looks with nothing, A and B, undisturbed. */
struct looks {
    json_t *none, *a, *b;
};

static struct looks learn(const struct laws_case *laws)
{
    struct looks looks;

    host_add_strangers();
    for (size_t i = 0; laws->foreign && laws->foreign[i]; i++) {
        host_do(laws->foreign[i]);
    }
    if (laws->joined) {
        file_make_folder(STATE_DIR, 0700);
        laws->joined(STATE_DIR);
    }
    looks.none = host_look();
    struct world *world = world_start(laws);
    reach(world, laws->a);
    looks.a = host_look();
    reach(world, laws->b);
    looks.b = host_look();
    reach(world, "{}");
    demand_same(looks.none, "after everything was deleted", 0);
    world_stop(world);
    return looks;
}

static void forget(struct looks *looks)
{
    json_decref(looks->none);
    json_decref(looks->a);
    json_decref(looks->b);
}

/* --- the laws --- */

static int law_settled(const void *arg)
{
    const struct laws_case *laws = arg;
    struct looks looks = learn(laws);
    struct error error = {0};
    struct world *world = world_start(laws);

    reach(world, laws->a);
    fault_arm(0);
    int changes = reconcile_pass(world->reconcile, &error);
    demand(changes == 0, "a second reconcile changes %d items", changes);
    world_stop(world);
    world = world_start(laws);
    changes = reconcile_pass(world->reconcile, &error);
    demand(changes == 0, "a new driver changes %d items of a host that is right", changes);
    demand_same(looks.a, "after doing nothing", 1);
    world_stop(world);
    forget(&looks);
    return 0;
}

static int law_changes(const void *arg)
{
    const struct laws_case *laws = arg;
    struct looks looks = learn(laws);
    struct world *world = world_start(laws);

    reach(world, laws->b);
    demand_same(looks.b, "with B at once", 1);
    reach(world, laws->a);
    demand_same(looks.a, "with A after B", 1);
    reach(world, laws->b);
    demand_same(looks.b, "with B after A", 1);
    world_stop(world);
    forget(&looks);
    return 0;
}

static int law_strangers(const void *arg)
{
    const struct laws_case *laws = arg;
    struct looks looks = learn(laws);

    demand(!host_lost(looks.none, looks.a, laws->shared), "A takes away what isn't ours");
    demand(!host_lost(looks.none, looks.b, laws->shared), "B takes away what isn't ours");
    forget(&looks);
    return 0;
}

static int law_gone(const void *arg)
{
    const struct laws_case *laws = arg;
    struct looks looks = learn(laws);
    struct error error = {0};

    for (int deleted_first = 0; deleted_first < 2; deleted_first++) {
        struct world *world = world_start(laws);
        reach(world, laws->a);
        if (deleted_first) {
            reach(world, "{}");
        }
        demand(reconcile_leave(world->reconcile, &error) == 0, "leave fails: %s", error.detail);
        demand_same(looks.none, "after leaving", 1);
        world_stop(world);
    }
    forget(&looks);
    return 0;
}

/* --- disturbed --- */

/* Goes to `resources` with the n-th operation failing; whether it came to that one. */
static int reach_failing(const struct laws_case *laws, const char *resources, unsigned n)
{
    struct world *world = world_start(laws);

    fault_arm(n);
    reach(world, resources);
    int was_reached = fault_count() >= n;
    fault_arm(0);
    world_stop(world);
    return was_reached;
}

/* The same, but a process is killed before its n-th operation and another one goes on. */
static int reach_killed(const struct laws_case *laws, const char *resources, unsigned n)
{
    int status;

    pid_t victim = fork();
    if (victim == 0) {
        fault_arm_kill(n);
        struct world *world = world_start(laws);
        reach(world, resources);
        _exit(0);
    }
    waitpid(victim, &status, 0);
    demand(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == FAULT_KILLED),
           "the agent to be killed before operation %u crashed", n);
    struct world *world = world_start(laws);
    reach(world, resources);
    world_stop(world);
    return WEXITSTATUS(status) == FAULT_KILLED;
}

static int disturbed(const struct laws_case *laws, const char *how,
                     int (*reach_disturbed)(const struct laws_case *, const char *, unsigned))
{
    struct looks looks = learn(laws);
    const struct {
        const char *resources, *name;
        const json_t *look;
    } steps[] = {{laws->a, "A", looks.a}, {laws->b, "B", looks.b}, {"{}", "nothing", looks.none}};
    int reached = 1;
    unsigned n = 0;

    while (reached && n < STEPS_MAX) {
        reached = 0;
        n++;
        for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
            char when[100];
            reached |= reach_disturbed(laws, steps[i].resources, n);
            snprintf(when, sizeof when, "with %s, operation %u %s", steps[i].name, n, how);
            demand_same(steps[i].look, when, 0);
        }
    }
    demand(n > 2 && n < STEPS_MAX, "there are %u operations: fault points are missing", n);
    printf("  %u operations %s\n", n - 1, how);
    forget(&looks);
    return 0;
}

static int law_failing(const void *arg)
{
    return disturbed(arg, "failing", reach_failing);
}

static int law_killed(const void *arg)
{
    return disturbed(arg, "killed", reach_killed);
}

/* Leaving with the n-th operation failing: at the latest the second try is clean. */
static int law_leaving(const void *arg)
{
    const struct laws_case *laws = arg;
    struct looks looks = learn(laws);
    struct error error = {0};
    unsigned n = 0;

    for (int reached = 1; reached && n < STEPS_MAX;) {
        struct world *world = world_start(laws);
        reach(world, laws->a);
        fault_arm(++n);
        int rc = reconcile_leave(world->reconcile, &error);
        reached = fault_count() >= n;
        fault_arm(0);
        world_stop(world);
        if (rc < 0) {
            world = world_start(laws);
            demand(reconcile_leave(world->reconcile, &error) == 0,
                   "leaving again after operation %u failed: %s", n, error.detail);
            world_stop(world);
        }
        demand_same(looks.none, "after leaving with a failure", 1);
    }
    demand(n < STEPS_MAX, "leaving never ends");
    forget(&looks);
    return 0;
}

static int law_told(const void *arg)
{
    const struct laws_case *laws = arg;
    struct looks looks = learn(laws);
    struct world *world = world_start(laws);

    reach_told(world, laws->a);
    demand_same(looks.a, "with A", 1);
    reach_told(world, laws->b);
    demand_same(looks.b, "with B after A", 1);
    reach_told(world, laws->a);
    demand_same(looks.a, "with A after B", 1);
    reach_told(world, "{}");
    demand_same(looks.none, "after everything was deleted", 0);
    world_stop(world);
    forget(&looks);
    return 0;
}

/* --- as cmocka tests --- */

static const struct {
    const char *name;
    int (*law)(const void *arg);
} LAWS[] = {
    {"a second reconcile does nothing", law_settled}, {"the way doesn't matter", law_changes},
    {"strangers are left alone", law_strangers},      {"nothing is left behind", law_gone},
    {"failing anywhere it converges", law_failing},   {"killed anywhere it converges", law_killed},
    {"leaving can be tried again", law_leaving},      {"what is told is so", law_told},
};

struct law_run {
    const struct laws_case *laws;
    int (*law)(const void *arg);
};

static void run_law(void **state)
{
    const struct law_run *run = *state;

    assert_int_equal(host_run(run->law, run->laws), 0);
}

int laws_check(const struct laws_case *laws)
{
    for (size_t i = 0; i < ARRAY_LEN(LAWS); i++) {
        if (host_run(LAWS[i].law, laws) < 0) {
            return -1;
        }
    }
    return 0;
}

int laws_main(const struct laws_case *laws)
{
    struct law_run runs[ARRAY_LEN(LAWS)];
    struct CMUnitTest tests[ARRAY_LEN(LAWS)];

    for (size_t i = 0; i < ARRAY_LEN(LAWS); i++) {
        runs[i] = (struct law_run){.laws = laws, .law = LAWS[i].law};
        tests[i] = (struct CMUnitTest){
            .name = LAWS[i].name, .test_func = run_law, .initial_state = &runs[i]};
    }
    return _cmocka_run_group_tests(laws->backend->name, tests, ARRAY_LEN(tests), NULL, NULL);
}
