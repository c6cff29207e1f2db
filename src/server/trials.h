/* trials.h - objects that were forced and nobody has confirmed: they are deleted when their time
 * is over.
 *
 * The agents undo them by themselves (core/trials.h), since they may be those who were cut off;
 * this is so that what they undid isn't asked of them again. */
#pragma once

#include <uv.h>

#include "core/deployment.h"

struct server_trials;

/* Those that are there already, too. */
struct server_trials *server_trials_new(uv_loop_t *loop, struct deployment *deployment);
/* The memory is freed when the loop has turned. */
void server_trials_free(struct server_trials *trials);
