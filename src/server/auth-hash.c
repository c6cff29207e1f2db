#include "server/auth-hash.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "lib/mem.h"

enum {
    PASSES = 2,
    MEMORY_BYTES = 19 << 20,
};

_Static_assert((int)HASH_TEXT_SIZE == (int)crypto_pwhash_STRBYTES, "libsodium's text form");

struct job {
    struct hasher *hasher;
    uv_work_t work;
    char *password;
    char hash[HASH_TEXT_SIZE];
    int verify;
    int rc;
    hash_done_fn *done;
    void *arg;
    struct job *next;
};

struct hasher {
    uv_loop_t *loop;
    unsigned running, waiting;
    struct job *first, **last;
    int freed;
};

struct hasher *hasher_new(uv_loop_t *loop)
{
    struct hasher *hasher = xnew(struct hasher);

    if (sodium_init() < 0) {
        abort();
    }
    hasher->loop = loop;
    hasher->last = &hasher->first;
    return hasher;
}

int hash_password(const char *password, char ret_hash[HASH_TEXT_SIZE])
{
    if (sodium_init() < 0 ||
        crypto_pwhash_str(ret_hash, password, strlen(password), PASSES, MEMORY_BYTES) != 0) {
        return -EIO;
    }
    return 0;
}

static void finish(struct job *job, int rc)
{
    job->done(job->arg, rc, job->hash);
    mem_wipe(job->password, strlen(job->password));
    free(job->password);
    free(job);
}

static void work(uv_work_t *work)
{
    struct job *job = work->data;

    if (job->verify) {
        job->rc = crypto_pwhash_str_verify(job->hash, job->password, strlen(job->password)) == 0
                      ? 0
                      : -EPERM;
    } else {
        job->rc = hash_password(job->password, job->hash);
    }
}

static void start(struct job *job);

static void after_work(uv_work_t *work, int status)
{
    struct job *job = work->data;
    struct hasher *hasher = job->hasher;

    hasher->running--;
    finish(job, hasher->freed || status < 0 ? -ECANCELED : job->rc);
    if (hasher->freed) {
        if (hasher->running == 0) {
            free(hasher);
        }
        return;
    }
    struct job *next = hasher->first;
    if (next && hasher->running < HASH_RUNNING_MAX) {
        hasher->first = next->next;
        hasher->last = hasher->first ? hasher->last : &hasher->first;
        hasher->waiting--;
        start(next);
    }
}

static void start(struct job *job)
{
    job->hasher->running++;
    job->work.data = job;
    uv_queue_work(job->hasher->loop, &job->work, work, after_work);
}

int hasher_run(struct hasher *hasher, const char *password, const char *hash, hash_done_fn *done,
               void *arg)
{
    if (hasher->running >= HASH_RUNNING_MAX && hasher->waiting >= HASH_WAITING_MAX) {
        return -EAGAIN;
    }
    struct job *job = xnew(struct job);
    job->hasher = hasher;
    job->password = xstrdup(password);
    job->verify = hash != NULL;
    snprintf(job->hash, sizeof job->hash, "%s", hash ? hash : "");
    job->done = done;
    job->arg = arg;
    if (hasher->running < HASH_RUNNING_MAX) {
        start(job);
    } else {
        *hasher->last = job;
        hasher->last = &job->next;
        hasher->waiting++;
    }
    return 0;
}

void hasher_free(struct hasher *hasher)
{
    if (!hasher) {
        return;
    }
    hasher->freed = 1;
    for (struct job *job = hasher->first, *next; job; job = next) {
        next = job->next;
        finish(job, -ECANCELED);
    }
    hasher->first = NULL;
    if (hasher->running == 0) {
        free(hasher);
    }
}
