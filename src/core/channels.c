#include "core/channels.h"

#include <errno.h>
#include <string.h>

#include "lib/mem.h"

static void free_resource(void *value)
{
    struct resource *resource = value;

    json_decref(resource->body);
    free(resource);
}

static void free_channel(void *value)
{
    struct channel *channel = value;

    omap_clear(&channel->resources, free_resource);
    omap_clear(&channel->members, NULL);
    for (size_t i = 0; i < channel->history_len; i++) {
        free(channel->history[i].key);
    }
    free(channel->history);
    free(channel->name);
    free(channel);
}

static void free_member(void *value)
{
    struct member *member = value;

    free(member->channels);
    free(member->node);
    free(member);
}

void channels_done(struct channels *channels)
{
    omap_clear(&channels->by_name, free_channel);
    omap_clear(&channels->members, free_member);
}

static struct channel *make_channel(struct channels *channels, const char *name)
{
    struct channel *channel = omap_get(&channels->by_name, name);

    if (!channel) {
        channel = xnew(struct channel);
        channel->name = xstrdup(name);
        channel->floor = channels->floor;
        omap_put(&channels->by_name, name, channel);
    }
    return channel;
}

/* When the history is full its older half goes, so that trimming costs little per change. */
static void remember(struct channel *channel, const char *key, int64_t revision)
{
    if (channel->history_len == CHANNEL_HISTORY_MAX) {
        size_t drop = CHANNEL_HISTORY_MAX / 2;
        channel->floor = channel->history[drop - 1].revision;
        for (size_t i = 0; i < drop; i++) {
            free(channel->history[i].key);
        }
        channel->history_len -= drop;
        memmove(channel->history, channel->history + drop,
                channel->history_len * sizeof *channel->history);
    }
    if (channel->history_len == channel->history_capacity) {
        channel->history_capacity = channel->history_capacity ? channel->history_capacity * 2 : 2;
        channel->history =
            xrealloc(channel->history, channel->history_capacity * sizeof *channel->history);
    }
    channel->history[channel->history_len++] =
        (struct channel_change){.revision = revision, .key = xstrdup(key)};
}

int channels_put(struct channels *channels, const char *name, const char *key, int64_t revision,
                 json_t *body)
{
    struct channel *channel = make_channel(channels, name);
    struct resource *resource = omap_get(&channel->resources, key);

    if (resource && json_equal(resource->body, body)) {
        return 0;
    }
    if (resource) {
        digest_remove(&channel->digest, resource->digest);
        json_decref(resource->body);
    } else {
        resource = xnew(struct resource);
        omap_put(&channel->resources, key, resource);
    }
    *resource = (struct resource){
        .revision = revision, .body = json_incref(body), .digest = digest_of(key, body)};
    digest_add(&channel->digest, resource->digest);
    remember(channel, key, revision);
    return 1;
}

int channels_delete(struct channels *channels, const char *name, const char *key, int64_t revision)
{
    struct channel *channel = omap_get(&channels->by_name, name);
    struct resource *resource = channel ? omap_del(&channel->resources, key) : NULL;

    if (!resource) {
        return 0;
    }
    digest_remove(&channel->digest, resource->digest);
    free_resource(resource);
    remember(channel, key, revision);
    return 1;
}

const struct channel *channels_get(const struct channels *channels, const char *name)
{
    return omap_get(&channels->by_name, name);
}

const struct member *channels_member(const struct channels *channels, const char *node)
{
    return omap_get(&channels->members, node);
}

static struct member *make_member(struct channels *channels, const char *node)
{
    struct member *member = omap_get(&channels->members, node);

    if (!member) {
        member = xnew(struct member);
        member->node = xstrdup(node);
        omap_put(&channels->members, node, member);
    }
    return member;
}

static struct membership *find_membership(struct member *member, const char *name)
{
    for (size_t i = 0; i < member->len; i++) {
        if (member->channels[i].until == 0 &&
            strcmp(member->channels[i].channel->name, name) == 0) {
            return &member->channels[i];
        }
    }
    return NULL;
}

