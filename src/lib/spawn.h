/* spawn.h - child processes: short commands run to their end, and daemons that outlive us.
 *
 * Arguments are always an array, ended by NULL, never a shell's text; argv[0] is looked up in
 * PATH. A child gets no descriptor of ours but the three standard ones, and default signals.
 *
 * Short commands (`nft -j -f -`, `wg show`): spawn_run() waits for the end, at most until a
 * deadline, and then kills. It blocks the loop, so it is for commands that take milliseconds.
 *
 *     _cleanup_buf_ struct buf out = BUF_INIT(1 << 20);
 *     struct spawn spawn = {.argv = (const char *[]){"wg", "show", "cnsmo0", "dump", NULL},
 *                           .out = &out};
 *     int rc = spawn_check(&spawn, error);
 *
 * Daemons (wireguard-go, openvpn): a `struct children` starts each in a session of its own, with
 * /dev/null as input and its output appended to <log_dir>/<name>.log, so that it goes on when we
 * end, crash or are replaced. Who it is - pid, start time, executable, arguments - stands in
 * <run_dir>/children.json; the next children_ensure() of a later process finds it there (or, if
 * the record is lost, by CNSMO_CHILD=<run_dir>/children.json:<name> in its environment) and adopts
 * it. Its end is seen through a pidfd, whoever its parent is. Restarting it is the caller's
 * business (reconcile_wake(), whose pass calls children_ensure() again).
 *
 * Several supervisors of one process may share a run_dir if their children's names differ. */
#pragma once

#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

#include "lib/buf.h"
#include "lib/error.h"

enum {
    SPAWN_TIMEOUT_MSEC = 5000,
    SPAWN_INPUT_MAX = 64 << 20,
};

struct spawn {
    const char *const *argv;
    const void *input; /* the child's standard input; NULL: empty */
    size_t input_size;
    struct buf *out; /* its standard output is appended here, up to the limit; NULL: dropped */
    struct buf *err; /* the same for standard error */
    unsigned timeout_msec; /* then it is killed; 0: SPAWN_TIMEOUT_MSEC */
};

/* The exit status (0 to 255; 128 + n when signal n ended it), or a negative errno: -ETIMEDOUT when
 * the deadline passed, -E2BIG when it wrote more than a buffer takes (it was killed both times),
 * -ENOENT when there is no such program. A fault point. */
int spawn_run(const struct spawn *spawn);

/* The same, but anything else than status 0 is a failure (-EIO, or the errno) with a sentence that
 * names the command and quotes the first line of its standard error. */
int spawn_check(const struct spawn *spawn, struct error *error);

/* Starts a program that is nobody's child to watch: a session of its own, no input, its output
 * appended to the log. It is reaped by init once we have ended. */
int spawn_detached(const char *const *argv, const char *log_path, pid_t *ret_pid,
                   struct error *error);

/* --- daemons --- */

struct children;

/* From the loop, once, after the child ended by itself and was forgotten. `status` is as in
 * spawn_run(), or -1 for an adopted one, whose status only its parent learns. The callback may
 * call children_ensure() and the others. */
typedef void child_ended_fn(void *arg, const char *name, int status);

/* Both folders must exist. A children.json that can't be understood counts as empty. */
int children_new(uv_loop_t *loop, const char *run_dir, const char *log_dir,
                 struct children **ret_children, struct error *error);

/* Frees the memory (the loop must run once more to finish) and lets the children go on. */
void children_free(struct children *c);

/* Makes sure that the child runs: 0 if it does already, here or from an earlier process (then it
 * is adopted), 1 if it was started now. One of this name with other arguments is stopped first.
 * `ended` may be NULL. A fault point, if it has to change something. */
int children_ensure(struct children *c, const char *name, const char *const *argv,
                    child_ended_fn *ended, void *arg, struct error *error);

/* Its pid, or 0 when it doesn't run; adopts nothing, but sees one that an earlier process left. */
pid_t children_pid(struct children *c, const char *name);

/* Adopts and watches the child if it runs, whatever its arguments are: 1 if they are these, 0 if
 * they are others, -ESRCH if it doesn't run. Changes nothing. */
int children_adopt(struct children *c, const char *name, const char *const *argv,
                   child_ended_fn *ended, void *arg);

/* Sends the child a signal and doesn't wait; -ESRCH if it doesn't run. A fault point. */
int children_signal(struct children *c, const char *name, int signal);

/* SIGTERM, and SIGKILL when it still runs after `deadline_msec`; waits for the end and forgets it.
 * `ended` isn't called. 0 too if it doesn't run. A fault point. */
int children_stop(struct children *c, const char *name, unsigned deadline_msec);

/* Drops the record of the child and no longer watches it; it goes on. */
void children_forget(struct children *c, const char *name);
