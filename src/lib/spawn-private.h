/* spawn-private.h - what spawn.c and children.c share. */
#pragma once

#include <sys/types.h>

/* Starts argv[0] (looked up in PATH) with these three descriptors as its standard ones, a session
 * of its own, default signals and nothing else open. `mark` is one more "NAME=value" of its
 * environment; NULL: none. Gives its pidfd too. */
int spawn_start(const char *const *argv, const char *mark, const int fds[3], pid_t *ret_pid,
                int *ret_pidfd);

/* The same, with no input and its output appended to a file. */
int spawn_start_logged(const char *const *argv, const char *mark, const char *log_path,
                       pid_t *ret_pid, int *ret_pidfd, struct error *error);

/* Waits until the process behind `pidfd` has ended: 0, or -ETIMEDOUT. */
int spawn_wait(int pidfd, unsigned timeout_msec);

/* Reaps an ended child: the exit status, 128 + signal, or -1 when it isn't ours to reap. */
int spawn_reap(int pidfd);
