/* channels.h - which resources there are, on which channel, and who is on it.
 *
 * A channel ("node/Agent.1", "service/vpn") holds resources and has members. Every change is noted
 * with its revision in the channel's history, so that a member that was away gets just what it
 * missed. The history is bounded; beyond its floor a member needs a snapshot. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "core/digest.h"
#include "lib/omap.h"

enum {
    CHANNEL_HISTORY_MAX = 2048, /* changes remembered per channel */
    MEMBER_LEFT_MAX = 16,       /* channels a member has left, remembered */
};

struct resource {
    int64_t revision;
    json_t *body;
    struct digest digest;
};

struct channel_change {
    int64_t revision;
    char *key;
};

struct channel {
    char *name;
    struct omap resources; /* key -> struct resource */
    struct omap members;   /* node -> struct member */
    struct digest digest;  /* of all resources */
    struct channel_change *history;
    size_t history_len, history_capacity;
    int64_t floor; /* changes up to this revision may have been forgotten */
};

struct membership {
    struct channel *channel;
    int64_t since; /* the revision at which it joined, */
    int64_t until; /* and left; 0: it is on it */
};

struct member {
    char *node;
    struct membership *channels;
    size_t len;
    int64_t floor; /* older memberships may have been forgotten */
};

struct channels {
    struct omap by_name; /* -> struct channel */
    struct omap members; /* node -> struct member */
    int64_t floor;       /* history began after this revision */
};

void channels_done(struct channels *channels);

/* Sets or removes a resource at a revision. Equal bodies change nothing: returns 1 if something
 * changed, else 0. */
int channels_put(struct channels *channels, const char *channel, const char *key, int64_t revision,
                 json_t *body);
int channels_delete(struct channels *channels, const char *channel, const char *key,
                    int64_t revision);

/* Puts the node on exactly these channels (NULL-terminated; an empty list: the node is gone).
 * Returns 1 if that changed anything. */
int channels_join(struct channels *channels, const char *node, const char *const *names,
                  int64_t revision);

const struct channel *channels_get(const struct channels *channels, const char *name);
const struct member *channels_member(const struct channels *channels, const char *node);

typedef void channels_each_fn(void *arg, const char *key, int64_t revision, const json_t *body);

size_t channels_snapshot(const struct channels *channels, const char *node, channels_each_fn *each,
                         void *arg);

/* -ESTALE when history doesn't reach back to `revision`. Deletes (body NULL) come first. */
int channels_deltas(const struct channels *channels, const char *node, int64_t revision,
                    channels_each_fn *each, void *arg);

struct digest channels_digest(const struct channels *channels, const char *node);
