#include "core/planner.h"

#include <string.h>

#include "lib/mem.h"

static char *unit_name(const struct service *service, const char *kind, const char *id)
{
    return xasprintf("%s %s/%s", service->name, kind, id);
}

static void free_set(void *value)
{
    omap_clear(value, NULL);
    free(value);
}

static void free_unit(void *value)
{
    struct unit *unit = value;

    omap_clear(&unit->resources, free);
    omap_clear(&unit->reads, NULL);
    free(unit->kind);
    free(unit->id);
    free(unit);
}

void planner_done(struct planner *planner)
{
    omap_clear(&planner->units, free_unit);
    omap_clear(&planner->readers, free_set);
    omap_clear(&planner->dirty, NULL);
}

const struct unit *planner_unit(const struct planner *planner, const struct service *service,
                                const char *kind, const char *id)
{
    _cleanup_free_ char *name = unit_name(service, kind, id);
    return omap_get(&planner->units, name);
}

static int plans_kind(const struct service *service, const char *kind)
{
    for (size_t i = 0; service->plans && service->plans[i]; i++) {
        if (strcmp(service->plans[i], kind) == 0) {
            return 1;
        }
    }
    return 0;
}

static void touch_unit(struct planner *planner, const struct service *service, const char *kind,
                       const char *id)
{
    _cleanup_free_ char *name = unit_name(service, kind, id);

    if (!omap_get(&planner->units, name)) {
        struct unit *unit = xnew(struct unit);
        unit->service = service;
        unit->kind = xstrdup(kind);
        unit->id = xstrdup(id);
        omap_put(&planner->units, name, unit);
    }
    omap_put(&planner->dirty, name, planner);
}

static void touch_object(struct planner *planner, const char *key)
{
    static const char OBJECT[] = "object/";
    const char *slash = strrchr(key, '/');

    if (strncmp(key, OBJECT, sizeof OBJECT - 1) != 0) {
        return;
    }
    _cleanup_free_ char *kind =
        xstrndup(key + sizeof OBJECT - 1, (size_t)(slash - key) - (sizeof OBJECT - 1));
    for (size_t i = 0; planner->services[i]; i++) {
        if (plans_kind(planner->services[i], kind)) {
            touch_unit(planner, planner->services[i], kind, slash + 1);
        }
    }
}

static void touch_readers(struct planner *planner, const char *key_or_prefix)
{
    struct omap *units = omap_get(&planner->readers, key_or_prefix);

    if (units) {
        omap_foreach (e, units) {
            omap_put(&planner->dirty, e->key, planner);
        }
    }
}

void planner_touch(struct planner *planner, const char *key)
{
    _cleanup_free_ char *prefix = xstrdup(key);

    touch_object(planner, key);
    touch_readers(planner, key);
    for (char *slash = strrchr(prefix, '/'); slash; slash = strrchr(prefix, '/')) {
        slash[1] = '\0';
        touch_readers(planner, prefix);
        slash[0] = '\0';
    }
}

static void forget_read(struct planner *planner, const char *name, const char *read)
{
    struct omap *units = omap_get(&planner->readers, read);

    omap_del(units, name);
    if (units->len == 0) {
        omap_del(&planner->readers, read);
        free(units);
    }
}

static void note_read(struct planner *planner, const char *name, const char *read)
{
    struct omap *units = omap_get(&planner->readers, read);

    if (!units) {
        units = xnew(struct omap);
        omap_put(&planner->readers, read, units);
    }
    omap_put(units, name, planner);
}

/* Mostly the same is read as last time: then nothing is looked up among all readers. Takes over
 * `reads`. */
static void change_reads(struct planner *planner, const char *name, struct unit *unit,
                         struct omap *reads)
{
    omap_foreach (e, &unit->reads) {
        if (!omap_get(reads, e->key)) {
            forget_read(planner, name, e->key);
        }
    }
    omap_foreach (e, reads) {
        if (!omap_get(&unit->reads, e->key)) {
            note_read(planner, name, e->key);
        }
    }
    omap_clear(&unit->reads, NULL);
    unit->reads = *reads;
}

