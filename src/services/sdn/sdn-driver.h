/* sdn-driver.h - the driver's memory and its parts. Private to the agent's half of sdn.
 *
 *     ovsdb-server ◄─ sdn-bridge.c ─┐                     ┌─ sdn-switch.c ─► ovs-vswitchd
 *      (bridge, port)               └─ sdn-backend.c ─────┘   (flows, counters)
 *
 * All of it is asynchronous. apply() notes what is wanted and gives an order; whatever event makes
 * it possible carries it out, step by step (sdn_step()), and calls reconcile_wake() when it is
 * done or has failed. What is on the host is what the database's mirror and the last reading of
 * the switch say; both are read again whenever they may have changed.
 *
 *     [no database] ─► [bridge] ─► [connection] ─► reading ─► idle ─► bundle ─► calm ─► reading
 *           ▲ closed       ▲ gone        ▲ closed               ▲                          │
 *           └──────────────┴─────────────┴──────────────────────┴──────────────────────────┘
 */
#pragma once

#include <uv.h>

#include "core/backend.h"
#include "lib/netlink.h"
#include "openflow/conn.h"
#include "ovsdb/ovsdb.h"
#include "ovsdb/unixctl.h"
#include "ovsdb/vswitch.h"
#include "services/sdn/sdn-set.h"

enum {
    SDN_GRACE_MSEC = 3000, /* a restart of Open vSwitch isn't an error yet */
};

/* What the connection to the switch is busy with; one thing at a time. */
enum sdn_work {
    SDN_IDLE,
    SDN_READING,
    SDN_BUNDLE,
    SDN_CALM, /* after a bundle, until counters can be believed */
    SDN_COUNTING_FLOWS,
};

/* One of the two connections. */
struct sdn_peer {
    int is_open, was_open;
    int is_lost;        /* `error` says why; until it is open again */
    int is_missing;     /* the program isn't even installed */
    int64_t since_usec; /* it isn't open: since then */
    int64_t retry_usec; /* not before */
    struct error error;
};

struct sdn_change {
    struct sdn_object *object;
    size_t first; /* of its changes in the bundle */
};

struct sdn_ask;

struct sdn {
    const struct backend_env *env;
    char *run_dir; /* of Open vSwitch */
    struct netlink *nl;
    struct netlink_watch *watch;
    uv_timer_t tick;  /* reconnects, polls, saves */
    uv_timer_t calm;  /* after a bundle */
    uv_timer_t link;  /* after news of links */
    unsigned handles; /* timers and connections that the loop still knows */
    int is_stopped;

    /* --- orders --- */
    int is_wanted;   /* there is to be a bridge */
    int is_removing; /* there is to be none */
    int is_ordered;  /* what differs is to be changed */
    int is_failed;   /* `failure` is to be told by the next apply() */
    struct error failure;
    char problem[512]; /* for the status; "" if all is well */

    /* --- the database and the bridge --- */
    struct ovsdb *db;
    struct sdn_peer db_peer;
    int is_transacting;
    int was_looked;     /* nothing of ours was there, when nothing was wanted */
    json_int_t removal; /* our bridge's deletion, to be carried out by the switch; 0: none */
    int64_t removal_usec;
    const char *datapath; /* "system" or "netdev"; NULL: not decided */
    int64_t bridge_usec;  /* since when it has no id */

    /* --- the switch --- */
    struct of_conn *conn;
    struct sdn_peer of_peer;
    uint64_t datapath_id;
    int is_read; /* the flows have been read over this connection */
    enum sdn_work work;
    struct sdn_objects objects;
    uint64_t foreign[64]; /* cookies of flows in our bridge that aren't ours */
    size_t foreign_len;
    struct sdn_change *changes; /* of the bundle */
    size_t change_len, change_at, flow_at;
    int is_refused;           /* some of it was */
    struct unixctl *purging;  /* the datapath's cache is being emptied; NULL: it isn't */
    struct sdn_object **only; /* read after it; NULL: all */
    size_t only_len;
    size_t reads_len; /* not answered yet */
    int is_baseline;
    size_t table_flows_len; /* as the switch counts them */
    struct sdn_ask *asks;

