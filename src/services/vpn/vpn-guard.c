/* The guard: one nftables table that keeps the overlay inside the tunnel (with sdn: the bridge).
 *
 * On a hub with outside clients these have a device of their own, with the lower half of its
 * client range: such addresses, and no others, may arrive from there and leave to there, and what
 * comes from there is forwarded to the overlay only.
 *
 *     arriving   overlay addresses on another device than the tunnel (and lo)       dropped
 *                through the tunnel or from clients, but not to the overlay: this
 *                machine's other addresses are none of theirs                       dropped
 *     forwarded  through the tunnel, but not from overlay to overlay                dropped
 *     leaving    to the overlay through another device                              dropped
 *                TCP's MSS is clamped to the route; no ICMP redirects (a hub sends packets back
 *                out of the device they came from, which is how it is meant)
 *
 * The document has the form in which nft lists it, so that it can be compared. Should another
 * version of nft list something differently, what it lists right after our transaction is taken
 * for the same. */
#include <errno.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/nft-table.h"
#include "services/vpn/vpn-driver.h"

static json_t *match(const char *op, json_t *left, json_t *right)
{
    return json_pack("{s:{s:s, s:o, s:o}}", "match", "op", op, "left", left, "right", right);
}

static json_t *match_meta(const char *op, const char *key, const char *value)
{
    return match(op, json_pack("{s:{s:s}}", "meta", "key", key), json_string(value));
}

static json_t *match_range(const char *op, const char *field, struct ip4_prefix range)
{
    char address[IP4_TEXT_SIZE];

    return match(op, json_pack("{s:{s:s, s:s}}", "payload", "protocol", "ip", "field", field),
                 json_pack("{s:{s:s, s:i}}", "prefix", "addr", ip4_format(range.address, address),
                           "len", range.len));
}

static json_t *drop(void)
{
    return json_pack("{s:n}", "drop");
}

static void add_chain(json_t *list, const char *name, const char *hook, int priority)
{
    json_array_append_new(list,
                          json_pack("{s:{s:s, s:s, s:s, s:s, s:s, s:i, s:s}}", "chain", "family",
                                    "inet", "table", VPN_TABLE, "name", name, "type", "filter",
                                    "hook", hook, "prio", priority, "policy", "accept"));
}

/* Takes the reference `expr`. */
static void add_rule(json_t *list, const char *chain, json_t *expr)
{
    json_array_append_new(list, json_pack("{s:{s:s, s:s, s:s, s:o}}", "rule", "family", "inet",
                                          "table", VPN_TABLE, "chain", chain, "expr", expr));
}

static json_t *let_pass(void)
{
    return json_pack("{s:n}", "accept");
}

static json_t *clamp(void)
{
    return json_pack("{s:{s:{s:{s:s, s:s}}, s:{s:{s:s}}}}", "mangle", "key", "tcp option", "name",
                     "maxseg", "field", "size", "value", "rt", "key", "mtu");
}

static json_t *match_syn(void)
{
    json_t *flags = json_pack("{s:[{s:{s:s, s:s}}, [s,s]]}", "&", "payload", "protocol", "tcp",
                              "field", "flags", "syn", "rst");

    return match("==", flags, json_string("syn"));
}

static void add_arriving(json_t *list, const char *device, const char *field,
                         struct ip4_prefix range)
{
    add_rule(list, "arriving",
             json_pack("[o,o,o,o]", match_meta("!=", "iifname", "lo"),
                       match_meta("!=", "iifname", device), match_range("==", field, range),
                       drop()));
}

static void add_arriving_for_others(json_t *list, const char *device, struct ip4_prefix range)
{
    add_rule(list, "arriving",
             json_pack("[o,o,o]", match_meta("==", "iifname", device),
                       match_range("!=", "daddr", range), drop()));
}

/* From one device of clients to no other but this and the tunnel. */
static void add_clients_forwarded(json_t *list, const char *overlay, const char *device,
                                  const char *other)
{
    add_rule(list, "forwarded",
             json_pack("[o,o,o,o]", match_meta("==", device, VPN_CLIENTS_DEVICE),
                       match_meta("!=", other, VPN_CLIENTS_DEVICE),
                       match_meta("!=", other, overlay), drop()));
}

static void add_forwarded(json_t *list, const char *overlay, const char *device, const char *field,
                          struct ip4_prefix range)
{
    add_rule(list, "forwarded",
             json_pack("[o,o,o]", match_meta("==", device, overlay),
                       match_range("!=", field, range), drop()));
}

static void add_leaving(json_t *list, const char *device, struct ip4_prefix range)
{
    json_t *icmp = json_pack("{s:{s:s, s:s}}", "payload", "protocol", "icmp", "field", "type");

    add_rule(list, "leaving",
             json_pack("[o,o,o,o]", match_meta("!=", "oifname", "lo"),
                       match_meta("!=", "oifname", device), match_range("==", "daddr", range),
                       drop()));
    add_rule(list, "leaving",
             json_pack("[o,o,o]", match_meta("==", "oifname", device),
                       match("==", icmp, json_string("redirect")), drop()));
    add_rule(list, "leaving",
             json_pack("[o,o,o]", match_meta("==", "oifname", device), match_syn(), clamp()));
}

static struct ip4_prefix lower_half(struct ip4_prefix range)
{
    return (struct ip4_prefix){range.address, (uint8_t)(range.len + 1)};
}

