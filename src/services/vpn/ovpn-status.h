/* ovpn-status.h - what openvpn's management interface answers, as values. Pure.
 *
 * `status 3` is a table separated by tabs: lines that begin with CLIENT_LIST are sessions, the
 * others are headings, routes and counters. `state` is one line,
 * "time,STATE,description,tunnel address,remote address,remote port,…", which also comes by itself
 * as ">STATE:…" after `state on`.
 *
 * Source: doc/management-notes.txt of OpenVPN 2.6. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/ip.h"

enum {
    OVPN_NAME_SIZE = 65, /* a certificate's common name has at most 64 characters */
    OVPN_STATUS_SIZE_MAX = 4 << 20,
    OVPN_SERIAL_SIZE = 41, /* RFC 5280 section 4.1.2.2: at most 20 octets, as hex, and NUL */
};

struct ovpn_session {
    char name[OVPN_NAME_SIZE]; /* common name */
    struct ip4_endpoint from;  /* port 0: not IPv4 */
    uint32_t address;          /* in the tunnel; 0: none yet */
    int64_t since_sec;         /* since 1970 */
    uint64_t rx_bytes, tx_bytes;
    unsigned long id; /* of the session, as long as the daemon runs */
};

/* Of a daemon that takes sessions, those whose other end has shown its certificate. The caller
 * frees the array. -EINVAL if a session's line isn't as it must be; nothing is returned then. */
int ovpn_status_parse(const char *text, struct ovpn_session **ret_sessions, size_t *ret_len,
                      struct error *error);

/* The line of a session's certificate among those that follow ">CLIENT:ESTABLISHED,<id>":
 * ">CLIENT:ENV,tls_serial_hex_0=01:ab:…". As lower-case hex without leading zero octets. -EINVAL
 * if it isn't such a line. */
int ovpn_serial_parse(const char *line, char ret_serial[OVPN_SERIAL_SIZE]);

struct ovpn_state_line {
    int64_t since_sec;
    char name[16];            /* "CONNECTED", "WAIT", "RECONNECTING"; see the source */
    char description[64];     /* "SUCCESS", "ping-restart"; "" if none */
    struct ip4_endpoint peer; /* of a client; port 0: none, or not IPv4 */
};

/* -EINVAL if it isn't such a line. */
int ovpn_state_parse(const char *line, struct ovpn_state_line *ret_state);
