/* vpn-clients.h - devices from outside, without an agent: the server's half.
 *
 * A client belongs to one hub, and has its addresses from that hub's client range:
 *
 *     10.77.248.0/21   | .248.0 hub   .248.1 ... clients with OpenVPN   | lower half
 *                      | .252.0 hub   .252.1 ... the same with WireGuard| upper half
 *
 * The first address of each half is the hub's own, the last one stays free. A client is never more
 * than what its object and its hub's object say, so nothing here fails when a hub is gone: the
 * client then isn't placed, gives no resources, and its status says what to do. */
#pragma once

#include "core/service.h"
#include "lib/ip.h"

/* The kind vpn/clients. */
extern const struct kind VPN_CLIENTS;

/* Where a client stands, read through the view. Everything is borrowed from the tree. */
struct vpn_client {
    const char *hub;         /* its hub's id; "" if it has none */
    const json_t *hub_spec;  /* NULL: there is no such node */
    int is_hub;              /* the node is a hub that runs vpn */
    struct ip4_prefix range; /* the hub's client range; .len 0: it has none */
    int is_placed;           /* is_hub, and the address is a client's in that range */
    uint32_t address;        /* 0 unless placed */
    uint32_t wireguard_address;
};

void vpn_client_read(struct view *view, const json_t *spec, struct vpn_client *ret_client);

/* Where the hub is reached from outside, best first: a new array of "a.b.c.d:port". */
json_t *vpn_client_remotes(struct view *view, const char *hub, int wireguard);

/* "" or, in a sentence, what is wrong with the client or its hub and what to do. The caller frees
 * it. */
char *vpn_client_problem(struct view *view, const char *id, const json_t *spec);

/* The DNS server of a hub's clients, its overlay address, and the domain of names there: 0 if
 * there is one, which then are borrowed from the tree. */
int vpn_client_resolver(struct view *view, const char *hub, const char **ret_address,
                        const char **ret_domain);

/* Is WireGuard the deployment's fabric? */
int vpn_client_has_wireguard(struct view *view);

/* --- for struct service; each passes over what isn't about clients --- */

int vpn_clients_validate(const char *kind, const char *id, const json_t *spec, struct view *view,
                         struct error *error);
json_t *vpn_clients_complete(const char *kind, const char *id, const json_t *before,
                             const json_t *spec, struct view *view, struct error *error);
int vpn_clients_may_delete(const char *kind, const char *id, struct view *view,
                           struct error *error);
void vpn_clients_claims(const char *key, const json_t *value,
                        void (*claim)(void *arg, const char *name, const char *pointer),
                        void *arg);
void vpn_clients_plan(const char *kind, const char *id, const json_t *spec, struct view *view,
                      struct plan *plan);
void vpn_clients_status(const char *kind, const char *id, const json_t *object, struct view *view,
                        const struct reports *reports, json_t *status);
