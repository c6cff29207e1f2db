/* api-session.c - logging in and out, and long-lived API tokens. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "server/api-internal.h"

static const char TOKENS[] = "auth/api-token/";

static json_t *time_json(int64_t sec)
{
    char text[CLOCK_TEXT_SIZE];

    return sec ? json_string(clock_format(sec * 1000000, text)) : json_null();
}

static int get_string(const json_t *body, const char *name, size_t size_max, const char **ret,
                      struct error *error)
{
    const json_t *value = json_object_get(body, name);
    _cleanup_free_ char *pointer = xasprintf("/%s", name);

    if (!value) {
        return error_set(error, 400, pointer, "\"%s\" is required", name);
    }
    if (!json_is_string(value)) {
        return error_set(error, 400, pointer, "\"%s\" must be a string", name);
    }
    if (json_string_length(value) == 0) {
        return error_set(error, 400, pointer, "\"%s\" is not allowed to be empty", name);
    }
    if (json_string_length(value) > size_max) {
        return error_set(error, 400, pointer, "\"%s\" is too long", name);
    }
    *ret = json_string_value(value);
    return 0;
}

/* --- sessions --- */

struct login_call {
    struct api_call *call;
    int cookie;
};

static void on_login(void *arg, int rc, const struct login *login, unsigned retry_sec,
                     const struct error *error)
{
    struct login_call *l = arg;
    struct api_call *call = l->call;
    int cookie = l->cookie;

    free(l);
    if (rc < 0) {
        call_fail_later(call, retry_sec, error);
        return;
    }
    json_t *answer =
        json_pack("{s:s, s:s, s:o}", "user", login->user, "role", auth_role_name(login->role),
                  "expires", time_json(login->expires_sec));
    if (cookie) { /* the page's scripts never see it */
        _cleanup_free_ char *text =
            xasprintf("__Host-cnsmo=%s; Path=/; Secure; HttpOnly; SameSite=Strict", login->token);
        http_set_header(call->request, "Set-Cookie", text);
        mem_wipe(text, strlen(text));
    } else {
        json_object_set_new(answer, "token", json_string(login->token));
    }
    call_reply_json(call, 201, answer);
}

void session_create(struct api_call *call)
{
    static const char *const MEMBERS[] = {"username", "password", "cookie", NULL};
    const char *user = NULL, *password = NULL;
    struct error error;
    json_t *body;

    if (call_body(call, MEMBERS, &body, &error) < 0) {
        call_fail(call, &error);
        return;
    }
    const json_t *cookie = json_object_get(body, "cookie");
    int rc = get_string(body, "username", AUTH_NAME_SIZE - 1, &user, &error);
    rc = rc < 0 ? rc : get_string(body, "password", 4 * AUTH_PASSWORD_MAX, &password, &error);
    if (rc == 0 && cookie && !json_is_boolean(cookie)) {
        rc = error_set(&error, 400, "/cookie", "\"cookie\" must be true or false");
    }
    if (rc < 0) {
        json_decref(body);
        call_fail(call, &error);
        return;
    }
    struct login_call *l = xnew(struct login_call);
    *l = (struct login_call){.call = call, .cookie = json_is_true(cookie)};
    auth_login(call->api->auth, user, password, http_source(call->request), l->cookie, on_login,
               l);
    json_decref(body);
}

void session_get(struct api_call *call)
{
    static const char *const MEANS[] = {"session", "cookie", "api-token"};

    call_reply_json(call, 200,
                    json_pack("{s:s, s:s, s:s, s:o}", "user", call->who.user, "role",
                              auth_role_name(call->who.role), "means", MEANS[call->who.means],
                              "expires", time_json(call->who.expires_sec)));
}

static void reply_stored(struct api_call *call, int rc)
{
    struct error error;

    if (rc < 0) {
        error_set(&error, rc == -ENOSPC ? 507 : 500, NULL, "the server can't store it%s",
                  rc == -ENOSPC ? ": its disk is full" : "");
        call_fail(call, &error);
        return;
    }
    call_reply_empty(call, 204);
}

