/* kind.h - what kinds of objects there are. A kind is data: its name, its schema and a few traits.
 */
#pragma once

#include <jansson.h>

#include "lib/error.h"

enum kind_ids {
    KIND_ID_NAMED,     /* the caller gives the id: nodes, users */
    KIND_ID_RANDOM,    /* the server draws one: tokens */
    KIND_ID_COUNTED,   /* "1", "2", ...: never drawn twice: filters. A caller may give one, to move
                          an object. */
    KIND_ID_SINGLETON, /* a fixed set that always exists, with defaults: settings */
};

enum role {
    ROLE_NONE, /* not logged in */
    ROLE_METRICS,
    ROLE_VIEWER,
    ROLE_OPERATOR,
    ROLE_ADMIN,
    ROLE_NOBODY, /* not even an admin: events can't be written */
};

enum {
    CONFIRM_SEC = 60,
};

struct kind {
    const char *name;        /* as in the path: "nodes", "sdn/filters" */
    const char *singular;    /* the command line's noun: "node", "sdn filter" */
    const char *summary;     /* one sentence for help and API document */
    const char *schema_text; /* of `spec`; made from <kind>.schema.json at build time */
    enum kind_ids ids;
    const char *singleton_id; /* KIND_ID_SINGLETON: the one id of this schema ("overlay" of
                                 "settings"); several kinds may share a name then */
    /* KIND_ID_NAMED: 0, or 400 with the pointer "/id". NULL: node_id_is_valid() decides. */
    int (*check_id)(const char *id, struct error *error);
    int can_be_forced;   /* what its rules refuse because it could cut somebody off, "force" makes
                            all the same: on trial, to be confirmed within CONFIRM_SEC */
    int one_by_one;      /* isn't made in lists: the server makes or hashes a secret for each */
    enum role read_role; /* least role that may read / create, change and delete */
    enum role write_role;
};
