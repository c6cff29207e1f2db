/* api-list.c - POST with a JSON list as the body: its objects are made in one transaction, all of
 * them or none. */
#include <string.h>

#include "server/api-internal.h"

struct list_call {
    struct api_call *call;
    int wait, force;
    unsigned timeout_msec;
    json_t *answer;
};

static void list_fail(struct list_call *l, const struct error *error)
{
    call_fail(l->call, error);
    free(l);
}

static void answer(struct list_call *l, int status)
{
    call_reply_json(l->call, status, l->answer);
    free(l);
}

static void on_applied(void *arg, int rc, const json_t *report)
{
    struct list_call *l = arg;

    if (l->call->api->freed) {
        json_decref(l->answer);
        call_fail_stopping(l->call);
        free(l);
        return;
    }
    if (rc < 0) {
        json_object_set(l->answer, "applied", (json_t *)report);
    }
    answer(l, rc < 0 ? 202 : 201);
}

static void on_written(void *arg, int rc, const struct write_result *result,
                       const struct error *error)
{
    struct list_call *l = arg;

    if (rc < 0) {
        list_fail(l, error);
        return;
    }
    l->answer =
        json_pack("{s:O, s:I}", "ids", result->ids, "revision", (json_int_t)result->revision);
    if (l->wait && !l->call->api->freed) {
        deployment_wait(l->call->api->deployment, result->revision, l->timeout_msec, on_applied,
                        l);
    } else {
        answer(l, 201);
    }
}

/* --- from the request --- */

static int check_member(const char *name, const struct kind *kind, const json_t *value,
                        struct error *error)
{
    if (strcmp(name, "id") == 0) {
        return !json_is_string(value) ? error_set(error, 400, "/id", "\"id\" must be a string")
               : kind->ids == KIND_ID_RANDOM
                   ? error_set(error, 400, "/id", "\"id\" is chosen by the server")
                   : 0;
    }
    if (strcmp(name, "spec") == 0) {
        return json_is_object(value)
                   ? 0
                   : error_set(error, 400, "/spec", "\"spec\" must be an object");
    }
    _cleanup_free_ char *pointer = xasprintf("/%.100s", name);
    return error_set(error, 400, pointer, "\"%.100s\" is not allowed", name);
}

static int check_item(const struct kind *kind, const json_t *item, struct error *error)
{
    const char *name;
    json_t *value;

    if (!json_is_object(item)) {
        return error_set(error, 400, "", "each in the list must be an object");
    }
    json_object_foreach ((json_t *)item, name, value) {
        int rc = check_member(name, kind, value, error);
        if (rc < 0) {
            return rc;
        }
    }
    return json_object_get(item, "spec") ? 0
                                         : error_set(error, 400, "/spec", "\"spec\" is required");
}

static int check_list(const struct kind *kind, const json_t *list, struct error *error)
{
    size_t i;
    json_t *item;

    if (json_array_size(list) == 0 || json_array_size(list) > API_LIST_MAX) {
        return error_set(error, 400, "", "the list must have 1 to %d objects", API_LIST_MAX);
    }
    json_array_foreach ((json_t *)list, i, item) {
        int rc = check_item(kind, item, error);
        if (rc < 0) {
            _cleanup_free_ char *place = xasprintf("/%zu", i);
            error_prefix(error, place);
            return rc;
        }
    }
    return 0;
}

void object_create_list(struct api_call *call, const struct write_query *query, json_t *list)
{
    struct list_call *l = xnew(struct list_call);
    const struct kind *kind = call->route->kind;
    struct write common = {.verb = WRITE_CREATE, .kind = kind->name, .force = query->force};
    struct actor actor;
    struct error error;

    *l =
        (struct list_call){.call = call, .wait = query->wait, .timeout_msec = query->timeout_msec};
    int rc = query->dry_run
                 ? error_set(&error, 400, NULL, "\"dryRun\" is for one object, not for a list")
                 : check_list(kind, list, &error);
    if (rc < 0) {
        list_fail(l, &error);
    } else {
        call_actor(call, &actor);
        deployment_create_list(call->api->deployment, &actor, &common, list, on_written, l);
    }
    json_decref(list);
}