    /* --- polling and counters --- */
    int64_t read_usec, read_began_usec, read_cost_usec; /* the last full reading */
    unsigned slice;                      /* of many objects a slice is read at a time: the next */
    int is_slice;                        /* s->only is one */
    int has_found_new;                   /* its reading found flows of objects that nobody knew */
    int64_t slice_usec, slice_cost_usec; /* the last one */
    int64_t checked_usec;
    int64_t active_usec; /* when a counter or the set changed last */
    int is_unsaved;
    int64_t unsaved_usec, saved_usec, save_cost_usec;
    int is_save_failing;
    int has_file; /* we had a bridge */
};

/* --- sdn-life.c --- */

int sdn_start(const struct backend_env *env, void **ret_self, struct error *error);
void sdn_stop(void *self);
/* Carries on with what is ordered, as far as it goes. */
void sdn_step(struct sdn *s);
/* It went wrong: the next apply() says so. */
void sdn_fail(struct sdn *s, const struct error *error);
void sdn_wake(struct sdn *s);
/* One of the handles has closed. */
void sdn_release(struct sdn *s);
int sdn_base_is_in_force(const struct sdn *s);

/* --- sdn-backend.c --- */

/* As sdn_wake(), for this one alone. */
void sdn_wake_object(struct sdn *s, const struct sdn_object *object);

/* --- sdn-bridge.c --- */

void sdn_db_connect(struct sdn *s);
/* Changes bridge and port if they aren't as wanted: 1 if something is under way or was begun. */
int sdn_bridge_step(struct sdn *s);
/* 0 if bridge and port are as wanted, else 1, or -EEXIST for one that isn't ours. */
int sdn_bridge_differs(struct sdn *s, struct error *error);
/* Of Open vSwitch; "" if it isn't known. */
const char *sdn_bridge_version(const struct sdn *s);
/* The bridge is there and ours. */
int sdn_bridge_get(const struct sdn *s, struct vswitch_bridge_state *ret_state);
/* The mark on its device, when its flows are in force. */
int sdn_bridge_is_marked(struct sdn *s);
int sdn_bridge_mark(struct sdn *s, struct error *error);
/* "" or what the port waits for. */
const char *sdn_port_problem(struct sdn *s);

/* --- sdn-switch.c --- */

void sdn_switch_connect(struct sdn *s);
void sdn_switch_close(struct sdn *s);
int sdn_switch_step(struct sdn *s);

/* --- sdn-read.c --- */

/* Reads all flows, or those of s->only. */
void sdn_read(struct sdn *s);
void sdn_forget_only(struct sdn *s);
/* Begins a reading that can't wait any longer for other work: 1 if it did. */
int sdn_read_if_late(struct sdn *s);
/* Reads all flows (or just how many there are), when it is time. */
void sdn_read_poll(struct sdn *s, int64_t now_usec);
/* How soon to ask again whether it is. */
uint64_t sdn_read_poll_msec(const struct sdn *s);
/* Drops objects that are gone. */
void sdn_sweep(struct sdn *s);

/* --- sdn-ask.c --- */

int sdn_ask_flows(void *self, const char *what, backend_answer_fn *done, void *arg);
void sdn_asks_fail(struct sdn *s, const struct error *error);

/* --- sdn-counters.c --- */

/* Tells the server the totals that have changed. */
void sdn_counters_tell(struct sdn *s);
void sdn_counters_tell_one(struct sdn *s, struct sdn_object *object);
void sdn_counters_gone(struct sdn *s, struct sdn_object *object);
void sdn_counters_load(struct sdn *s);
int sdn_counters_save(struct sdn *s);
/* A base has changed. */
void sdn_counters_changed(struct sdn *s);
int sdn_counters_forget(struct sdn *s, struct error *error);

/* --- sdn-datapath.c --- */

/* "system" if this kernel has Open vSwitch's datapath, else "netdev". */
const char *sdn_datapath_find(void);
