/* The OpenVPN fabric: hub and spoke over one openvpn daemon, which lives on while we restart.
 *
 *     spoke ──► openvpn (client) ──► openvpn (server) of the node vpn/self names ──► its kernel
 *               cnsmo0                cnsmo0            forwards from spoke to spoke ◄──┘
 *
 * The server knows each node by a member file (ovpn.h) with its overlay address, and the client
 * range of a hub behind it; joining and leaving nodes are files and sessions, the daemon isn't
 * touched. On spokes a peer leaves no trace on the host but the note that it was taken over. */
#include "services/vpn/vpn-openvpn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/vpn/ovpn-certificate.h"
#include "services/vpn/ovpn.h"
#include "services/vpn/vpn-driver.h"
#include "services/vpn/vpn-openvpn-config.h"

enum {
    REMOTES_MAX = 16,
    TICK_MSEC = 1000, /* while it isn't as it should be */
    REASON_SIZE = 300,
};

#define DAEMON "openvpn-fabric"

struct vpn_openvpn {
    struct ovpn *daemon;
    int looked;               /* ovpn_observe() didn't fail */
    int64_t loaded_until_sec; /* of the certificate that the daemon has; 0: don't know */
    char waits_for[REASON_SIZE];
};

/* --- memory --- */

static void on_changed(void *arg)
{
    struct vpn *v = arg;

    reconcile_wake(v->env->reconcile);
}

void vpn_openvpn_start(struct vpn *v)
{
    const struct ovpn_env env = {.loop = v->env->loop,
                                 .run_dir = v->env->run_dir,
                                 .log_dir = v->env->log_dir,
                                 .children = v->children,
                                 .changed = on_changed,
                                 .arg = v};

    v->openvpn = xnew(struct vpn_openvpn);
    v->openvpn->daemon = ovpn_new(&env, DAEMON);
}

void vpn_openvpn_stop(struct vpn *v)
{
    if (v->openvpn) {
        ovpn_free(v->openvpn->daemon);
        free(v->openvpn);
        v->openvpn = NULL;
    }
}

static int is_server(const struct vpn *v)
{
    return strcmp(v->self.server, v->env->node) == 0;
}

/* --- looking --- */

static int owns_link(const struct netlink_link *link)
{
    return ovpn_device_offload(link) || (strcmp(link->kind, "tun") == 0 && link->persistent);
}

static int made_link(const struct vpn *v)
{
    return ovpn_device_ours(&v->device.link);
}

static void observe(struct vpn *v)
{
    struct error ignored;

    _cleanup_free_ char *path = xasprintf("%s/vpn/" DAEMON ".conf", v->env->run_dir);

    v->openvpn->looked = ovpn_observe(v->openvpn->daemon, &ignored) == 0;
    v->openvpn->loaded_until_sec = ovpn_certificate_loaded_in(path);
}

static void states(struct vpn *v, struct omap *states)
{
    omap_foreach (e, ovpn_members(v->openvpn->daemon)) {
        vpn_state_put(states, xasprintf(VPN_PEER_PREFIX "%s", e->key),
                      json_get_string(v->names, e->key, VPN_NOTE_OPENVPN));
    }
}

static int present(struct vpn *v)
{
    return ovpn_present(v->openvpn->daemon) || ovpn_members(v->openvpn->daemon)->len > 0 ||
           (v->device.ours && owns_link(&v->device.link));
}

/* --- what the daemon is told --- */

static void wait_for(struct vpn *v, const char *format, const char *id)
{
    snprintf(v->openvpn->waits_for, sizeof v->openvpn->waits_for, format, id);
}

/* Where the server is. -EAGAIN: we aren't told yet. */
static int find_server(struct vpn *v, struct ip4_endpoint *remotes, size_t *ret_len,
                       struct error *error)
{
    const struct vpn_peer *peer = omap_get(&v->peers, v->self.server);

    if (v->self.server[0] == '\0') {
        return error_set(error, 409, NULL,
                         "the fabric openvpn needs a hub for its server, and none has joined");
    }
    if (!peer) {
        wait_for(v, "it isn't known yet where %s is, which runs the OpenVPN server",
                 v->self.server);
        return -EAGAIN;
    }
    *ret_len = openvpn_remotes(peer->spec, v->self.cloud, remotes, REMOTES_MAX);
    if (*ret_len == 0) {
        return error_set(error, 409, NULL,
                         "%s runs the OpenVPN server, and has no address that is known here",
                         v->self.server);
    }
    return 0;
}

