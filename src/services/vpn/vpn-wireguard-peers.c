/* WireGuard's peers: what v->peers, v->clients and their paths want, on the device. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/vpn/vpn-driver.h"

enum {
    ARGS_MAX = 4000, /* of one `wg set`; far below what execve takes */
    TICK_FAST_MSEC = 1000,
    TICK_SLOW_MSEC = 4000, /* with what a repair takes it stays within 5 s */
};

/* --- the device's peers --- */

struct path_now vpn_now(void)
{
    return (struct path_now){clock_monotonic_usec(), clock_now_usec() / 1000000};
}

/* What the device says about each peer that we know. */
static void feed(struct vpn *v)
{
    omap_foreach (e, &v->clients) {
        struct vpn_client *client = e->value;
        const struct dump_peer *d = dump_find(&v->dump, client->key);
        client->present = d && d->allowed_len == 1 && d->keepalive_sec == 0 &&
                          dump_peer_allows(d, (struct ip4_prefix){client->address, 32});
        client->last = d ? *d : (struct dump_peer){0};
    }
    omap_foreach (e, &v->peers) {
        struct vpn_peer *peer = e->value;
        const struct dump_peer *d = dump_find(&v->dump, peer->key);
        peer->path.seen = (struct path_seen){0};
        if (!d) {
            continue;
        }
        peer->last = *d;
        peer->path.seen = (struct path_seen){
            .present = 1,
            .rx_bytes = d->rx_bytes,
            .handshake_sec = d->handshake_sec,
            .endpoint = d->endpoint,
            .own = dump_peer_allows(d, (struct ip4_prefix){peer->address, 32}),
            .range = dump_peer_allows(d, v->self.range),
        };
    }
}

int vpn_wireguard_dump(struct vpn *v, struct error *error)
{
    const char *const argv[] = {"wg", "show", v->device.link.name, "dump", NULL};
    struct buf out = BUF_INIT(DUMP_SIZE_MAX);
    struct dump dump;

    int rc = vpn_run_at_tunnel(v, argv, &out, error);
    if (rc == 0) {
        rc = out.data ? dump_parse(out.data, &dump, error) : -EIO;
    }
    if (out.data) {
        mem_wipe(out.data, out.size);
    }
    buf_done(&out);
    if (rc < 0) {
        return rc;
    }
    dump_done(&v->dump);
    v->dump = dump;
    feed(v);
    return 0;
}

/* A hub's clients are where the hub is. */
static int wants_clients(const struct vpn *v, const struct vpn_peer *peer)
{
    return peer->path.want.own && peer->client_range.len > 0;
}

static int matches(const struct vpn *v, const struct vpn_peer *peer)
{
    const struct path_want *want = &peer->path.want;
    const struct path_seen *seen = &peer->path.seen;
    int clients = wants_clients(v, peer);

    return seen->present && want->own == seen->own && want->range == seen->range &&
           (!clients || dump_peer_allows(&peer->last, peer->client_range)) &&
           peer->last.allowed_len == (size_t)(want->own + want->range + clients) &&
           peer->last.keepalive_sec == want->keepalive_sec && !want->renew && !want->endpoint.port;
}

/* One step of all paths with v->dump. */
static void step(struct vpn *v)
{
    _cleanup_free_ struct path_peer **peers = xcalloc(v->peers.len + 1, sizeof *peers);
    size_t len = 0;

    feed(v); /* again: peers and the range may have been taken over since the dump */
    v->path.hub = v->self.hub;
    v->path.public = v->self.public;
    omap_foreach (e, &v->peers) {
        struct vpn_peer *peer = e->value;
        vpn_peer_reconfigure(v, e->key, peer);
        if (peer->key[0]) {
            peers[len++] = &peer->path;
        }
    }
    path_step(&v->path, peers, len, vpn_now());
}

/* --- `wg set` --- */

struct args {
    char **items;
    size_t len, capacity;
};

static void args_add(struct args *args, char *text)
{
    if (args->len == args->capacity) {
        args->capacity = args->capacity ? 2 * args->capacity : 64;
        args->items = xrealloc(args->items, args->capacity * sizeof *args->items);
    }
    args->items[args->len++] = text;
}

