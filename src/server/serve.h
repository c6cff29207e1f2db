/* serve.h - the running server: both listeners, signals, housekeeping. */
#pragma once

#include "server/options.h"
#include "server/state.h"

/* Serves until SIGTERM or SIGINT. */
int serve(struct state *state, const struct options *options, struct error *error);
