/* write.c - one write of one object, from the request to the answer. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/deployment-internal.h"
#include "lib/clock.h"
#include "lib/hash.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "model/schema.h"

enum {
    COUNTED_DIGITS_MAX = 9,
};

void writing_free(struct writing *w)
{
    free(w->kind);
    free(w->id);
    json_decref(w->spec);
    json_decref(w->sealed);
    free(w->actor_name);
    free(w->actor_source);
    free(w);
}

void writing_fail(struct writing *w, int rc, const struct error *error)
{
    w->done(w->arg, rc, NULL, error);
    writing_free(w);
}

json_t *write_value(const json_t *spec, const json_t *sealed)
{
    json_t *value = json_object();

    json_object_set(value, "spec", (json_t *)spec);
    if (sealed) {
        json_object_set(value, "sealed", (json_t *)sealed);
    }
    return value;
}

/* A counted object may be made with the id that it had elsewhere: a number. */
static int check_number(const char *id, struct error *error)
{
    size_t size = strlen(id);

    return size > 0 && size <= COUNTED_DIGITS_MAX && id[0] != '0' &&
                   strspn(id, "0123456789") == size
               ? 0
               : error_set(error, 400, "/id", "\"id\" must be a number from 1 to 999999999");
}

static int check_id(const struct kind *kind, const char *id, struct error *error)
{
    if (kind->ids == KIND_ID_COUNTED) {
        return check_number(id, error);
    }
    if (kind->ids == KIND_ID_SINGLETON) {
        return error_set(error, 404, NULL, "there is no %s \"%s\"", kind->name, id);
    }
    if (kind->check_id) {
        return kind->check_id(id, error);
    }
    if (!node_id_is_valid(id)) {
        return error_set(
            error, 400, "/id",
            "\"id\" must be letters, digits, dots, hyphens and underscores, begin and "
            "end with a letter or digit, and have at most 63 characters");
    }
    return 0;
}

static json_int_t last_counted(const struct writing *w, const struct kind *kind)
{
    _cleanup_free_ char *key = xasprintf("counter/%s", kind->name);

    return json_get_integer(tree_value(&w->d->tree, key), "last", 0);
}

/* Ids that are counted from now on are higher than this one. */
static void raise_counter(struct writing *w, const struct kind *kind, struct change *change)
{
    _cleanup_free_ char *key = xasprintf("counter/%s", kind->name);
    json_int_t id = strtoll(w->id, NULL, 10);

    change_expect(change, key);
    if (id > last_counted(w, kind)) {
        json_t *value = json_pack("{s:I}", "last", id);
        change_put(change, key, value);
        json_decref(value);
    }
}

/* Draws or counts an id where the caller gave none. */
static int make_id(struct writing *w, const struct kind *kind, struct error *error)
{
    if (kind->ids == KIND_ID_RANDOM) {
        uint8_t bytes[8];
        char hex[17];
        random_bytes(bytes, sizeof bytes);
        hex_encode(bytes, sizeof bytes, hex);
        w->id = xstrdup(hex);
        return 0;
    }
    if (kind->ids == KIND_ID_COUNTED) {
        w->id = xasprintf("%" PRId64, (int64_t)last_counted(w, kind) + 1);
        return 0;
    }
    return error_set(error, 400, "/id", "\"id\" is required");
}

/* A hub sees what it relays in clear: who is one is an admin's choice. */
static int check_hub(const struct writing *w, const struct kind *kind, const json_t *before,
                     const json_t *after, struct error *error)
{
    if (strcmp(kind->name, "nodes") != 0 || w->actor_role >= ROLE_ADMIN ||
        json_get_bool(before, "hub", 0) == json_get_bool(after, "hub", 0)) {
        return 0;
    }
    return error_set(error, 403, "/spec/hub", "only an admin may choose hubs");
}

/* Forced is only what would be refused otherwise. */
static int check_rules(struct writing *w, const struct kind *kind, const json_t *spec,
                       struct error *error)
{
    int rc = write_check(w->d, kind, w->id, spec, 0, error);

    w->is_forced = 0;
    if (rc < 0 && (w->force || w->returns) && error->status == 409) {
        rc = write_check(w->d, kind, w->id, spec, 1, error);
        w->is_forced = rc == 0 && !w->returns;
    }
    return rc;
}

/* What is kept beside the spec: as given, or as it was. With what is forced, also what it returns
 * to: the spec that was there before the trial began; none if the object wasn't. */
