/* ovpn.h - one openvpn daemon as a child of the agent: its files, its process, its sessions.
 *
 *     ovpn-process.c     configuration, child, adoption after the agent's restart, state
 *     ovpn-members.c     who may connect (server)
 *     ovpn-revoked.c     the list of revoked certificates
 *     ovpn-management.c  the connection to the management socket
 *     ovpn-status.c      parses what it answers (pure)
 *     ovpn-device.c      the device that outlives the daemon
 *
 * Files, all under <run_dir>/vpn: <name>.conf, <name>.sock (management), <name>.crl, <name>.d/
 * (one file per member), <name>.serials (what certificate each session showed); the child is
 * called <name> too, so its log is <log_dir>/<name>.log, which goes to <name>.log.1 when it has
 * 1 MiB. What the daemon was started with is told by a hash of its configuration among its
 * arguments: so a daemon that runs with another text is known after any restart, and one with the
 * same is kept.
 *
 * In a driver, in this order:
 *
 *     start    ovpn_new()
 *     observe  ovpn_observe(); then ovpn_present(), ovpn_members() say what is on the host
 *     compare  ovpn_matches(), ovpn_member_matches(), ovpn_crl_matches()
 *     apply    ovpn_crl_put(), ovpn_member_put()/drop(), ovpn_apply() or ovpn_remove()
 *     watch    `changed` is called when the state changed: reconcile_wake()
 *     status   ovpn_state(), ovpn_message(), ovpn_sessions()
 *     stop     ovpn_free(): the daemon goes on
 *
 *                  ovpn_apply()              "CONNECTED"
 *     OFF, ENDED ───────────────► STARTING ─────────────► CONNECTED ◄──► RECONNECTING (client)
 *          ▲                          └──────── no answer for 3 s ────────┴──────► HUNG
 *          └──── it ended: ENDED; ovpn_stop(): OFF ◄──────────────────────────────────┘
 *
 * Nothing blocks: what takes a moment returns -EAGAIN and is called again. A daemon that stays
 * hung is killed and started again by ovpn_apply(). Everything that changes the host is a fault
 * point (lib/fault.h) and idempotent. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/error.h"
#include "lib/netlink.h"
#include "lib/omap.h"
#include "lib/spawn.h"
#include "services/vpn/ovpn-status.h"

struct ovpn;

enum ovpn_state {
    OVPN_OFF,          /* no daemon */
    OVPN_STARTING,     /* it runs, and hasn't been connected yet */
    OVPN_CONNECTED,    /* server: takes sessions; client: has one */
    OVPN_RECONNECTING, /* client: had a session, or looks for its first for a while */
    OVPN_HUNG,         /* it runs and doesn't answer */
    OVPN_ENDED,        /* it ended by itself, or couldn't be started */
};

struct ovpn_env {
    uv_loop_t *loop;
    const char *run_dir, *log_dir;
    struct children *children; /* the driver's; lives as long as the daemon's object */
    /* The state changed. From the loop, never from within a call of this file; must not free the
     * object. */
    void (*changed)(void *arg);
    void *arg;
};

struct ovpn_spec {
    const char *device; /* exists already, see ovpn_device_make(); */
    int moved;          /* the daemon has it, but it isn't where the daemon is any more */
    int offload;        /* or the daemon makes it, in the kernel's data channel */
    int server;    /* takes sessions of members; else it connects to `remote` lines in `text` */
    uint16_t port; /* UDP port that it binds, so that we look whether it's free; 0: none */
    /* The rest of the configuration, lines as in openvpn(8): mode, certificates, port, timers. We
     * add device, management, members and CRL (server), and that it leaves addresses and routes to
     * us. */
    const char *text;
};

/* Nothing is touched or looked at yet. `name` is of the child and of the files. */
struct ovpn *ovpn_new(const struct ovpn_env *env, const char *name);
/* Frees the memory (the loop must run once more); the daemon goes on. NULL in, NULL out. */
struct ovpn *ovpn_free(struct ovpn *o);