static void add_clients_arriving(json_t *list, struct ip4_prefix clients)
{
    add_rule(list, "arriving",
             json_pack("[o,o,o]", match_meta("==", "iifname", VPN_CLIENTS_DEVICE),
                       match_range("==", "saddr", lower_half(clients)), let_pass()));
}

static void add_clients_leaving(json_t *list, struct ip4_prefix clients)
{
    add_rule(list, "leaving",
             json_pack("[o,o,o]", match_meta("==", "oifname", VPN_CLIENTS_DEVICE), match_syn(),
                       clamp()));
    add_rule(list, "leaving",
             json_pack("[o,o,o]", match_meta("==", "oifname", VPN_CLIENTS_DEVICE),
                       match_range("==", "daddr", lower_half(clients)), let_pass()));
}

static void add_all_arriving(json_t *list, const struct vpn_self_spec *self, const char *device)
{
    if (self->client_range.len) {
        add_arriving_for_others(list, VPN_CLIENTS_DEVICE, self->range);
        add_clients_arriving(list, self->client_range);
    }
    add_arriving_for_others(list, device, self->range);
    add_arriving(list, device, "saddr", self->range);
    add_arriving(list, device, "daddr", self->range);
}

static void add_all_forwarded(json_t *list, const struct vpn_self_spec *self, const char *overlay)
{
    static const char *const DEVICES[] = {"iifname", "oifname"};

    if (self->client_range.len) {
        add_clients_forwarded(list, overlay, "iifname", "oifname");
        add_clients_forwarded(list, overlay, "oifname", "iifname");
    }
    for (size_t i = 0; i < ARRAY_LEN(DEVICES); i++) {
        add_rule(list, "forwarded",
                 json_pack("[o,o,o]", match_meta("==", DEVICES[i], overlay),
                           match_meta("==", "nfproto", "ipv6"), drop()));
    }
    for (size_t i = 0; i < ARRAY_LEN(DEVICES); i++) {
        add_forwarded(list, overlay, DEVICES[i], "saddr", self->range);
        add_forwarded(list, overlay, DEVICES[i], "daddr", self->range);
    }
}

/* The table as nft lists it, without handles: the chains, and then each one's rules. `device` is
 * the one by which the host reaches the overlay. */
static json_t *document(const struct vpn_self_spec *self, const char *device)
{
    json_t *list = json_pack("[{s:{s:s, s:s}}]", "table", "family", "inet", "name", VPN_TABLE);

    add_chain(list, "arriving", "prerouting", -300);
    add_chain(list, "forwarded", "forward", 0);
    add_chain(list, "leaving", "postrouting", -150);
    add_all_arriving(list, self, device);
    add_all_forwarded(list, self, device);
    if (self->client_range.len) {
        add_clients_leaving(list, self->client_range);
    }
    add_leaving(list, device, self->range);
    return list;
}

int vpn_guard_observe(struct vpn *v, struct error *error)
{
    json_t *listed = NULL;

    if (!v->guard.dirty) {
        return 0;
    }
    int rc = nft_table_list("inet", VPN_TABLE, 0, NULL, &listed, error);
    if (rc < 0) {
        return rc;
    }
    json_decref(v->guard.listed);
    v->guard.listed = listed;
    v->guard.present = listed != NULL;
    v->guard.dirty = 0;
    return 0;
}

int vpn_guard_matches(const struct vpn *v)
{
    json_t *wanted = document(&v->self, vpn_overlay_name(v));
    int same =
        v->guard.listed &&
        (json_equal(v->guard.listed, wanted) ||
         (json_equal(v->guard.wanted, wanted) && json_equal(v->guard.listed, v->guard.accepted)));

    json_decref(wanted);
    return same;
}

static int run_transaction(json_t *commands, struct error *error)
{
    const char *const argv[] = {"nft", "-j", "-f", "-", NULL};
    json_t *root = json_pack("{s:o}", "nftables", commands);
    _cleanup_free_ char *text = json_canonical(root);

    json_decref(root);
    return vpn_run(argv, text, NULL, error);
}

/* Adding the table first makes that deleting it never fails. */
static json_t *replacement(void)
{
    return json_pack("[{s:{s:{s:s, s:s}}}, {s:{s:{s:s, s:s}}}]", "add", "table", "family", "inet",
                     "name", VPN_TABLE, "delete", "table", "family", "inet", "name", VPN_TABLE);
}

int vpn_guard_apply(struct vpn *v, struct error *error)
{
    json_t *wanted = document(&v->self, vpn_overlay_name(v)), *commands = replacement(), *item;
    size_t i;

    json_array_foreach (wanted, i, item) {
        json_array_append_new(commands, json_pack("{s:O}", "add", item));
    }
    int rc = run_transaction(commands, error);
    v->guard.dirty = 1;
    if (rc == 0) {
        rc = vpn_guard_observe(v, error);
    }
    if (rc == 0) {
        json_decref(v->guard.wanted);
        json_decref(v->guard.accepted);
        v->guard.wanted = json_incref(wanted);
        v->guard.accepted = json_incref(v->guard.listed);
    }
    json_decref(wanted);
    return rc;
}

int vpn_guard_remove(struct vpn *v, struct error *error)
{
    v->guard.dirty = 1;
    return run_transaction(replacement(), error);
}

void vpn_guard_done(struct vpn *v)
{
    json_decref(v->guard.listed);
    json_decref(v->guard.wanted);
    json_decref(v->guard.accepted);
    v->guard = (struct vpn_guard){0};
}
