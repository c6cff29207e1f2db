/* api-v1-add.c - what API v1 adds: stored, waited for, and undone if it isn't in force in time. */
#include <string.h>

#include "server/api-internal.h"

struct adding {
    struct api_call *call;
    struct v1_addition addition; /* its texts are constants; .spec isn't kept */
    char *id;
    struct error error; /* why it is undone */
};

static void end_adding(struct adding *a)
{
    free(a->id);
    free(a);
}

const json_t *v1_late(const struct api *api, const json_t *report)
{
    const json_t *error = json_array_get(json_object_get(report, "errors"), 0);
    json_t *pending;
    size_t i;

    json_array_foreach (json_object_get(report, "pending"), i, pending) {
        if (!error && fleet_is_connected(api->deployment, json_get_string(pending, "node", ""))) {
            return pending;
        }
    }
    return error;
}

void v1_error(const json_t *late, const char *outcome, struct error *error)
{
    const char *node = json_get_string(late, "node", "a node");
    const char *message = json_get_string(late, "message", NULL);

    if (message) {
        error_set(error, 503, NULL, "%s: %s; %s", node, message, outcome);
    } else {
        error_set(error, 503, NULL, "%s %s; %s", node,
                  json_get_string(late, "reason", "hasn't applied it"), outcome);
    }
}

static void on_undone(void *arg, int rc, const struct write_result *result,
                      const struct error *error)
{
    struct adding *a = arg;

    /* Somebody else may have deleted it before. */
    if (a->call->api->freed) {
        call_fail_stopping(a->call);
    } else {
        call_fail(a->call, rc < 0 && error->status != 404 ? error : &a->error);
    }
    end_adding(a);
}

static void undo(struct adding *a, const json_t *late)
{
    struct write write = {
        .verb = WRITE_DELETE, .kind = a->addition.kind, .id = a->id, .reason = "undone"};
    struct actor actor;

    v1_error(late, a->addition.outcome, &a->error);
    call_actor(a->call, &actor);
    deployment_write(a->call->api->deployment, &actor, &write, on_undone, a);
}

static void on_in_force(void *arg, int rc, const json_t *report)
{
    struct adding *a = arg;
    const json_t *late = rc < 0 ? v1_late(a->call->api, report) : NULL;

    if (rc < 0 && !late && !a->addition.is_for_all) {
        late = json_array_get(json_object_get(report, "pending"), 0);
    }
    if (a->call->api->freed) {
        call_fail_stopping(a->call);
        end_adding(a);
    } else if (late) {
        undo(a, late);
    } else {
        a->addition.answer(a->call, a->id);
        end_adding(a);
    }
}

static void on_stored(void *arg, int rc, const struct write_result *result,
                      const struct error *error)
{
    struct adding *a = arg;

    if (rc < 0 || a->call->api->freed) {
        if (rc < 0) {
            call_fail(a->call, error);
        } else {
            call_fail_stopping(a->call);
        }
        end_adding(a);
        return;
    }
    a->id = xstrdup(result->id);
    deployment_wait(a->call->api->deployment, result->revision, V1_WAIT_MSEC, on_in_force, a);
}

void v1_add(struct api_call *call, const struct v1_addition *addition)
{
    struct write write = {.verb = WRITE_CREATE, .kind = addition->kind, .spec = addition->spec};
    struct adding *a = xnew(struct adding);
    struct actor actor;

    a->call = call;
    a->addition = *addition;
    call_actor(call, &actor);
    deployment_write(call->api->deployment, &actor, &write, on_stored, a);
}