static void args_word(struct args *args, const char *word)
{
    args_add(args, xstrdup(word));
}

static void args_clear(struct args *args)
{
    for (size_t i = 0; i < args->len; i++) {
        free(args->items[i]);
    }
    free(args->items);
    *args = (struct args){0};
}

static void args_remove_peer(struct args *args, const char *key)
{
    args_word(args, "peer");
    args_word(args, key);
    args_word(args, "remove");
}

static char *allowed_text(const struct vpn *v, const struct vpn_peer *peer)
{
    char text[IP4_PREFIX_TEXT_SIZE];
    const struct path_want *want = &peer->path.want;
    struct buf buf = BUF_INIT(4 * IP4_PREFIX_TEXT_SIZE);

    buf_append(&buf, "", 0);
    if (want->own) {
        buf_printf(&buf, "%s/32,", ip4_format(peer->address, text));
    }
    if (wants_clients(v, peer)) {
        buf_printf(&buf, "%s,", ip4_prefix_format(peer->client_range, text));
    }
    if (want->range) {
        buf_printf(&buf, "%s,", ip4_prefix_format(v->self.range, text));
    }
    if (buf.size > 0) {
        buf.data[buf.size - 1] = '\0';
    }
    return buf.data;
}

static void args_set_peer(struct args *args, const struct vpn *v, const struct vpn_peer *peer)
{
    const struct path_want *want = &peer->path.want;
    struct ip4_endpoint endpoint = want->endpoint;
    char address[IP4_TEXT_SIZE];

    if (want->renew && peer->path.seen.present) {
        args_remove_peer(args, peer->key);
    }
    args_word(args, "peer");
    args_word(args, peer->key);
    if (endpoint.port) {
        args_word(args, "endpoint");
        args_add(args, xasprintf("%s:%u", ip4_format(endpoint.address, address), endpoint.port));
    }
    args_word(args, "persistent-keepalive");
    args_add(args, xasprintf("%u", want->keepalive_sec));
    args_word(args, "allowed-ips");
    args_add(args, allowed_text(v, peer));
}

static void args_set_client(struct args *args, const struct vpn_client *client)
{
    char address[IP4_TEXT_SIZE];

    args_word(args, "peer");
    args_word(args, client->key);
    args_word(args, "persistent-keepalive");
    args_word(args, "0");
    args_word(args, "allowed-ips");
    args_add(args, xasprintf("%s/32", ip4_format(client->address, address)));
}

static void args_begin(struct args *args, const struct vpn *v)
{
    args_word(args, "wg");
    args_word(args, "set");
    args_word(args, v->device.link.name);
}

/* Runs what was collected, if anything was, and begins anew. */
static int args_run(struct args *args, struct vpn *v, struct error *error)
{
    int rc = 0;

    if (args->len > 3) {
        args_add(args, NULL);
        rc = vpn_run_at_tunnel(v, (const char *const *)args->items, NULL, error);
    }
    args_clear(args);
    args_begin(args, v);
    return rc;
}

/* Every pending endpoint and renewal is on the device now. */
static void all_done(struct vpn *v)
{
    omap_foreach (e, &v->peers) {
        path_done(&((struct vpn_peer *)e->value)->path);
    }
}

/* Makes the device's peers match; `gone` are keys to remove. One command; none if all match. */
static int set_peers(struct vpn *v, const char *const *gone, size_t gone_len, struct error *error)
{
    struct args args = {0};
    int rc = 0;

    args_begin(&args, v);
    for (size_t i = 0; i < gone_len && rc == 0; i++) {
        if (dump_find(&v->dump, gone[i])) {
            args_remove_peer(&args, gone[i]);
        }
        rc = args.len > ARGS_MAX ? args_run(&args, v, error) : 0;
    }
    omap_foreach (e, &v->clients) {
        const struct vpn_client *client = e->value;
        if (rc == 0 && !client->present) {
            args_set_client(&args, client);
        }
        rc = rc == 0 && args.len > ARGS_MAX ? args_run(&args, v, error) : rc;
    }
    omap_foreach (e, &v->peers) {
        const struct vpn_peer *peer = e->value;
        if (rc == 0 && peer->key[0] && !matches(v, peer)) {
            args_set_peer(&args, v, peer);
        }
        rc = rc == 0 && args.len > ARGS_MAX ? args_run(&args, v, error) : rc;
    }
    if (rc == 0) {
        rc = args_run(&args, v, error);
    }
    args_clear(&args);
    if (rc == 0) {
        all_done(v);
    }
    return rc;
}

