/* The overlay's bridge, its flows and their counters, as the resources say.
 *
 * `sdn/self/<node>` is the bridge, its port to the tunnel and the base of its flows;
 * `sdn/filter/<number>/<node>` and `sdn/flow/<number>/<node>` are flows. */
#include "services/sdn/sdn-backend.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/overlay.h"
#include "services/sdn/sdn-driver.h"

#define SELF_PREFIX "sdn/self/"

static const char *const PREFIXES[] = {SELF_PREFIX, "sdn/filter/", "sdn/flow/"};

/* --- keys --- */

/* -EINVAL if it isn't one of ours, for this node. */
static int parse_key(const struct sdn *s, const char *key, enum sdn_kind *ret_kind,
                     uint64_t *ret_number)
{
    for (size_t kind = 0; kind < ARRAY_LEN(PREFIXES); kind++) {
        size_t len = strlen(PREFIXES[kind]);
        if (strncmp(key, PREFIXES[kind], len) != 0) {
            continue;
        }
        const char *rest = key + len;
        char *end = (char *)rest;
        uint64_t number = kind == SDN_BASE ? 0 : strtoull(rest, &end, 10);
        if (kind != SDN_BASE &&
            (*rest < '1' || *rest > '9' || number > SDN_NUMBER_MAX || *end++ != '/')) {
            return -EINVAL;
        }
        *ret_kind = (enum sdn_kind)kind;
        *ret_number = number;
        return strcmp(end, s->env->node) == 0 ? 0 : -EINVAL;
    }
    return -EINVAL;
}

static int owns(const char *key)
{
    for (size_t kind = 0; kind < ARRAY_LEN(PREFIXES); kind++) {
        if (strncmp(key, PREFIXES[kind], strlen(PREFIXES[kind])) == 0) {
            return 1;
        }
    }
    return 0;
}

static char *key_of(const struct sdn *s, enum sdn_kind kind, uint64_t number)
{
    if (kind == SDN_BASE) {
        return xasprintf(SELF_PREFIX "%s", s->env->node);
    }
    return xasprintf("%s%llu/%s", PREFIXES[kind], (unsigned long long)number, s->env->node);
}

void sdn_wake_object(struct sdn *s, const struct sdn_object *object)
{
    _cleanup_free_ char *key = key_of(s, object->kind, object->number);

    if (!s->is_stopped) {
        reconcile_wake_key(s->env->reconcile, key);
    }
}

/* --- what is known of the host --- */

/* It has been away for longer than a restart takes. */
static int is_lost(const struct sdn_peer *peer)
{
    int64_t grace = SDN_GRACE_MSEC * (int64_t)1000;

    return peer->is_lost && clock_monotonic_usec() > peer->since_usec + grace;
}

static int look_at_database(const struct sdn *s, struct error *error)
{
    const struct sdn_peer *peer = &s->db_peer;
    int is_needed = s->is_wanted || s->is_removing || (s->has_file && !peer->is_missing);

    if (!is_needed && (s->was_looked || peer->is_lost)) {
        return 0;
    }
    /* That it isn't there at our start isn't a restart of it. */
    if (is_lost(peer) || (peer->is_lost && !peer->was_open)) {
        *error = peer->error;
        return -EIO;
    }
    return -EAGAIN;
}

/* 0 if it is known how the host is, -EAGAIN if it will be soon. Without the switch, what is there
 * is as it was. */
static int look(const struct sdn *s, struct error *error)
{
    struct vswitch_bridge_state state;

    if (!s->db_peer.is_open) {
        return look_at_database(s, error);
    }
    if (!sdn_bridge_get(s, &state) || !state.datapath_id || s->is_removing || s->is_read ||
        is_lost(&s->of_peer)) {
        return 0;
    }
    return -EAGAIN;
}

static int is_looking(void *self)
{
    struct sdn *s = self;
    struct error error;

    return look(s, &error) == -EAGAIN;
}

/* Nothing wanted and nothing there: then Open vSwitch isn't our business. */
static void lose_interest(struct sdn *s)
{
    struct vswitch_bridge_state state;

    if (!s->is_wanted && !s->is_removing && s->db_peer.is_open && !sdn_bridge_get(s, &state)) {
        s->was_looked = 1;
        if (s->has_file && sdn_counters_forget(s, &(struct error){0}) < 0) {
            return;
        }
        ovsdb_close(s->db);
        s->db_peer.is_open = 0;
    }
}

static int has_state(const struct sdn_object *object)
{
    return object->kind != SDN_BASE &&
           (object->is_wanted || object->found_len > 0 || object->is_known);
}

