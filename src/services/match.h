/* match.h - what services' objects say of packets, as text: ports and prefixes. The server's half.
 *
 * Pure. Errors name the member, and begin with where it is in the spec (a JSON pointer). */
#pragma once

#include <jansson.h>

#include "lib/error.h"
#include "lib/ip.h"
#include "model/kind.h"
#include "model/plan.h"

struct ports {
    uint16_t from, to; /* both 0: all */
};

/* 0, or -EINVAL: "" all, "80", "80-90"; -ERANGE: the range is reversed. */
int ports_parse(const char *text, struct ports *ret_ports);

/* An address (then .len is 32) or a prefix; host bits are left as they are. */
int prefix_parse(const char *text, struct ip4_prefix *ret_prefix);

/* An address or prefix without host bits; `name` is the member's. No such member: nothing to
 * check.
 */
int match_check_prefix(const json_t *object, const char *name, const char *pointer,
                       struct error *error);

/* "port", which needs the "protocol" tcp or udp. */
int match_check_port(const json_t *spec, struct error *error);

/* 409 when another object of the kind holds the claim. */
int match_check_claim(struct view *view, const char *claim, const struct kind *kind,
                      const char *id, struct error *error);
