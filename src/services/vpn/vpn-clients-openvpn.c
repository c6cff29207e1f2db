/* Outside clients on a hub: an OpenVPN server of their own beside the overlay's device.
 *
 *     vpn/clients/<node>           device, address, route, and the daemon
 *     vpn/client/openvpn/<name>    that the daemon lets this client in, with its address
 *     vpn/crl                      certificates that are revoked; other drivers have a copy, too
 *
 * A client reaches nodes and other clients through this host's kernel, so that the guard and
 * whatever filters on the overlay see all of it. Certificates of nodes are refused here, and
 * clients' everywhere else: an extended key usage of ours tells them apart.
 *
 *     netlink: link, address, route ──► calm timer ──► drifted? ──┐
 *     daemon: state, end ─────────────────────────────────────────┴──► reconcile_wake() */
#include "services/vpn/vpn-clients-openvpn.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/vpn/ovpn-certificate.h"
#include "services/vpn/vpn-clients-driver.h"

enum {
    CALM_MSEC = 200, /* events within this time are looked at once */
    RANGE_LEN_MAX = 30,
};

#define SERVER_PREFIX "vpn/clients/"
#define CLIENT_PREFIX "vpn/client/openvpn/"
#define CRL_KEY "vpn/crl"

static int begins(const char *key, const char *prefix)
{
    return strncmp(key, prefix, strlen(prefix)) == 0;
}

static int owns(const char *key)
{
    return begins(key, SERVER_PREFIX) || begins(key, CLIENT_PREFIX) || strcmp(key, CRL_KEY) == 0;
}

/* --- life --- */

static void on_changed(void *arg)
{
    struct clients *c = arg;

    reconcile_wake(c->env->reconcile);
}

static void on_calm(uv_timer_t *timer)
{
    struct clients *c = timer->data;

    if (c->json && clients_device_drifted(c)) {
        reconcile_wake(c->env->reconcile);
    }
}