static int has_self(const struct sdn *s)
{
    struct vswitch_bridge_state bridge;

    return s->is_wanted || s->is_removing || sdn_bridge_get(s, &bridge);
}

static void put_state(struct omap *states, char *key, void *state)
{
    omap_put(states, key, state);
    free(key);
}

static int observe(void *self, struct omap *states, struct error *error)
{
    struct sdn *s = self;

    sdn_step(s);
    int rc = look(s, error);
    if (rc < 0) {
        snprintf(s->problem, sizeof s->problem, "%s", rc == -EAGAIN ? "" : error->detail);
        return rc;
    }
    lose_interest(s);
    if (has_self(s)) {
        put_state(states, key_of(s, SDN_BASE, 0), s);
    }
    sdn_objects_foreach (object, &s->objects) {
        if (has_state(object)) {
            put_state(states, key_of(s, object->kind, object->number), object);
        }
    }
    return 0;
}

static const void *look_at_key(void *self, const char *key)
{
    struct sdn *s = self;
    enum sdn_kind kind;
    uint64_t number;

    if (parse_key(s, key, &kind, &number) < 0) {
        return NULL;
    }
    if (kind == SDN_BASE) {
        return has_self(s) ? s : NULL;
    }
    const struct sdn_object *object = sdn_object_get(&s->objects, kind, number);
    return object && has_state(object) ? object : NULL;
}

/* States are the objects themselves. */
static void free_state(void *state)
{
}

/* --- taking resources over --- */

/* Which of those that want the same flow has it may be another one now. */
static void wake_shadowed(struct sdn *s)
{
    if (s->objects.shadowed_len > 0) {
        sdn_wake(s);
    }
}

static void want_object(struct sdn *s, enum sdn_kind kind, uint64_t number,
                        const struct sdn_rule *rule)
{
    struct sdn_object *object = sdn_object_make(&s->objects, kind, number);
    /* One that was there before we came counts on. */
    int is_new = object->is_wanted || (object->found_len == 0 && !object->is_known);

    wake_shadowed(s);
    sdn_want(&s->objects, object, rule);
    object->needs_baseline = is_new && kind != SDN_BASE;
    sdn_counters_changed(s);
    wake_shadowed(s);
}

static int take_self(struct sdn *s, const json_t *spec, struct error *error)
{
    struct sdn_self own;
    int rc = sdn_self_parse(spec, &own, error);

    if (rc < 0 || (s->is_wanted && memcmp(&own, &s->objects.self, sizeof own) == 0)) {
        return rc;
    }
    for (unsigned number = 0; number < SDN_BASE_LEN; number++) {
        sdn_unwant(&s->objects, sdn_object_make(&s->objects, SDN_BASE, number));
    }
    s->objects.self = own;
    for (unsigned number = 0; number < SDN_BASE_LEN; number++) {
        want_object(s, SDN_BASE, number, NULL);
    }
    s->is_wanted = 1;
    s->is_removing = 0;
    return 0;
}

static int take(struct sdn *s, const char *key, const json_t *spec, struct error *error)
{
    struct sdn_rule rule;
    enum sdn_kind kind;
    uint64_t number;

    if (parse_key(s, key, &kind, &number) < 0) {
        return error_set(error, 400, NULL, "%s is not about this node", key);
    }
    if (kind == SDN_BASE) {
        return take_self(s, spec, error);
    }
    int rc = kind == SDN_FILTER ? sdn_filter_parse(spec, &rule, error)
                                : sdn_flow_parse(spec, &rule, error);
    const struct sdn_object *object = sdn_object_get(&s->objects, kind, number);
    if (rc == 0 &&
        (!object || !object->is_wanted || memcmp(&rule, &object->rule, sizeof rule) != 0)) {
        want_object(s, kind, number, &rule);
    }
    return rc;
}

static enum backend_match compare_self(struct sdn *s)
{
    struct error error;

    if (sdn_bridge_differs(s, &error) != 0 || !sdn_base_is_in_force(s) || s->foreign_len > 0 ||
        !sdn_bridge_is_marked(s)) {
        return MATCH_UPDATE;
    }
    s->problem[0] = '\0';
    return MATCH_SAME;
}

static enum backend_match compare(void *self, const char *key, const json_t *spec,
                                  const void *state)
{
    struct sdn *s = self;
    struct error error;

    if (take(s, key, spec, &error) < 0) {
        return MATCH_UPDATE; /* apply() says why */
    }
    if (state == s) {
        return s->db_peer.is_open && !s->is_removing ? compare_self(s) : MATCH_UPDATE;
    }
    return s->is_read && sdn_is_in_force(state) ? MATCH_SAME : MATCH_UPDATE;
}

/* --- apply --- */

