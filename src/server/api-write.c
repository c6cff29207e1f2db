/* api-write.c - changing objects of any kind.
 *
 *     body ──► checks of the kind (users: hash the password; tokens: make the secret)
 *          ──► deployment_write() ──► [?wait=applied: deployment_wait()] ──► the object
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/hash.h"
#include "server/api-internal.h"

enum {
    WAIT_DEFAULT_SEC = 10,
    WAIT_MAX_SEC = 60,
    TOKEN_LIFE_SEC = 24 * 3600,
};

/* A write on its way. */
struct change_call {
    struct api_call *call;
    enum write_verb verb;
    char *id;
    json_t *spec, *sealed;
    int64_t if_match;
    struct write_query query;
    char *secret;   /* of a join token that is being made */
    char *password; /* of a user, until it is hashed */
    int64_t revision;
    int demotes; /* holds api->demoting */
    int renews, confirms;
    int continues; /* if_match is of what was read here, not the caller's */
};

static void wipe(char *text)
{
    if (text) {
        mem_wipe(text, strlen(text));
    }
    free(text);
}

static void end_demotion(struct change_call *c)
{
    if (c->demotes) {
        c->demotes = 0;
        c->call->api->demoting = 0;
    }
}

static void change_free(struct change_call *c)
{
    free(c->id);
    json_decref(c->spec);
    json_decref(c->sealed);
    wipe(c->secret);
    wipe(c->password);
    free(c);
}

static void change_fail(struct change_call *c, const struct error *error)
{
    end_demotion(c);
    call_fail(c->call, error);
    change_free(c);
}

static const char *kind_name(const struct change_call *c)
{
    return c->call->route->kind->name;
}

/* --- the answer --- */

/* The string that is given to `cnsmo-agent join`. */
static char *join_string(const struct api *api, const char *id, const char *secret)
{
    char *servers[JOIN_TOKEN_SERVERS_MAX + 1] = {NULL};
    size_t len = 0;

    for (; api->advertise[len] && len < JOIN_TOKEN_SERVERS_MAX; len++) {
        servers[len] = strchr(api->advertise[len], ':')
                           ? xstrdup(api->advertise[len])
                           : xasprintf("%s:%u", api->advertise[len], api->link_port);
    }
    if (len == 0) {
        servers[0] = xasprintf("127.0.0.1:%u", api->link_port);
    }
    struct join_token token = {.servers = servers,
                               .fingerprint = (char *)pki_fingerprint(api->pki),
                               .id = (char *)id,
                               .secret = (char *)secret};
    char *text = join_token_encode(&token);
    for (size_t i = 0; servers[i]; i++) {
        free(servers[i]);
    }
    return text;
}

static json_t *present_object(struct change_call *c)
{
    struct api *api = c->call->api;
    _cleanup_free_ char *key = xasprintf("object/%s/%s", kind_name(c), c->id);
    const struct tree_entry *entry = tree_get(deployment_tree(api->deployment), key);
    const struct kind *kind = deployment_kind(api->deployment, kind_name(c), c->id);

    if (!entry || !kind) { /* somebody deleted it meanwhile */
        return json_pack("{s:s, s:I}", "id", c->id, "revision", (json_int_t)c->revision);
    }
    char etag[32];
    snprintf(etag, sizeof etag, "\"%" PRId64 "\"", entry->revision);
    http_set_header(c->call->request, "ETag", etag);
    return object_json(api, kind, c->id, entry);
}

/* `report` NULL: nobody waited. */
static void answer(struct change_call *c, int applied, const json_t *report)
{
    int status = !applied ? 202 : c->verb == WRITE_CREATE ? 201 : 200;

    if (c->verb == WRITE_DELETE && !report) {
        call_reply_empty(c->call, 204);
        change_free(c);
        return;
    }
    json_t *object = c->verb == WRITE_DELETE ? json_object() : present_object(c);
    if (report && (!applied || c->verb == WRITE_DELETE)) {
        json_object_set(object, "applied", (json_t *)report);
    }
    if (c->verb == WRITE_CREATE) {
        _cleanup_free_ char *location = xasprintf("%s%s/%s", API_BASE, kind_name(c), c->id);
        http_set_header(c->call->request, "Location", location);
    }
    if (c->secret) {
        char *text = join_string(c->call->api, c->id, c->secret);
        json_object_set_new(object, "token", json_string(text));
        wipe(text);
    }
    call_reply_json(c->call, status, object);
    change_free(c);
}

static void fail_stopping(struct change_call *c)
{
    end_demotion(c);
    call_fail_stopping(c->call);
    change_free(c);
}

