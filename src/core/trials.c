#include "core/trials.h"

#include <jansson.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"

enum {
    CONFIRM_SEC_MAX = 3600,
};

struct trial {
    char *body;
    uint64_t due;
    int is_over;
};

static void free_trial(void *value)
{
    struct trial *trial = value;

    if (trial) {
        free(trial->body);
        free(trial);
    }
}

/* How long it may stay; 0: for ever. Few are on trial, so only those are made trees. */
static json_int_t seconds_of(const char *body)
{
    json_t *tree = NULL;

    if (body && strstr(body, "\"confirmWithin\"")) {
        tree = json_loads(body, JSON_DECODE_ANY, NULL);
    }
    json_int_t sec = json_get_integer(tree, "confirmWithin", 0);
    json_decref(tree);
    return sec;
}

void trials_put(struct trials *trials, const char *key, const char *body, uint64_t now)
{
    json_int_t sec = seconds_of(body);
    struct trial *before = omap_get(&trials->by_key, key);

    if (sec <= 0) {
        free_trial(omap_del(&trials->by_key, key));
    } else if (!before || strcmp(before->body, body) != 0) {
        struct trial *trial = xnew(struct trial);
        sec = sec < CONFIRM_SEC_MAX ? sec : CONFIRM_SEC_MAX;
        *trial = (struct trial){.body = xstrdup(body), .due = now + (uint64_t)sec * 1000};
        free_trial(omap_put(&trials->by_key, key, trial));
    }
}

int trials_is_over(const struct trials *trials, const char *key)
{
    const struct trial *trial = trials->by_key.len > 0 ? omap_get(&trials->by_key, key) : NULL;

    return trial && trial->is_over;
}

json_t *trials_otherwise(const struct trials *trials, const char *key)
{
    const struct trial *trial = omap_get(&trials->by_key, key);
    json_t *body = trial ? json_loads(trial->body, JSON_DECODE_ANY, NULL) : NULL;
    json_t *otherwise = json_incref(json_object_get(body, "otherwise"));

    json_decref(body);
    return otherwise;
}

uint64_t trials_due(const struct trials *trials)
{
    uint64_t due = UINT64_MAX;

    omap_foreach (e, &trials->by_key) {
        const struct trial *trial = e->value;
        due = !trial->is_over && trial->due < due ? trial->due : due;
    }
    return due;
}

void trials_end(struct trials *trials, uint64_t now, void (*each)(void *arg, const char *key),
                void *arg)
{
    omap_foreach (e, &trials->by_key) {
        struct trial *trial = e->value;
        if (!trial->is_over && trial->due <= now) {
            trial->is_over = 1;
            each(arg, e->key);
        }
    }
}

void trials_done(struct trials *trials)
{
    omap_clear(&trials->by_key, free_trial);
}
