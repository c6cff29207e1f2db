/* status.c - the computed status of objects: what people see beside what they asked for. */
#include <stdio.h>
#include <string.h>

#include "core/deployment-internal.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    PENDING_SHOWN_MAX = 20, /* nodes named in a status; the numbers count them all */
};

struct in_force {
    struct deployment *d;
    struct omap channels; /* name -> struct channel: their members are the nodes concerned */
    struct omap pending;  /* node -> why, not owned */
};

static void look_at_member(struct in_force *f, const char *node, const char *key, int64_t revision)
{
    const char *problem = fleet_problem(f->d, node, key, revision);

    if (*problem) {
        omap_put(&f->pending, node, (void *)problem);
    }
}

/* Whoever isn't behind has applied everything, so the shorter of both lists is enough. */
static void look_at_resource(struct in_force *f, const char *channel_name, const char *key)
{
    const struct channel *channel = channels_get(&f->d->channels, channel_name);
    const struct resource *resource = channel ? omap_get(&channel->resources, key) : NULL;

    if (!resource) {
        return;
    }
    omap_put(&f->channels, channel_name, (void *)channel);
    if (channel->members.len <= f->d->behind.len) {
        omap_foreach (e, &channel->members) {
            look_at_member(f, e->key, key, resource->revision);
        }
        return;
    }
    omap_foreach (e, &f->d->behind) {
        if (omap_get(&channel->members, e->key)) {
            look_at_member(f, e->key, key, resource->revision);
        }
    }
}

/* How many nodes are on any of the channels: the largest one's members needn't be walked. */
static size_t count_nodes(const struct in_force *f)
{
    const struct channel *largest = NULL;
    struct omap others = {0};

    omap_foreach (e, &f->channels) {
        const struct channel *channel = e->value;
        largest = !largest || channel->members.len > largest->members.len ? channel : largest;
    }
    omap_foreach (e, &f->channels) {
        const struct channel *channel = e->value;
        if (channel == largest) {
            continue;
        }
        omap_foreach (m, &channel->members) {
            if (!omap_get(&largest->members, m->key)) {
                omap_put(&others, m->key, &others);
            }
        }
    }
    size_t count = (largest ? largest->members.len : 0) + others.len;
    omap_clear(&others, NULL);
    return count;
}

static void look_at_unit(struct in_force *f, const struct unit *unit)
{
    if (unit) {
        omap_foreach (e, &unit->resources) {
            look_at_resource(f, e->value, e->key);
        }
    }
}

/* Settings aren't planned themselves: those that read them are. */
static void look_at_readers(struct in_force *f, const char *kind, const char *id)
{
    _cleanup_free_ char *key = xasprintf("object/%s/%s", kind, id);
    const struct omap *names = omap_get(&f->d->planner.readers, key);

    if (names) {
        omap_foreach (e, names) {
            look_at_unit(f, omap_get(&f->d->planner.units, e->key));
        }
    }
}

static void look_at_object(struct in_force *f, const char *kind, const char *id)
{
    if (strcmp(kind, "settings") == 0) {
        look_at_readers(f, kind, id);
    }
    for (size_t i = 0; f->d->services[i]; i++) {
        look_at_unit(f, planner_unit(&f->d->planner, f->d->services[i], kind, id));
    }
}

void deployment_concerned(struct deployment *d, const char *kind, const char *id,
                          void (*each)(void *arg, const char *node), void *arg)
{
    struct in_force f = {.d = d};
    struct omap nodes = {0};

    look_at_object(&f, kind, id);
    omap_foreach (e, &f.channels) {
        omap_foreach (m, &((const struct channel *)e->value)->members) {
            omap_put(&nodes, m->key, d);
        }
    }
    omap_foreach (e, &nodes) {
        each(arg, e->key);
    }
    omap_clear(&nodes, NULL);
    omap_clear(&f.channels, NULL);
    omap_clear(&f.pending, NULL);
}

/* On how many of the nodes that it concerns an object is in force. */
static json_t *in_force(struct deployment *d, const char *kind, const char *id)
{
    struct in_force f = {.d = d};
    json_t *pending = json_array();

    look_at_object(&f, kind, id);
    omap_foreach (e, &f.pending) {
        if (json_array_size(pending) < PENDING_SHOWN_MAX) {
            json_array_append_new(pending,
                                  json_pack("{s:s, s:s}", "node", e->key, "reason", e->value));
        }
    }
    size_t nodes = count_nodes(&f);
    json_t *result = json_pack("{s:I, s:I, s:o}", "nodes", (json_int_t)nodes, "applied",
                               (json_int_t)(nodes - f.pending.len), "pending", pending);
    omap_clear(&f.channels, NULL);
    omap_clear(&f.pending, NULL);
    return result;
}

/* One word for each service that the node should run, with why. */
static json_t *service_states(const json_t *spec, const struct live *live, const json_t *status)
{
    const json_t *reported = json_object_get(status, "services");
    json_t *result = json_object(), *name;
    size_t i;

    json_array_foreach (json_object_get(spec, "services"), i, name) {
        const char *service = json_string_value(name);
        json_t *state = json_object_get(reported, service);
        if (!live || !live->connected) {
            json_object_set_new(result, service,
                                json_pack("{s:s, s:s}", "state", "unknown", "message",
                                          "the agent is away; what it ran goes on running"));
        } else if (state) {
            json_object_set(result, service, state);
        } else {
            json_object_set_new(result, service,
                                json_pack("{s:s, s:s}", "state", "starting", "message", ""));
        }
    }
    return result;
}

