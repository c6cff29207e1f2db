/* vpn-driver.h - the parts of the agent's vpn driver, and what they share.
 *
 *     vpn-wireguard.c  the backend: brings the parts together
 *     vpn-key.c        the private key; running programs
 *     vpn-device.c     device, child, address, routes, sysctl, MTU
 *     vpn-redirects.c  a sysctl that the kernel's WireGuard changes behind our back
 *     vpn-guard.c      the nftables table
 *     vpn-peers.c      peers: resources and dump in, `wg set` out
 *     vpn-path.c       decides about each peer's way (pure)
 *     vpn-dump.c       parses the dump (pure)
 *     vpn-report.c     facts and status
 *
 * Everything runs on the loop's thread. */
#pragma once

#include <jansson.h>
#include <uv.h>

#include "core/backend.h"
#include "lib/netlink.h"
#include "lib/omap.h"
#include "lib/spawn.h"
#include "services/vpn/vpn-dump.h"
#include "services/vpn/vpn-path.h"

#define VPN_DEVICE "cnsmo0"
#define VPN_TABLE "cnsmo_vpn"
#define VPN_CHILD "wireguard-go"

/* vpn/self/<node>, checked. */
struct vpn_self_spec {
    uint32_t address;
    struct ip4_prefix range;
    uint16_t port;
    unsigned mtu_bytes; /* 0: we choose */
    int hub, public;
    char cloud[64];
};

/* One vpn/peer/<node> that isn't about ourselves. */
struct vpn_peer {
    json_t *spec; /* as last taken over */
    char key[KEY_TEXT_SIZE];
    uint32_t address;
    struct path_peer path;
    struct dump_peer last;                 /* as last seen on the device; for status */
    char reported[IP4_ENDPOINT_TEXT_SIZE]; /* our endpoint fact; "" none */
};

/* What of ours is on the host, but for peers. */
struct vpn_device_state {
    struct netlink_link link;          /* index 0: there is no device of that name */
    int ours;                          /* the device is */
    int reachable;                     /* wg can talk to it: `dump` is filled */
    struct netlink_address *addresses; /* on the device */
    size_t addresses_len;
    struct netlink_route *routes; /* with our mark */
    size_t routes_len;
    int forwarding;
    unsigned chosen_mtu_bytes; /* that the device shall have if none is given */
};

struct vpn {
    const struct backend_env *env;
    struct netlink *nl;
    struct netlink_watch *watch;
    struct children *children;
    uv_timer_t *tick; /* steps the paths while there are peers */
    uv_timer_t *calm; /* route events are looked at when they have calmed down */
    int ticking;

    json_t *self_json; /* vpn/self as last taken over; NULL: none */
    struct vpn_self_spec self;
    struct omap peers; /* id -> struct vpn_peer */
    json_t *names;     /* id -> public key, of all that was applied, ourselves too; kept in
                        * run_dir so that peers on the device have names after a restart */
    struct path path;

    struct dump dump; /* as of the last observe or tick */
    struct vpn_device_state device;
    int64_t child_started_usec;
    char private_key[KEY_TEXT_SIZE]; /* "" until it is loaded or made */

    struct vpn_guard {
        int dirty;                 /* the table may have changed since it was looked at */
        int present;               /* it is there */
        json_t *listed;            /* as nft lists it */
        json_t *wanted, *accepted; /* our last document, and how nft listed it thereafter */
    } guard;

    json_t *self_fact; /* as last reported; NULL: none */
    char problem[512]; /* why the device isn't as it should be; "" if it is */
    int starting;      /* ... because it takes a moment */
};

/* A local command; when the program is missing the error names the Debian package. `input` may
 * be NULL. */
int vpn_run(const char *const *argv, const char *input, struct buf *out, struct error *error);

/* Writes a file of ours: a fault point. */
int vpn_write(const char *path, const char *text, mode_t mode);

/* Before a kernel's device is made, and after it is gone. */
void vpn_redirects_keep(const struct vpn *v);
int vpn_redirects_restore(const struct vpn *v, struct error *error);

/* --- device --- */

/* The caller frees it. */
char *vpn_key_path(const struct vpn *v);
/* Loads or makes the private key. */
int vpn_device_key(struct vpn *v, struct error *error);
/* Fills v->device and v->dump. */
int vpn_device_observe(struct vpn *v, struct error *error);
/* Anything of ours there? */
int vpn_device_present(const struct vpn *v);
/* Is it as v->self says? */
int vpn_device_matches(const struct vpn *v);
/* -EAGAIN: it is being started. */
int vpn_device_apply(struct vpn *v, struct error *error);
int vpn_device_remove(struct vpn *v, struct error *error);
void vpn_device_state_done(struct vpn_device_state *state);
/* Only what netlink says, without running a program: `reachable` stays 0. */
int vpn_device_look(struct vpn *v, struct vpn_device_state *ret_state);
/* Does netlink say anything else than v->self? For a look after a route event. */
int vpn_device_drifted(struct vpn *v);

/* --- guard --- */

int vpn_guard_observe(struct vpn *v, struct error *error);
int vpn_guard_matches(const struct vpn *v);
int vpn_guard_apply(struct vpn *v, struct error *error);
int vpn_guard_remove(struct vpn *v, struct error *error);
void vpn_guard_done(struct vpn *v);

/* --- peers --- */

int vpn_self_parse(const json_t *spec, struct vpn_self_spec *ret, struct error *error);
/* Takes a resource over; the peer's tries begin anew if it changed. */
int vpn_peer_take(struct vpn *v, const char *id, const json_t *spec, struct error *error);
void vpn_peer_drop(struct vpn *v, const char *id);
void vpn_peers_clear(struct vpn *v);
/* Runs `wg show dump` into v->dump. */
int vpn_peers_dump(struct vpn *v, struct error *error);
/* Is the peer on the device as its path wants it? */
int vpn_peer_matches(const struct vpn *v, const struct vpn_peer *peer);
/* One step of all paths with v->dump. */
void vpn_peers_step(struct vpn *v);
/* Makes the device's peers match; `gone` are keys to remove. One command; none if all match. */
int vpn_peers_apply(struct vpn *v, const char *const *gone, size_t gone_len, struct error *error);
struct path_now vpn_now(void);

/* id <-> key of what was applied. */
const char *vpn_name_of(const struct vpn *v, const char *key);
int vpn_names_save(struct vpn *v);

/* --- report --- */

void vpn_report_self(struct vpn *v);
void vpn_report_endpoints(struct vpn *v);
void vpn_report_gone(struct vpn *v, const char *id);
json_t *vpn_status(void *self);
