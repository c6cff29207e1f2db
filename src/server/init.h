/* init.h - the first start: an administrator, and the objects that an orchestrator hands in. */
#pragma once

#include "server/options.h"
#include "server/state.h"

/* Makes the first administrator and applies the file, on an empty state. A random password is
 * printed once and written to <state>/admin-password, 0600. The file has the form of an export:
 *
 *     {"apiVersion":"v2","objects":[{"kind":"settings","id":"overlay","spec":{...}}, ...]}
 *
 * A token may carry its "secret" (20 to 100 characters) beside the spec, so that whoever wrote the
 * file knows the join string beforehand; the join strings are printed, one a line, after "token
 * <id> ". All of the file is checked before anything is stored. */
int init_state(struct state *state, const struct options *options, struct error *error);