/* Does the kernel move the packets? A device that is there decides. */
static int has_offload(const struct vpn *v)
{
    const struct netlink_link *link = &v->device.link;

    /* With it openvpn looks its device up in the namespace that it runs in itself. */
    return v->self.sdn   ? 0
           : link->index ? ovpn_device_offload(link)
                         : ovpn_device_can_offload(v->nl);
}

/* What the daemon shall be; the caller frees *ret_text. */
static int make_spec(struct vpn *v, struct ovpn_spec *ret_spec, char **ret_text,
                     struct error *error)
{
    _cleanup_free_ char *certificate = xasprintf("%s/cert.pem", v->env->state_dir);
    struct ip4_endpoint remotes[REMOTES_MAX];
    struct openvpn_config config = {
        .state_dir = v->env->state_dir,
        .port = v->self.port,
        .mtu_bytes = v->self.mtu_bytes,
        .server = is_server(v),
        .loaded_until_sec =
            ovpn_certificate_choose(v->openvpn->loaded_until_sec,
                                    ovpn_certificate_end(certificate), clock_now_usec() / 1000000),
        .server_id = v->self.server,
        .remotes = remotes,
    };

    v->openvpn->waits_for[0] = '\0';
    int rc = config.server ? 0 : find_server(v, remotes, &config.remotes_len, error);
    if (rc < 0) {
        return rc;
    }
    *ret_text = openvpn_config_text(&config);
    *ret_spec = (struct ovpn_spec){.device = VPN_DEVICE,
                                   .moved = v->device.inside && v->device.link.carrier,
                                   .offload = has_offload(v),
                                   .server = config.server,
                                   .port = config.server ? v->self.port : 0,
                                   .text = *ret_text};
    return 0;
}

/* --- peers --- */

static struct ovpn_member member_of(const struct vpn *v, const struct vpn_peer *peer)
{
    return (struct ovpn_member){
        .address = peer->address, .mask_len = v->self.range.len, .route = peer->client_range};
}

/* Has the server the member it needs, and a spoke none? */
static int member_matches(const struct vpn *v, const char *id, const struct vpn_peer *peer)
{
    const struct ovpn *daemon = v->openvpn->daemon;

    if (!is_server(v)) {
        return !omap_get(ovpn_members(daemon), id);
    }
    struct ovpn_member member = member_of(v, peer);
    return ovpn_member_matches(daemon, id, &member);
}

static int ensure_member(struct vpn *v, const char *id, struct error *error)
{
    const struct vpn_peer *peer = omap_get(&v->peers, id);
    struct ovpn *daemon = v->openvpn->daemon;

    if (peer && is_server(v)) {
        struct ovpn_member member = member_of(v, peer);
        return ovpn_member_put(daemon, id, &member, error);
    }
    return omap_get(ovpn_members(daemon), id) ? ovpn_member_drop(daemon, id, error) : 0;
}

static enum backend_match compare_peer(struct vpn *v, const char *id, const char *note)
{
    if (strcmp(note, VPN_NOTE_OPENVPN) != 0) {
        return MATCH_REPLACE;
    }
    return member_matches(v, id, omap_get(&v->peers, id)) ? MATCH_SAME : MATCH_UPDATE;
}

static enum backend_match compare_client(struct vpn *v, const char *name)
{
    return MATCH_UPDATE;
}

static void apply_peers(struct vpn *v, struct backend_item *items, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const char *id = vpn_peer_of(items[i].key);
        if (items[i].result != RESULT_NOT_YET || (!id && !vpn_client_of(items[i].key))) {
            continue;
        }
        int rc = 0;
        if (id && id[0] != '?') {
            rc = ensure_member(v, id, &items[i].error);
        } else if (!id && items[i].spec) {
            rc = error_set(&items[i].error, 409, NULL, "WireGuard clients need fabric wireguard");
        }
        items[i].result = rc < 0 ? RESULT_FAILED : RESULT_DONE;
    }
}

static const char *peer_note(const json_t *spec)
{
    return VPN_NOTE_OPENVPN;
}

/* --- making it so --- */