static json_t *new_sealed(const struct writing *w, const json_t *before)
{
    const json_t *had = json_object_get(before, "sealed");
    json_t *sealed = json_deep_copy(w->sealed ? w->sealed : had);

    if (w->is_forced) {
        sealed = sealed ? sealed : json_object();
        if (before && !json_object_get(had, "confirmBy")) {
            json_object_set(sealed, "before", json_object_get(before, "spec"));
        }
        json_object_set_new(sealed, "confirmBy",
                            json_integer(clock_now_usec() / 1000000 + CONFIRM_SEC));
    }
    return sealed;
}

/* The spec that the object is to have: a new reference. */
static int new_spec(struct writing *w, const struct kind *kind, const json_t *before,
                    json_t **ret_spec, struct error *error)
{
    const json_t *schema = deployment_schema(w->d, kind);
    json_t *wanted = w->verb == WRITE_PATCH
                         ? json_merge_patch(json_object_get(before, "spec"), w->spec)
                         : json_incref(w->spec);
    int rc = wanted ? schema_validate(schema, wanted, error)
                    : error_set(error, 400, NULL, "\"spec\" is required");
    if (rc < 0) {
        error_prefix(error, "/spec");
        json_decref(wanted);
        return rc;
    }
    json_t *filled = schema_fill(schema, wanted);
    json_decref(wanted);
    filled = write_complete(w->d, kind, w->id, json_object_get(before, "spec"), filled, error);
    if (!filled) {
        return -EINVAL;
    }
    rc = check_hub(w, kind, json_object_get(before, "spec"), filled, error);
    rc = rc < 0 ? rc : check_rules(w, kind, filled, error);
    if (rc < 0) {
        json_decref(filled);
        return rc;
    }
    *ret_spec = filled;
    return 0;
}

static const char *reason_word(const struct writing *w)
{
    enum write_verb verb = w->verb;

    return w->reason              ? w->reason
           : w->is_forced         ? "forced"
           : verb == WRITE_CREATE ? "created"
           : verb == WRITE_DELETE ? "deleted"
                                  : "changed";
}

static const char *singular(const struct writing *w)
{
    return deployment_kind(w->d, w->kind, w->id)->singular;
}

static int check_present(struct writing *w, const struct tree_entry *entry, struct error *error)
{
    if (w->verb == WRITE_CREATE) {
        return entry ? error_set(error, 409, "/id", "%s \"%s\" exists", singular(w), w->id) : 0;
    }
    if (!entry) {
        return error_set(error, 404, NULL, "there is no %s \"%s\"", singular(w), w->id);
    }
    if (w->if_match != 0 && w->if_match != entry->revision) {
        return error_set(error, 412, NULL, "%s \"%s\" is at revision %" PRId64 ", not %" PRId64,
                         singular(w), w->id, entry->revision, w->if_match);
    }
    return 0;
}

int writing_build(struct writing *w, struct change *change, char **ret_key, json_t **ret_value,
                  struct error *error)
{
    const struct kind *kind = deployment_kind(w->d, w->kind, w->id);
    json_t *spec = NULL, *value = NULL;
    int rc;

    if (!kind) {
        return error_set(error, 404, NULL, "there is no %s \"%s\"", w->kind, w->id ? w->id : "");
    }
    if (w->verb == WRITE_CREATE) {
        if (w->draws_id) {
            free(TAKE(w->id)); /* who won the race may have taken it */
        }
        rc = w->id ? check_id(kind, w->id, error) : make_id(w, kind, error);
        if (rc < 0) {
            return rc;
        }
        if (kind->ids == KIND_ID_COUNTED) {
            raise_counter(w, kind, change);
        }
    } else if (w->verb == WRITE_DELETE && kind->ids == KIND_ID_SINGLETON) {
        return error_set(error, 409, NULL, "settings can't be deleted, only changed");
    }
    _cleanup_free_ char *key = xasprintf("object/%s/%s", w->kind, w->id);
    const struct tree_entry *entry = tree_get(&w->d->tree, key);
    const json_t *before = entry ? entry->value : NULL;
    rc = check_present(w, entry, error);
    if (rc == 0) {
        rc = w->verb == WRITE_DELETE ? write_check_deletion(w->d, kind, w->id, error)
                                     : new_spec(w, kind, before, &spec, error);
    }
    if (rc == 0) {
        rc = change_claims(change, key, json_object_get(before, "spec"), spec, error);
        if (rc < 0) {
            error_prefix(error, "/spec");
        }
    }
    if (rc == 0) {
        const json_t *had = json_object_get(before, "sealed");
        json_t *sealed = spec ? new_sealed(w, before) : NULL;
        revoke_dropped(change, key + strlen("object/"), had, sealed);
        revoke_surplus(change, key + strlen("object/"), json_object_get(sealed, "serials"));
        value = spec ? write_value(spec, sealed) : NULL;
        json_decref(sealed);
        change_expect(change, key);
        change_put(change, key, value);
        if (strcmp(kind->name, "nodes") == 0) {
            node_gate(change, json_object_get(before, "spec"), spec);
        }
        *ret_key = TAKE(key);
        *ret_value = value;
    }
    json_decref(spec);
    return rc;
}

