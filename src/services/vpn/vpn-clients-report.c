/* What the user gets told of a hub's server for outside clients. */
#include <stdio.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "services/vpn/vpn-clients-driver.h"

enum {
    STATUS_CLIENTS_MAX = 1000,
};

static json_t *session_status(const struct ovpn_session *session)
{
    char address[IP4_TEXT_SIZE], from[32] = "", since[CLOCK_TEXT_SIZE];

    if (session->from.port) {
        snprintf(from, sizeof from, "%s:%u", ip4_format(session->from.address, address),
                 session->from.port);
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "name", session->name, "protocol",
                     "openvpn", "since", clock_format(session->since_sec * 1000000, since), "from",
                     from, "rxBytes", (json_int_t)session->rx_bytes, "txBytes",
                     (json_int_t)session->tx_bytes);
}

static const char *state_name(const struct clients *c)
{
    if (c->problem[0]) {
        return "failed";
    }
    switch (ovpn_state(c->daemon)) {
    case OVPN_CONNECTED:
        return "running";
    case OVPN_HUNG:
        return "degraded";
    case OVPN_ENDED:
        return "failed";
    default:
        return "starting";
    }
}

json_t *clients_status(void *self)
{
    const struct clients *c = self;
    json_t *list = json_array();
    char text[100];
    size_t len;

    if (!c->json) {
        json_decref(list);
        return NULL;
    }
    const struct ovpn_session *sessions = ovpn_sessions(c->daemon, &len);
    for (size_t i = 0; i < len && i < STATUS_CLIENTS_MAX; i++) {
        json_array_append_new(list, session_status(&sessions[i]));
    }
    size_t members = ovpn_members(c->daemon)->len;
    snprintf(text, sizeof text, "%zu of %zu client%s connected", len, members,
             members == 1 ? "" : "s");
    const char *words = ovpn_message(c->daemon);
    const char *message = c->problem[0] ? c->problem : words[0] ? words : text;
    return json_pack("{s:o, s:{s:s, s:s}}", "clients", list, "clientServer", "state",
                     state_name(c), "message", message);
}
