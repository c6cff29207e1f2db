/* auth-session.c - sessions and API tokens in the store. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "server/auth-internal.h"

static const char SESSIONS[] = "auth/session/";
static const char TOKENS[] = "auth/api-token/";
static const char TOKEN_MARK[] = "cnsmo-api-"; /* an API token is cnsmo-api-<id>.<secret> */

enum {
    STAMP_SIZE = 17,
    TOKEN_ID_BYTES = 8,
};

static int64_t now_sec(void)
{
    return clock_now_usec() / 1000000;
}

const json_t *auth_user(const struct auth *auth, const char *name)
{
    const json_t *spec = tree_spec(deployment_tree(auth->deployment), "users", name);

    return spec && !json_get_bool(spec, "disabled", 0) ? spec : NULL;
}

const char *auth_user_hash(const struct auth *auth, const char *name)
{
    _cleanup_free_ char *key = xasprintf("object/users/%s", name);
    const json_t *value = tree_value(deployment_tree(auth->deployment), key);

    return json_get_string(json_object_get(value, "sealed"), "passwordHash", NULL);
}

static void stamp_of(const struct auth *auth, const char *user, char stamp[STAMP_SIZE])
{
    const char *hash = auth_user_hash(auth, user);
    char hex[SHA256_HEX_SIZE];

    hash_text_hex(hash ? hash : "", hex);
    snprintf(stamp, STAMP_SIZE, "%.16s", hex);
}

/* --- sessions --- */

static void put_session(struct auth *auth, const char *key, const char *user, int cookie,
                        int64_t created, int64_t expires, store_done_fn *done, void *arg)
{
    char stamp[STAMP_SIZE];

    stamp_of(auth, user, stamp);
    json_t *value =
        json_pack("{s:s, s:I, s:I, s:b, s:s}", "user", user, "expires", (json_int_t)expires,
                  "created", (json_int_t)created, "cookie", cookie, "stamp", stamp);
    deployment_put_private(auth->deployment, key, value, done, arg);
    json_decref(value);
}

/* A program that logs in for each call would fill the store: its oldest session makes room. */
static void drop_oldest(struct auth *auth, const char *user)
{
    const struct tree *tree = deployment_tree(auth->deployment);
    const char *oldest = NULL;
    json_int_t oldest_expires = 0;
    size_t len = 0;

    for (struct omap_entry *e = tree_first(tree, SESSIONS); e; e = tree_next(tree, e, SESSIONS)) {
        const json_t *value = ((struct tree_entry *)e->value)->value;
        json_int_t expires = json_get_integer(value, "expires", 0);
        if (strcmp(json_get_string(value, "user", ""), user) != 0) {
            continue;
        }
        len++;
        if (!oldest || expires < oldest_expires) {
            oldest = e->key;
            oldest_expires = expires;
        }
    }
    if (len >= SESSIONS_PER_USER_MAX) {
        auth_revoke(auth, oldest, NULL, NULL);
    }
}

char *auth_session_new(struct auth *auth, const char *user, int cookie, int64_t *ret_expires_sec,
                       store_done_fn *done, void *arg)
{
    char *token = random_token();
    char hex[SHA256_HEX_SIZE], key[sizeof SESSIONS + SHA256_HEX_SIZE];
    int64_t now = now_sec();

    drop_oldest(auth, user);
    snprintf(key, sizeof key, "%s%s", SESSIONS, hash_text_hex(token, hex));
    *ret_expires_sec = now + SESSION_SEC;
    put_session(auth, key, user, cookie, now, now + SESSION_SEC, done, arg);
    return token;
}

size_t auth_session_count(const struct auth *auth)
{
    const struct tree *tree = deployment_tree(auth->deployment);
    size_t len = 0;

    for (struct omap_entry *e = tree_first(tree, SESSIONS); e; e = tree_next(tree, e, SESSIONS)) {
        len++;
    }
    return len;
}

/* --- checking --- */

static int fill_identity(struct auth *auth, const json_t *value, struct identity *identity)
{
    const char *user = json_get_string(value, "user", "");
    const json_t *spec = auth_user(auth, user);
    int64_t expires = json_get_integer(value, "expires", 0);

    if (!value || !spec || omap_get(&auth->revoked, identity->key)) {
        return -EPERM;
    }
    if (expires != 0 && expires <= now_sec()) {
        return -EPERM;
    }
    enum role role = auth_role_parse(json_get_string(spec, "role", ""));
    const char *limit = json_get_string(value, "role", NULL);
    if (limit && auth_role_parse(limit) < role) {
        role = auth_role_parse(limit);
    }
    snprintf(identity->user, sizeof identity->user, "%s", user);
    identity->role = role;
    identity->expires_sec = expires;
    return 0;
}

static int check_session(struct auth *auth, const json_t *value, struct identity *identity)
{
    char stamp[STAMP_SIZE];
    int rc = fill_identity(auth, value, identity);

    if (rc < 0) {
        return rc;
    }
    stamp_of(auth, identity->user, stamp);
    if (strcmp(stamp, json_get_string(value, "stamp", "")) != 0) {
        return -EPERM; /* the password was changed since */
    }
    identity->means = json_get_bool(value, "cookie", 0) ? AUTH_COOKIE : AUTH_BEARER;
    return 0;
}

