/* lb-stat.h - what a running HAProxy says of itself. The agent's half, pure.
 *
 * The answer to "show stat;show servers state" is a table in CSV (RFC 4180), an empty line, and
 * lines of words; HAProxy's management manual, sections 9.1 and 9.3, says what the columns are.
 * Columns of the first are found by their names, those of the second by the format's version 1. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/omap.h"
#include "services/lb/lb-config.h"

#define LB_STAT_COMMAND "show stat;show servers state\n"

enum {
    LB_STAT_MAX = 16 << 20,
    LB_WHY_SIZE = 80,
};

struct lb_server {
    uint32_t address;
    uint16_t port;
    int is_drained;        /* gets no new connections, as we said */
    int is_off;            /* nor anything else: in maintenance */
    char state[24];        /* "UP", "DOWN 1/2", "no check" … */
    char why[LB_WHY_SIZE]; /* the last check's result; "" if there was none */
    uint64_t current;      /* sessions */
    uint64_t rate;         /* new ones in the last second */
    uint64_t total;
};

struct lb_proxy {
    char service[LB_NAME_SIZE];
    char name[LB_PROXY_SIZE];
    uint16_t port;
    uint64_t current, rate, total; /* of the front port */
    uint64_t bytes;                /* both ways */
    struct omap servers;           /* node -> struct lb_server */
};

struct lb_stat {
    struct omap proxies; /* service -> struct lb_proxy */
    char *servers_text;  /* the second part as it came */
};

/* 0, or -EINVAL: it isn't such an answer, and nothing is returned. */
int lb_stat_parse(const char *text, struct lb_stat *ret_stat);
void lb_stat_done(struct lb_stat *stat);

/* The second part for a successor, which reads from it which servers are up: a section that is
 * there as `new_name(arg, service)` is called so; NULL: left out. The caller frees the text. */
typedef const char *lb_rename_fn(void *arg, const char *service);
char *lb_stat_renamed(const char *servers_text, lb_rename_fn *new_name, void *arg);