static void on_logged_out(void *arg, int rc, int64_t revision)
{
    struct api_call *call = arg;

    if (rc == 0 && call->who.means == AUTH_COOKIE) {
        http_set_header(call->request, "Set-Cookie",
                        "__Host-cnsmo=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    }
    reply_stored(call, rc);
}

void session_delete(struct api_call *call)
{
    struct error error;

    if (call->who.means == AUTH_API_TOKEN) {
        error_set(&error, 409, NULL, "an API token is not a session: delete it at /api-tokens");
        call_fail(call, &error);
        return;
    }
    auth_logout(call->api->auth, &call->who, on_logged_out, call);
}

/* --- API tokens --- */

static json_t *token_json(const char *id, const struct tree_entry *entry)
{
    const json_t *value = entry->value;

    return json_pack("{s:s, s:I, s:{s:s, s:o, s:s}, s:{s:s, s:o}}", "id", id, "revision",
                     (json_int_t)entry->revision, "spec", "role",
                     json_get_string(value, "role", ""), "expires",
                     time_json(json_get_integer(value, "expires", 0)), "description",
                     json_get_string(value, "description", ""), "status", "user",
                     json_get_string(value, "user", ""), "created",
                     time_json(json_get_integer(value, "created", 0)));
}

static void note_token(const struct api_call *call, const char *id, const char *reason)
{
    struct actor actor;
    _cleanup_free_ char *subject = xasprintf("api-tokens/%s", id);
    _cleanup_free_ char *message = xasprintf("%s %s %s", call->who.user, reason, subject);

    call_actor(call, &actor);
    deployment_event(call->api->deployment, &actor, reason, subject, message);
}

struct token_call {
    struct api_call *call;
    char *id, *token;
};

static void on_token_stored(void *arg, int rc, int64_t revision)
{
    struct token_call *t = arg;
    _cleanup_free_ char *key = xasprintf("%s%s", TOKENS, t->id);
    const struct tree_entry *entry =
        t->call->api->freed ? NULL : tree_get(deployment_tree(t->call->api->deployment), key);

    if (rc < 0 || !entry) {
        reply_stored(t->call, rc < 0 ? rc : -EIO);
    } else {
        note_token(t->call, t->id, "created");
        json_t *answer = token_json(t->id, entry);
        json_object_set_new(answer, "token", json_string(t->token));
        _cleanup_free_ char *location = xasprintf("%sapi-tokens/%s", API_BASE, t->id);
        http_set_header(t->call->request, "Location", location);
        call_reply_json(t->call, 201, answer);
    }
    mem_wipe(t->token, strlen(t->token));
    free(t->token);
    free(t->id);
    free(t);
}

static int check_spec_members(const json_t *spec, struct error *error)
{
    static const char *const NAMES[] = {"role", "expires", "description"};
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)spec, key, value) {
        size_t i = 0;
        while (i < ARRAY_LEN(NAMES) && strcmp(NAMES[i], key) != 0) {
            i++;
        }
        _cleanup_free_ char *pointer = xasprintf("/spec/%.100s", key);
        if (i == ARRAY_LEN(NAMES)) {
            return error_set(error, 400, pointer, "\"%.100s\" is not allowed", key);
        }
        if (!json_is_string(value)) {
            return error_set(error, 400, pointer, "\"%s\" must be a string", key);
        }
    }
    return 0;
}

struct token_spec {
    enum role role;
    int64_t expires_sec;
    const char *description;
};