static void attempt(struct writing *w);

static void on_committed(void *arg, int rc, int64_t revision)
{
    struct writing *w = arg;
    struct error error;

    if (rc == -ECANCELED && ++w->tries < WRITE_TRIES_MAX) {
        attempt(w);
        return;
    }
    if (rc < 0) {
        change_error(rc, &error);
        writing_fail(w, rc, &error);
        return;
    }
    if (w->verb == WRITE_DELETE && strcmp(w->kind, "nodes") == 0) {
        _cleanup_free_ char *facts = xasprintf("fact/%s/", w->id);
        fleet_forget(w->d, w->id);
        node_sweep(w->d, facts);
    }
    struct write_result result = {.id = w->id, .revision = revision};
    w->done(w->arg, 0, &result, NULL);
    writing_free(w);
}

void writing_add_event(struct writing *w, struct change *change, const char *subject,
                       const char *what)
{
    struct actor actor = {.name = w->actor_name, .source = w->actor_source, .role = w->actor_role};
    _cleanup_free_ char *message = xasprintf("%s %s %s", w->actor_name, reason_word(w), what);

    change_event(change, &actor, reason_word(w), subject, message);
}

static void attempt(struct writing *w)
{
    struct change *change = change_new(w->d);
    struct error error = {0};
    json_t *value = NULL;
    _cleanup_free_ char *key = NULL;
    int rc = writing_build(w, change, &key, &value, &error);

    if (rc < 0) {
        change_free(change);
        writing_fail(w, rc, &error);
        return;
    }
    _cleanup_free_ char *subject = xasprintf("%s/%s", w->kind, w->id);
    writing_add_event(w, change, subject, subject);
    if (w->verb == WRITE_DELETE && strcmp(w->kind, "nodes") == 0) {
        node_forget(change, w->id);
    }
    json_decref(value);
    change_commit(change, on_committed, w);
}

static void dry_run(struct writing *w)
{
    struct change *change = change_new(w->d);
    struct error error = {0};
    json_t *value = NULL;
    _cleanup_free_ char *key = NULL;
    int rc = writing_build(w, change, &key, &value, &error);

    change_free(change);
    if (rc < 0) {
        writing_fail(w, rc, &error);
        return;
    }
    json_t *deltas = preview_deltas(w->d, key, value);
    struct write_result result = {.id = w->id, .revision = w->d->revision, .deltas = deltas};
    w->done(w->arg, 0, &result, NULL);
    json_decref(deltas);
    json_decref(value);
    writing_free(w);
}

struct writing *writing_new(struct deployment *d, const struct actor *actor,
                            const struct write *write, write_done_fn *done, void *arg)
{
    struct writing *w = xnew(struct writing);

    *w = (struct writing){
        .d = d,
        .verb = write->verb,
        .kind = xstrdup(write->kind),
        .id = write->id ? xstrdup(write->id) : NULL,
        .force = write->force,
        .returns = write->returns,
        .draws_id = !write->id,
        .spec = json_deep_copy(write->spec),
        .sealed = json_deep_copy(write->sealed),
        .if_match = write->if_match,
        .reason = write->reason,
        .actor_name = xstrdup(actor->name),
        .actor_source = xstrdup(actor->source),
        .actor_role = actor->role,
        .done = done,
        .arg = arg,
    };
    return w;
}

void deployment_write(struct deployment *d, const struct actor *actor, const struct write *write,
                      write_done_fn *done, void *arg)
{
    struct writing *w = writing_new(d, actor, write, done, arg);

    if (write->dry_run) {
        dry_run(w);
    } else {
        attempt(w);
    }
}

void deployment_put_private(struct deployment *d, const char *key, const json_t *value,
                            store_done_fn *done, void *arg)
{
    struct change *change = change_new(d);

    change_put(change, key, value);
    change_commit(change, done, arg);
}

void deployment_event(struct deployment *d, const struct actor *actor, const char *reason,
                      const char *subject, const char *message)
{
    struct change *change = change_new(d);

    change_event(change, actor, reason, subject, message);
    change_commit(change, NULL, NULL);
}
