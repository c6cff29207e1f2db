/* child-record.h - who a process is, so that a later process knows it again. Private to
 * children.c.
 *
 * A record is {"pid","start","exe","argv"}: the start time (proc(5), stat's field 22) and the
 * executable tell the process from another one that got its pid. */
#pragma once

#include <jansson.h>
#include <sys/types.h>

/* A new record of a living process. Takes the reference `arguments`. */
json_t *child_record(pid_t pid, json_t *arguments);

/* An array of the arguments, a new reference. */
json_t *child_arguments(const char *const *argv);
int child_has_arguments(const json_t *record, const char *const *argv);

/* The pidfd of the process that the record is about, or -ESRCH when that one has ended. */
int child_open(const json_t *record);

/* A record of the living session leader that has `mark` in its environment, or NULL. */
json_t *child_search(const char *mark);
