/* gate.h - a lock with a fast lane, for the one database connection.
 *
 * The writer commits through it, a backup copies through it a few pages at a time. A mutex would
 * let the backup take it again and again while the writer waits; here whoever enters with
 * GATE_FIRST goes before everybody who doesn't. */
#pragma once

#include <pthread.h>

enum gate_lane {
    GATE_FIRST,
    GATE_LATER,
};

struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned waiting_first;
    int is_taken;
};

void gate_init(struct gate *gate);
void gate_done(struct gate *gate);

/* Waits until nobody is inside. Not recursive. */
void gate_enter(struct gate *gate, enum gate_lane lane);
void gate_leave(struct gate *gate);
