/* lb-driver.h - the parts of the driver, and what they share. Private to it.
 *
 *     lb-backend.c   the backend: brings the parts together
 *     lb-wanted.c    which services can be in the configuration, and which not, and why
 *     lb-files.c     its configuration and other files
 *     lb-process.c   the daemon, reloads
 *     lb-runtime.c   servers added, changed and deleted while it runs
 *     lb-socket.c    questions and commands over HAProxy's socket
 *     lb-port.c      who has a port
 *     lb-counters.c  totals, and their file
 *     lb-report.c    status
 *     lb-config.c, lb-stat.c   pure: what goes to HAProxy, what comes from it
 *
 * One HAProxy for all services: a master that stays, and a worker. A reload gives the listening
 * sockets to a new worker; the old one ends with its last connection.
 *
 *               start                 answers              reload
 *     [off] ───────────► [starting] ───────────► [runs] ◄───────────► [reloading]
 *       ▲                                          │ no answer for 3 s
 *       └──── ended, or killed after 3 s more ─── [hung] */
#pragma once

#include <jansson.h>
#include <uv.h>

#include "core/backend.h"
#include "lib/error.h"
#include "lib/omap.h"
#include "lib/spawn.h"
#include "services/lb/lb-config.h"
#include "services/lb/lb-stat.h"

#define LB_CHILD "haproxy"

/* A service that is wanted on this node.
 *
 * What HAProxy refuses isn't used: then `spec` stays what it was before, if anything was, and only
 * `asked` has the new one. */
struct lb_wanted {
    char name[LB_NAME_SIZE];
    json_t *asked; /* the resource */
    json_t *spec;  /* what goes into the configuration */
    char proxy[LB_PROXY_SIZE];
    json_t *before;    /* what went into it before `spec`; NULL: nothing that is known */
    int is_refused;    /* HAProxy doesn't take what was asked for */
    int has_fallback;  /* then: `spec` is the one before */
    char problem[300]; /* why it isn't in force; "": it is, or can be */
};

/* What a service has counted. */
struct lb_total {
    uint64_t base_connections, base_bytes; /* of workers that are gone */
    uint64_t connections, bytes;           /* of this one, as last read */
};

struct lb_probe;

struct lb {
    const struct backend_env *env;
    struct children *children;
    uv_timer_t *timer;
    struct lb_probe *probe; /* the question that is out; NULL: none */

    char *folder, *config, *socket, *state, *chroot; /* files: lb_process_paths() */

    struct omap wanted; /* name -> struct lb_wanted */
    struct omap totals; /* name -> struct lb_total */
    int totals_unsaved;
    int64_t totals_saved_usec;

    int is_running;
    struct lb_stat stat; /* as last told; empty while nothing is known */
    int has_stat;        /* of this daemon */
    int64_t asked_usec;  /* since when a question waits for its answer; 0: none does */
    int64_t hung_usec;   /* since when it doesn't answer; 0: it does */
    int64_t reload_usec; /* since when a reload or start is under way; 0: none is */
    int64_t
        signal_usec; /* when it was told to reload and hasn't begun to; 0: nothing of the kind */
    struct omap loading; /* sections of the configuration that it reads then */
    int64_t log_size;    /* of the log when that began */
    int failed;          /* it ended while it started, and nobody was told yet */
    char problem[400];   /* of all services; "": none */
};

/* --- lb-socket.c --- */

/* Waits at most so long; the answer is appended to `out`. -ETIMEDOUT: it doesn't answer. */
int lb_ask(const char *socket, const char *command, unsigned timeout_msec, struct buf *out);

/* The same without waiting: `done` comes from the loop, unless it is freed before; `text` NULL:
 * there was no answer. */
typedef void lb_answer_fn(void *arg, const char *text);
struct lb_probe *lb_probe_new(uv_loop_t *loop, const char *socket, const char *command,
                              lb_answer_fn *done, void *arg);
struct lb_probe *lb_probe_free(struct lb_probe *probe);

/* --- lb-port.c --- */

/* 0, or 409 and who listens there already. `address` in host byte order, 0: any. */
int lb_port_check(uint32_t address, uint16_t port, struct error *error);

/* --- lb-wanted.c --- */

/* -EINVAL with the reason if the resource is none that we know. */
int lb_wanted_put(struct lb *lb, const char *name, const json_t *spec, struct error *error);
void lb_wanted_del(struct lb *lb, const char *name);
void lb_wanted_clear(struct lb *lb);
/* HAProxy refuses it: back to what was before. */
void lb_wanted_refuse(struct lb_wanted *w, const char *why);
/* Is it in the running configuration as it should be? Servers aside. */
int lb_wanted_is_loaded(const struct lb *lb, const struct lb_wanted *w);
/* Says of each whose port is taken that it is. */
void lb_wanted_check_ports(struct lb *lb);

/* --- lb-files.c --- */

/* "cannot <what> <path>: <why>", if rc says that it failed; returns rc. */
int lb_failed(int rc, struct error *error, const char *what, const char *path);
/* "[ALERT] (12) : config : what" to "config : what". */
const char *lb_words_of(const char *line);
/* Is there anything of ours? */
int lb_files_present(const struct lb *lb);
/* It has its port, and is what HAProxy takes. */
int lb_can_be_loaded(const struct lb_wanted *w);
/* The configuration of all that can be loaded. Who is refused by HAProxy can't any more then. */
int lb_files_make(struct lb *lb, struct error *error);
/* Who was down is down for the next worker, from its first moment on. */
int lb_files_write_servers(struct lb *lb, struct error *error);
/* Takes away what no service needs any more; or all. */
int lb_files_sweep(struct lb *lb, struct error *error);
int lb_files_remove(struct lb *lb, struct error *error);

/* --- lb-process.c --- */

#define LB_MISSING "the program haproxy is missing: install the package haproxy"
/* Is the program there? */
int lb_process_is_installed(void);
void lb_process_init(struct lb *lb);
void lb_process_done(struct lb *lb);
/* Sees whether it runs, and what it says of itself. */
void lb_process_look(struct lb *lb);
/* Starts or reloads it, so that what can be is in its configuration. -EAGAIN: on its way. */
int lb_process_load(struct lb *lb, struct error *error);
/* A start or reload that has ended: 0; else -EAGAIN, or why it didn't work. */
int lb_process_settle(struct lb *lb, struct error *error);
/* Ends it with all workers, hung or not. */
int lb_process_stop(struct lb *lb, struct error *error);
/* The same, and takes its files away. */
int lb_process_remove(struct lb *lb, struct error *error);
/* Its log doesn't grow without end. */
void lb_process_bound_log(struct lb *lb);
/* What HAProxy has told is taken over. */
void lb_process_told(struct lb *lb, struct lb_stat *stat);

/* --- lb-runtime.c --- */

/* Do the servers of the section differ from the back ends? */
int lb_runtime_matches(const struct lb *lb, const struct lb_wanted *w);
/* Makes them the same. -EOPNOTSUPP: only a reload can. */
int lb_runtime_apply(struct lb *lb, const struct lb_wanted *w, struct error *error);
/* Deletes those that are on their way out and have no session any more. */
void lb_runtime_sweep(struct lb *lb);

/* --- lb-counters.c --- */

void lb_counters_load(struct lb *lb);
void lb_counters_take(struct lb *lb);
void lb_counters_drop(struct lb *lb, const char *name);
/* `now`: whether or not it was written lately. */
void lb_counters_save(struct lb *lb, int now);
int lb_counters_remove(struct lb *lb, struct error *error);

/* --- lb-report.c --- */

json_t *lb_report(void *self);
