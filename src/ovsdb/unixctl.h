/* unixctl.h - one command to a daemon of Open vSwitch's, as ovs-appctl(8) gives it.
 *
 *     path = unixctl_path("/run/openvswitch", "ovs-vswitchd");
 *     call = unixctl_call(loop, path, "revalidator/purge", 1000, done, arg);
 *     // done() comes from the loop, once, unless unixctl_cancel(call) came before
 *
 * JSON-RPC over the daemon's control socket. The program must ignore SIGPIPE.
 *
 * Sources: ovs-appctl(8), ovs-vswitchd(8); RFC 7047 section 4 for the messages' form. */
#pragma once

#include <uv.h>

#include "lib/error.h"

struct unixctl;

/* Where the daemon of this name listens, by its pid file; NULL if it doesn't run. The caller frees
 * it. */
char *unixctl_path(const char *run_dir, const char *program);

/* `error` is NULL if the command was carried out; borrowed. */
typedef void unixctl_done_fn(void *arg, const struct error *error);

/* A command without arguments. Never fails by itself: what is wrong is told by done(). `method` is
 * a literal. */
struct unixctl *unixctl_call(uv_loop_t *loop, const char *path, const char *method,
                             unsigned timeout_msec, unixctl_done_fn *done, void *arg);
/* done() doesn't come any more. */
void unixctl_cancel(struct unixctl *call);