/* Looks for the daemon and its files, watches the one and reads the other. */
int ovpn_observe(struct ovpn *o, struct error *error);
/* As of ovpn_observe(): is the daemon or its configuration there? Members and CRL don't count. */
int ovpn_present(const struct ovpn *o);
/* Runs it with this configuration, whether it works or not? */
int ovpn_runs(struct ovpn *o, const struct ovpn_spec *spec);
/* Runs it with this configuration, and answers (server: and is connected)? */
int ovpn_matches(struct ovpn *o, const struct ovpn_spec *spec);

/* Makes it so. -EAGAIN: it's on its way. An error is a sentence for the user: a missing package, a
 * taken port, what the daemon last logged. A server's CRL must have been put before. */
int ovpn_apply(struct ovpn *o, const struct ovpn_spec *spec, struct error *error);

/* Ends it: asks first, so that it can tell the other ends, and kills it some seconds later.
 * -EAGAIN: it still runs. */
int ovpn_stop(struct ovpn *o, struct error *error);
/* The same, and removes configuration and socket. Members and CRL are removed one by one. */
int ovpn_remove(struct ovpn *o, struct error *error);

enum ovpn_state ovpn_state(const struct ovpn *o);
/* A sentence about the state; "" if there is nothing to say. */
const char *ovpn_message(const struct ovpn *o);
/* Of a client that is connected: where the other end is; port 0 if it isn't. */
struct ip4_endpoint ovpn_peer(const struct ovpn *o);
/* As of the last answer, at most a second old; valid until the loop runs again. */
const struct ovpn_session *ovpn_sessions(const struct ovpn *o, size_t *ret_len);

/* --- who may connect to a server --- */

/* A member is known by its certificate's common name. */
struct ovpn_member {
    uint32_t address;
    uint8_t mask_len;
    struct ip4_prefix route; /* addresses behind it that it also sends from; len 0: none */
};

/* As of the last look or change: common name -> something. Valid until the next call. */
const struct omap *ovpn_members(const struct ovpn *o);
int ovpn_member_matches(const struct ovpn *o, const char *name, const struct ovpn_member *member);
/* From now on it may connect and gets this address. A session that it has with another one (or
 * another route) is ended, and the other end told to come back. */
int ovpn_member_put(struct ovpn *o, const char *name, const struct ovpn_member *member,
                    struct error *error);
/* It may no longer, and its session is cut. */
int ovpn_member_drop(struct ovpn *o, const char *name, struct error *error);

/* PEM, one or several CRLs. The daemon reads it at the next handshake; sessions whose certificate
 * a new list revokes are cut. One that came up while no agent was there to see its certificate is
 * told to come back, so that the daemon looks. */
int ovpn_crl_present(const struct ovpn *o);
int ovpn_crl_matches(const struct ovpn *o, const char *pem);
int ovpn_crl_put(struct ovpn *o, const char *pem, struct error *error);
int ovpn_crl_drop(struct ovpn *o, struct error *error);

/* --- the device --- */

/* Does the kernel have data-channel offload? Then openvpn makes the device itself, and it goes
 * with the daemon; else ovpn_device_make() makes one before. */
int ovpn_device_can_offload(struct netlink *nl);

/* Makes a persistent tun device, marked as ours. -EEXIST if there is one of this name. The caller
 * sets address, MTU and routes. Removed with netlink_link_delete(). */
int ovpn_device_make(struct netlink *nl, const char *name);

/* Is it one that ovpn_device_make() or a daemon of ours made? */
int ovpn_device_ours(const struct netlink_link *link);

/* Is it the kernel that moves the packets? */
int ovpn_device_offload(const struct netlink_link *link);

/* Does a program hold the device of this name, here? */
int ovpn_device_held(const char *name);