static void on_applied(void *arg, int rc, const json_t *report)
{
    struct change_call *c = arg;

    if (c->call->api->freed) {
        fail_stopping(c);
        return;
    }
    answer(c, rc == 0, report);
}

static void on_written(void *arg, int rc, const struct write_result *result,
                       const struct error *error)
{
    struct change_call *c = arg;

    struct error again;

    end_demotion(c);
    if (rc < 0 && error->status == 412 && c->continues) {
        error_set(&again, 409, NULL, "somebody else has just changed it; try again");
        error = &again;
    }
    if (rc < 0) {
        change_fail(c, error);
        return;
    }
    if (c->query.dry_run) {
        json_t *deltas = result->deltas ? json_incref((json_t *)result->deltas) : json_array();
        call_reply_json(c->call, 200, json_pack("{s:o}", "deltas", deltas));
        change_free(c);
        return;
    }
    if (!c->id) {
        c->id = xstrdup(result->id);
    }
    c->revision = result->revision;
    if (c->call->api->freed) {
        fail_stopping(c);
    } else if (c->query.wait) {
        deployment_wait(c->call->api->deployment, c->revision, c->query.timeout_msec, on_applied,
                        c);
    } else {
        answer(c, 1, NULL);
    }
}

static void do_write(struct change_call *c)
{
    struct actor actor;
    struct write write = {.verb = c->verb,
                          .kind = kind_name(c),
                          .id = c->id,
                          .spec = c->spec,
                          .sealed = c->sealed,
                          .if_match = c->if_match,
                          .force = c->query.force,
                          .dry_run = c->query.dry_run,
                          .reason = c->confirms ? "confirmed"
                                    : c->renews ? "renewed"
                                                : NULL};

    call_actor(c->call, &actor);
    deployment_write(c->call->api->deployment, &actor, &write, on_written, c);
}

/* --- users --- */

