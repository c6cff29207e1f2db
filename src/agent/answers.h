/* answers.h - the server's questions about the host, which the drivers answer when they can.
 *
 * "link" has an answer without anything in it: it came, and goes back.
 *
 * Every question gets one answer, or none when the connection that it came over is gone by then:
 * the next server's numbers may be the same. */
#pragma once

#include <jansson.h>

#include "core/reconcile.h"

struct answers;

/* `send` takes the reference to {"type":"answer",…}. */
struct answers *answers_new(void (*send)(void *arg, json_t *message), void *arg);
/* After the drivers were stopped, or with answers still under way: they go nowhere then. */
void answers_free(struct answers *answers);

void answers_ask(struct answers *answers, struct reconcile *reconcile, json_int_t id,
                 const char *what);
void answers_disconnected(struct answers *answers);