static int matches(struct vpn *v)
{
    struct ovpn_spec spec;
    struct error ignored;
    _cleanup_free_ char *text = NULL;

    if (!v->openvpn->looked || make_spec(v, &spec, &text, &ignored) < 0 ||
        !ovpn_matches(v->openvpn->daemon, &spec) || vpn_key_renew_unused(v, &ignored) < 0) {
        return 0;
    }
    omap_foreach (e, &v->peers) {
        if (!member_matches(v, e->key, e->value)) {
            return 0;
        }
    }
    return 1;
}

/* A daemon takes its device where it runs itself: one that is to be started gets a new one. */
static int bring_out(struct vpn *v, struct error *error)
{
    int rc = ovpn_stop(v->openvpn->daemon, error);

    if (rc == 0) {
        rc = vpn_device_drop_link(v, &VPN_OPENVPN, error);
    }
    wait_for(v, "openvpn is started again%s", "");
    return rc < 0 ? rc : -EAGAIN;
}

static int finish(struct vpn *v, struct error *error)
{
    struct ovpn_spec spec;
    _cleanup_free_ char *text = NULL;

    int rc = vpn_key_renew_unused(v, error);
    rc = rc < 0 ? rc : make_spec(v, &spec, &text, error);
    omap_foreach (e, &v->peers) {
        rc = rc < 0 ? rc : ensure_member(v, e->key, error);
    }
    if (rc < 0) {
        return rc;
    }
    if (spec.server && !ovpn_crl_present(v->openvpn->daemon)) {
        wait_for(v, "the list of revoked certificates hasn't come yet%s", "");
        return -EAGAIN;
    }
    if (v->device.inside && !ovpn_runs(v->openvpn->daemon, &spec)) {
        return bring_out(v, error);
    }
    return ovpn_apply(v->openvpn->daemon, &spec, error);
}

/* With data-channel offload it comes with the daemon: a server's at once, a client's when it has
 * found the server. A daemon that is connected without one has lost it. */
static int make_link_by_daemon(struct vpn *v, struct error *error)
{
    struct ovpn *daemon = v->openvpn->daemon;

    if (ovpn_state(daemon) == OVPN_CONNECTED) {
        int rc = ovpn_stop(daemon, error);
        return rc < 0 ? rc : -EAGAIN;
    }
    int rc = finish(v, error);
    if (rc == 0) {
        wait_for(v, "openvpn makes its device when it has reached %s", v->self.server);
    }
    return rc < 0 ? rc : -EAGAIN;
}

static int make_link(struct vpn *v, struct error *error)
{
    if (has_offload(v)) {
        return make_link_by_daemon(v, error);
    }
    /* One that runs holds a device that is no more. */
    int rc = ovpn_stop(v->openvpn->daemon, error);
    if (rc < 0) {
        return rc;
    }
    rc = ovpn_device_make(v->nl, VPN_DEVICE);
    if (rc == -ENOENT || rc == -ENODEV) {
        return error_set(error, 500, NULL,
                         "the kernel has no tun devices: /dev/net/tun is missing");
    }
    return rc < 0 && rc != -EEXIST ? vpn_failed(rc, error, "create the device " VPN_DEVICE)
                                   : -EAGAIN;
}

/* The daemon must have taken its device before it goes where the daemon doesn't find it; a client
 * does so when it has found its server. */
static int can_move(struct vpn *v, struct error *error)
{
    const struct netlink_link *link = &v->device.link;
    int rc;

    if (ovpn_device_offload(link)) {
        rc = ovpn_stop(v->openvpn->daemon, error); /* and its device goes with it */
        return rc < 0 ? rc : -EAGAIN;
    }
    if (!link->up) {
        rc = netlink_link_set_up(v->nl, link->index, 1);
        if (rc < 0) {
            return vpn_failed(rc, error, "bring the tunnel up");
        }
    }
    rc = finish(v, error);
    if (rc == 0 && !link->carrier) {
        wait_for(v, "openvpn takes its device when it has reached %s", v->self.server);
    }
    return rc < 0 ? rc : link->carrier ? 0 : -EAGAIN;
}

/* With all that the daemon knows: nobody notices. */
static int move(struct vpn *v, int inside, struct error *error)
{
    int index = v->device.link.index, rc;
    _cleanup_close_ int host = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

    if (host < 0) {
        return vpn_failed(-errno, error, "open the host's network namespace");
    }
    rc = netlink_link_move(vpn_tunnel_netlink(v), index, inside ? v->inner.fd : host);
    return vpn_failed(rc, error, "move the tunnel");
}