static int is_named(const char *const *names, const char *name)
{
    for (; *names; names++) {
        if (strcmp(*names, name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Forgets the oldest left channels beyond the bound. */
static void trim_left(struct member *member)
{
    size_t left = 0;

    for (size_t i = 0; i < member->len; i++) {
        left += member->channels[i].until != 0;
    }
    for (size_t i = 0; left > MEMBER_LEFT_MAX && i < member->len;) {
        if (member->channels[i].until != 0) {
            member->floor = member->channels[i].until;
            memmove(&member->channels[i], &member->channels[i + 1],
                    (--member->len - i) * sizeof *member->channels);
            left--;
        } else {
            i++;
        }
    }
}

static int leave_others(struct member *member, const char *const *names, int64_t revision)
{
    int changed = 0;

    for (size_t i = 0; i < member->len; i++) {
        struct membership *m = &member->channels[i];
        if (m->until == 0 && !is_named(names, m->channel->name)) {
            m->until = revision;
            omap_del(&m->channel->members, member->node);
            changed = 1;
        }
    }
    trim_left(member);
    return changed;
}

int channels_join(struct channels *channels, const char *node, const char *const *names,
                  int64_t revision)
{
    if (!*names && !channels_member(channels, node)) {
        return 0;
    }
    struct member *member = make_member(channels, node);
    int changed = leave_others(member, names, revision);

    if (!*names) {
        omap_del(&channels->members, node);
        free_member(member);
        return 1;
    }
    for (; *names; names++) {
        if (find_membership(member, *names)) {
            continue;
        }
        struct channel *channel = make_channel(channels, *names);
        member->channels =
            xrealloc(member->channels, (member->len + 1) * sizeof *member->channels);
        member->channels[member->len++] =
            (struct membership){.channel = channel, .since = revision};
        omap_put(&channel->members, node, member);
        changed = 1;
    }
    return changed;
}

size_t channels_snapshot(const struct channels *channels, const char *node, channels_each_fn *each,
                         void *arg)
{
    const struct member *member = channels_member(channels, node);
    size_t count = 0;

    for (size_t i = 0; member && i < member->len; i++) {
        if (member->channels[i].until != 0) {
            continue;
        }
        omap_foreach (e, &member->channels[i].channel->resources) {
            const struct resource *resource = e->value;
            each(arg, e->key, resource->revision, resource->body);
            count++;
        }
    }
    return count;
}

/* Collects the keys that may differ from what the member had at `revision`. */
static void collect_keys(const struct membership *m, int64_t revision, struct omap *keys)
{
    if (m->since > revision || m->until != 0) {
        omap_foreach (e, &m->channel->resources) {
            omap_put(keys, e->key, keys);
        }
    }
    for (size_t i = m->channel->history_len; i > 0; i--) {
        const struct channel_change *change = &m->channel->history[i - 1];
        if (change->revision <= revision) {
            break;
        }
        omap_put(keys, change->key, keys);
    }
}

static const struct resource *find_resource(const struct member *member, const char *key)
{
    for (size_t i = 0; i < member->len; i++) {
        const struct membership *m = &member->channels[i];
        const struct resource *resource =
            m->until == 0 ? omap_get(&m->channel->resources, key) : NULL;
        if (resource) {
            return resource;
        }
    }
    return NULL;
}

int channels_deltas(const struct channels *channels, const char *node, int64_t revision,
                    channels_each_fn *each, void *arg)
{
    const struct member *member = channels_member(channels, node);
    struct omap keys = {0};

    if (!member || revision < member->floor || revision < channels->floor) {
        return -ESTALE;
    }
    for (size_t i = 0; i < member->len; i++) {
        const struct membership *m = &member->channels[i];
        if (m->until != 0 && m->until <= revision) {
            continue;
        }
        if (revision < m->channel->floor && m->since <= revision) {
            omap_clear(&keys, NULL);
            return -ESTALE;
        }
        collect_keys(m, revision, &keys);
    }
    omap_foreach (e, &keys) {
        if (!find_resource(member, e->key)) {
            each(arg, e->key, revision, NULL);
            omap_del(&keys, e->key);
        }
    }
    omap_foreach (e, &keys) {
        const struct resource *resource = find_resource(member, e->key);
        each(arg, e->key, resource->revision, resource->body);
    }
    omap_clear(&keys, NULL);
    return 0;
}

struct digest channels_digest(const struct channels *channels, const char *node)
{
    const struct member *member = channels_member(channels, node);
    struct digest sum = {0};

    for (size_t i = 0; member && i < member->len; i++) {
        if (member->channels[i].until == 0) {
            digest_add(&sum, member->channels[i].channel->digest);
        }
    }
    return sum;
}