static void make_plan(struct planner *planner, const struct unit *unit, struct omap *reads,
                      struct plan *plan)
{
    struct view view = {.tree = planner->tree, .reads = reads};
    const json_t *spec = tree_spec(planner->tree, unit->kind, unit->id);

    if (spec) {
        unit->service->plan(unit->kind, unit->id, spec, &view, plan);
    }
}

/* True when the channels hold the planned resource already. */
static int is_unchanged(const struct planner *planner, const char *key,
                        const struct plan_resource *planned, const char *channel_before)
{
    if (!channel_before || strcmp(channel_before, planned->channel) != 0) {
        return 0;
    }
    const struct channel *channel = channels_get(planner->channels, planned->channel);
    const struct resource *resource = channel ? omap_get(&channel->resources, key) : NULL;
    return resource && json_equal(resource->body, planned->body);
}

static void difference(const struct planner *planner, const struct unit *unit,
                       const struct plan *plan, planner_difference_fn *each, void *arg)
{
    omap_foreach (e, &unit->resources) {
        const struct plan_resource *planned = omap_get(&plan->resources, e->key);
        if (!planned || strcmp(planned->channel, e->value) != 0) {
            each(arg, e->value, e->key, NULL);
        }
    }
    omap_foreach (e, &plan->resources) {
        const struct plan_resource *planned = e->value;
        if (!is_unchanged(planner, e->key, planned, omap_get(&unit->resources, e->key))) {
            each(arg, planned->channel, e->key, planned->body);
        }
    }
}

struct applying {
    struct planner *planner;
    int64_t revision;
    planner_difference_fn *touched;
    void *arg;
};

static void apply_difference(void *arg, const char *channel, const char *key, const json_t *body)
{
    struct applying *applying = arg;
    struct channels *channels = applying->planner->channels;
    int changed = body ? channels_put(channels, channel, key, applying->revision, (json_t *)body)
                       : channels_delete(channels, channel, key, applying->revision);

    if (changed && applying->touched) {
        applying->touched(applying->arg, channel, key, body);
    }
}

static void run_unit(struct planner *planner, const char *name, struct applying *applying)
{
    struct unit *unit = omap_get(&planner->units, name);
    struct plan plan = {0};
    struct omap reads = {0};

    make_plan(planner, unit, &reads, &plan);
    change_reads(planner, name, unit, &reads);
    difference(planner, unit, &plan, apply_difference, applying);
    omap_clear(&unit->resources, free);
    omap_foreach (e, &plan.resources) {
        omap_put(&unit->resources, e->key, xstrdup(((struct plan_resource *)e->value)->channel));
    }
    plan_done(&plan);
    if (!tree_spec(planner->tree, unit->kind, unit->id)) {
        omap_del(&planner->units, name);
        free_unit(unit);
    }
}

void planner_run(struct planner *planner, int64_t revision, planner_difference_fn *touched,
                 void *arg)
{
    struct applying applying = {
        .planner = planner, .revision = revision, .touched = touched, .arg = arg};

    omap_foreach (e, &planner->dirty) {
        run_unit(planner, e->key, &applying);
    }
    omap_clear(&planner->dirty, NULL);
}

void planner_preview(struct planner *planner, planner_difference_fn *each, void *arg)
{
    omap_foreach (e, &planner->dirty) {
        struct unit *unit = omap_get(&planner->units, e->key);
        struct plan plan = {0};
        make_plan(planner, unit, NULL, &plan);
        difference(planner, unit, &plan, each, arg);
        plan_done(&plan);
        if (unit->reads.len == 0 && unit->resources.len == 0) {
            omap_del(&planner->units, e->key); /* it was made by the touch alone */
            free_unit(unit);
        }
    }
    omap_clear(&planner->dirty, NULL);
}
