#include "core/join.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "core/deployment-internal.h"
#include "lib/clock.h"
#include "lib/hash.h"
#include "lib/ip.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "model/schema.h"

struct joining {
    struct deployment *d;
    char *token_id, *secret, *id, *endpoint, *key_id, *source;
    json_t *services, *routes;
    unsigned tries;
    write_done_fn *done;
    void *arg;
};

static char *copy(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

static void finish(struct joining *j, int rc, int64_t revision, const struct error *error)
{
    struct write_result result = {.id = j->id, .revision = revision};

    j->done(j->arg, rc, rc == 0 ? &result : NULL, error);
    mem_wipe(j->secret, strlen(j->secret));
    free(j->token_id);
    free(j->secret);
    free(j->id);
    free(j->endpoint);
    free(j->key_id);
    free(j->source);
    json_decref(j->services);
    json_decref(j->routes);
    free(j);
}

/* --- the token --- */

static int check_secret(const struct joining *j, const json_t *token, struct error *error)
{
    const char *wanted = json_get_string(json_object_get(token, "sealed"), "secretHash", "");
    char have[SHA256_HEX_SIZE];

    hash_text_hex(j->secret, have);
    if (strlen(wanted) != SHA256_HEX_SIZE - 1 ||
        !equal_constant_time(wanted, have, SHA256_HEX_SIZE - 1)) {
        return error_set(error, 401, NULL, "the join token isn't valid");
    }
    return 0;
}

static int check_left(const json_t *token, struct error *error)
{
    const json_t *spec = json_object_get(token, "spec");
    int64_t expires;

    if (clock_parse(json_get_string(spec, "expires", ""), &expires) < 0 ||
        expires <= clock_now_usec()) {
        return error_set(error, 401, NULL, "the join token has expired");
    }
    if (json_get_integer(json_object_get(token, "sealed"), "used", 0) >=
        json_get_integer(spec, "uses", 1)) {
        return error_set(error, 401, NULL, "the join token is used up");
    }
    return 0;
}

static int check_permits(const struct joining *j, const json_t *token, struct error *error)
{
    const json_t *spec = json_object_get(token, "spec");
    const json_t *ids = json_object_get(spec, "ids"), *allowed = json_object_get(spec, "services");
    int matches = json_array_size(ids) == 0;
    size_t i;
    json_t *item;

    json_array_foreach ((json_t *)ids, i, item) {
        matches |= fnmatch(json_string_value(item), j->id, FNM_NOESCAPE) == 0;
    }
    if (!matches) {
        return error_set(error, 403, "/id", "the join token doesn't permit the id \"%s\"", j->id);
    }
    json_array_foreach (j->services, i, item) {
        if (json_array_size(allowed) > 0 && !json_array_has(allowed, json_string_value(item))) {
            return error_set(error, 403, "/services",
                             "the join token doesn't permit the service \"%s\"",
                             json_string_value(item));
        }
    }
    return 0;
}

/* --- the node --- */

static int check_routes(const struct joining *j, struct error *error)
{
    const char *range_text =
        json_get_string(tree_spec(&j->d->tree, "settings", "overlay"), "range", "");
    struct ip4_prefix range, route;
    size_t i;
    json_t *item;

    if (ip4_prefix_parse(range_text, &range) < 0) {
        return 0;
    }
    json_array_foreach (j->routes, i, item) {
        /* A default route overlaps everything and means nothing. */
        if (ip4_prefix_parse(json_string_value(item), &route) == 0 && route.len > 0 &&
            ip4_overlaps(range, route)) {
            return error_set(error, 409, "/routes",
                             "the overlay %s overlaps the host's route %s; choose another overlay "
                             "range (cnsmo settings set overlay --range ...) or remove the route",
                             range_text, json_string_value(item));
        }
    }
    return 0;
}

static json_t *node_spec(const struct joining *j, const json_t *token_spec)
{
    json_t *spec = json_pack(
        "{s:O, s:b, s:s, s:s}", "labels", json_object_get(token_spec, "labels"), "hub",
        json_get_bool(token_spec, "hub", 0), "cloud", json_get_string(token_spec, "cloud", ""),
        "endpoint", j->endpoint ? j->endpoint : "");
    const json_t *services = json_object_get(token_spec, "services");

    if (j->services) {
        json_object_set(spec, "services", j->services);
    } else if (json_array_size(services) > 0) {
        json_object_set(spec, "services", (json_t *)services);
    } else {
        json_object_set_new(spec, "services", json_pack("[s]", "vpn"));
    }
    return spec;
}

static json_t *counted(const json_t *token)
{
    json_t *value = json_deep_copy(token), *sealed = json_object_get(value, "sealed");

    json_object_set_new(sealed, "used", json_integer(json_get_integer(sealed, "used", 0) + 1));
    return value;
}

/* Adds a new node, or takes one that was made beforehand and that nobody is yet. */
static int add_node(struct joining *j, struct change *change, const char *key, const json_t *token,
                    struct error *error)
{
    struct deployment *d = j->d;
    const json_t *present = json_object_get(tree_value(&d->tree, key), "spec");
    const struct kind *kind = deployment_kind(d, "nodes", NULL);
    json_t *wanted =
        present ? json_incref((json_t *)present) : node_spec(j, json_object_get(token, "spec"));
    int rc = schema_validate(deployment_schema(d, kind), wanted, error);
    json_t *filled = schema_fill(deployment_schema(d, kind), wanted);
    json_t *spec = rc == 0 ? node_complete(d, j->id, filled, error) : NULL;

    rc = rc < 0 ? rc : spec ? write_check(d, kind, j->id, spec, 0, error) : -EINVAL;
    rc = rc < 0 ? rc : change_claims(change, key, present, spec, error);
    if (rc == 0) {
        json_t *sealed = json_pack("{s:s, s:s}", "keyId", j->key_id, "token", j->token_id);
        json_t *value = write_value(spec, sealed);
        change_expect(change, key);
        change_put(change, key, value);
        node_gate(change, present, spec);
        json_decref(value);
        json_decref(sealed);
    }
    json_decref(spec);
    json_decref(filled);
    json_decref(wanted);
    return rc;
}

static int build(struct joining *j, struct change *change, int *ret_known, struct error *error)
{
    struct deployment *d = j->d;
    _cleanup_free_ char *token_key = xasprintf("object/tokens/%s", j->token_id);
    _cleanup_free_ char *node_key = xasprintf("object/nodes/%s", j->id);
    const json_t *token = tree_value(&d->tree, token_key);
    const char *owner = deployment_node_key(d, j->id);
    struct actor actor = {.name = "-", .source = j->source, .role = ROLE_NONE};

    int rc = token ? check_secret(j, token, error)
                   : error_set(error, 401, NULL, "the join token isn't valid");
    if (rc == 0 && owner && *owner && strcmp(owner, j->key_id) != 0) {
        rc = error_set(error, 409, "/id", "the id \"%s\" is taken by another machine", j->id);
    } else if (rc == 0 && owner && *owner) {
        *ret_known = 1;
        return 0;
    }
    rc = rc < 0 ? rc : check_left(token, error);
    rc = rc < 0 ? rc : check_permits(j, token, error);
    rc = rc < 0 ? rc : check_routes(j, error);
    rc = rc < 0 ? rc : add_node(j, change, node_key, token, error);
    if (rc < 0) {
        return rc;
    }
    json_t *value = counted(token);
    change_expect(change, token_key);
    change_put(change, token_key, value);
    json_decref(value);
    _cleanup_free_ char *actor_name = xasprintf("node:%s", j->id);
    _cleanup_free_ char *message = xasprintf("%s joined with token %s", j->id, j->token_id);
    actor.name = actor_name;
    change_event(change, &actor, "joined", node_key + strlen("object/"), message);
    return 0;
}

static void attempt(struct joining *j);

static void on_committed(void *arg, int rc, int64_t revision)
{
    struct joining *j = arg;
    struct error error;

    if (rc == -ECANCELED && ++j->tries < WRITE_TRIES_MAX) {
        attempt(j);
        return;
    }
    if (rc < 0) {
        change_error(rc, &error);
    }
    finish(j, rc, revision, rc < 0 ? &error : NULL);
}

enum {
    REFUSALS_PER_MINUTE = 10, /* told as events; strangers must not flood out what others did */
};

static int may_tell(struct deployment *d)
{
    int64_t now = clock_monotonic_usec();

    if (now - d->refusals_since > 60 * 1000000) {
        d->refusals_since = now;
        d->refusals = 0;
    }
    return d->refusals++ < REFUSALS_PER_MINUTE;
}

static void refuse(struct joining *j, int rc, const struct error *error)
{
    struct actor actor = {.name = "-", .source = j->source, .role = ROLE_NONE};
    _cleanup_free_ char *subject = xasprintf("nodes/%s", j->id);

    if (may_tell(j->d)) {
        deployment_event(j->d, &actor, "join-refused", subject, error->detail);
    }
    finish(j, rc, 0, error);
}

static void attempt(struct joining *j)
{
    struct change *change = change_new(j->d);
    struct error error = {0};
    int known = 0;
    int rc = build(j, change, &known, &error);

    if (rc < 0 || known) {
        change_free(change);
        if (rc < 0) {
            refuse(j, rc, &error);
        } else {
            finish(j, 0, j->d->revision, NULL);
        }
        return;
    }
    change_commit(change, on_committed, j);
}

void deployment_join(struct deployment *d, const struct join *join, write_done_fn *done, void *arg)
{
    struct joining *j = xnew(struct joining);

    *j = (struct joining){
        .d = d,
        .token_id = copy(join->token_id),
        .secret = copy(join->secret),
        .id = copy(join->id ? join->id : join->hostname),
        .endpoint = copy(join->endpoint),
        .key_id = copy(join->key_id),
        .source = copy(join->source),
        .services = json_deep_copy(join->services),
        .routes = json_deep_copy(join->routes),
        .done = done,
        .arg = arg,
    };
    if (!node_id_is_valid(j->id)) {
        struct error error;
        int rc = error_set(&error, 400, "/id", "\"id\" %.80s isn't a valid node id", j->id);
        finish(j, rc, 0, &error);
        return;
    }
    attempt(j);
}

void deployment_enrolled(struct deployment *d, const char *node, const char *key_id,
                         const struct certificate *certificate, store_done_fn *done, void *arg)
{
    _cleanup_free_ char *key = xasprintf("object/nodes/%s", node);
    json_t *value = json_deep_copy(tree_value(&d->tree, key));

    if (!value) {
        done(arg, -ENOENT, 0);
        return;
    }
    json_t *sealed = json_object_get(value, "sealed");
    json_t *serials = certificate_noted(json_object_get(sealed, "serials"), certificate);
    if (revoke_comes_too_fast(serials)) {
        json_decref(serials);
        json_decref(value);
        done(arg, -EAGAIN, 0);
        return;
    }
    struct change *change = change_new(d);
    revoke_surplus(change, key + strlen("object/"), serials);
    json_object_set_new(sealed, "keyId", json_string(key_id));
    json_object_set_new(sealed, "serial", json_string(certificate->serial));
    json_object_set_new(sealed, "serials", serials);
    change_expect(change, key);
    change_put(change, key, value);
    json_decref(value);
    change_commit(change, done, arg);
}

const char *deployment_node_key(const struct deployment *d, const char *node)
{
    _cleanup_free_ char *key = xasprintf("object/nodes/%s", node);
    const json_t *value = tree_value(&d->tree, key);

    return value ? json_get_string(json_object_get(value, "sealed"), "keyId", "") : NULL;
}
