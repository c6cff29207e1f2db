/* auth-internal.h - what auth.c and auth-session.c share. */
#pragma once

#include "server/auth-hash.h"
#include "server/auth-limit.h"
#include "server/auth.h"

struct auth {
    uv_loop_t *loop;
    struct deployment *deployment;
    struct hasher *hasher;
    struct limit by_source, by_user;
    struct omap revoked;             /* keys whose deletion is under way -> itself */
    char dummy_hash[HASH_TEXT_SIZE]; /* verified for unknown users, so that they take as long */
    uv_timer_t purger;
    struct deployment_listener listener;
    unsigned refs; /* its owner, and callbacks under way */
    int freed;
};

struct auth *auth_ref(struct auth *auth);
void auth_unref(struct auth *auth);

/* --- auth-session.c --- */
enum {
    SESSION_SEC = 12 * 3600,
    SESSION_SLIDE_SEC = 1800, /* prolonged at most so often: each costs a transaction */
    SESSIONS_PER_USER_MAX = 64,
};

/* The spec of a user that may act, borrowed; NULL if unknown or disabled. */
const json_t *auth_user(const struct auth *auth, const char *name);
/* sealed.passwordHash, borrowed, or NULL. */
const char *auth_user_hash(const struct auth *auth, const char *name);
/* Stores a new session; the text is the caller's. */
char *auth_session_new(struct auth *auth, const char *user, int cookie, int64_t *ret_expires_sec,
                       store_done_fn *done, void *arg);
/* Deletes a key under auth/; it is dead from now on. */
void auth_revoke(struct auth *auth, const char *key, store_done_fn *done, void *arg);
/* Deletes expired sessions and tokens, and those whose user is gone. */
void auth_purge(struct auth *auth);
