/* api-confirm.c - may what was forced stay?
 *
 *     in force on every node that it concerns ──► each is asked, now ──► all answered: nobody is
 *                                                                         cut off
 *
 * That a node has acknowledged it proves nothing of the way to the node: the acknowledgement gets
 * through where only what arrives is dropped. So a question has to come there, and its answer
 * back. */
#include "server/agents.h"
#include "server/api-internal.h"

struct proving {
    struct api *api;
    size_t left; /* answers to come, and one while nodes are asked */
    struct error error;
    int failed;
    confirm_fn *done;
    void *arg;
};

static void release(struct proving *p)
{
    if (--p->left == 0) {
        p->done(p->arg, p->failed ? &p->error : NULL);
        free(p);
    }
}

/* Whatever it answers: an agent that doesn't know the question is there too. */
static void on_answer(void *arg, const json_t *body, const struct error *error)
{
    struct proving *p = arg;

    if (error && error->status == 503 && !p->failed) {
        p->failed = 1;
        error_set(&p->error, 409, NULL, "not confirmed: %s", error->detail);
    }
    release(p);
}

static void ask(void *arg, const char *node)
{
    struct proving *p = arg;

    p->left++;
    agents_ask(p->api->agents, node, "link", on_answer, p);
}

static int check_trial(const struct api *api, const char *kind, const char *id,
                       struct error *error)
{
    _cleanup_free_ char *key = xasprintf("object/%s/%s", kind, id);
    const json_t *object = tree_value(deployment_tree(api->deployment), key);

    if (!object) {
        return error_set(error, 404, NULL, "there is no %s \"%.100s\"", kind, id);
    }
    if (!json_object_get(json_object_get(object, "sealed"), "confirmBy")) {
        return error_set(error, 409, NULL, "there is nothing to confirm");
    }
    json_t *status = deployment_status(api->deployment, kind, id);
    const json_t *pending =
        json_array_get(json_object_get(json_object_get(status, "inForce"), "pending"), 0);
    int rc = pending ? error_set(error, 409, NULL, "not confirmed: %s %s",
                                 json_get_string(pending, "node", ""),
                                 json_get_string(pending, "reason", ""))
                     : 0;
    json_decref(status);
    return rc;
}

void confirm_prove(struct api *api, const char *kind, const char *id, confirm_fn *done, void *arg)
{
    struct proving *p;
    struct error error;

    if (check_trial(api, kind, id, &error) < 0) {
        done(arg, &error);
        return;
    }
    p = xnew(struct proving);
    *p = (struct proving){.api = api, .left = 1, .done = done, .arg = arg};
    deployment_concerned(api->deployment, kind, id, ask, p);
    release(p);
}
