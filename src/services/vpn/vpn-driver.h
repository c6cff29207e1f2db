/* vpn-driver.h - the parts of the agent's vpn driver, and what they share.
 *
 *     vpn-backend.c          the backend: brings the parts together
 *     vpn-resources.c        resources -> memory
 *     vpn-device.c           device, address, routes, sysctl, MTU; asks the fabrics
 *     vpn-guard.c            the nftables table
 *     vpn-report.c           facts and status
 *     vpn-key.c              WireGuard's private key, and the next one; running programs
 *   WireGuard (vpn-fabric.h)
 *     vpn-wireguard.c        link, child, key and port
 *     vpn-wireguard-peers.c  peers: memory and dump in, `wg set` out
 *     vpn-redirects.c        a sysctl that the kernel's WireGuard changes behind our back
 *     vpn-path.c             decides about each peer's way (pure)
 *     vpn-dump.c             parses the dump (pure)
 *   OpenVPN (vpn-fabric.h)
 *     vpn-openvpn.c          link, daemon, the hub's folder of known nodes
 *     vpn-openvpn-config.c   what stands in the daemon's files (pure)
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
#include "services/vpn/vpn-fabric.h"
#include "services/vpn/vpn-path.h"

#define VPN_DEVICE "cnsmo0"
#define VPN_CLIENTS_DEVICE "cnsmo-clients" /* of outside clients; another driver's */
#define VPN_TABLE "cnsmo_vpn"
#define VPN_PEER_PREFIX "vpn/peer/"
#define VPN_CLIENT_PREFIX "vpn/client/wireguard/"
#define VPN_NOTE_OPENVPN "openvpn" /* in the place of a key, of peers applied there */

enum {
    VPN_ID_SIZE = 64, /* of a node, with NUL */
};

/* vpn/self/<node>, checked. */
struct vpn_self_spec {
    const struct vpn_fabric *fabric;
    uint32_t address;
    struct ip4_prefix range;
    struct ip4_prefix client_range; /* len 0: none */
    uint16_t port;
    unsigned mtu_bytes; /* 0: we choose */
    int hub, public;
    char cloud[64];
    char server[VPN_ID_SIZE];  /* whose OpenVPN server all use; "" none */
    json_int_t key_generation; /* that the WireGuard key shall have at least */
};

/* One vpn/peer/<node> that isn't about ourselves. */
struct vpn_peer {
    json_t *spec;            /* as last taken over */
    char key[KEY_TEXT_SIZE]; /* "" while its node has reported none */
    uint32_t address;
    struct ip4_prefix client_range; /* len 0: none */
    struct path_peer path;
    struct dump_peer last;                 /* as last seen on the device; for status */
    char reported[IP4_ENDPOINT_TEXT_SIZE]; /* our endpoint fact; "" none */
};

/* One vpn/client/wireguard/<name>: a machine or telephone outside that we are the hub of. */
struct vpn_client {
    char key[KEY_TEXT_SIZE];
    uint32_t address;
    struct dump_peer last;
    int present; /* on the device, as it shall be */
};

/* What of ours is on the host, but for peers. */
struct vpn_device_state {
    struct netlink_link link;          /* index 0: there is no device of that name */
    int ours;                          /* the device is */
    struct netlink_address *addresses; /* on the device */
    size_t addresses_len;
    struct netlink_route *routes; /* with our mark, but those of the clients' device */
    size_t routes_len;
    int forwarding;
    unsigned chosen_mtu_bytes; /* that the device shall have if none is given */
};

struct vpn_openvpn;

struct vpn {
    const struct backend_env *env;
    struct netlink *nl;
    struct netlink_watch *watch;
    struct children *children;
    uv_timer_t *tick; /* the fabric's */
    uv_timer_t *calm; /* route events are looked at when they have calmed down */
    int ticking;

    json_t *self_json;               /* vpn/self as last taken over; NULL: none */
    const struct vpn_fabric *fabric; /* in force; NULL while there is no vpn/self */
    struct vpn_self_spec self;
    struct omap peers;   /* id -> struct vpn_peer */
    struct omap clients; /* name -> struct vpn_client */
    json_t *names;       /* id -> what the fabric notes (WireGuard: the public key), of all that
                          * was applied, ourselves too, and "/name" for clients; kept in run_dir
                          * so that peers on the device have names after a restart */
    struct vpn_device_state device;
    char problem[512]; /* why the device isn't as it should be; "" if it is */
    int starting;      /* ... because it takes a moment */
    json_t *self_fact; /* as last reported; NULL: none */

    struct vpn_guard {
        int dirty;                 /* the table may have changed since it was looked at */
        int present;               /* it is there */
        json_t *listed;            /* as nft lists it */
        json_t *wanted, *accepted; /* our last document, and how nft listed it thereafter */
    } guard;

    /* WireGuard's */
    struct path path;
    int reachable;    /* there is a device of ours that wg can talk to: `dump` is filled */
    struct dump dump; /* as of the last observe or tick */
    int64_t child_started_usec;
    struct vpn_keys {
        char private[KEY_TEXT_SIZE], public[KEY_TEXT_SIZE]; /* "" until loaded or made */
        /* The key that comes next: the server is told of it, and it is taken when its peers have
         * been. "" there is none */
        char next_private[KEY_TEXT_SIZE], next_public[KEY_TEXT_SIZE];
    } keys;

    struct vpn_openvpn *openvpn;
};