void vpn_wireguard_forget(struct vpn *v)
{
    omap_foreach (e, &v->peers) {
        struct vpn_peer *peer = e->value;
        peer->path = (struct path_peer){.config = peer->path.config};
    }
    v->path = (struct path){.announced = v->path.announced};
}

int vpn_wireguard_begin_again(struct vpn *v, struct error *error)
{
    struct args args = {0};
    int rc = 0;

    args_begin(&args, v);
    for (size_t i = 0; i < v->dump.len && rc == 0; i++) {
        args_remove_peer(&args, v->dump.peers[i].key);
        rc = args.len > ARGS_MAX ? args_run(&args, v, error) : 0;
    }
    rc = rc == 0 ? args_run(&args, v, error) : rc;
    args_clear(&args);
    vpn_wireguard_forget(v);
    return rc;
}

/* --- ticks --- */

/* Ticks come at whole seconds of the wall clock, so that both ends of a pair, which see the same
 * handshake, change their ways at the same moment. */
int64_t vpn_wireguard_tick_msec(const struct vpn *v)
{
    int unsettled = 0;

    if (v->peers.len + v->clients.len == 0) {
        return -1;
    }
    omap_foreach (e, &v->peers) {
        unsettled |= ((struct vpn_peer *)e->value)->path.unsettled;
    }
    int64_t period = unsettled ? TICK_FAST_MSEC : TICK_SLOW_MSEC;
    int64_t rest = period - (clock_now_usec() / 1000) % period;
    if (v->path.due_usec) {
        int64_t due = (v->path.due_usec - clock_monotonic_usec()) / 1000;
        rest = due < rest ? (due > 0 ? due : 0) : rest;
    }
    return rest + 1;
}

/* Is a peer missing on the device, or one there that isn't ours? */
static int drifted(const struct vpn *v)
{
    size_t wanted = v->clients.len, present = 0;

    omap_foreach (e, &v->clients) {
        present += ((struct vpn_client *)e->value)->present != 0;
    }
    omap_foreach (e, &v->peers) {
        const struct vpn_peer *peer = e->value;
        wanted += peer->key[0] != '\0';
        present += peer->path.seen.present != 0;
    }
    return present != wanted || present != v->dump.len ||
           strcmp(v->dump.private_key, v->keys.private) != 0 || v->dump.port != v->self.port;
}

void vpn_wireguard_tick(struct vpn *v)
{
    struct error error;

    if (!v->reachable || vpn_wireguard_dump(v, &error) < 0 || drifted(v)) {
        reconcile_wake(v->env->reconcile);
        return;
    }
    step(v);
    if (set_peers(v, NULL, 0, &error) < 0) {
        reconcile_wake(v->env->reconcile); /* it tells the error if it stays */
    }
    vpn_report_endpoints(v);
}

/* --- items --- */

void vpn_wireguard_states(struct vpn *v, struct omap *states)
{
    for (size_t i = 0; i < v->dump.len; i++) {
        const char *key = v->dump.peers[i].key, *id = vpn_name_of(v, key);
        if (id && id[0] == '/') {
            vpn_state_put(states, xasprintf(VPN_CLIENT_PREFIX "%s", id + 1), key);
        } else if (id) {
            vpn_state_put(states, xasprintf(VPN_PEER_PREFIX "%s", id), key);
        } else {
            vpn_state_put(states, xasprintf(VPN_PEER_PREFIX "?%s", key), key);
        }
    }
}

const char *vpn_wireguard_peer_note(const json_t *spec)
{
    return json_get_string(spec, "publicKey", "");
}

enum backend_match vpn_wireguard_compare_peer(struct vpn *v, const char *id, const char *note)
{
    const struct vpn_peer *peer = omap_get(&v->peers, id);

