/* agent.h - what the agent's commands share.
 *
 *     join   ──► identity in <state_dir> ──► run (systemd, or detached)
 *     run    ──► replica to host (reconcile.h) ◄── server (connection.h)
 *     leave  ──► run is stopped, the host is as before, the server forgets the node
 *
 * <state_dir>/  agent.json key.pem cert.pem root.pem   who we are (identity.h)
 *               replica.json, <service>/               the reconciler's and the drivers'
 * <run_dir>/    agent.pid status.json children.json
 * <log_dir>/    agent.log (only without systemd), <child>.log */
#pragma once

#include <jansson.h>
#include <sys/types.h>

#include "lib/error.h"

enum {
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    /* Starting again can't help: the unit lists these under RestartPreventExitStatus=. */
    EXIT_NOT_JOINED = 10,
    EXIT_REMOVED = 11, /* the server has deleted this node */
    EXIT_RUNNING = 12,

    START_DEADLINE_MSEC = 20000,
    STOP_DEADLINE_MSEC = 10000,
};

struct agent_paths {
    const char *state_dir;
    const char *run_dir;
    const char *log_dir;
};

#define AGENT_STATE_DIR "/var/lib/cnsmo-agent"
#define AGENT_RUN_DIR "/run/cnsmo-agent"
#define AGENT_LOG_DIR "/var/log/cnsmo-agent"

struct join_options {
    const char *token;
    const char *id;       /* NULL: the server takes the host's name */
    const char *services; /* "vpn,dns"; NULL: what the token gives */
    const char *endpoint; /* "192.0.2.7" or "192.0.2.7:51820"; NULL: none */
    int no_start;
};

/* Each is a whole command; the result is the exit code. */
int agent_join(const struct agent_paths *paths, const struct join_options *options);
int agent_run(const struct agent_paths *paths);
int agent_leave(const struct agent_paths *paths, int force);
int agent_status(const struct agent_paths *paths, int json);

/* Makes the three folders. */
int agent_make_folders(const struct agent_paths *paths, struct error *error);

/* "cnsmo-agent: <sentence>" on standard error. */
void agent_complain(const struct error *error);

/* --- process.c: the running agent --- */

/* Locks <run_dir>/agent.pid for as long as the descriptor is open, and writes our pid there.
 * -EEXIST if another process has it; *ret_pid (may be NULL) is then whose. */
int process_lock(const struct agent_paths *paths, int *ret_fd, pid_t *ret_pid,
                 struct error *error);

/* The pid of the agent that runs with this run_dir, or 0. */
pid_t process_running(const struct agent_paths *paths);

/* Starts `run`: the systemd unit where there is one for these folders, else detached. */
int process_start(const struct agent_paths *paths, struct error *error);

/* Ends it, and keeps systemd from starting it again. 0 too if none runs. */
int process_stop(const struct agent_paths *paths, struct error *error);

/* Waits until the agent is connected and its services run. */
int process_wait_up(const struct agent_paths *paths, struct error *error);

/* <run_dir>/status.json, a new reference, or NULL. */
json_t *process_status(const struct agent_paths *paths);

/* --- cleanup.c --- */

/* Removes everything of ours from the host, by the drivers. */
int cleanup_host(const struct agent_paths *paths, const char *node, struct error *error);

/* Removes our files; with `keep_identity` who we were is kept as *.removed. */
int cleanup_files(const struct agent_paths *paths, int keep_identity, struct error *error);
