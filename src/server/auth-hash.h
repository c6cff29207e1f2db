/* auth-hash.h - argon2id on the loop's worker pool: two at once, a short queue behind them.
 *
 * 19 MiB and 2 passes (OWASP's first choice for argon2id); a verification costs about 20 ms. */
#pragma once

#include <uv.h>

enum {
    HASH_RUNNING_MAX = 2,
    HASH_WAITING_MAX = 32,
    HASH_TEXT_SIZE = 128,
};

struct hasher;

/* rc: 0, or -EPERM the password isn't the hash's, or -ECANCELED the hasher was freed. */
typedef void hash_done_fn(void *arg, int rc, const char *hash);

struct hasher *hasher_new(uv_loop_t *loop);
/* Calls back what waits; what runs is called back later, its memory goes then. */
void hasher_free(struct hasher *hasher);

/* `hash` NULL: makes a new one, else verifies. -EAGAIN when too many wait; `done` isn't called. */
int hasher_run(struct hasher *hasher, const char *password, const char *hash, hash_done_fn *done,
               void *arg);

/* On the caller's thread; -EIO when there is no memory for it. */
int hash_password(const char *password, char ret_hash[HASH_TEXT_SIZE]);
