/* kinds.c - the registry of kinds and facts, with their schemas parsed and checked once. */
#include <stdio.h>
#include <string.h>

#include "core-schemas.h"
#include "core/deployment-internal.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "model/schema.h"

static const struct kind NODES = {
    .name = "nodes",
    .singular = "node",
    .summary = "A machine with an agent.",
    .schema_text = SCHEMA_NODES,
    .ids = KIND_ID_NAMED,
    .read_role = ROLE_VIEWER,
    .write_role = ROLE_OPERATOR,
};

static const struct kind TOKENS = {
    .name = "tokens",
    .singular = "token",
    .summary = "Lets machines join.",
    .schema_text = SCHEMA_TOKENS,
    .ids = KIND_ID_RANDOM,
    .one_by_one = 1,
    .read_role = ROLE_OPERATOR,
    .write_role = ROLE_ADMIN,
};

static const struct kind USERS = {
    .name = "users",
    .singular = "user",
    .summary = "A person or program that may log in.",
    .schema_text = SCHEMA_USERS,
    .ids = KIND_ID_NAMED,
    .one_by_one = 1,
    .read_role = ROLE_ADMIN,
    .write_role = ROLE_ADMIN,
};

static const struct kind OVERLAY = {
    .name = "settings",
    .singular = "settings",
    .summary = "The private network of the deployment.",
    .schema_text = SCHEMA_OVERLAY,
    .ids = KIND_ID_SINGLETON,
    .singleton_id = "overlay",
    .read_role = ROLE_VIEWER,
    .write_role = ROLE_ADMIN,
};

static const struct kind EVENTS = {
    .name = "events",
    .singular = "event",
    .summary = "Who did what, and what happened by itself.",
    .schema_text = SCHEMA_EVENTS,
    .ids = KIND_ID_COUNTED,
    .read_role = ROLE_VIEWER,
    .write_role = ROLE_NOBODY,
};

const struct kind *const CORE_KINDS[] = {&NODES, &TOKENS, &USERS, &OVERLAY, &EVENTS, NULL};

static int parse_schema(const char *name, const char *text, json_t **ret_schema,
                        struct error *error)
{
    json_t *schema;
    int rc = json_parse(text, strlen(text), &schema, error);

    if (rc < 0) {
        return rc;
    }
    rc = schema_check(schema, error);
    if (rc < 0) {
        struct error why = *error;
        json_decref(schema);
        return error_set(error, 500, NULL, "schema of %s, %s: %s", name, why.pointer, why.detail);
    }
    *ret_schema = schema;
    return 0;
}

static void schema_key(const struct kind *kind, char key[32])
{
    snprintf(key, 32, "%p", (const void *)kind);
}

static int add_kind(struct deployment *d, const struct kind *kind, size_t *at, struct error *error)
{
    char key[32];
    json_t *schema;
    int rc = parse_schema(kind->name, kind->schema_text, &schema, error);

    if (rc < 0) {
        return rc;
    }
    if (*at == KINDS_MAX) {
        json_decref(schema);
        return error_set(error, 500, NULL, "more than %d kinds", KINDS_MAX);
    }
    schema_key(kind, key);
    omap_put(&d->schemas, key, schema);
    d->kinds[(*at)++] = kind;
    return 0;
}

static int add_facts(struct deployment *d, const struct service *service, struct error *error)
{
    for (const struct fact_type *fact = service->facts; fact && fact->name; fact++) {
        json_t *schema;
        int rc = parse_schema(fact->name, fact->schema_text, &schema, error);
        if (rc < 0) {
            return rc;
        }
        struct fact_slot *slot = xnew(struct fact_slot);
        *slot = (struct fact_slot){.service = service, .schema = schema};
        omap_put(&d->fact_types, fact->name, slot);
    }
    return 0;
}

int kinds_register(struct deployment *d, struct error *error)
{
    size_t at = 0;
    int rc = 0;

    for (size_t i = 0; rc == 0 && d->services[i]; i++) {
        const struct kind *const *kinds = d->services[i]->kinds;
        for (size_t j = 0; rc == 0 && kinds && kinds[j]; j++) {
            rc = add_kind(d, kinds[j], &at, error);
        }
        rc = rc == 0 ? add_facts(d, d->services[i], error) : rc;
    }
    return rc;
}

static void free_schema(void *value)
{
    json_decref(value);
}

static void free_slot(void *value)
{
    struct fact_slot *slot = value;

    json_decref(slot->schema);
    free(slot);
}

void kinds_done(struct deployment *d)
{
    omap_clear(&d->schemas, free_schema);
    omap_clear(&d->fact_types, free_slot);
}

const struct fact_slot *kinds_fact(const struct deployment *d, const char *name)
{
    const char *slash = strchr(name, '/');

    if (!slash) {
        return omap_get(&d->fact_types, name);
    }
    if (!node_id_is_valid(slash + 1)) {
        return NULL;
    }
    _cleanup_free_ char *prefix = xstrndup(name, (size_t)(slash - name) + 1);
    return omap_get(&d->fact_types, prefix);
}

const struct kind *deployment_kind(const struct deployment *d, const char *name, const char *id)
{
    for (size_t i = 0; d->kinds[i]; i++) {
        const struct kind *kind = d->kinds[i];
        if (strcmp(kind->name, name) == 0 &&
            (!id || !kind->singleton_id || strcmp(kind->singleton_id, id) == 0)) {
            return kind;
        }
    }
    return NULL;
}

const struct kind *deployment_kind_at(const struct deployment *d, size_t i)
{
    return d->kinds[i];
}

const json_t *deployment_schema(const struct deployment *d, const struct kind *kind)
{
    char key[32];

    schema_key(kind, key);
    return omap_get(&d->schemas, key);
}
