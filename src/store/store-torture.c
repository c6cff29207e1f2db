/* store-torture.c - writes to a store as fast as it can until it is killed; for
 * tests/system/test_store_kill9.py.
 *
 *     store-torture FILE FROM
 *
 * First it prints what it finds, then it writes and prints what was acknowledged, one line each,
 * every line with one write(2) so that a kill cuts none:
 *
 *     log REVISION KEY VALUE      every operation after revision FROM, "-" for a deletion
 *     state KEY VALUE REVISION    every key
 *     open REVISION
 *     ack NUMBER REVISION         transaction NUMBER is committed
 *
 * Transaction n puts key/<n % KEYS> = n, and both halves of a pair = n; every 7th deletes
 * key/<(n + 1) % KEYS> too. Numbers go on where the last run stopped. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/store.h"

enum {
    KEYS = 32,
    IN_FLIGHT = 16,
    KEEP_REVISIONS = 2000, /* older ones are compacted while it writes */
};

struct torture {
    struct store *store;
    long number; /* of the last transaction that was begun */
};

struct slot {
    struct torture *torture;
    long number;
};

static void print(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void print(const char *format, ...)
{
    char line[256];
    va_list ap;

    va_start(ap, format);
    int size = vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    if (write(STDOUT_FILENO, line, (size_t)size) != size) {
        exit(3);
    }
}

static void print_log(void *arg, int64_t revision, const struct store_entry *entries, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        print("log %" PRId64 " %s %.*s\n", revision, entries[i].key,
              entries[i].value ? (int)entries[i].size : 1,
              entries[i].value ? (const char *)entries[i].value : "-");
    }
}

static void print_state(void *arg, const struct store_entry *entry)
{
    struct torture *torture = arg;
    char value[32];

    snprintf(value, sizeof value, "%.*s", (int)entry->size, (const char *)entry->value);
    long number = atol(value);
    torture->number = number > torture->number ? number : torture->number;
    print("state %s %s %" PRId64 "\n", entry->key, value, entry->revision);
}

static void begin(struct slot *slot);

static void on_done(void *arg, int rc, int64_t revision)
{
    struct slot *slot = arg;

    if (rc < 0) {
        print("failed %ld %d\n", slot->number, rc);
        exit(4);
    }
    print("ack %ld %" PRId64 "\n", slot->number, revision);
    if (revision % 100 == 0 && revision > KEEP_REVISIONS) {
        store_compact(slot->torture->store, revision - KEEP_REVISIONS);
    }
    begin(slot);
}

static void begin(struct slot *slot)
{
    char value[32], key[32], victim[32];

    slot->number = ++slot->torture->number;
    snprintf(value, sizeof value, "%ld", slot->number);
    snprintf(key, sizeof key, "key/%ld", slot->number % KEYS);
    snprintf(victim, sizeof victim, "key/%ld", (slot->number + 1) % KEYS);
    size_t size = strlen(value);
    struct store_op ops[] = {{key, value, size},
                             {"pair/left", value, size},
                             {"pair/right", value, size},
                             {victim, NULL, 0}};
    if (store_txn(slot->torture->store, NULL, 0, ops, slot->number % 7 == 0 ? 4 : 3, on_done,
                  slot) < 0) {
        exit(5);
    }
}

int main(int argc, char **argv)
{
    struct torture torture = {0};
    struct slot slots[IN_FLIGHT];
    struct error error;
    uv_loop_t loop;

    if (argc != 3 || uv_loop_init(&loop) < 0) {
        return 2;
    }
    if (store_open(&loop, argv[1], &torture.store, &error) < 0) {
        fprintf(stderr, "%s\n", error.detail);
        return 1;
    }
    if (store_watch(torture.store, atoll(argv[2]), print_log, NULL) < 0 ||
        store_range(torture.store, "", print_state, &torture) < 0) {
        fprintf(stderr, "cannot read the store\n");
        return 1;
    }
    store_watch(torture.store, 0, NULL, NULL); /* only the past was asked for */
    print("open %" PRId64 "\n", store_revision(torture.store));
    for (int i = 0; i < IN_FLIGHT; i++) {
        slots[i].torture = &torture;
        begin(&slots[i]);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    return 6;
}
