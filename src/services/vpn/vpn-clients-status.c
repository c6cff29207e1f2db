/* vpn-clients-status.c - what people see of a client beside what they asked for. */
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/vpn/vpn-clients.h"

/* The sessions of the client that its hub tells of. A WireGuard peer is told of as soon as it is
 * known: only one that was heard, from somewhere, is a session. */
static json_t *sessions_of(const char *id, const json_t *report)
{
    static const char *const SHOWN[] = {"protocol", "since", "from", "rxBytes", "txBytes"};
    json_t *sessions = json_array(), *item;
    size_t i;

    json_array_foreach (json_object_get(report, "clients"), i, item) {
        if (strcmp(json_get_string(item, "name", ""), id) != 0 ||
            !*json_get_string(item, "from", "")) {
            continue;
        }
        json_t *session = json_object();
        for (size_t j = 0; j < ARRAY_LEN(SHOWN); j++) {
            json_t *value = json_object_get(item, SHOWN[j]);
            if (value) {
                json_object_set(session, SHOWN[j], value);
            }
        }
        json_array_append_new(sessions, session);
    }
    return sessions;
}

/* What is wrong: what the objects say, else the certificate, else what the hub's agent says of its
 * OpenVPN server. The caller frees it. */
static char *problem_of(const char *id, const json_t *object, struct view *view,
                        const json_t *report)
{
    const json_t *spec = json_object_get(object, "spec"),
                 *sealed = json_object_get(object, "sealed");
    const json_t *server = json_object_get(report, "clientServer");
    const char *state = json_get_string(server, "state", "");
    char *problem = vpn_client_problem(view, id, spec);
    int64_t expires;

    if (*problem) {
        return problem;
    }
    if (!json_object_get(sealed, "certificate")) {
        free(problem);
        return xasprintf("it has no certificate; make one: cnsmo vpn client renew %s", id);
    }
    if (clock_parse(json_get_string(sealed, "expires", ""), &expires) == 0 &&
        expires <= clock_now_usec()) {
        free(problem);
        return xasprintf("its certificate has expired; make another: cnsmo vpn client renew %s",
                         id);
    }
    if (strcmp(state, "failed") == 0 || strcmp(state, "degraded") == 0) {
        free(problem);
        return xasprintf("its hub's OpenVPN server: %s", json_get_string(server, "message", ""));
    }
    return problem;
}

void vpn_clients_status(const char *kind, const char *id, const json_t *object, struct view *view,
                        const struct reports *reports, json_t *status)
{
    const json_t *spec = json_object_get(object, "spec"),
                 *sealed = json_object_get(object, "sealed");
    struct vpn_client c;
    char text[IP4_TEXT_SIZE];

    vpn_client_read(view, spec, &c);
    const json_t *report = *c.hub ? reports->of_node(reports, c.hub) : NULL;
    int has_wireguard =
        c.is_placed && vpn_client_has_wireguard(view) && json_object_get(spec, "publicKey");
    _cleanup_free_ char *problem = problem_of(id, object, view, report);
    json_object_set_new(status, "hub", json_string(c.hub));
    json_object_set_new(status, "address",
                        json_string(c.is_placed ? ip4_format(c.address, text) : ""));
    json_object_set_new(status, "wireguardAddress",
                        json_string(has_wireguard ? ip4_format(c.wireguard_address, text) : ""));
    json_object_set_new(status, "certificate",
                        json_pack("{s:s, s:s}", "serial", json_get_string(sealed, "serial", ""),
                                  "expires", json_get_string(sealed, "expires", "")));
    json_object_set_new(status, "sessions", sessions_of(id, report));
    json_object_set_new(status, "problem", json_string(problem));
}
