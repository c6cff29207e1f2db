#include "server/authorities.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/omap.h"
#include "server/crl.h"

enum {
    HOLDERS_MAX = 20,
    CHECK_MSEC = 1000, /* after a change: many nodes change together */
    HOUR_MSEC = 3600 * 1000,
};

/* Signing is done in one turn of the loop, its storing in another. */
static const int64_t RETIRE_AFTER_USEC = INT64_C(10) * 1000000;

static const char OBJECTS_PREFIX[] = "object/";

struct authorities {
    struct deployment *deployment;
    struct pki *pki;
    struct crl *crl;
    authorities_changed_fn *changed;
    void *arg;
    struct deployment_listener listener;
    uv_timer_t check, hourly;
    int handles;
};

/* --- who uses what --- */

/* The certificates of one generation. */
struct usage {
    size_t count;
    json_t *holders; /* names */
};

static void usage_free(void *arg)
{
    struct usage *usage = arg;

    json_decref(usage->holders);
    free(usage);
}

static struct usage *usage_of(struct omap *usages, const char *id)
{
    struct usage *usage = omap_get(usages, id);

    if (!usage) {
        usage = xnew(struct usage);
        usage->holders = json_array();
        omap_put(usages, id, usage);
    }
    return usage;
}

static void use(struct omap *usages, const char *id, const char *holder)
{
    struct usage *usage = usage_of(usages, id);

    if (usage->count++ < HOLDERS_MAX) {
        json_array_append_new(usage->holders, json_string(holder));
    }
}

/* The id of the authority that signed the certificate in use; NULL if there is none that is valid.
 */
static const char *authority_in_use(const json_t *sealed, int64_t now)
{
    const char *serial = json_get_string(sealed, "serial", "");
    const json_t *item;
    size_t i;

    json_array_foreach (json_object_get(sealed, "serials"), i, item) {
        int64_t expires;
        if (strcmp(json_get_string(item, "serial", ""), serial) == 0 &&
            clock_parse(json_get_string(item, "expires", ""), &expires) == 0 && expires > now) {
            return json_get_string(item, "authority", NULL);
        }
    }
    return NULL;
}

/* By the generations' ids. */
static void find_usages(const struct authorities *a, struct omap *usages)
{
    const struct tree *tree = deployment_tree(a->deployment);
    int64_t now = clock_now_usec();

    for (struct omap_entry *e = tree_first(tree, OBJECTS_PREFIX); e;
         e = tree_next(tree, e, OBJECTS_PREFIX)) {
        const json_t *value = ((struct tree_entry *)e->value)->value;
        const json_t *sealed = json_object_get(value, "sealed");
        const char *id = sealed ? authority_in_use(sealed, now) : NULL;
        if (id) {
            use(usages, id, e->key + strlen(OBJECTS_PREFIX));
        }
    }
    use(usages, pki_authority_id(a->pki, PKI_SERVER), "cnsmod"); /* made again at a rollover */
}

static const struct pki_generation *retiring(const struct pki *pki, enum pki_role role)
{
    const struct pki_generation *g;

    for (size_t i = 0; (g = pki_generation_at(pki, role, i)); i++) {
        if (g->state == PKI_RETIRING) {
            return g;
        }
    }
    return NULL;
}

static int is_any_retiring(const struct authorities *a)
{
    int is = 0;

    for (int role = 0; role < PKI_ROLES; role++) {
        is |= retiring(a->pki, (enum pki_role)role) != NULL;
    }
    return is;
}

json_t *authorities_describe(const struct authorities *a)
{
    static const char *const STATES[] = {
        [PKI_ACTIVE] = "active", [PKI_RETIRING] = "retiring", [PKI_RETIRED] = "retired"};
    struct omap usages = {0};
    json_t *list = json_array();

    find_usages(a, &usages);
    for (int role = 0; role < PKI_ROLES; role++) {
        const struct pki_generation *g;
        for (size_t i = 0; (g = pki_generation_at(a->pki, (enum pki_role)role, i)); i++) {
            char created[CLOCK_TEXT_SIZE], expires[CLOCK_TEXT_SIZE];
            const struct usage *usage = usage_of(&usages, g->id);
            json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:O}", "name",
                                            pki_role_name((enum pki_role)role), "keyId", g->id,
                                            "state", STATES[g->state], "created",
                                            clock_format(g->created_usec, created), "expires",
                                            clock_format(g->expires_usec, expires), "inUse",
                                            (json_int_t)usage->count, "holders", usage->holders));
        }
    }
    omap_clear(&usages, usage_free);
    return list;
}

/* --- retiring --- */

/* `id` is of the generation that it happened to. */
static void tell(struct authorities *a, const struct actor *actor, const char *reason,
                 enum pki_role role, const char *id, const char *message)
{
    _cleanup_free_ char *subject = xasprintf("authorities/%s", pki_role_name(role));

    deployment_event(a->deployment, actor, reason, subject, message);
    log_info(message, "authority", pki_role_name(role), "keyId", id, NULL);
}