static int read_token_spec(const struct api_call *call, const json_t *spec,
                           struct token_spec *ret_spec, struct error *error)
{
    if (!json_is_object(spec)) {
        return error_set(error, 400, "/spec", "\"spec\" must be an object");
    }
    int rc = check_spec_members(spec, error);
    if (rc < 0) {
        return rc;
    }
    const char *role = json_get_string(spec, "role", NULL);
    const char *expires = json_get_string(spec, "expires", NULL);
    int64_t usec = 0;
    ret_spec->description = json_get_string(spec, "description", "");
    ret_spec->role = auth_role_parse(role ? role : "");
    if (!role || ret_spec->role == ROLE_NONE) {
        return error_set(error, 400, "/spec/role",
                         role ? "\"role\" must be one of metrics, viewer, operator, admin"
                              : "\"role\" is required");
    }
    if (ret_spec->role > call->who.role) {
        return error_set(error, 403, "/spec/role", "\"role\" must not be higher than yours, %s",
                         auth_role_name(call->who.role));
    }
    if (expires && (clock_parse(expires, &usec) < 0 || usec <= clock_now_usec())) {
        return error_set(error, 400, "/spec/expires", "\"expires\" must be a time to come, as %s",
                         "2030-01-31T12:00:00Z");
    }
    ret_spec->expires_sec = usec / 1000000;
    if (strlen(ret_spec->description) > 200) {
        return error_set(error, 400, "/spec/description",
                         "\"description\" must have at most 200 bytes");
    }
    return 0;
}

void api_token_create(struct api_call *call)
{
    static const char *const MEMBERS[] = {"spec", NULL};
    struct token_spec spec = {0};
    struct error error;
    json_t *body;

    if (call_body(call, MEMBERS, &body, &error) < 0) {
        call_fail(call, &error);
        return;
    }
    if (read_token_spec(call, json_object_get(body, "spec"), &spec, &error) < 0) {
        json_decref(body);
        call_fail(call, &error);
        return;
    }
    struct token_call *t = xnew(struct token_call);
    t->call = call;
    auth_token_create(call->api->auth, call->who.user, spec.role, spec.expires_sec,
                      spec.description, &t->id, &t->token, on_token_stored, t);
    json_decref(body);
}

/* One's own; an admin sees everybody's. */
static int may_see(const struct api_call *call, const json_t *value)
{
    return call->who.role >= ROLE_ADMIN ||
           strcmp(json_get_string(value, "user", ""), call->who.user) == 0;
}

void api_token_list(struct api_call *call)
{
    static const char *const PARAMETERS[] = {"limit", "cursor", NULL};
    const struct tree *tree = deployment_tree(call->api->deployment);
    json_t *items = json_array(), *answer = json_pack("{s:o}", "items", items);
    _cleanup_free_ char *cursor = NULL;
    const char *last = NULL;
    struct error error;
    size_t limit;

    if (call_check_query(call, PARAMETERS, &error) < 0 ||
        call_read_page(call, &limit, &cursor, &error) < 0) {
        json_decref(answer);
        call_fail(call, &error);
        return;
    }
    for (struct omap_entry *e = tree_first(tree, TOKENS); e; e = tree_next(tree, e, TOKENS)) {
        const struct tree_entry *entry = e->value;
        const char *id = e->key + sizeof TOKENS - 1;
        if (!may_see(call, entry->value) || (cursor && strcmp(id, cursor) <= 0)) {
            continue;
        }
        if (json_array_size(items) == limit) {
            page_add_cursor(answer, last);
            break;
        }
        json_array_append_new(items, token_json(id, entry));
        last = id;
    }
    call_reply_json(call, 200, answer);
}

static void on_token_deleted(void *arg, int rc, int64_t revision)
{
    reply_stored(arg, rc);
}

void api_token_delete(struct api_call *call)
{
    const char *id = http_param(call->request, "id");
    struct identity identity = {.means = AUTH_API_TOKEN};
    int size = snprintf(identity.key, sizeof identity.key, "%s%s", TOKENS, id);
    const json_t *value = tree_value(deployment_tree(call->api->deployment), identity.key);
    struct error error;

    if (size >= (int)sizeof identity.key || !value || !may_see(call, value)) {
        error_set(&error, 404, NULL, "there is no API token \"%.64s\"", id);
        call_fail(call, &error);
        return;
    }
    note_token(call, id, "deleted");
    auth_logout(call->api->auth, &identity, on_token_deleted, call);
}
