/* schema.h - JSON Schema (draft 2020-12), the subset that our object kinds are written in.
 *
 * One schema per kind is the single source for validation, the OpenAPI document, the command
 * line's arguments and the dashboard's types. Keywords: type (a name), properties, required,
 * items, uniqueItems, enum, pattern (POSIX ERE, anchored by the author), format, minimum,
 * maximum, minItems, maxItems, minLength, maxLength (in characters), maxProperties, default,
 * title, description, examples, readOnly, writeOnly, additionalProperties (false or a schema;
 * false is the default of ours) and the top-level $schema and $id. schema_check() refuses any
 * other.
 *
 * Formats: ipv4, ipv4-prefix, ipv4-endpoint (a.b.c.d:port), node-id, dns-label, pem,
 * date-time. */
#pragma once

#include <jansson.h>

#include "lib/error.h"

/* Is the schema itself written in the subset? For the registry at start, and the tests. */
int schema_check(const json_t *schema, struct error *error);

/* 0, or -EINVAL with status 400, a JSON pointer to the first offending member and a sentence that
 * begins with the member's name in double quotes: "\"port\" must be at most 65535". Members are
 * checked in the order of the schema's properties, then unknown ones. */
int schema_validate(const json_t *schema, const json_t *value, struct error *error);

/* A copy of `value` with missing members filled from the schema's defaults, at every depth where
 * the parent is present. */
json_t *schema_fill(const json_t *schema, const json_t *value);

/* Node ids, as orchestrators give them: "Agent.1". Letters, digits, dot, hyphen, underscore;
 * starts and ends with a letter or digit; at most 63 characters. */
int node_id_is_valid(const char *id);

/* Names of outside clients: the same characters, and the last one may be any of them (API v1 lets
 * it); some are reserved. */
int client_name_is_valid(const char *name);

/* "ca" and "server", in any case, name files of their own; "DEFAULT" and "UNDEF" are openvpn's
 * words for any client and for one that hasn't shown its certificate yet. */
int client_name_is_reserved(const char *name);
