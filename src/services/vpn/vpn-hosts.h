/* vpn-hosts.h - machines for the driver's test: namespaces on one bridge, each with
 * vpn-test-agent.
 *
 *        Hub 192.0.2.1      A 192.0.2.2      B 192.0.2.3      X 192.0.2.9 (a stranger)
 *           └────────────────┴─── bridge ─────┴────────────────┘
 *
 * Each has its own network, mount and PID namespace with a private /run. Needs root. */
#pragma once

#include <jansson.h>
#include <sys/types.h>
#include <unistd.h>

#include "lib/clock.h"

enum {
    HOSTS = 4,
    DEADLINE_SEC = 45,
};

struct host {
    const char *name;
    int number; /* 192.0.2.N outside, 10.77.0.N inside */
    pid_t init;
    pid_t agent; /* of nsenter around it; 0: doesn't run */
    char *folder;
};

extern struct host hosts[HOSTS];
extern char *agent_path; /* vpn-test-agent */

#define HUB (&hosts[0])
#define A (&hosts[1])
#define B (&hosts[2])
#define X (&hosts[3])

/* cmocka's group set-up and tear-down. */
int hosts_up(void **state);
int hosts_down(void **state);

/* A command as one text, words separated by blanks, in the host or (NULL) in the middle. Its exit
 * status; its output in *ret_output (NULL: dropped), which the caller frees. */
int run(const struct host *host, const char *command, char **ret_output);
void must(const struct host *host, const char *command);
int says(const struct host *host, const char *command, const char *text);
json_t *read_json(const struct host *host, const char *name);
void start_agent(struct host *host);
void stop_agent(struct host *host);
json_t *self_resource(const struct host *host);
void give(struct host *host, json_t *resources);
/* Everybody gets everybody, as the server would do it; the nodes' endpoints only if asked for. */
void give_all(const char *via);
/* How `host` says it reaches `node`: "direct", "hub", "none", or "?" if it doesn't say. */
int path_is(const struct host *host, const char *node, const char *path);
int state_is(const struct host *host, const char *state);
int has_fact(const struct host *host, const char *name);
int pings(const struct host *host, const char *address);

/* What every host looks like, for a failure. */
void dump_all(void);

/* Until `condition` holds, or the deadline has passed. */
#define EVENTUALLY(condition)                                                                     \
    do {                                                                                          \
        int64_t end_ = clock_monotonic_usec() + DEADLINE_SEC * 1000000LL;                         \
        while (!(condition)) {                                                                    \
            if (clock_monotonic_usec() > end_) {                                                  \
                dump_all();                                                                       \
                fail_msg("not in time: %s", #condition);                                          \
            }                                                                                     \
            usleep(100000);                                                                       \
        }                                                                                         \
    } while (0)
