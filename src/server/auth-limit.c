#include "server/auth-limit.h"

#include "lib/mem.h"

struct bucket {
    int64_t level_usec; /* tries left, each worth refill_sec */
    int64_t at_usec;
};

static int64_t worth(const struct limit *limit)
{
    return 1000000LL * limit->refill_sec;
}

static void refill(const struct limit *limit, struct bucket *bucket, int64_t now_usec)
{
    int64_t full = worth(limit) * limit->burst;

    bucket->level_usec += now_usec - bucket->at_usec;
    bucket->level_usec = bucket->level_usec > full ? full : bucket->level_usec;
    bucket->at_usec = now_usec;
}

static struct bucket *bucket_of(struct limit *limit, const char *name, int64_t now_usec)
{
    struct bucket *bucket = omap_get(&limit->buckets, name);

    if (!bucket && limit->buckets.len >= LIMIT_NAMES_MAX) {
        name = ""; /* everybody else */
        bucket = omap_get(&limit->buckets, name);
    }
    if (!bucket) {
        bucket = xnew(struct bucket);
        bucket->level_usec = worth(limit) * limit->burst;
        bucket->at_usec = now_usec;
        omap_put(&limit->buckets, name, bucket);
    }
    refill(limit, bucket, now_usec);
    return bucket;
}

unsigned limit_take(struct limit *limit, const char *name, int64_t now_usec)
{
    struct bucket *bucket = bucket_of(limit, name, now_usec);

    if (bucket->level_usec >= worth(limit)) {
        bucket->level_usec -= worth(limit);
        return 0;
    }
    return (unsigned)((worth(limit) - bucket->level_usec + 999999) / 1000000);
}

void limit_refund(struct limit *limit, const char *name, int64_t now_usec)
{
    struct bucket *bucket = bucket_of(limit, name, now_usec);

    bucket->level_usec += worth(limit);
    refill(limit, bucket, now_usec);
}

void limit_purge(struct limit *limit, int64_t now_usec)
{
    omap_foreach (e, &limit->buckets) {
        struct bucket *bucket = e->value;
        refill(limit, bucket, now_usec);
        if (bucket->level_usec >= worth(limit) * limit->burst) {
            omap_del(&limit->buckets, e->key);
            free(bucket);
        }
    }
}

void limit_done(struct limit *limit)
{
    omap_clear(&limit->buckets, free);
}
