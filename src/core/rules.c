/* rules.c - what the services say of a write. */
#include <string.h>

#include "core/deployment-internal.h"

static int plans_kind(const struct service *service, const char *kind)
{
    for (size_t i = 0; service->plans && service->plans[i]; i++) {
        if (strcmp(service->plans[i], kind) == 0) {
            return 1;
        }
    }
    for (size_t i = 0; service->kinds && service->kinds[i]; i++) {
        if (strcmp(service->kinds[i]->name, kind) == 0) {
            return 1;
        }
    }
    return 0;
}

int write_check(struct deployment *d, const struct kind *kind, const char *id, const json_t *spec,
                int force, struct error *error)
{
    struct view view = {.tree = &d->tree, .force = force};

    for (size_t i = 0; d->services[i]; i++) {
        const struct service *service = d->services[i];
        if (service->validate && plans_kind(service, kind->name)) {
            int rc = service->validate(kind->name, id, spec, &view, error);
            if (rc < 0) {
                error_prefix(error, "/spec");
                return rc;
            }
        }
    }
    return 0;
}

static int owns_kind(const struct service *service, const struct kind *kind)
{
    for (size_t i = 0; service->kinds && service->kinds[i]; i++) {
        if (service->kinds[i] == kind) {
            return 1;
        }
    }
    return 0;
}

json_t *write_complete(struct deployment *d, const struct kind *kind, const char *id,
                       const json_t *before, json_t *spec, struct error *error)
{
    struct view view = {.tree = &d->tree};
    json_t *result = NULL;

    if (strcmp(kind->name, "nodes") == 0) {
        result = node_complete(d, id, spec, error);
        json_decref(spec);
        return result;
    }
    for (size_t i = 0; d->services[i]; i++) {
        if (d->services[i]->complete && owns_kind(d->services[i], kind)) {
            result = d->services[i]->complete(kind->name, id, before, spec, &view, error);
            if (!result) {
                error_prefix(error, "/spec");
            }
            json_decref(spec);
            return result;
        }
    }
    return spec;
}

int write_check_deletion(struct deployment *d, const struct kind *kind, const char *id,
                         struct error *error)
{
    struct view view = {.tree = &d->tree};
    int rc = 0;

    for (size_t i = 0; rc == 0 && d->services[i]; i++) {
        if (d->services[i]->may_delete && plans_kind(d->services[i], kind->name)) {
            rc = d->services[i]->may_delete(kind->name, id, &view, error);
        }
    }
    return rc;
}
