/* vpn-driver.h - the parts of the agent's vpn driver, and what they share.
 *
 *     vpn-backend.c          the backend: brings the parts together
 *     vpn-resources.c        resources -> memory
 *     vpn-look.c             what of ours is on the host
 *     vpn-device.c           device, address, routes, sysctl, MTU; asks the fabrics
 *     vpn-inner.c            the namespace that the tunnel is in when sdn is on, and the way there
 *     vpn-voice.c            whose address the namespace's own messages have
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
#include "services/overlay.h"
#include "services/vpn/vpn-dump.h"
#include "services/vpn/vpn-fabric.h"
#include "services/vpn/vpn-path.h"

#define VPN_DEVICE OVERLAY_TUNNEL
#define VPN_CLIENTS_DEVICE "cnsmo-clients" /* of outside clients; another driver's */
#define VPN_TABLE "cnsmo_vpn"
#define VPN_PEER_PREFIX "vpn/peer/"
#define VPN_CLIENT_PREFIX "vpn/client/wireguard/"
#define VPN_NOTE_OPENVPN "openvpn" /* in the place of a key, of peers applied there */

enum {
    VPN_ID_SIZE = 64, /* of a node, with NUL */
    /* Of the veth's inner end, and of the host as the namespace sees it: 169.254.77.1 and .2 */
    VPN_INNER_ADDRESS = 0xa9fe4d01,
    VPN_BRIDGE_ADDRESS = 0xa9fe4d02,
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
    int sdn; /* the tunnel goes into the namespace, and the overlay through the bridge */
    char cloud[64];
    char server[VPN_ID_SIZE];  /* whose OpenVPN server all use; "" none */
    json_int_t key_generation; /* that the WireGuard key shall have at least */
    /* Our WireGuard key as the others are told it at the same moment; "" they aren't. */
    char told_key[KEY_TEXT_SIZE];
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

/* The namespace that the tunnel is in when sdn is on, and what leads there (services/overlay.h).
 */
struct vpn_inner_state {
    int present;                       /* there is a namespace of the name */
    int strange;                       /* and it isn't ours */
    struct netlink_link port;          /* the veth's end on the host; index 0: none */
    struct netlink_link inner;         /* and the other one */
    struct netlink_address *addresses; /* in the namespace, of all links */
    size_t addresses_len;
    struct netlink_route *routes; /* in the namespace, with our mark */
    size_t routes_len;
    struct netlink_neighbour *neighbours; /* in the namespace */
    size_t neighbours_len;
    int lo_index;   /* of its loopback device */
    uint32_t voice; /* whose address its own messages have; 0: not one that would do */
    int furnished;  /* its sysctls are as we set them */
    int offloads;   /* the veth's inner end leaves checksums to others */
};

/* What of ours is on the host, but for peers. */
struct vpn_device_state {
    struct netlink_link link;   /* the tunnel; index 0: there is none */
    int inside;                 /* it is in the namespace */
    int ours;                   /* the tunnel is */
    struct netlink_link bridge; /* sdn's, once it is ready to be used; index 0: it isn't there */
    struct netlink_address *addresses; /* of all links */
    size_t addresses_len;
    struct netlink_route *routes; /* with our mark, but those of the clients' device */
    size_t routes_len;
    struct netlink_neighbour *neighbours;
    size_t neighbours_len;
    unsigned chosen_mtu_bytes; /* that the device shall have if none is given */
    struct vpn_inner_state inner;
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
    struct vpn_inner { /* our hold on the namespace; while it is there */
        int fd;        /* -1: none */
        struct netlink *nl;
        struct netlink_watch *watch;
        uv_fs_event_t *names; /* tells that a namespace got or lost its name */
    } inner;
    int64_t
        waits_usec; /* since when the tunnel could go inside, but for the bridge; 0: it doesn't */
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

/* An event of netlink's, also of the namespace's. */
void vpn_on_event(void *arg, enum netlink_event event, const char *table);

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

/* --- looking --- */

/* Fills *ret_state anew; what it was before doesn't matter. */
int vpn_look(struct vpn *v, struct vpn_device_state *ret_state);
void vpn_device_state_done(struct vpn_device_state *state);
/* Shall the overlay go through sdn's bridge, with the tunnel in the namespace? Not while a tunnel
 * that is in use waits for the bridge. */
int vpn_is_inside(const struct vpn *v, const struct vpn_device_state *state);
/* The link that has, or shall have, the overlay's address; index 0: it isn't there. */
const struct netlink_link *vpn_overlay_link(const struct vpn *v,
                                            const struct vpn_device_state *state);
/* Its name. */
const char *vpn_overlay_name(const struct vpn *v);
/* To change the tunnel's link, wherever it is. */
struct netlink *vpn_tunnel_netlink(const struct vpn *v);
/* Runs a command where the tunnel's link is. */
int vpn_run_at_tunnel(struct vpn *v, const char *const *argv, struct buf *out,
                      struct error *error);

/* --- the namespace --- */

/* Part of vpn_look(), after the host's links. */
int vpn_inner_look(struct vpn *v, struct vpn_device_state *state);
void vpn_inner_state_done(struct vpn_inner_state *state);
/* Anything of ours there? */
int vpn_inner_present(const struct vpn_device_state *state);
/* Is it there as it must be (or, without sdn, not at all)? */
int vpn_inner_matches(const struct vpn *v, const struct vpn_device_state *state);
/* Namespace and veth; they do no harm before the tunnel is in it. */
int vpn_inner_apply(struct vpn *v, struct error *error);
/* Address, routes and neighbours of both sides; when tunnel and bridge are there. */
int vpn_inner_connect(struct vpn *v, struct error *error);
int vpn_inner_remove(struct vpn *v, struct error *error);
/* The address that ICMP errors of the namespace come from. */
void vpn_voice_look(struct vpn *v, struct vpn_inner_state *inner);
int vpn_voice_apply(struct vpn *v);
/* Lets go of the namespace; it stays. */
void vpn_inner_release(struct vpn *v);

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
/* Everything about the peers' ways: the device is gone, or will have all peers anew. */
void vpn_wireguard_forget(struct vpn *v);
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