static void on_event(void *arg, enum netlink_event event, const char *table)
{
    struct clients *c = arg;

    if (event == NETLINK_EVENT_ROUTE && !uv_is_active((uv_handle_t *)c->calm)) {
        uv_timer_start(c->calm, on_calm, CALM_MSEC, 0);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

static void stop(void *self)
{
    struct clients *c = self;

    if (!c) {
        return;
    }
    ovpn_free(c->daemon);
    netlink_watch_free(c->watch);
    uv_close((uv_handle_t *)c->calm, on_timer_closed);
    children_free(c->children);
    netlink_free(c->nl);
    clients_device_done(&c->device);
    json_decref(c->json);
    free(c);
}

static int start(const struct backend_env *env, void **ret_self, struct error *error)
{
    struct clients *c = xnew(struct clients);

    c->env = env;
    c->calm = xnew(uv_timer_t);
    uv_timer_init(env->loop, c->calm);
    c->calm->data = c;
    int rc = netlink_new(&c->nl);
    rc = rc < 0 ? rc : netlink_watch_new(env->loop, on_event, c, &c->watch);
    if (rc < 0) {
        error_set(error, error_status(rc), NULL, "cannot talk to the kernel: %s", strerror(-rc));
    } else {
        rc = children_new(env->loop, env->run_dir, env->log_dir, &c->children, error);
    }
    if (rc < 0) {
        stop(c);
        return rc;
    }
    struct ovpn_env daemon = {.loop = env->loop,
                              .run_dir = env->run_dir,
                              .log_dir = env->log_dir,
                              .children = c->children,
                              .changed = on_changed,
                              .arg = c};
    c->daemon = ovpn_new(&daemon, CLIENTS_DAEMON);
    *ret_self = c;
    return 0;
}

/* --- observe --- */

/* A state only says that there is something; what, the parts know. */
static void put_state(struct omap *states, const char *key)
{
    static char something;

    omap_put(states, key, &something);
}

static void free_state(void *state)
{
}

static int observe(void *self, struct omap *states, struct error *error)
{
    struct clients *c = self;

    int rc = ovpn_observe(c->daemon, error);
    rc = rc < 0 ? rc : clients_device_observe(c, error);
    if (rc < 0) {
        snprintf(c->problem, sizeof c->problem, "%s", error->detail);
        return rc;
    }
    if (c->device.ours || ovpn_present(c->daemon)) {
        _cleanup_free_ char *key = xasprintf(SERVER_PREFIX "%s", c->env->node);
        put_state(states, key);
    }
    omap_foreach (e, ovpn_members(c->daemon)) {
        _cleanup_free_ char *key = xasprintf(CLIENT_PREFIX "%s", e->key);
        put_state(states, key);
    }
    if (ovpn_crl_present(c->daemon)) {
        put_state(states, CRL_KEY);
    }
    return 0;
}

/* --- resources --- */

/* What is written into a configuration has nothing that could end its line. */
static int parse_resolver(const json_t *json, struct clients_spec *spec)
{
    const char *resolver = json_get_string(json, "resolver", NULL);
    const char *domain = json_get_string(json, "domain", "");

    if (!resolver) {
        return 0;
    }
    if (strlen(domain) >= sizeof spec->domain ||
        domain[strspn(domain,
                      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")]) {
        return -EINVAL;
    }
    snprintf(spec->domain, sizeof spec->domain, "%s", domain);
    return ip4_parse(resolver, &spec->resolver);
}

int clients_spec_parse(const json_t *json, struct clients_spec *ret_spec, struct error *error)
{
    json_int_t port = json_get_integer(json, "port", 0);
    struct clients_spec spec = {0};

    if (ip4_prefix_parse(json_get_string(json, "range", ""), &spec.range) < 0 ||
        spec.range.len < 1 || spec.range.len > RANGE_LEN_MAX ||
        ip4_prefix_parse(json_get_string(json, "overlay", ""), &spec.overlay) < 0 || port < 1 ||
        port > UINT16_MAX || parse_resolver(json, &spec) < 0) {
        return error_set(error, 400, NULL, "vpn/clients isn't as this agent knows it");
    }
    spec.range.address &= ip4_mask(spec.range.len);
    spec.lower = (struct ip4_prefix){spec.range.address, (uint8_t)(spec.range.len + 1)};
    spec.address = spec.range.address | (~ip4_mask(spec.lower.len) + 1);
    spec.port = (uint16_t)port;
    *ret_spec = spec;
    return 0;
}

static int take_spec(struct clients *c, const json_t *json, struct error *error)
{
    struct clients_spec spec;

    if (c->json && json_equal(c->json, json)) {
        return 0;
    }
    int rc = clients_spec_parse(json, &spec, error);
    if (rc == 0) {
        json_decref(c->json);
        c->json = json_incref((json_t *)json);
        c->spec = spec;
    }
    return rc;
}

static int is_own_server(const struct clients *c, const char *key)
{
    return begins(key, SERVER_PREFIX) && strcmp(key + strlen(SERVER_PREFIX), c->env->node) == 0;
}

static int has_identity(const struct clients *c)
{
    static const char *const NAMES[] = {"root.pem", "key.pem", "cert.pem"};
    int has = 1;

    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", c->env->state_dir, NAMES[i]);
        has &= access(path, R_OK) == 0;
    }
    return has;
}

static void add_certificate(const struct clients *c, struct buf *text)
{
    const char *folder = c->env->state_dir;
    _cleanup_free_ char *path = xasprintf("%s/cert.pem", folder);
    _cleanup_free_ char *conf = xasprintf("%s/vpn/" CLIENTS_DAEMON ".conf", c->env->run_dir);

    buf_printf(text, "ca \"%s/root.pem\"\ncert \"%s\"\nkey \"%s/key.pem\"\n", folder, path,
               folder);
    ovpn_certificate_add(text, ovpn_certificate_choose(ovpn_certificate_loaded_in(conf),
                                                       ovpn_certificate_end(path),
                                                       clock_now_usec() / 1000000));
}

static void add_network(struct buf *text)
{
    buf_printf(text, "proto udp4\nmultihome\nallow-compression no\ndh none\n"
                     "tls-version-min 1.2\n"
                     "data-ciphers AES-256-GCM:CHACHA20-POLY1305:AES-128-GCM\n"
                     "remote-cert-eku 2.25.201838361293746121.2\n"
                     "keepalive 5 20\nhand-window 10\nexplicit-exit-notify 1\n"
                     "push \"topology subnet\"\n");
}

/* The daemon's configuration; the caller frees the text. NULL: there is no certificate yet. */
static char *daemon_text(const struct clients *c)
{
    struct buf text = BUF_INIT(64 << 10);
    char address[IP4_TEXT_SIZE], mask[IP4_TEXT_SIZE];

    if (!has_identity(c)) {
        return NULL;
    }
    ip4_format(c->spec.address, address);
    ip4_format(ip4_mask(c->spec.range.len), mask);
    add_network(&text);
    buf_printf(&text, "lport %u\nifconfig %s %s\n", c->spec.port, address, mask);
    buf_printf(&text, "tun-mtu %u\nmax-clients %u\n", c->device.wanted_mtu_bytes,
               ~ip4_mask(c->spec.lower.len));
    add_certificate(c, &text);
    buf_printf(&text, "push \"route-gateway %s\"\n", address);
    ip4_format(c->spec.overlay.address & ip4_mask(c->spec.overlay.len), address);
    ip4_format(ip4_mask(c->spec.overlay.len), mask);
    buf_printf(&text, "push \"route %s %s\"\n", address, mask);
    if (c->spec.resolver) {
        buf_printf(&text, "push \"dhcp-option DNS %s\"\npush \"dhcp-option DOMAIN %s\"\n",
                   ip4_format(c->spec.resolver, address), c->spec.domain);
    }
    return text.data;
}

static struct ovpn_spec daemon_spec(const struct clients *c, const char *text)
{
    return (struct ovpn_spec){.device = CLIENTS_DEVICE,
                              .offload = clients_device_offload(c),
                              .server = 1,
                              .port = c->spec.port,
                              .text = text};
}

/* --- compare --- */

static enum backend_match compare_server(struct clients *c, const json_t *json)
{
    struct error error;
    int first = !c->json;

    if ((!first && !json_equal(c->json, json)) || take_spec(c, json, &error) < 0) {
        return MATCH_UPDATE;
    }
    if (first) {
        reconcile_wake(c->env->reconcile); /* now clients can be compared fully */
    }
    _cleanup_free_ char *text = daemon_text(c);
    struct ovpn_spec spec = daemon_spec(c, text);
    if (!text || !clients_device_matches(c) || !ovpn_matches(c->daemon, &spec)) {
        return MATCH_UPDATE;
    }
    c->problem[0] = '\0';
    return MATCH_SAME;
}

static int parse_member(const struct clients *c, const json_t *json,
                        struct ovpn_member *ret_member)
{
    *ret_member = (struct ovpn_member){.mask_len = c->spec.range.len};
    return ip4_parse(json_get_string(json, "address", ""), &ret_member->address);
}

static enum backend_match compare(void *self, const char *key, const json_t *json,
                                  const void *state)
{
    struct clients *c = self;
    struct ovpn_member member;
    int same;

    if (strcmp(key, CRL_KEY) == 0) {
        same = ovpn_crl_matches(c->daemon, json_get_string(json, "pem", ""));
    } else if (begins(key, CLIENT_PREFIX)) {
        /* Until we know the network a client that may connect is left as it is. */
        same = !c->json || (parse_member(c, json, &member) == 0 &&
                            ovpn_member_matches(c->daemon, key + strlen(CLIENT_PREFIX), &member));
    } else {
        /* One for another node would be the server's mistake; apply() says so. */
        return is_own_server(c, key) ? compare_server(c, json) : MATCH_UPDATE;
    }
    return same ? MATCH_SAME : MATCH_UPDATE;
}

/* --- apply --- */

static int apply_daemon(struct clients *c, struct error *error)
{
    _cleanup_free_ char *text = daemon_text(c);
    struct ovpn_spec spec = daemon_spec(c, text);

    return text ? ovpn_apply(c->daemon, &spec, error) : -EAGAIN;
}

static int apply_server(struct clients *c, const char *key, const json_t *json,
                        struct error *error)
{
    if (!is_own_server(c, key)) {
        return error_set(error, 400, NULL, "%s is not about this node", key);
    }
    int rc = take_spec(c, json, error);
    if (rc == 0 && !c->device.link.index && clients_device_offload(c)) {
        rc = ovpn_state(c->daemon) == OVPN_CONNECTED ? ovpn_stop(c->daemon, error) /* lost it */
                                                     : apply_daemon(c, error);
        return rc < 0 ? rc : -EAGAIN; /* the device is there in a moment */
    }
    rc = rc < 0 ? rc : clients_device_apply(c, error);
    return rc < 0 ? rc : apply_daemon(c, error);
}

static int remove_server(struct clients *c, struct error *error)
{
    int rc = ovpn_remove(c->daemon, error);

    rc = rc < 0 ? rc : clients_device_remove(c, error);
    if (rc == 0) {
        json_decref(c->json);
        c->json = NULL;
        c->problem[0] = '\0';
    }
    return rc;
}

static int apply_client(struct clients *c, const char *key, const json_t *json,
                        struct error *error)
{
    const char *name = key + strlen(CLIENT_PREFIX);
    struct ovpn_member member;

    if (!json) {
        return ovpn_member_drop(c->daemon, name, error);
    }
    if (!c->json) {
        return -EAGAIN; /* the server's own resource comes in the same batch or the next */
    }
    if (parse_member(c, json, &member) < 0 || !ip4_contains(c->spec.lower, member.address)) {
        return error_set(error, 400, NULL, "%s has no address of this hub's clients", key);
    }
    return ovpn_member_put(c->daemon, name, &member, error);
}

static int apply_crl(struct clients *c, const json_t *json, struct error *error)
{
    return json ? ovpn_crl_put(c->daemon, json_get_string(json, "pem", ""), error)
                : ovpn_crl_drop(c->daemon, error);
}

static void finish(struct backend_item *item, int rc)
{
    item->result = rc == 0 ? RESULT_DONE : rc == -EAGAIN ? RESULT_NOT_YET : RESULT_FAILED;
}

static void apply_server_item(struct clients *c, struct backend_item *item)
{
    int rc = item->spec ? apply_server(c, item->key, item->spec, &item->error)
                        : remove_server(c, &item->error);

    finish(item, rc);
    snprintf(c->problem, sizeof c->problem, "%s",
             item->result == RESULT_FAILED ? item->error.detail : "");
}

static void apply_other_item(struct clients *c, struct backend_item *item)
{
    if (strcmp(item->key, CRL_KEY) == 0) {
        finish(item, apply_crl(c, item->spec, &item->error));
    } else {
        finish(item, apply_client(c, item->key, item->spec, &item->error));
    }
}

/* Everything that the daemon reads is there before it starts: a client that it doesn't know yet
 * would be refused, and most give up then. */
static void apply(void *self, struct backend_item *items, size_t len)
{
    struct clients *c = self;
    struct error ignored;

    for (size_t i = 0; i < len; i++) {
        if (items[i].spec && is_own_server(c, items[i].key)) {
            take_spec(c, items[i].spec, &ignored); /* a failure is told below */
        }
    }
    for (size_t i = 0; i < len; i++) {
        if (!begins(items[i].key, SERVER_PREFIX)) {
            apply_other_item(c, &items[i]);
        }
    }
    for (size_t i = 0; i < len; i++) {
        if (begins(items[i].key, SERVER_PREFIX)) {
            apply_server_item(c, &items[i]);
        }
    }
}

const struct backend BACKEND_VPN_CLIENTS = {
    .service = "vpn",
    .name = "clients",
    .owns = owns,
    .start = start,
    .stop = stop,
    .observe = observe,
    .free_state = free_state,
    .compare = compare,
    .apply = apply,
    .status = clients_status,
};
