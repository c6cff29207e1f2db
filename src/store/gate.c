#include "store/gate.h"

void gate_init(struct gate *gate)
{
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_cond_init(&gate->changed, NULL);
    gate->waiting_first = 0;
    gate->is_taken = 0;
}

void gate_done(struct gate *gate)
{
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->mutex);
}

void gate_enter(struct gate *gate, enum gate_lane lane)
{
    pthread_mutex_lock(&gate->mutex);
    gate->waiting_first += lane == GATE_FIRST;
    while (gate->is_taken || (lane == GATE_LATER && gate->waiting_first > 0)) {
        pthread_cond_wait(&gate->changed, &gate->mutex);
    }
    gate->waiting_first -= lane == GATE_FIRST;
    gate->is_taken = 1;
    pthread_mutex_unlock(&gate->mutex);
}

void gate_leave(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->is_taken = 0;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
}
