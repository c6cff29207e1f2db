#include "services/vpn/vpn-dump.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/mem.h"

int key_valid(const char *text)
{
    uint8_t *data;
    size_t size;

    if (strlen(text) != KEY_TEXT_SIZE - 1 || base64_decode(text, &data, &size) < 0) {
        return 0;
    }
    mem_wipe(data, size);
    free(data);
    return size == 32;
}

static int malformed(struct error *error, const char *what)
{
    return error_set(error, 400, NULL, "the tunnel's state has a bad %s", what);
}

static int parse_number(const char *text, uint64_t max, uint64_t *ret)
{
    uint64_t value = 0;

    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9' || value > (UINT64_MAX - 9) / 10) {
            return -EINVAL;
        }
        value = value * 10 + (uint64_t)(*p - '0');
    }
    if (text[0] == '\0' || value > max) {
        return -EINVAL;
    }
    *ret = value;
    return 0;
}

/* Cuts `line` at tabs into exactly `len` fields. */
static int split(char *line, char **fields, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        fields[i] = strsep(&line, "\t");
        if (!fields[i]) {
            return -EINVAL;
        }
    }
    return line ? -EINVAL : 0;
}

static int copy_key(const char *text, char key[KEY_TEXT_SIZE])
{
    if (strcmp(text, "(none)") == 0) {
        key[0] = '\0';
        return 0;
    }
    if (!key_valid(text)) {
        return -EINVAL;
    }
    memcpy(key, text, KEY_TEXT_SIZE);
    return 0;
}

static int parse_device(char *line, struct dump *dump, struct error *error)
{
    char *fields[4];
    uint64_t port;

    if (split(line, fields, ARRAY_LEN(fields)) < 0) {
        return malformed(error, "first line");
    }
    if (copy_key(fields[0], dump->private_key) < 0 || copy_key(fields[1], dump->public_key) < 0) {
        return malformed(error, "key");
    }
    if (parse_number(fields[2], UINT16_MAX, &port) < 0) {
        return malformed(error, "port");
    }
    dump->port = (uint16_t)port;
    return 0;
}

static void parse_allowed(char *list, struct dump_peer *peer)
{
    if (strcmp(list, "(none)") == 0) {
        return;
    }
    for (char *item; (item = strsep(&list, ","));) {
        struct ip4_prefix prefix;
        if (peer->allowed_len < DUMP_ALLOWED_MAX && ip4_prefix_parse(item, &prefix) == 0) {
            peer->allowed[peer->allowed_len] = prefix;
        }
        peer->allowed_len++;
    }
}

static int parse_peer(char *line, struct dump_peer *peer, struct error *error)
{
    char *fields[8];
    uint64_t handshake, keepalive = 0;

    if (split(line, fields, ARRAY_LEN(fields)) < 0) {
        return malformed(error, "peer line");
    }
    if (!key_valid(fields[0])) {
        return malformed(error, "key");
    }
    memcpy(peer->key, fields[0], KEY_TEXT_SIZE);
    ip4_endpoint_parse(fields[2], &peer->endpoint); /* IPv6 and "(none)" leave it 0 */
    parse_allowed(fields[3], peer);
    if (parse_number(fields[4], INT64_MAX, &handshake) < 0 ||
        parse_number(fields[5], UINT64_MAX, &peer->rx_bytes) < 0 ||
        parse_number(fields[6], UINT64_MAX, &peer->tx_bytes) < 0 ||
        (strcmp(fields[7], "off") != 0 && parse_number(fields[7], UINT16_MAX, &keepalive) < 0)) {
        return malformed(error, "number");
    }
    peer->handshake_sec = (int64_t)handshake;
    peer->keepalive_sec = (unsigned)keepalive;
    return 0;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct dump_peer *)a)->key, ((const struct dump_peer *)b)->key);
}

int dump_parse(char *text, struct dump *ret_dump, struct error *error)
{
    struct dump dump = {0};
    size_t capacity = 0;
    int rc = parse_device(strsep(&text, "\n"), &dump, error);

    for (char *line; rc == 0 && (line = strsep(&text, "\n")) && *line;) {
        if (dump.len == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            dump.peers = xrealloc(dump.peers, capacity * sizeof *dump.peers);
        }
        dump.peers[dump.len] = (struct dump_peer){0};
        rc = parse_peer(line, &dump.peers[dump.len++], error);
    }
    if (rc < 0) {
        dump_done(&dump);
        return rc;
    }
    if (dump.len) {
        qsort(dump.peers, dump.len, sizeof *dump.peers, by_key);
    }
    *ret_dump = dump;
    return 0;
}

void dump_done(struct dump *dump)
{
    mem_wipe(dump->private_key, sizeof dump->private_key);
    free(dump->peers);
    *dump = (struct dump){0};
}

const struct dump_peer *dump_find(const struct dump *dump, const char *key)
{
    struct dump_peer wanted = {0};

    if (strlen(key) >= sizeof wanted.key || dump->len == 0) {
        return NULL;
    }
    strcpy(wanted.key, key);
    return bsearch(&wanted, dump->peers, dump->len, sizeof *dump->peers, by_key);
}

int dump_peer_allows(const struct dump_peer *peer, struct ip4_prefix prefix)
{
    for (size_t i = 0; i < peer->allowed_len && i < DUMP_ALLOWED_MAX; i++) {
        if (peer->allowed[i].address == prefix.address && peer->allowed[i].len == prefix.len) {
            return 1;
        }
    }
    return 0;
}
