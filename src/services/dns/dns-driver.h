/* dns-driver.h - the parts of dns's driver, and what they share.
 *
 *     dns-backend.c     the backend: brings the parts together
 *     dns-daemon.c      our dnsmasq: its files, its process, is it well
 *     dns-held.c        what it holds, from one agent to the next
 *     dns-set.h         what is to be answered
 *     dns-resolver.h    the machine's own resolver
 *     dns-query.h       questions to it
 *
 *     second timer ──► asked ──► answered: counters │ three times not: hung ──┐
 *     pidfd: ended ────────────────────────────────────────────────────────────┤
 *     inotify: somebody else's resolv.conf ─────────────────────────────────────┴──►
 * reconcile_wake()
 */
#pragma once

#include <uv.h>

#include "core/backend.h"
#include "lib/netlink.h"
#include "lib/spawn.h"
#include "services/dns/dns-query.h"
#include "services/dns/dns-resolver.h"
#include "services/dns/dns-set.h"

#define DNS_CHILD "dnsmasq"

enum dns_state {
    DNS_OFF,
    DNS_STARTING,
    DNS_RUNNING,
    DNS_HUNG,
    DNS_FAILED,
};

struct dns {
    const struct backend_env *env;
    struct children *children;
    struct netlink *nl;
    struct netlink_watch *watch;
    struct resolver *resolver;
    uv_timer_t *timer;
    uv_fs_event_t *files; /* of the resolver's folder */
    char *folder, *hosts, *upstreams_path, *counts_path, *held_path, *watched;

    struct dns_set set;
    json_t *self, *settings; /* as last taken over; NULL: none */
    char address[16];        /* of the overlay */
    json_t *upstreams;       /* from the settings */

    enum dns_state state;
    char message[300];
    int running; /* seen, or started */
    int files_dirty;
    int socket;            /* to ask it; -1: none */
    unsigned unanswered;   /* ticks in a row */
    long log_size;         /* when it was started */
    uint64_t base[2];      /* hits and misses of daemons before, less our own questions */
    uint64_t seen[2];      /* of this one */
    uint64_t asked;        /* our questions to this one, which it counts as hits */
    uint64_t asked_before; /* the one that is under way */
    uint64_t own;          /* of seen[0] */
    pid_t counted_pid;     /* whose `seen` is */
    unsigned ticks;
};

/* --- dns-daemon.c --- */
int daemon_observe(struct dns *d, struct error *error);
int daemon_present(const struct dns *d);
int daemon_matches(struct dns *d);
/* Writes what differs, starts it again where it must: 0 when it answers with all of it; -EAGAIN;
 * or why not. */
int daemon_apply(struct dns *d, struct error *error);
int daemon_remove(struct dns *d, struct error *error);
void daemon_tick(struct dns *d);

/* --- dns-held.c --- */
void held_load(struct dns *d);
void held_save(struct dns *d);

/* --- dns-counters.c --- */
void counts_load(struct dns *d);
void counts_save(struct dns *d);
/* Another daemon has begun. */
void counts_turn(struct dns *d, pid_t pid);
void counts_tell(struct dns *d);
uint64_t counts_queries(const struct dns *d);
