#include "server/auth.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "model/schema.h"
#include "server/auth-internal.h"

enum {
    PURGE_MSEC = 60000,
    SOURCE_BURST = 10,
    SOURCE_REFILL_SEC = 6,
    USER_BURST = 20, /* more than one source's, so that one source can't lock a user out */
    USER_REFILL_SEC = 3,
};

static const struct {
    const char *name;
    enum role role;
} ROLES[] = {
    {"metrics", ROLE_METRICS},
    {"viewer", ROLE_VIEWER},
    {"operator", ROLE_OPERATOR},
    {"admin", ROLE_ADMIN},
};

enum role auth_role_parse(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(ROLES); i++) {
        if (strcmp(ROLES[i].name, name) == 0) {
            return ROLES[i].role;
        }
    }
    return ROLE_NONE;
}

const char *auth_role_name(enum role role)
{
    for (size_t i = 0; i < ARRAY_LEN(ROLES); i++) {
        if (ROLES[i].role == role) {
            return ROLES[i].name;
        }
    }
    return "none";
}

/* --- life --- */

struct auth *auth_ref(struct auth *auth)
{
    auth->refs++;
    return auth;
}

void auth_unref(struct auth *auth)
{
    if (--auth->refs == 0) {
        limit_done(&auth->by_source);
        limit_done(&auth->by_user);
        omap_clear(&auth->revoked, NULL);
        free(auth);
    }
}

static void on_purge(uv_timer_t *timer)
{
    struct auth *auth = timer->data;

    limit_purge(&auth->by_source, clock_monotonic_usec());
    limit_purge(&auth->by_user, clock_monotonic_usec());
    auth_purge(auth);
}

/* What belongs to a deleted user goes now: one of the same name may come. */
static void on_key(void *arg, const char *key, int64_t revision, const json_t *value)
{
    if (!value && strncmp(key, "object/users/", 13) == 0) {
        auth_purge(arg);
    }
}

int auth_new(uv_loop_t *loop, struct deployment *deployment, struct auth **ret_auth,
             struct error *error)
{
    struct auth *auth = xnew(struct auth);
    _cleanup_free_ char *nobodys = random_token();

    auth->loop = loop;
    auth->deployment = deployment;
    auth->refs = 1;
    auth->by_source = (struct limit){.burst = SOURCE_BURST, .refill_sec = SOURCE_REFILL_SEC};
    auth->by_user = (struct limit){.burst = USER_BURST, .refill_sec = USER_REFILL_SEC};
    if (hash_password(nobodys, auth->dummy_hash) < 0) {
        free(auth);
        return error_set(error, 500, NULL, "there is no memory to hash passwords with");
    }
    auth->hasher = hasher_new(loop);
    uv_timer_init(loop, &auth->purger);
    auth->purger.data = auth;
    uv_timer_start(&auth->purger, on_purge, PURGE_MSEC, PURGE_MSEC);
    uv_unref((uv_handle_t *)&auth->purger);
    auth->listener = (struct deployment_listener){.key_changed = on_key, .arg = auth};
    deployment_listen(deployment, &auth->listener);
    auth_purge(auth);
    *ret_auth = auth;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    auth_unref(handle->data);
}

void auth_free(struct auth *auth)
{
    if (!auth) {
        return;
    }
    auth->freed = 1;
    deployment_unlisten(auth->deployment, &auth->listener);
    hasher_free(auth->hasher);
    uv_close((uv_handle_t *)&auth->purger, on_closed);
}

/* --- logging in --- */

struct attempt {
    struct auth *auth;
    char *user, *source, *hash; /* hash: as it was when the attempt began; NULL: no such user */
    char *token;
    int cookie;
    int64_t expires_sec;
    auth_login_fn *done;
    void *arg;
};

static void attempt_end(struct attempt *a, int rc, unsigned retry_sec, const struct error *error)
{
    struct login login = {.token = a->token, .expires_sec = a->expires_sec, .user = a->user};

    if (rc == 0) {
        const json_t *spec = auth_user(a->auth, a->user);
        login.role = auth_role_parse(json_get_string(spec, "role", ""));
    }
    a->done(a->arg, rc, rc == 0 ? &login : NULL, retry_sec, error);
    auth_unref(a->auth);
    if (a->token) {
        mem_wipe(a->token, strlen(a->token));
    }
    free(a->token);
    free(a->user);
    free(a->source);
    free(a->hash);
    free(a);
}

static void note(const struct attempt *a, const char *reason, const char *sentence)
{
    /* A name that can't be a user's is a stranger's text: it doesn't enter the log. */
    const char *name = node_id_is_valid(a->user) ? a->user : "-";
    struct actor actor = {.name = name, .source = a->source, .role = ROLE_NONE};
    _cleanup_free_ char *subject = xasprintf("users/%s", name);
    _cleanup_free_ char *message = xasprintf("%s %s from %s", name, sentence, a->source);

    deployment_event(a->auth->deployment, &actor, reason, subject, message);
}

