/* vpn-dump.h - what `wg show DEVICE dump` says, and the changes that `wg set` takes.
 *
 * The dump is one line for the device (private key, public key, port, mark) and one for each peer
 * (public key, preshared key, endpoint, allowed IPs, last handshake, bytes in, bytes out,
 * keepalive), separated by tabs; see wg(8). It holds the private key: dump_done() wipes it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/ip.h"

enum {
    KEY_TEXT_SIZE = 45,   /* 32 bytes as base64, and NUL */
    DUMP_ALLOWED_MAX = 4, /* more are counted, not kept */
    DUMP_SIZE_MAX = 16 << 20,
};

struct dump_peer {
    char key[KEY_TEXT_SIZE];
    struct ip4_endpoint endpoint; /* port 0: none, or not IPv4 */
    struct ip4_prefix allowed[DUMP_ALLOWED_MAX];
    size_t allowed_len;    /* all of them, also those not kept or not IPv4 */
    int64_t handshake_sec; /* 0: never */
    uint64_t rx_bytes, tx_bytes;
    unsigned keepalive_sec; /* 0: off */
};

struct dump {
    char private_key[KEY_TEXT_SIZE]; /* "" if none is set */
    char public_key[KEY_TEXT_SIZE];
    uint16_t port;
    struct dump_peer *peers; /* in the order of keys */
    size_t len;
};

/* Changes `text`. -EINVAL for anything that isn't such a dump; *ret_dump is left alone then. */
int dump_parse(char *text, struct dump *ret_dump, struct error *error);
void dump_done(struct dump *dump);

/* NULL if there is none. */
const struct dump_peer *dump_find(const struct dump *dump, const char *key);

int dump_peer_allows(const struct dump_peer *peer, struct ip4_prefix prefix);

/* Is it 32 bytes in base64, as WireGuard writes keys? */
int key_valid(const char *text);