    if (strcmp(peer->key, note) != 0) {
        return MATCH_REPLACE;
    }
    if (!peer->key[0] || !peer->path.known) {
        return MATCH_SAME; /* known: after our start the first step learns from the device */
    }
    return matches(v, peer) ? MATCH_SAME : MATCH_UPDATE;
}

enum backend_match vpn_wireguard_compare_client(struct vpn *v, const char *name)
{
    const struct vpn_client *client = omap_get(&v->clients, name);

    /* Its resource was taken over since the dump: after our start. */
    if (client && !client->present) {
        feed(v);
    }
    return client && client->present ? MATCH_SAME : MATCH_UPDATE;
}

static int is_wanted_key(const struct vpn *v, const char *key)
{
    omap_foreach (e, &v->peers) {
        if (strcmp(((struct vpn_peer *)e->value)->key, key) == 0) {
            return 1;
        }
    }
    omap_foreach (e, &v->clients) {
        if (strcmp(((struct vpn_client *)e->value)->key, key) == 0) {
            return 1;
        }
    }
    return 0;
}

/* The keys of items whose peer leaves the device. The caller frees the array. */
static const char **gone_keys(struct vpn *v, const struct backend_item *items, size_t len,
                              size_t *ret_len)
{
    const char **gone = xcalloc(len + 1, sizeof *gone);

    *ret_len = 0;
    for (size_t i = 0; i < len; i++) {
        const struct vpn_state *state = items[i].state;
        int leaves =
            vpn_client_of(items[i].key) ||
            (vpn_peer_of(items[i].key) && (!items[i].spec || items[i].match == MATCH_REPLACE));
        if (leaves && state && key_valid(state->note) && !is_wanted_key(v, state->note)) {
            gone[(*ret_len)++] = state->note;
        }
    }
    return gone;
}

void vpn_wireguard_apply_peers(struct vpn *v, struct backend_item *items, size_t len)
{
    struct error error = {0};
    size_t gone_len;
    int rc = 0;

    if (v->reachable) {
        const char **gone = gone_keys(v, items, len, &gone_len);
        if (v->self_json) {
            step(v);
        }
        rc = set_peers(v, gone, gone_len, &error);
        free(gone);
    }
    for (size_t i = 0; i < len; i++) {
        const char *id = vpn_peer_of(items[i].key);
        if (items[i].result != RESULT_NOT_YET || (!id && !vpn_client_of(items[i].key))) {
            continue;
        }
        /* Without the device a peer can only be gone. */
        int done = v->reachable || !items[i].spec || (id && strcmp(id, v->env->node) == 0);
        items[i].result = !done ? RESULT_NOT_YET : rc == 0 ? RESULT_DONE : RESULT_FAILED;
        items[i].error = error;
    }
}

/* --- status --- */

static const char *way_of(const struct vpn *v, const struct vpn_peer *peer, struct path_now now)
{
    const struct path_peer *active = v->path.active;

    if (peer->path.want.own) {
        return path_alive(&peer->path, now) ? "direct" : "none";
    }
    return active && path_alive(active, now) ? "hub" : "none";
}

json_t *vpn_wireguard_peer_status(struct vpn *v, const char *id, const struct vpn_peer *peer,
                                  struct vpn_count *count)
{
    struct path_now now = vpn_now();
    const char *way = way_of(v, peer, now);
    const char *via = strcmp(way, "hub") == 0 ? vpn_active_hub(v) : NULL;
    int64_t handshake = peer->last.handshake_sec;
    char time[CLOCK_TEXT_SIZE];

    count->direct += strcmp(way, "direct") == 0;
    count->hub += strcmp(way, "hub") == 0;
    count->none += strcmp(way, "none") == 0;
    count->hubs += peer->path.config.hub;
    count->hub_alive |= peer->path.config.hub && path_alive(&peer->path, now);
    return json_pack("{s:s, s:s, s:s?, s:s?, s:I, s:I}", "node", id, "path", way, "via", via,
                     "lastHandshake", handshake ? clock_format(handshake * 1000000, time) : NULL,
                     "rxBytes", (json_int_t)peer->last.rx_bytes, "txBytes",
                     (json_int_t)peer->last.tx_bytes);
}
