/* dns-set.h - resources as what dnsmasq reads. Pure.
 *
 *     resource ──► dns_set_put() ──► lines of a host file     live
 *                                └─► lines of the configuration: wildcards, TTLs, names outside
 *
 * Host files are DNS_FILES many, and an address is always in the same one: so a change rewrites a
 * few lines, and of the names of one address the first is its reverse: a node's own, then records
 * by name, then what CNAMEs lead there. Source: dnsmasq(8), --hostsdir. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/error.h"
#include "lib/omap.h"

enum {
    DNS_FILES = 64,
    DNS_FILE_SIZE_MAX = 64 << 20,
};

struct dns_set {
    struct omap items;            /* key -> json_t: as put */
    struct omap special;          /* key -> json_t: those with lines in the configuration */
    struct omap lines[DNS_FILES]; /* "address rank name" -> how often */
    uint8_t changed[DNS_FILES];   /* since the caller last set it to 0 */
    char *domain;
};

void dns_set_init(struct dns_set *set);
void dns_set_done(struct dns_set *set);

/* Names and records: puts one in place of the one before it. 400 for what isn't one, and then
 * there is none. */
int dns_set_put(struct dns_set *set, const char *key, const json_t *spec, struct error *error);
void dns_set_drop(struct dns_set *set, const char *key);

/* "dns/settings", and "dns/self/<node>" by its address. */
int dns_settings_parse(const json_t *json, char **ret_domain, json_t **ret_upstreams,
                       struct error *error);
int dns_self_parse(const json_t *json, char ret_address[16], struct error *error);

/* All names are in another domain from now on. */
void dns_set_domain(struct dns_set *set, const char *domain);

/* The text of a host file; of the configuration, after what its caller has written. */
void dns_set_write_file(const struct dns_set *set, size_t file, struct buf *out);
void dns_set_write_special(const struct dns_set *set, struct buf *out);