static void on_session_stored(void *arg, int rc, int64_t revision)
{
    struct attempt *a = arg;
    struct error error;

    if (rc < 0) {
        error_set(&error, rc == -ENOSPC ? 507 : 500, NULL,
                  rc == -ENOSPC ? "the server's disk is full" : "the server can't store it");
        attempt_end(a, rc, 0, &error);
        return;
    }
    attempt_end(a, 0, 0, NULL);
}

static void on_verified(void *arg, int rc, const char *hash)
{
    struct attempt *a = arg;
    struct error error;

    if (rc == -ECANCELED || a->auth->freed) {
        error_set(&error, 503, NULL, "the server is stopping");
        attempt_end(a, -EHOSTUNREACH, 0, &error);
        return;
    }
    const char *present = a->hash ? auth_user_hash(a->auth, a->user) : NULL;
    if (rc < 0 || !present || strcmp(present, a->hash) != 0 || !auth_user(a->auth, a->user)) {
        note(a, "login-failed", "failed to log in");
        rc = error_set(&error, 401, NULL, "the user name or password is wrong");
        attempt_end(a, rc, 0, &error);
        return;
    }
    limit_refund(&a->auth->by_source, a->source, clock_monotonic_usec());
    limit_refund(&a->auth->by_user, a->user, clock_monotonic_usec());
    note(a, "login", "logged in");
    a->token =
        auth_session_new(a->auth, a->user, a->cookie, &a->expires_sec, on_session_stored, a);
}

static unsigned take(struct auth *auth, const char *user, const char *source)
{
    int64_t now = clock_monotonic_usec();
    unsigned wait = limit_take(&auth->by_source, source, now);

    if (wait == 0) {
        wait = limit_take(&auth->by_user, user, now);
        if (wait != 0) {
            limit_refund(&auth->by_source, source, now);
        }
    }
    return wait;
}

void auth_login(struct auth *auth, const char *user, const char *password, const char *source,
                int cookie, auth_login_fn *done, void *arg)
{
    struct error error;
    unsigned wait = take(auth, user, source);

    if (wait != 0) {
        int rc =
            error_set(&error, 429, NULL, "too many attempts to log in; try again in %u s", wait);
        done(arg, rc, NULL, wait, &error);
        return;
    }
    const char *hash = auth_user_hash(auth, user);
    struct attempt *a = xnew(struct attempt);
    *a = (struct attempt){.auth = auth_ref(auth),
                          .user = xstrdup(user),
                          .source = xstrdup(source),
                          .hash = hash ? xstrdup(hash) : NULL,
                          .cookie = cookie,
                          .done = done,
                          .arg = arg};
    int rc = hasher_run(auth->hasher, password, hash ? hash : auth->dummy_hash, on_verified, a);
    if (rc < 0) {
        error_set(&error, 429, NULL, "too many log in at once; try again in 1 s");
        attempt_end(a, rc, 1, &error);
    }
}

/* --- passwords --- */

struct hashing {
    auth_hash_fn *done;
    void *arg;
};

static void on_hashed(void *arg, int rc, const char *hash)
{
    struct hashing *hashing = arg;
    struct error error;

    if (rc < 0) {
        error_set(&error, 503, NULL, "the password can't be hashed now");
    }
    hashing->done(hashing->arg, rc, rc == 0 ? hash : NULL, rc < 0 ? &error : NULL);
    free(hashing);
}

void auth_hash_password(struct auth *auth, const char *password, auth_hash_fn *done, void *arg)
{
    struct hashing *hashing = xnew(struct hashing);
    struct error error;

    *hashing = (struct hashing){.done = done, .arg = arg};
    int rc = hasher_run(auth->hasher, password, NULL, on_hashed, hashing);
    if (rc < 0) {
        free(hashing);
        error_set(&error, 429, NULL, "too many passwords are being hashed; try again");
        done(arg, rc, NULL, &error);
    }
}

int auth_make_admin(struct deployment *deployment, const char *name, const char *password,
                    char **ret_password, write_done_fn *done, void *arg, struct error *error)
{
    _cleanup_free_ char *random = NULL;
    char hash[HASH_TEXT_SIZE];

    if (!password) {
        random = random_token();
        random[20] = '\0'; /* 120 bits, and short enough to type */
        password = random;
    } else if (strlen(password) < AUTH_PASSWORD_MIN || strlen(password) > AUTH_PASSWORD_MAX) {
        return error_set(error, 400, NULL, "the password must have %d to %d characters",
                         AUTH_PASSWORD_MIN, AUTH_PASSWORD_MAX);
    }
    if (hash_password(password, hash) < 0) {
        return error_set(error, 500, NULL, "there is no memory to hash the password with");
    }
    json_t *spec = json_pack("{s:s}", "role", "admin");
    json_t *sealed = json_pack("{s:s}", "passwordHash", hash);
    struct actor actor = {.name = "system", .source = "-", .role = ROLE_ADMIN};
    struct write write = {
        .verb = WRITE_CREATE, .kind = "users", .id = name, .spec = spec, .sealed = sealed};
    *ret_password = TAKE(random);
    deployment_write(deployment, &actor, &write, done, arg);
    json_decref(spec);
    json_decref(sealed);
    mem_wipe(hash, sizeof hash);
    return 0;
}