/* What passes its bridge, where it has one. */
static void add_traffic(struct deployment *d, const char *id, const json_t *spec, json_t *status)
{
    static const char *const NAMES[] = {"in", "out"};

    if (!json_array_has(json_object_get(spec, "services"), "sdn")) {
        return;
    }
    json_t *traffic = json_object();
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        char name[24];
        struct count total;
        snprintf(name, sizeof name, "sdn/node/%s", NAMES[i]);
        counters_get(&d->counters, id, name, &total);
        json_object_set_new(traffic, NAMES[i],
                            json_pack("{s:I, s:I}", "packets", (json_int_t)total.packets, "bytes",
                                      (json_int_t)total.bytes));
    }
    json_object_set_new(status, "traffic", traffic);
}

static json_t *node_status(struct deployment *d, const char *id, const json_t *spec)
{
    const struct live *live = fleet_live(d, id);
    _cleanup_free_ char *seen_key = xasprintf("fact/%s/core.seen", id);
    const char *seen = json_get_string(tree_value(&d->tree, seen_key), "address", NULL);
    const char *public = json_get_string(spec, "endpoint", "");
    const json_t *reported = fleet_reported(d, live);
    char time[CLOCK_TEXT_SIZE];
    json_t *status = json_object();

    json_object_set_new(status, "connected", json_boolean(live && live->connected));
    json_object_set_new(status, "lastSeen",
                        live && live->last_seen_usec
                            ? json_string(clock_format(live->last_seen_usec, time))
                            : json_null());
    json_object_set_new(status, "address", json_string(json_get_string(spec, "address", "")));
    json_object_set_new(status, "publicAddress",
                        json_stringn(*public ? public
                                     : seen  ? seen
                                             : "",
                                     strcspn(*public ? public
                                             : seen  ? seen
                                                     : "",
                                             ":")));
    json_object_set_new(status, "agentVersion",
                        json_string(json_get_string(reported, "agentVersion", "")));
    json_object_set_new(status, "appliedRevision", json_integer(live ? live->acked : 0));
    json_object_set_new(status, "services", service_states(spec, live, reported));
    json_object_set_new(status, "errors",
                        live && live->errors ? json_incref(live->errors) : json_array());
    json_object_set_new(status, "inForce", in_force(d, "nodes", id));
    add_traffic(d, id, spec, status);
    return status;
}

static json_t *token_status(const json_t *object, const json_t *spec)
{
    json_int_t used = json_get_integer(json_object_get(object, "sealed"), "used", 0);
    const char *state = used >= json_get_integer(spec, "uses", 1) ? "used" : "valid";
    int64_t expires;

    if (clock_parse(json_get_string(spec, "expires", ""), &expires) == 0 &&
        expires <= clock_now_usec()) {
        state = "expired";
    }
    return json_pack("{s:I, s:s}", "used", used, "state", state);
}

static const json_t *report_of_node(const struct reports *reports, const char *node)
{
    const struct live *live = fleet_live(reports->deployment, node);
    const json_t *reported =
        live && live->connected ? fleet_reported(reports->deployment, live) : NULL;

    return json_object_get(json_object_get(reported, "services"), reports->service);
}

static int report_count(const struct reports *reports, const char *node, const char *name,
                        struct count *ret_total)
{
    return counters_get(&reports->deployment->counters, node, name, ret_total);
}

static void add_of_service(struct deployment *d, const struct service *service, const char *kind,
                           const char *id, const json_t *object, json_t *status)
{
    struct view view = {.tree = &d->tree};
    struct reports reports = {.of_node = report_of_node,
                              .count = report_count,
                              .deployment = d,
                              .service = service->name};

    for (size_t i = 0; service->status && service->kinds && service->kinds[i]; i++) {
        if (strcmp(service->kinds[i]->name, kind) == 0) {
            service->status(kind, id, object, &view, &reports, status);
            return;
        }
    }
}

json_t *deployment_status(const struct deployment *d_const, const char *kind, const char *id)
{
    struct deployment *d = (struct deployment *)d_const;
    _cleanup_free_ char *key = xasprintf("object/%s/%s", kind, id);
    const json_t *object = tree_value(&d->tree, key);
    const json_t *spec = json_object_get(object, "spec");

    if (!spec || strcmp(kind, "users") == 0 || strcmp(kind, "events") == 0) {
        return json_object();
    }
    if (strcmp(kind, "nodes") == 0) {
        return node_status(d, id, spec);
    }
    if (strcmp(kind, "tokens") == 0) {
        return token_status(object, spec);
    }
    json_t *status = json_pack("{s:o}", "inForce", in_force(d, kind, id));
    for (size_t i = 0; d->services[i]; i++) {
        add_of_service(d, d->services[i], kind, id, object, status);
    }
    return status;
}
