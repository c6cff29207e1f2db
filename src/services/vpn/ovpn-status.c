#include "services/vpn/ovpn-status.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

enum {
    LINE_SIZE = 1024, /* longer ones are no session's */
    FIELDS_MAX = 16,
    SESSION_FIELDS = 11, /* CLIENT_LIST … Client ID */
};

#define SERIAL_MARK ">CLIENT:ENV,tls_serial_hex_0="
#define SESSION_MARK "CLIENT_LIST\t"

/* Cuts `line` at each `separator`; the number of fields, at most FIELDS_MAX. */
static size_t split(char *line, char separator, char *fields[FIELDS_MAX])
{
    size_t len = 0;

    for (char *at = line; at && len < FIELDS_MAX; len++) {
        char *end = strchr(at, separator);
        fields[len] = at;
        if (end) {
            *end++ = '\0';
        }
        at = end;
    }
    return len;
}

static int parse_number(const char *text, uint64_t max, uint64_t *ret)
{
    char *end;

    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end || errno || value > max) {
        return -EINVAL;
    }
    *ret = value;
    return 0;
}

/* Sessions come and go between two answers; one that has no name yet is left out. */
static int is_named(const char *name)
{
    return strcmp(name, "UNDEF") != 0;
}

static int parse_session(char *line, struct ovpn_session *ret)
{
    char *fields[FIELDS_MAX];
    struct ovpn_session session = {0};
    uint64_t since, id;

    if (split(line, '\t', fields) < SESSION_FIELDS || fields[1][0] == '\0' ||
        strlen(fields[1]) >= sizeof session.name ||
        parse_number(fields[5], UINT64_MAX, &session.rx_bytes) < 0 ||
        parse_number(fields[6], UINT64_MAX, &session.tx_bytes) < 0 ||
        parse_number(fields[8], INT64_MAX, &since) < 0 ||
        parse_number(fields[10], ULONG_MAX, &id) < 0) {
        return -EINVAL;
    }
    memcpy(session.name, fields[1], strlen(fields[1]) + 1);
    ip4_endpoint_parse(fields[2], &session.from);
    ip4_parse(fields[3], &session.address);
    session.since_sec = (int64_t)since;
    session.id = id;
    *ret = session;
    return 0;
}

/* Copies the line at `text` without its end; the next line, or NULL. -EINVAL in *rc if it is too
 * long. */
static const char *take_line(const char *text, char line[LINE_SIZE], int *rc)
{
    size_t size = strcspn(text, "\n");
    const char *next = text[size] ? text + size + 1 : NULL;

    *rc = size < LINE_SIZE ? 0 : -EINVAL;
    size = size < LINE_SIZE ? size : LINE_SIZE - 1;
    memcpy(line, text, size);
    line[size] = '\0';
    line[strcspn(line, "\r")] = '\0';
    return next;
}

int ovpn_status_parse(const char *text, struct ovpn_session **ret_sessions, size_t *ret_len,
                      struct error *error)
{
    _cleanup_free_ struct ovpn_session *sessions = NULL;
    size_t len = 0, capacity = 0;
    char line[LINE_SIZE];

    for (const char *at = text; at;) {
        struct ovpn_session session;
        int rc;
        at = take_line(at, line, &rc);
        if (strncmp(line, SESSION_MARK, strlen(SESSION_MARK)) != 0) {
            continue;
        }
        if (rc < 0 || parse_session(line, &session) < 0) {
            error_set(error, 500, NULL, "openvpn lists a session that can't be understood");
            return -EINVAL;
        }
        if (!is_named(session.name)) {
            continue;
        }
        if (len == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            sessions = xrealloc(sessions, capacity * sizeof *sessions);
        }
        sessions[len++] = session;
    }
    *ret_sessions = TAKE(sessions);
    *ret_len = len;
    return 0;
}

int ovpn_state_parse(const char *line, struct ovpn_state_line *ret_state)
{
    char copy[LINE_SIZE], *fields[FIELDS_MAX];
    struct ovpn_state_line state = {0};
    uint64_t since, port;

    if (strlen(line) >= sizeof copy) {
        return -EINVAL;
    }
    memcpy(copy, line, strlen(line) + 1);
    copy[strcspn(copy, "\r\n")] = '\0';
    size_t len = split(copy, ',', fields);
    if (len < 2 || parse_number(fields[0], INT64_MAX, &since) < 0 || fields[1][0] == '\0' ||
        strlen(fields[1]) >= sizeof state.name) {
        return -EINVAL;
    }
    state.since_sec = (int64_t)since;
    memcpy(state.name, fields[1], strlen(fields[1]) + 1);
    if (len > 2) {
        snprintf(state.description, sizeof state.description, "%.63s", fields[2]);
    }
    if (len > 5 && ip4_parse(fields[4], &state.peer.address) == 0 &&
        parse_number(fields[5], UINT16_MAX, &port) == 0) {
        state.peer.port = (uint16_t)port;
    }
    *ret_state = state;
    return 0;
}

int ovpn_serial_parse(const char *line, char ret_serial[OVPN_SERIAL_SIZE])
{
    char serial[OVPN_SERIAL_SIZE];
    size_t len = 0;

    if (strncmp(line, SERIAL_MARK, strlen(SERIAL_MARK)) != 0) {
        return -EINVAL;
    }
    for (const char *at = line + strlen(SERIAL_MARK); *at; at += at[2] == ':' ? 3 : 2) {
        if (!isxdigit((unsigned char)at[0]) || !isxdigit((unsigned char)at[1]) ||
            (at[2] && (at[2] != ':' || !at[3])) || len + 2 >= sizeof serial) {
            return -EINVAL;
        }
        int is_leading = len == 0 && at[0] == '0' && at[1] == '0';
        for (int i = 0; i < 2 && !is_leading; i++) {
            serial[len++] = (char)tolower((unsigned char)at[i]);
        }
    }
    serial[len] = '\0';
    if (len == 0) {
        return -EINVAL;
    }
    memcpy(ret_serial, serial, len + 1);
    return 0;
}