static void retire(struct authorities *a, enum pki_role role)
{
    static const struct actor SYSTEM = {.name = "system", .source = "-", .role = ROLE_ADMIN};
    _cleanup_free_ struct pki_revoked *revoked = NULL;
    _cleanup_free_ char *id = xstrdup(retiring(a->pki, role)->id);
    size_t len = crl_revoked(a->deployment, &revoked);
    struct error error = {0};

    if (pki_retire(a->pki, role, revoked, len, &error) < 0) {
        log_error("an older authority can't be retired", "authority", pki_role_name(role), "error",
                  error.detail, NULL);
        return;
    }
    _cleanup_free_ char *message = xasprintf(
        "nobody uses the older authority for %ss any more: retired", pki_role_name(role));
    tell(a, &SYSTEM, "retired", role, id, message);
    crl_touch(a->crl);
    a->changed(a->arg, role);
}

static void on_check(uv_timer_t *timer);

static void check_soon(struct authorities *a)
{
    if (!uv_is_active((uv_handle_t *)&a->check)) {
        uv_timer_start(&a->check, on_check, CHECK_MSEC, 0);
    }
}

static void on_check(uv_timer_t *timer)
{
    struct authorities *a = timer->data;
    struct omap usages = {0};

    if (!is_any_retiring(a)) {
        return;
    }
    find_usages(a, &usages);
    for (int i = 0; i < PKI_ROLES; i++) {
        enum pki_role role = (enum pki_role)i;
        const struct pki_generation *old = retiring(a->pki, role);
        int64_t rolled = pki_generation_at(a->pki, role, 0)->created_usec;
        if (!old || usage_of(&usages, old->id)->count > 0) {
            continue;
        }
        if (clock_now_usec() - rolled < RETIRE_AFTER_USEC) {
            check_soon(a);
        } else {
            retire(a, role);
        }
    }
    omap_clear(&usages, usage_free);
}

static void on_key_changed(void *arg, const char *key, int64_t revision, const json_t *value)
{
    struct authorities *a = arg;

    if (strncmp(key, OBJECTS_PREFIX, strlen(OBJECTS_PREFIX)) == 0 && is_any_retiring(a)) {
        check_soon(a);
    }
}

/* --- rolling over --- */

/* Says who keeps the older one alive: that is what can be done about it. */
static int refuse(const struct authorities *a, enum pki_role role, struct error *error)
{
    struct omap usages = {0};

    find_usages(a, &usages);
    const struct usage *usage = usage_of(&usages, retiring(a->pki, role)->id);
    int rc =
        error_set(error, 409, NULL,
                  "a rollover of \"%s\" is under way: %zu certificates of the older one are "
                  "in use%s%s",
                  pki_role_name(role), usage->count, usage->count > 0 ? ", one by " : "",
                  usage->count > 0 ? json_string_value(json_array_get(usage->holders, 0)) : "");
    omap_clear(&usages, usage_free);
    return rc;
}

int authorities_rollover(struct authorities *a, enum pki_role role, const struct actor *actor,
                         struct error *error)
{
    if (retiring(a->pki, role)) {
        return refuse(a, role, error);
    }
    int rc = pki_rollover(a->pki, role, error);
    if (rc < 0) {
        return rc;
    }
    _cleanup_free_ char *message =
        xasprintf("%s rolled over the authority for %ss", actor->name, pki_role_name(role));
    tell(a, actor, "rolled-over", role, pki_authority_id(a->pki, role), message);
    crl_touch(a->crl);
    a->changed(a->arg, role);
    check_soon(a);
    return 0;
}

/* --- life --- */

/* Certificates expire without a change of any object. */
static void on_hourly(uv_timer_t *timer)
{
    check_soon(timer->data);
}

struct authorities *authorities_new(uv_loop_t *loop, struct deployment *deployment,
                                    struct pki *pki, authorities_changed_fn *changed, void *arg)
{
    struct authorities *a = xnew(struct authorities);

    *a = (struct authorities){
        .deployment = deployment,
        .pki = pki,
        .crl = crl_new(loop, deployment, pki),
        .changed = changed,
        .arg = arg,
        .listener = {.key_changed = on_key_changed, .arg = a},
        .handles = 2,
    };
    uv_timer_init(loop, &a->check);
    uv_timer_init(loop, &a->hourly);
    a->check.data = a->hourly.data = a;
    uv_timer_start(&a->hourly, on_hourly, 0, HOUR_MSEC);
    deployment_listen(deployment, &a->listener);
    return a;
}

static void on_closed(uv_handle_t *handle)
{
    struct authorities *a = handle->data;

    if (--a->handles == 0) {
        free(a);
    }
}

void authorities_free(struct authorities *a)
{
    if (!a) {
        return;
    }
    deployment_unlisten(a->deployment, &a->listener);
    crl_free(a->crl);
    uv_close((uv_handle_t *)&a->check, on_closed);
    uv_close((uv_handle_t *)&a->hourly, on_closed);
}
