/* dns-resolver.h - the machine's own resolver, pointed at our dnsmasq in the way in which that
 * machine manages it, and put back.
 *
 *     systemd-resolved   the overlay's device gets our address and the domain (resolvectl); all
 *                        other names stay with resolved
 *     resolvconf         a record of ours (Debian's resolvconf, openresolv)
 *     file               /etc/resolv.conf itself, through its links; what was there is kept in
 *                        STATE/dns/resolver.json. A file without our mark was written by somebody
 *                        else, a DHCP client say: what it says is what is kept then, and ours is
 *                        put back
 *
 * Sources: resolv.conf(5), resolvectl(1), resolvconf(8). */
#pragma once

#include <jansson.h>

#include "lib/buf.h"
#include "lib/error.h"

struct resolver;

/* What it is to be. */
struct resolver_spec {
    const char *device; /* of the overlay; "": it isn't there now */
    int device_index;
    const char *domain;
};

struct resolver *resolver_new(const char *state_dir);
struct resolver *resolver_free(struct resolver *r);

/* Reads how it is. */
int resolver_observe(struct resolver *r, struct error *error);
/* Is anything of ours there, or anything to be put back? */
int resolver_present(const struct resolver *r);
int resolver_matches(const struct resolver *r, const struct resolver_spec *spec);
int resolver_apply(struct resolver *r, const struct resolver_spec *spec, struct error *error);
int resolver_restore(struct resolver *r, struct error *error);

/* "nameserver" lines of those whom the machine asked without us. */
void resolver_upstreams(struct resolver *r, struct buf *out);

/* "systemd-resolved", "resolvconf", "/etc/resolv.conf"; "": as it was. */
const char *resolver_way(const struct resolver *r);

/* The folder and name of the file that is watched for others' changes. */
const char *resolver_folder(const struct resolver *r);
const char *resolver_file(const struct resolver *r);
/* Has somebody else written it since it was last written by us? */
int resolver_drifted(const struct resolver *r);

/* Pure: the text of /etc/resolv.conf with us in it. */
void resolver_rewrite(const char *before, const char *domain, struct buf *out);
/* Pure: is it one of ours? */
int resolver_is_ours(const char *text);
/* Pure: "nameserver" lines, without ours, at most `max`. */
void resolver_nameservers(const char *text, size_t max, struct buf *out);
