/* counts.h - what the drivers count, on its way to the server.
 *
 *     counts_put(), counts_gone() ──► kept ──► a batch at most every COUNTS_MSEC ──► send()
 *     counts_welcomed() ──► everything, at once: this server may not have heard any of it
 *
 * Totals are kept until they are gone, and one that is gone until the server was told. While
 * there is no connection send() isn't called. Each message holds at most MESSAGE_COUNTERS_MAX. */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <uv.h>

enum {
    COUNTS_MSEC = 200,
    COUNTS_MAX = 50000, /* further counters aren't kept */
};

struct counts;

/* `send` takes the reference to {"type":"counters",…}. */
struct counts *counts_new(uv_loop_t *loop, void (*send)(void *arg, json_t *message), void *arg);
/* The memory is freed when the loop has turned. */
void counts_free(struct counts *counts);

void counts_put(struct counts *counts, const char *name, uint64_t packets, uint64_t bytes);
void counts_gone(struct counts *counts, const char *name);

void counts_welcomed(struct counts *counts);
void counts_disconnected(struct counts *counts);
