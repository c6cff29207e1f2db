/* vpn-openvpn-config.h - what the fabric's openvpn is told. Pure.
 *
 * One node runs the server, all others connect to it. Both ends take only certificates of this
 * deployment's nodes, told by an extended key usage of ours; a spoke takes the server's alone. Of
 * the certificate the file is read again whenever a spoke connects anew, so a renewed one needs no
 * restart; of the server see openvpn_loaded_until(). Packets may be fragmented on their way
 * (mtu-disc no), and timers are such that a spoke is back within 5 s of its server's return or of
 * a new daemon in its place: up to 3 s until it misses the pings, a second's pause, the handshake.
 *
 * Source: openvpn(8) of 2.6. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/ip.h"

struct openvpn_config {
    const char *state_dir; /* where key.pem, cert.pem and root.pem are */
    uint16_t port;
    unsigned mtu_bytes; /* that the device may have at most */
    int server;
    int64_t loaded_until_sec; /* the end of the certificate that is there now */
    /* of a spoke */
    const char *server_id;
    const struct ip4_endpoint *remotes; /* in the order of trying */
    size_t remotes_len;
};

/* The text of an ovpn_spec; the caller frees it. */
char *openvpn_config_text(const struct openvpn_config *config);

/* Of a configuration as written to disk: until when was the certificate good that the daemon was
 * started with? 0: it doesn't say. And is it a server's? */
int64_t openvpn_loaded_until(const char *text);
int openvpn_is_server(const char *text);

/* The end that the daemon's certificate shall have: that of the one on disk, if that is newer and
 * the loaded one hasn't a week left; else the loaded one's. 0: nothing is loaded. */
int64_t openvpn_choose_until(int64_t loaded_sec, int64_t on_disk_sec, int64_t now_sec);

/* The endpoints of a hub's vpn/peer resource, best first: what is declared or public, then local
 * ones if it is in our cloud; what hubs have observed only if there is nothing else. Returns how
 * many there are, at most `max`. */
size_t openvpn_remotes(const json_t *peer, const char *cloud, struct ip4_endpoint *ret_remotes,
                       size_t max);