static int take_away(struct vpn *v, struct error *error)
{
    struct ovpn *daemon = v->openvpn->daemon;

    int rc = ovpn_present(daemon) ? ovpn_remove(daemon, error) : 0;
    omap_foreach (e, ovpn_members(daemon)) {
        rc = rc < 0 ? rc : ovpn_member_drop(daemon, e->key, error);
    }
    if (rc == -EAGAIN) {
        wait_for(v, "openvpn is ending%s", "");
    }
    return rc < 0 ? rc : vpn_device_drop_link(v, &VPN_OPENVPN, error);
}

/* --- revoked certificates --- */

int vpn_openvpn_crl_present(const struct vpn *v)
{
    return ovpn_crl_present(v->openvpn->daemon);
}

int vpn_openvpn_crl_matches(const struct vpn *v, const json_t *spec)
{
    return ovpn_crl_matches(v->openvpn->daemon, json_get_string(spec, "pem", ""));
}

int vpn_openvpn_crl_apply(struct vpn *v, const json_t *spec, struct error *error)
{
    return spec ? ovpn_crl_put(v->openvpn->daemon, json_get_string(spec, "pem", ""), error)
                : ovpn_crl_drop(v->openvpn->daemon, error);
}

/* --- telling --- */

static int64_t tick_msec(const struct vpn *v)
{
    return v->starting ? TICK_MSEC : -1;
}

static void tick(struct vpn *v)
{
    reconcile_wake(v->env->reconcile);
}

static const char *waits_for(const struct vpn *v)
{
    const char *message = ovpn_message(v->openvpn->daemon);

    return v->openvpn->waits_for[0] ? v->openvpn->waits_for : message[0] ? message : NULL;
}

static int hangs(const struct vpn *v)
{
    return ovpn_state(v->openvpn->daemon) == OVPN_HUNG;
}

static const char *backend(const struct vpn *v)
{
    if (!v->device.link.index || !owns_link(&v->device.link)) {
        return NULL;
    }
    return ovpn_device_offload(&v->device.link) ? "ovpn-dco" : "openvpn";
}

static const struct ovpn_session *session_of(const struct vpn *v, const char *id)
{
    size_t len;
    const struct ovpn_session *sessions = ovpn_sessions(v->openvpn->daemon, &len);

    for (size_t i = 0; i < len; i++) {
        if (strcmp(sessions[i].name, id) == 0) {
            return &sessions[i];
        }
    }
    return NULL;
}

static json_t *peer_status(struct vpn *v, const char *id, const struct vpn_peer *peer,
                           struct vpn_count *count)
{
    const struct ovpn_session *session = is_server(v) ? session_of(v, id) : NULL;
    int is_hub = !is_server(v) && strcmp(id, v->self.server) == 0;
    int connected = session || (!is_server(v) && ovpn_state(v->openvpn->daemon) == OVPN_CONNECTED);
    int direct = session || (is_hub && connected), through = connected && !direct;
    char time[CLOCK_TEXT_SIZE];

    count->direct += (size_t)direct;
    count->hub += (size_t)through;
    count->none += (size_t)!connected;
    count->hubs += (size_t)is_hub;
    count->hub_alive |= is_hub && connected;
    return json_pack("{s:s, s:s, s:s?, s:s?, s:I, s:I}", "node", id, "path",
                     direct    ? "direct"
                     : through ? "hub"
                               : "none",
                     "via", through ? v->self.server : NULL, "lastHandshake",
                     session ? clock_format(session->since_sec * 1000000, time) : NULL, "rxBytes",
                     session ? (json_int_t)session->rx_bytes : 0, "txBytes",
                     session ? (json_int_t)session->tx_bytes : 0);
}

const struct vpn_fabric VPN_OPENVPN = {
    .name = "openvpn",
    .owns_link = owns_link,
    .made_link = made_link,
    .observe = observe,
    .states = states,
    .present = present,
    .can_move = can_move,
    .move = move,
    .make_link = make_link,
    .matches = matches,
    .finish = finish,
    .remove = take_away,
    .compare_peer = compare_peer,
    .compare_client = compare_client,
    .apply_peers = apply_peers,
    .peer_note = peer_note,
    .tick_msec = tick_msec,
    .tick = tick,
    .waits_for = waits_for,
    .hangs = hangs,
    .backend = backend,
    .peer_status = peer_status,
};
