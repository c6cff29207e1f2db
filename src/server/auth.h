/* auth.h - who is asking: users, passwords, sessions and API tokens.
 *
 * Users are objects (object/users/<name>) whose sealed.passwordHash is argon2id in libsodium's
 * text form. What a client shows instead of the password is an opaque random string; the store
 * holds only its SHA-256:
 *
 *     auth/session/<sha256 hex>   {"user","expires","created","cookie","stamp"}  12 h, sliding
 *     auth/api-token/<id>         {"hash","user","role","expires"?,"created","description"}
 *
 * (times in seconds since 1970). Every request looks its user up again, so disabling, deleting or
 * demoting one takes effect at once; `stamp` is drawn from the password's hash, so a changed
 * password ends all sessions. Passwords are hashed on the loop's worker pool, few at once; what
 * doesn't fit the queue is refused with 429, as are too many logins from one source or for one
 * user. An unknown user costs the same time as a wrong password. */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "core/deployment.h"
#include "lib/error.h"
#include "lib/hash.h"

struct auth;

enum {
    AUTH_PASSWORD_MIN = 8, /* characters */
    AUTH_PASSWORD_MAX = 128,
    AUTH_NAME_SIZE = 64,
};

enum auth_means {
    AUTH_BEARER,
    AUTH_COOKIE,
    AUTH_API_TOKEN,
};

/* Who a valid token stands for. */
struct identity {
    char user[AUTH_NAME_SIZE];
    enum role role; /* the lesser of the token's and the user's present one */
    enum auth_means means;
    int64_t expires_sec; /* 0: never */
    char key[160];       /* of the session or token in the tree */
};

int auth_new(uv_loop_t *loop, struct deployment *deployment, struct auth **ret_auth,
             struct error *error);
/* Logins under way are answered with an error; memory goes when they are through. */
void auth_free(struct auth *auth);

/* --- logging in and out --- */

struct login {
    const char *token;
    int64_t expires_sec;
    const char *user;
    enum role role;
};

/* error->status 401 or 429; then retry_sec says when to come again. Valid in the call only. */
typedef void auth_login_fn(void *arg, int rc, const struct login *login, unsigned retry_sec,
                           const struct error *error);

/* `done` is called exactly once, perhaps before the call returns. Copies its arguments. */
void auth_login(struct auth *auth, const char *user, const char *password, const char *source,
                int cookie, auth_login_fn *done, void *arg);

/* 0 and the identity, or -EPERM: unknown, expired, or its user is gone or disabled. */
int auth_check(struct auth *auth, const char *token, int is_cookie, struct identity *ret_identity);

/* Is it still valid? The role may have changed. For streams that outlive a request. */
int auth_check_again(struct auth *auth, struct identity *identity);

/* Ends the session or deletes the API token that the identity came from. */
void auth_logout(struct auth *auth, const struct identity *identity, store_done_fn *done,
                 void *arg);

/* --- API tokens --- */

/* The token's id and text (to be shown once); both freed by the caller. `expires_sec` 0: never. */
void auth_token_create(struct auth *auth, const char *user, enum role role, int64_t expires_sec,
                       const char *description, char **ret_id, char **ret_token,
                       store_done_fn *done, void *arg);

/* --- passwords --- */

typedef void auth_hash_fn(void *arg, int rc, const char *hash, const struct error *error);

/* On the worker pool; rc -EAGAIN when too many wait. */
void auth_hash_password(struct auth *auth, const char *password, auth_hash_fn *done, void *arg);

/* Makes the first admin; hashes on the caller's thread (20 ms). `password` NULL: a random one,
 * given in *ret_password (the caller wipes and frees it; NULL otherwise). `done` is that of
 * deployment_write(). */
int auth_make_admin(struct deployment *deployment, const char *name, const char *password,
                    char **ret_password, write_done_fn *done, void *arg, struct error *error);

enum role auth_role_parse(const char *name); /* ROLE_NONE if it isn't one */
const char *auth_role_name(enum role role);

size_t auth_session_count(const struct auth *auth);
