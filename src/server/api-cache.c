/* api-cache.c - answers that are asked for again before anything has changed.
 *
 * Dashboards and monitors read the same list again and again. The answer's text is kept under the
 * request's target until the deployment's generation is another: then all of them go, so nothing
 * is ever shown that isn't so any more. Only for answers that depend on nothing but the deployment
 * and the target: not on who asks, and not on the clock. */
#include <string.h>

#include "server/api-internal.h"

enum {
    CACHE_BYTES_MAX = 4 << 20,
    ANSWER_BYTES_MAX = 1 << 20,
};

struct answer {
    size_t size;
    char text[];
};

void cache_done(struct api *api)
{
    omap_clear(&api->answers, free);
    api->answers_bytes = 0;
}

int call_reply_cached(struct api_call *call)
{
    struct api *api = call->api;

    if (api->answers_generation != deployment_generation(api->deployment)) {
        cache_done(api);
        return 0;
    }
    const struct answer *answer = omap_get(&api->answers, http_target(call->request));
    if (!answer) {
        return 0;
    }
    http_reply(call->request, 200, "application/json", answer->text, answer->size);
    call_done(call, 200);
    return 1;
}

static void keep(struct api *api, const char *target, const char *text, size_t size)
{
    size_t bytes = sizeof(struct answer) + size + strlen(target);
    uint64_t generation = deployment_generation(api->deployment);

    if (bytes > ANSWER_BYTES_MAX) {
        return;
    }
    if (generation != api->answers_generation || api->answers_bytes + bytes > CACHE_BYTES_MAX) {
        cache_done(api);
        api->answers_generation = generation;
    }
    struct answer *answer = xcalloc(1, sizeof *answer + size);
    answer->size = size;
    memcpy(answer->text, text, size);
    free(omap_put(&api->answers, target, answer));
    api->answers_bytes += bytes;
}

void call_reply_and_keep(struct api_call *call, json_t *json)
{
    _cleanup_free_ char *text = json_dumps(json, JSON_COMPACT);

    if (!text) {
        abort(); /* only out of memory */
    }
    size_t size = strlen(text);
    json_decref(json);
    keep(call->api, http_target(call->request), text, size);
    http_reply(call->request, 200, "application/json", text, size);
    call_done(call, 200);
}