static void leave_object(struct sdn *s, struct sdn_object *object)
{
    wake_shadowed(s);
    sdn_unwant(&s->objects, object);
    sdn_mark(&s->objects, object);
    free(TAKE(object->error));
    object->is_leaving = 1;
    if (object->found_len == 0 && !object->is_changing && !object->is_read) {
        sdn_counters_gone(s, object);
        sdn_object_drop(&s->objects, object);
    }
}

static void leave_self(struct sdn *s)
{
    for (unsigned number = 0; number < SDN_BASE_LEN; number++) {
        struct sdn_object *object = sdn_object_get(&s->objects, SDN_BASE, number);
        if (object) {
            leave_object(s, object);
        }
    }
    s->is_wanted = 0;
    s->is_removing = 1;
}

static void remove_item(struct sdn *s, const char *key)
{
    enum sdn_kind kind;
    uint64_t number;

    if (parse_key(s, key, &kind, &number) < 0) {
        return;
    }
    if (kind == SDN_BASE) {
        leave_self(s);
        return;
    }
    struct sdn_object *object = sdn_object_get(&s->objects, kind, number);
    if (object) {
        leave_object(s, object);
    }
}

/* What the switch said of this object; the next time it is tried again. */
static void tell_refusal(struct sdn *s, struct backend_item *item)
{
    enum sdn_kind kind;
    uint64_t number;

    if (parse_key(s, item->key, &kind, &number) < 0) {
        return;
    }
    struct sdn_object *object = sdn_object_get(&s->objects, kind, number);
    if (object && object->error && !object->is_error_told) {
        item->result = RESULT_FAILED;
        item->error = *object->error;
        object->is_error_told = 1;
    } else if (object && object->error) {
        free(TAKE(object->error));
        sdn_mark(&s->objects, object);
    }
}

static void apply_item(struct sdn *s, struct backend_item *item)
{
    item->result = RESULT_NOT_YET;
    if (s->is_failed) {
        item->result = RESULT_FAILED;
        item->error = s->failure;
    } else if (!item->spec) {
        remove_item(s, item->key);
    } else if (take(s, item->key, item->spec, &item->error) < 0) {
        item->result = RESULT_FAILED;
    } else if (is_lost(&s->of_peer)) {
        item->result = RESULT_FAILED;
        item->error = s->of_peer.error;
    } else {
        tell_refusal(s, item);
    }
}

static void apply(void *self, struct backend_item *items, size_t len)
{
    struct sdn *s = self;

    for (size_t i = 0; i < len; i++) {
        apply_item(s, &items[i]);
    }
    if (s->is_failed) {
        snprintf(s->problem, sizeof s->problem, "%s", s->failure.detail);
        s->is_failed = 0;
        return;
    }
    s->is_ordered = 1;
    sdn_step(s);
}

/* --- the rest --- */

static int restore(void *self, struct error *error)
{
    struct sdn *s = self;

    return s->has_file ? sdn_counters_forget(s, error) : 0;
}

static const char *state_of(struct sdn *s, const char **ret_message)
{
    const struct sdn_peer *peers[] = {&s->db_peer, &s->of_peer};

    for (size_t i = 0; i < ARRAY_LEN(peers); i++) {
        if (peers[i]->is_lost) {
            *ret_message = peers[i]->error.detail;
            return "failed";
        }
    }
    if (s->problem[0]) {
        *ret_message = s->problem;
        return "failed";
    }
    if (!sdn_base_is_in_force(s)) {
        *ret_message = "the bridge is being made";
        return "starting";
    }
    *ret_message = sdn_port_problem(s);
    return (*ret_message)[0] ? "starting" : "running";
}

static json_t *status(void *self)
{
    struct sdn *s = self;
    const char *message, *datapath = "";

    if (!s->is_wanted) {
        return NULL;
    }
    const char *state = state_of(s, &message);
    if (s->of_peer.is_open && s->datapath) {
        datapath = strcmp(s->datapath, "system") == 0 ? "kernel" : s->datapath;
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s}", "state", state, "message", message,
                     "datapath", datapath, "bridge", OVERLAY_BRIDGE, "filters",
                     (json_int_t)s->objects.kind_len[SDN_FILTER], "flows",
                     (json_int_t)s->objects.kind_len[SDN_FLOW], "ovs", sdn_bridge_version(s));
}

const struct backend BACKEND_SDN = {
    .service = "sdn",
    .name = "switch",
    .owns = owns,
    .start = sdn_start,
    .stop = sdn_stop,
    .is_looking = is_looking,
    .observe = observe,
    .free_state = free_state,
    .compare = compare,
    .apply = apply,
    .look = look_at_key,
    .restore = restore,
    .status = status,
    .ask = sdn_ask_flows,
};
