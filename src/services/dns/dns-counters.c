/* dns-counters.c - how many questions the machine's programs have asked, over restarts of dnsmasq
 * and of the agent. What we ask ourselves, to see whether it is well, isn't counted. */
#include <string.h>

#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/dns/dns-driver.h"

enum {
    FILE_SIZE_MAX = 4096,
    HITS = 0,
    MISSES = 1,
};

void counts_load(struct dns *d)
{
    _cleanup_buf_ struct buf text = BUF_INIT(FILE_SIZE_MAX);
    json_t *json = NULL;
    struct error error;

    if (file_read(d->counts_path, &text) < 0 ||
        json_parse(text.data, text.size, &json, &error) < 0) {
        return; /* lost with a crash: what follows is counted on from zero */
    }
    d->base[HITS] = (uint64_t)json_get_integer(json, "hits", 0);
    d->base[MISSES] = (uint64_t)json_get_integer(json, "misses", 0);
    d->seen[HITS] = (uint64_t)json_get_integer(json, "seenHits", 0);
    d->seen[MISSES] = (uint64_t)json_get_integer(json, "seenMisses", 0);
    d->asked = (uint64_t)json_get_integer(json, "asked", 0);
    d->own = (uint64_t)json_get_integer(json, "own", 0);
    d->counted_pid = (pid_t)json_get_integer(json, "pid", 0);
    json_decref(json);
}

void counts_save(struct dns *d)
{
    json_t *json =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "hits", (json_int_t)d->base[HITS],
                  "misses", (json_int_t)d->base[MISSES], "seenHits", (json_int_t)d->seen[HITS],
                  "seenMisses", (json_int_t)d->seen[MISSES], "asked", (json_int_t)d->asked, "own",
                  (json_int_t)d->own, "pid", (json_int_t)d->counted_pid);
    _cleanup_free_ char *text = json_canonical(json);

    json_decref(json);
    if (d->running) {
        file_write_atomic(d->counts_path, text, strlen(text), 0600); /* lost: counted from zero */
    }
}

static uint64_t hits_of_others(const struct dns *d)
{
    return d->seen[HITS] > d->own ? d->seen[HITS] - d->own : 0;
}

void counts_turn(struct dns *d, pid_t pid)
{
    if (pid != d->counted_pid) {
        d->base[HITS] += hits_of_others(d);
        d->base[MISSES] += d->seen[MISSES];
        d->seen[HITS] = d->seen[MISSES] = d->asked = d->own = 0;
        d->counted_pid = pid;
    }
}

uint64_t counts_queries(const struct dns *d)
{
    return d->base[HITS] + hits_of_others(d) + d->base[MISSES] + d->seen[MISSES];
}

void counts_tell(struct dns *d)
{
    if (d->env->count) {
        d->env->count(d->env->count_arg, "dns/node/queries", counts_queries(d), 0);
        d->env->count(d->env->count_arg, "dns/node/forwarded", d->base[MISSES] + d->seen[MISSES],
                      0);
    }
}