static size_t characters(const char *text)
{
    size_t len = 0;

    for (; *text; text++) {
        len += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return len;
}

static void on_hashed(void *arg, int rc, const char *hash, const struct error *error)
{
    struct change_call *c = arg;

    if (rc == 0 && c->call->api->freed) {
        fail_stopping(c);
        return;
    }
    if (rc < 0) {
        change_fail(c, error);
        return;
    }
    c->sealed = json_pack("{s:s}", "passwordHash", hash);
    do_write(c);
}

/* Somebody must be able to undo a mistake. Two such changes at a time could miss each other. */
static int check_last_admin(struct change_call *c, struct error *error)
{
    const struct tree *tree = deployment_tree(c->call->api->deployment);
    const json_t *before = c->id ? tree_spec(tree, "users", c->id) : NULL;

    if (!before || strcmp(json_get_string(before, "role", ""), "admin") != 0 ||
        json_get_bool(before, "disabled", 0)) {
        return 0;
    }
    if (c->verb != WRITE_DELETE) {
        json_t *after =
            c->verb == WRITE_PATCH ? json_merge_patch(before, c->spec) : json_incref(c->spec);
        int stays = strcmp(json_get_string(after, "role", ""), "admin") == 0 &&
                    !json_get_bool(after, "disabled", 0);
        json_decref(after);
        if (stays) {
            return 0;
        }
    }
    for (struct omap_entry *e = tree_first(tree, "object/users/"); e;
         e = tree_next(tree, e, "object/users/")) {
        const char *name = e->key + strlen("object/users/");
        const json_t *spec = tree_spec(tree, "users", name);
        if (strcmp(name, c->id) != 0 && strcmp(json_get_string(spec, "role", ""), "admin") == 0 &&
            !json_get_bool(spec, "disabled", 0)) {
            if (c->call->api->demoting) {
                return error_set(error, 409, NULL, "another admin is being changed; try again");
            }
            c->demotes = c->call->api->demoting = 1;
            return 0;
        }
    }
    return error_set(error, 409, NULL, "\"%.63s\" is the last admin", c->id);
}

/* Takes the password out of the spec: it is stored as a hash only. */
static int prepare_user(struct change_call *c, struct error *error)
{
    json_t *password = json_object_get(c->spec, "password");
    int rc = check_last_admin(c, error);

    if (rc < 0) {
        return rc;
    }
    if (!password) {
        return c->verb == WRITE_CREATE
                   ? error_set(error, 400, "/spec/password", "\"password\" is required")
                   : 0;
    }
    if (!json_is_string(password)) {
        return error_set(error, 400, "/spec/password", "\"password\" must be a string");
    }
    size_t len = characters(json_string_value(password));
    if (len < AUTH_PASSWORD_MIN || len > AUTH_PASSWORD_MAX) {
        return error_set(error, 400, "/spec/password",
                         "\"password\" must have %d to %d characters", AUTH_PASSWORD_MIN,
                         AUTH_PASSWORD_MAX);
    }
    c->password = xstrdup(json_string_value(password));
    json_object_del(c->spec, "password");
    return 0;
}

/* --- tokens --- */

static void prepare_token(struct change_call *c)
{
    char hex[SHA256_HEX_SIZE], text[CLOCK_TEXT_SIZE];

    if (!json_object_get(c->spec, "expires")) {
        int64_t expires = clock_now_usec() + TOKEN_LIFE_SEC * 1000000LL;
        json_object_set_new(c->spec, "expires", json_string(clock_format(expires, text)));
    }
    c->secret = random_token();
    c->sealed = json_pack("{s:s, s:i}", "secretHash", hash_text_hex(c->secret, hex), "used", 0);
}

/* --- VPN clients, and what else has keys --- */

static int prepare_client(struct change_call *c, struct error *error)
{
    struct client_change change = {
        .verb = c->verb, .renews = c->renews, .id = c->id, .spec = c->spec};
    int rc = strcmp(kind_name(c), "lb/services") == 0
                 ? lb_service_prepare(c->call->api, &change, error)
                 : client_prepare(c->call->api, &change, error);

    if (rc < 0) {
        return rc;
    }
    c->sealed = change.sealed;
    if (change.if_match && !c->if_match) {
        c->if_match = change.if_match;
        c->continues = 1;
    }
    return 0;
}

static void prepare_and_write(struct change_call *c)
{
    struct error error;
    int rc = 0;

    if (strcmp(kind_name(c), "users") == 0) {
        rc = prepare_user(c, &error);
    } else if (strcmp(kind_name(c), "tokens") == 0 && c->verb == WRITE_CREATE) {
        prepare_token(c);
    } else if (strcmp(kind_name(c), "vpn/clients") == 0 && c->verb != WRITE_DELETE &&
               !c->query.dry_run) {
        rc = prepare_client(c, &error);
    } else if (strcmp(kind_name(c), "lb/services") == 0 && c->verb != WRITE_DELETE) {
        rc = prepare_client(c, &error); /* in a dry run too: its key must not be shown */
    }
    if (rc < 0) {
        change_fail(c, &error);
    } else if (c->password && !c->query.dry_run) {
        auth_hash_password(c->call->api->auth, c->password, on_hashed, c);
    } else {
        do_write(c);
    }
}

/* --- from the request --- */

static int read_query(struct change_call *c, struct error *error)
{
    static const char *const PARAMETERS[] = {"dryRun", "wait", "timeout", "force", NULL};
    const char *wait = http_query(c->call->request, "wait");
    int64_t timeout_sec;
    int rc = call_check_query(c->call, PARAMETERS, error);

    rc = rc < 0 ? rc : call_query_bool(c->call, "dryRun", &c->query.dry_run, error);
    rc = rc < 0 ? rc : call_query_bool(c->call, "force", &c->query.force, error);
    if (rc == 0 && c->query.force &&
        (c->verb == WRITE_DELETE || !c->call->route->kind->can_be_forced)) {
        rc = error_set(error, 400, NULL,
                       "\"force\" is for making and changing objects of kinds that can cut "
                       "somebody off");
    }
    rc = rc < 0 ? rc
                : call_query_number(c->call, "timeout", 1, WAIT_MAX_SEC, WAIT_DEFAULT_SEC,
                                    &timeout_sec, error);
    if (rc < 0) {
        return rc;
    }
    if (wait && strcmp(wait, "applied") != 0) {
        return error_set(error, 400, NULL, "\"wait\" can only be \"applied\"");
    }
    c->query.wait = wait != NULL;
    c->query.timeout_msec = (unsigned)timeout_sec * 1000;
    return 0;
}

static int read_if_match(struct change_call *c, struct error *error)
{
    const char *text = http_header(c->call->request, "If-Match");
    char *end;

    if (!text || strcmp(text, "*") == 0) {
        return 0;
    }
    if (text[0] == '"' && text[1] >= '1' && text[1] <= '9' && strlen(text) < 21) {
        c->if_match = strtoll(text + 1, &end, 10);
        if (strcmp(end, "\"") == 0) {
            return 0;
        }
    }
    return error_set(error, 400, NULL, "\"If-Match\" must be an ETag as this server gave it");
}

static int check_body_id(struct change_call *c, const json_t *body, struct error *error)
{
    const json_t *id = json_object_get(body, "id");
    enum kind_ids ids = c->call->route->kind->ids;

    if (id && !json_is_string(id)) {
        return error_set(error, 400, "/id", "\"id\" must be a string");
    }
    if (c->verb != WRITE_CREATE) {
        return !id || strcmp(json_string_value(id), c->id) == 0
                   ? 0
                   : error_set(error, 400, "/id", "\"id\" can't be changed");
    }
    if (id && ids == KIND_ID_RANDOM) {
        return error_set(error, 400, "/id", "\"id\" is chosen by the server");
    }
    c->id = id ? xstrdup(json_string_value(id)) : NULL;
    return 0;
}

static int read_body(struct change_call *c, struct error *error)
{
    /* A whole object as it was read can be sent back: what the server makes is left aside. */
    static const char *const NEW[] = {"id", "spec", NULL};
    static const char *const WHOLE[] = {"id", "spec", "revision", "status", NULL};
    json_t *body;
    int rc = call_body(c->call, c->verb == WRITE_CREATE ? NEW : WHOLE, &body, error);

    if (rc < 0) {
        return rc;
    }
    const json_t *spec = json_object_get(body, "spec");
    rc = check_body_id(c, body, error);
    if (rc == 0 && !json_is_object(spec)) {
        rc = error_set(error, 400, "/spec", "\"spec\" %s",
                       spec ? "must be an object" : "is required");
    }
    if (rc == 0) {
        c->spec = json_deep_copy(spec);
    }
    json_decref(body);
    return rc;
}

static void begin(struct api_call *call, enum write_verb verb, int renews)
{
    struct change_call *c = xnew(struct change_call);
    const char *id = http_param(call->request, "id");
    struct error error;

    c->call = call;
    c->verb = verb;
    c->renews = renews;
    c->id = id ? xstrdup(id) : NULL;
    int rc = read_query(c, &error);
    rc = rc < 0 ? rc : read_if_match(c, &error);
    if (rc == 0 && renews) {
        c->spec = json_object();
    } else if (rc == 0 && verb != WRITE_DELETE) {
        rc = read_body(c, &error);
    }
    if (rc < 0) {
        change_fail(c, &error);
        return;
    }
    prepare_and_write(c);
}

static void create_list(struct api_call *call)
{
    struct change_call c = {.call = call, .verb = WRITE_CREATE};
    struct error error;
    json_t *list;
    int rc = call->route->kind->one_by_one
                 ? error_set(&error, 400, "", "%s are made one at a time, not as a list",
                             call->route->kind->name)
                 : read_query(&c, &error);

    rc = rc < 0 ? rc : http_body_json(call->request, &list, &error);
    if (rc < 0) {
        call_fail(call, &error);
    } else {
        object_create_list(call, &c.query, list);
    }
}

void object_create(struct api_call *call)
{
    if (call_has_list(call)) {
        create_list(call);
    } else {
        begin(call, WRITE_CREATE, 0);
    }
}

void object_replace(struct api_call *call)
{
    begin(call, WRITE_REPLACE, 0);
}

void object_patch(struct api_call *call)
{
    begin(call, WRITE_PATCH, 0);
}

void object_delete(struct api_call *call)
{
    begin(call, WRITE_DELETE, 0);
}

void object_renew(struct api_call *call)
{
    begin(call, WRITE_PATCH, 1);
}

/* --- POST .../confirm --- */

static void on_proved(void *arg, const struct error *error)
{
    struct change_call *c = arg;

    if (c->call->api->freed) {
        fail_stopping(c);
    } else if (error) {
        change_fail(c, error);
    } else {
        do_write(c);
    }
}

/* What was proved is proved of the object as it is now. */
static int64_t present_revision(const struct change_call *c)
{
    _cleanup_free_ char *key = xasprintf("object/%s/%s", kind_name(c), c->id);
    const struct tree_entry *entry = tree_get(deployment_tree(c->call->api->deployment), key);

    return entry ? entry->revision : 0;
}

void object_confirm(struct api_call *call)
{
    struct change_call *c = xnew(struct change_call);
    struct error error;

    c->call = call;
    c->verb = WRITE_PATCH;
    c->confirms = 1;
    c->id = xstrdup(http_param(call->request, "id"));
    c->spec = json_object();
    c->sealed = json_object();
    if (read_query(c, &error) < 0 || read_if_match(c, &error) < 0) {
        change_fail(c, &error);
        return;
    }
    if (c->if_match == 0) {
        c->if_match = present_revision(c);
        c->continues = 1;
    }
    confirm_prove(call->api, kind_name(c), c->id, on_proved, c);
}