static void slide(struct auth *auth, const json_t *value, struct identity *identity)
{
    int64_t expires = now_sec() + SESSION_SEC;

    if (expires - identity->expires_sec >= SESSION_SLIDE_SEC) {
        put_session(auth, identity->key, identity->user, identity->means == AUTH_COOKIE,
                    json_get_integer(value, "created", 0), expires, NULL, NULL);
        identity->expires_sec = expires;
    }
}

static int check_api_token(struct auth *auth, const char *token, struct identity *identity)
{
    const char *id = token + sizeof TOKEN_MARK - 1, *dot = strchr(id, '.');
    char hex[SHA256_HEX_SIZE];

    if (!dot || dot - id != 2 * TOKEN_ID_BYTES) {
        return -EPERM;
    }
    snprintf(identity->key, sizeof identity->key, "%s%.*s", TOKENS, (int)(dot - id), id);
    const json_t *value = tree_value(deployment_tree(auth->deployment), identity->key);
    const char *hash = json_get_string(value, "hash", "");
    hash_text_hex(token, hex);
    if (strlen(hash) != SHA256_HEX_SIZE - 1 ||
        !equal_constant_time(hash, hex, SHA256_HEX_SIZE - 1)) {
        return -EPERM;
    }
    identity->means = AUTH_API_TOKEN;
    return fill_identity(auth, value, identity);
}

int auth_check(struct auth *auth, const char *token, int is_cookie, struct identity *ret_identity)
{
    struct identity identity = {0};
    char hex[SHA256_HEX_SIZE];

    if (strncmp(token, TOKEN_MARK, sizeof TOKEN_MARK - 1) == 0) {
        if (is_cookie || check_api_token(auth, token, &identity) < 0) {
            return -EPERM;
        }
        *ret_identity = identity;
        return 0;
    }
    /* The store is searched for the token's hash, so timing tells nothing about the token. */
    snprintf(identity.key, sizeof identity.key, "%s%s", SESSIONS, hash_text_hex(token, hex));
    const json_t *value = tree_value(deployment_tree(auth->deployment), identity.key);
    if (check_session(auth, value, &identity) < 0 ||
        (identity.means == AUTH_COOKIE) != (is_cookie != 0)) {
        return -EPERM;
    }
    slide(auth, value, &identity);
    *ret_identity = identity;
    return 0;
}

int auth_check_again(struct auth *auth, struct identity *identity)
{
    const json_t *value = tree_value(deployment_tree(auth->deployment), identity->key);

    return identity->means == AUTH_API_TOKEN ? fill_identity(auth, value, identity)
                                             : check_session(auth, value, identity);
}

/* --- the end of them --- */

struct revocation {
    struct auth *auth;
    char *key;
    store_done_fn *done;
    void *arg;
};

static void on_revoked(void *arg, int rc, int64_t revision)
{
    struct revocation *r = arg;

    omap_del(&r->auth->revoked, r->key);
    if (r->done) {
        r->done(r->arg, rc, revision);
    }
    auth_unref(r->auth);
    free(r->key);
    free(r);
}

void auth_revoke(struct auth *auth, const char *key, store_done_fn *done, void *arg)
{
    struct revocation *r = xnew(struct revocation);

    *r =
        (struct revocation){.auth = auth_ref(auth), .key = xstrdup(key), .done = done, .arg = arg};
    omap_put(&auth->revoked, key, auth);
    deployment_put_private(auth->deployment, r->key, NULL, on_revoked, r);
}

void auth_logout(struct auth *auth, const struct identity *identity, store_done_fn *done,
                 void *arg)
{
    auth_revoke(auth, identity->key, done, arg);
}

static void purge(struct auth *auth, const char *prefix)
{
    const struct tree *tree = deployment_tree(auth->deployment);
    int64_t now = now_sec();

    for (struct omap_entry *e = tree_first(tree, prefix); e; e = tree_next(tree, e, prefix)) {
        const json_t *value = ((struct tree_entry *)e->value)->value;
        int64_t expires = json_get_integer(value, "expires", 0);
        const char *user = json_get_string(value, "user", "");
        int dead = (expires != 0 && expires <= now) || !tree_spec(tree, "users", user);
        if (dead && !omap_get(&auth->revoked, e->key)) {
            auth_revoke(auth, e->key, NULL, NULL);
        }
    }
}

void auth_purge(struct auth *auth)
{
    purge(auth, SESSIONS);
    purge(auth, TOKENS);
}

void auth_token_create(struct auth *auth, const char *user, enum role role, int64_t expires_sec,
                       const char *description, char **ret_id, char **ret_token,
                       store_done_fn *done, void *arg)
{
    uint8_t bytes[TOKEN_ID_BYTES];
    char id[2 * TOKEN_ID_BYTES + 1], hex[SHA256_HEX_SIZE];
    _cleanup_free_ char *secret = random_token();

    random_bytes(bytes, sizeof bytes);
    hex_encode(bytes, sizeof bytes, id);
    char *token = xasprintf("%s%s.%s", TOKEN_MARK, id, secret);
    mem_wipe(secret, strlen(secret));
    _cleanup_free_ char *key = xasprintf("%s%s", TOKENS, id);
    json_t *value =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:s}", "hash", hash_text_hex(token, hex), "user",
                  user, "role", auth_role_name(role), "expires", (json_int_t)expires_sec,
                  "created", (json_int_t)now_sec(), "description", description);
    *ret_id = xstrdup(id);
    *ret_token = token;
    deployment_put_private(auth->deployment, key, value, done, arg);
    json_decref(value);
}