/* A local command; when the program is missing the error names the Debian package. `input` may
 * be NULL. */
int vpn_run(const char *const *argv, const char *input, struct buf *out, struct error *error);

/* Writes or removes a file of ours: a fault point. No such file is fine. */
int vpn_write(const char *path, const char *text, mode_t mode);
int vpn_unlink(const char *path);

/* 0, or a negative errno with "cannot <what>: <why>". */
int vpn_failed(int rc, struct error *error, const char *what);

/* -EADDRINUSE, with a sentence, if another program has the UDP port. */
int vpn_port_free(const struct vpn *v, struct error *error);

/* Before a kernel's device is made, and after it is gone. */
void vpn_redirects_keep(const struct vpn *v);
int vpn_redirects_kept(const struct vpn *v);
int vpn_redirects_restore(const struct vpn *v, struct error *error);

/* --- WireGuard's key --- */

/* The caller frees it. */
char *vpn_key_path(const struct vpn *v);
/* Loads the private key, or makes it; and the next one, if vpn/self wants a newer generation. */
int vpn_key_ready(struct vpn *v, struct error *error);
/* The same where no WireGuard device has the key: nothing is made that wasn't there, and a newer
 * generation is taken at once. */
int vpn_key_renew_unused(struct vpn *v, struct error *error);
/* The next key becomes the key; the device must be told. */
int vpn_key_switch(struct vpn *v, struct error *error);
/* The key that the others shall know, or "". */
const char *vpn_key_told(const struct vpn *v);

/* --- device --- */

/* Fills v->device, and what the fabrics see. */
int vpn_device_observe(struct vpn *v, struct error *error);
/* Anything of ours there? */
int vpn_device_present(struct vpn *v);
/* Is it as v->self says? */
int vpn_device_matches(struct vpn *v);
/* -EAGAIN: it is being started. */
int vpn_device_apply(struct vpn *v, struct error *error);
int vpn_device_remove(struct vpn *v, struct error *error);
/* For fabrics: deletes the link if it is ours and theirs. */
int vpn_device_drop_link(struct vpn *v, const struct vpn_fabric *fabric, struct error *error);
void vpn_device_state_done(struct vpn_device_state *state);
/* Does netlink say anything else than v->self? For a look after a route event. */
int vpn_device_drifted(struct vpn *v);

/* --- guard --- */

int vpn_guard_observe(struct vpn *v, struct error *error);
int vpn_guard_matches(const struct vpn *v);
int vpn_guard_apply(struct vpn *v, struct error *error);
int vpn_guard_remove(struct vpn *v, struct error *error);
void vpn_guard_done(struct vpn *v);

/* --- resources --- */

/* The node of a peer's key, the name of a client's; NULL if it is another's. */
const char *vpn_peer_of(const char *key);
const char *vpn_client_of(const char *key);

int vpn_self_parse(const json_t *spec, struct vpn_self_spec *ret, struct error *error);
/* Takes a resource over; the peer's tries begin anew if it changed. */
int vpn_peer_take(struct vpn *v, const char *id, const json_t *spec, struct error *error);
void vpn_peer_drop(struct vpn *v, const char *id);
void vpn_peers_clear(struct vpn *v);
int vpn_client_take(struct vpn *v, const char *name, const json_t *spec, struct error *error);
void vpn_client_drop(struct vpn *v, const char *name);
/* What vpn/self says may have changed since: endpoints are sorted again. */
void vpn_peer_reconfigure(struct vpn *v, const char *id, struct vpn_peer *peer);

/* id <-> key of what was applied. */
const char *vpn_name_of(const struct vpn *v, const char *key);
/* `id` may be "/name"; NULL `note` removes. */
int vpn_name_set(struct vpn *v, const char *id, const char *note);
void vpn_names_load(struct vpn *v);
int vpn_names_save(struct vpn *v);

/* One per resource key: what of it is on the host. */
struct vpn_state {
    char note[KEY_TEXT_SIZE]; /* of a peer, as v->names has it */
};
/* Takes `name`. */
void vpn_state_put(struct omap *states, char *name, const char *note);

/* --- WireGuard's peers --- */

/* Runs `wg show dump` into v->dump. */
int vpn_wireguard_dump(struct vpn *v, struct error *error);
enum backend_match vpn_wireguard_compare_peer(struct vpn *v, const char *id, const char *note);
enum backend_match vpn_wireguard_compare_client(struct vpn *v, const char *name);
void vpn_wireguard_apply_peers(struct vpn *v, struct backend_item *items, size_t len);
void vpn_wireguard_states(struct vpn *v, struct omap *states);
const char *vpn_wireguard_peer_note(const json_t *spec);
json_t *vpn_wireguard_peer_status(struct vpn *v, const char *id, const struct vpn_peer *peer,
                                  struct vpn_count *count);
int64_t vpn_wireguard_tick_msec(const struct vpn *v);
void vpn_wireguard_tick(struct vpn *v);
/* The others were given our new key: all peers begin anew, as if we had just come. */
int vpn_wireguard_begin_again(struct vpn *v, struct error *error);
struct path_now vpn_now(void);

/* --- report --- */

void vpn_report_self(struct vpn *v);
void vpn_report_endpoints(struct vpn *v);
void vpn_report_gone(struct vpn *v, const char *id);
/* The name of the hub that carries what has no direct way, or NULL. */
const char *vpn_active_hub(const struct vpn *v);
json_t *vpn_status(void *self);
