/* sdn-public-hosts.h - a machine behind a 1:1 NAT, for the test of the public side.
 *
 *     here (the test)          "nat"                              "far"
 *     eth0 10.0.0.5 ───── 10.0.0.1 │ 198.51.100.1 ───── 198.51.100.9
 *                         134.157.24.35 ⇄ 10.0.0.5
 *
 * Each is a network namespace with a table `inet probe` that counts what gets through. Packets are
 * made by hand, so that each is exactly one. To be used within laws-host.h's host_run(). */
#pragma once

#include <netinet/in.h>
#include <stdint.h>

#define HERE "10.0.0.5"
#define PUBLIC "134.157.24.35"
#define FAR "198.51.100.9"
#define NAT "10.0.0.1"

void hosts_up(void);

struct packets {
    const char *from; /* "far", "nat", or NULL for the test's own namespace */
    const char *source, *destination;
    uint8_t protocol;
    uint16_t port;
    unsigned count;
    int with_options;  /* of IPv4 */
    uint16_t fragment; /* the fragment's offset in bytes; more follow unless `is_last` */
    int is_fragment, is_last;
};

/* Sends them; ends the process if one can't be sent. */
void hosts_send(const struct packets *packets);

/* How many packets of a protocol arrived from one source, to `port` (0: whichever). */
unsigned hosts_arrived(const char *host, uint8_t protocol, uint16_t port);

/* A command, words separated by blanks, in a namespace (NULL: the test's own); ends the process if
 * it fails. */
void hosts_do(const char *host, const char *command);
/* The same, but returns its output; the caller frees it. */
char *hosts_read(const char *host, const char *command);
