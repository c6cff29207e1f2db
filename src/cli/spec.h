/* spec.h - a schema's members as options, and the options' values as JSON.
 *
 *     type               typed                          becomes
 *     string             --cloud c1                     "c1"
 *     integer, number    --port 51820                   51820
 *     boolean            --hub, --no-hub, --hub=false   true, false, false
 *     array              --services vpn,dns             ["vpn","dns"]; may be repeated
 *     array of objects   --backends '{"node":"a"}'      JSON, may be repeated
 *     map                --labels tier=web,old-         {"tier":"web","old":null}; may be repeated
 *     date-time          --expires 24h                  the time so long from now (s, m, h, d, w),
 *                                                       or as given
 *     writeOnly string   --password-file FILE           the file's first line ("-": stdin), so
 * that no secret stands in the list of processes
 *
 * A member of a member "check" is --check-interval; maxConns is --max-conns. `null` in a map
 * removes the key in a merge patch (RFC 7396). Values are checked only as far as their type needs:
 * the server is the judge of the rest, and its sentence is shown. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "cli/command.h"
#include "lib/error.h"

/* A list of options in the making; strings in it are owned by it. */
struct option_list {
    struct option *items;
    size_t len;
};

/* Appends the options of the members of an object schema. */
void spec_options(struct option_list *list, const json_t *schema);
void option_list_done(struct option_list *list);

/* Is this the schema's "type"? */
int schema_type_is(const json_t *schema, const char *type);

/* Puts the value of one given option into `spec`. `value` is NULL for a flag without one.
 * `now_usec` is the wall clock. 0, or -EINVAL with the option named in *error. */
int spec_set(json_t *spec, const struct option *option, const char *value, int64_t now_usec,
             struct error *error);

/* One word of a map, "key=value" or "key-", into `map`. The value's type is the schema's. */
int spec_set_pair(json_t *map, const json_t *value_schema, const char *pair, struct error *error);

/* "90s", "30m", "24h", "7d", "2w" to seconds; -EINVAL for any other form. */
int duration_parse(const char *text, int64_t *ret_sec);
