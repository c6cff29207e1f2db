#include "ovsdb/vswitch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/mem.h"

#define NEW_BRIDGE "bridge" /* the name of its row within the transaction */

json_t *vswitch_monitor(void)
{
    return json_pack("{s:[s,s,s,s], s:[s,s,s,s,s,s,s,s], s:[s,s,s], s:[s,s,s,s,s,s,s]}",
                     "Open_vSwitch", "bridges", "cur_cfg", "next_cfg", "ovs_version", "Bridge",
                     "name", "ports", "datapath_type", "datapath_id", "fail_mode", "protocols",
                     "other_config", "external_ids", "Port", "name", "interfaces", "external_ids",
                     "Interface", "name", "type", "ofport", "ofport_request", "error",
                     "mac_in_use", "link_state");
}

/* --- what is there --- */

int vswitch_get_bridge(const struct ovsdb_mirror *mirror, const char *name,
                       struct vswitch_bridge_state *ret_state)
{
    const char *uuid;
    const json_t *row = ovsdb_find(mirror, "Bridge", "name", name, &uuid);

    if (!row) {
        return -ENOENT;
    }
    *ret_state = (struct vswitch_bridge_state){
        .uuid = uuid,
        .mark = ovsdb_map_get(row, "external_ids", VSWITCH_MARK),
        .datapath_type = ovsdb_string(row, "datapath_type"),
        .hardware = ovsdb_map_get(row, "other_config", "hwaddr"),
        .fail_mode = ovsdb_string(row, "fail_mode"),
        .datapath_id = ovsdb_string(row, "datapath_id"),
    };
    return 0;
}

int vswitch_get_port(const struct ovsdb_mirror *mirror, const char *name,
                     struct vswitch_port_state *ret_state)
{
    const char *uuid;
    const json_t *port = ovsdb_find(mirror, "Port", "name", name, &uuid);
    const json_t *row = ovsdb_find(mirror, "Interface", "name", name, NULL);

    if (!port) {
        return -ENOENT;
    }
    const char *link = ovsdb_string(row, "link_state");
    *ret_state = (struct vswitch_port_state){
        .uuid = uuid,
        .mark = ovsdb_map_get(port, "external_ids", VSWITCH_MARK),
        .type = ovsdb_string(row, "type"),
        .number = (int)ovsdb_integer(row, "ofport", 0),
        .wanted_number = (int)ovsdb_integer(row, "ofport_request", 0),
        .error = ovsdb_string(row, "error"),
        .hardware = ovsdb_string(row, "mac_in_use"),
        .is_up = link && strcmp(link, "up") == 0,
    };
    return 0;
}

size_t vswitch_ports(const struct ovsdb_mirror *mirror, const char *bridge, const char **ret_names,
                     size_t len)
{
    const json_t *row = ovsdb_find(mirror, "Bridge", "name", bridge, NULL);
    size_t total = ovsdb_set_len(row, "ports"), found = 0;

    for (size_t i = 0; i < total; i++) {
        const char *uuid = ovsdb_uuid(ovsdb_set_at(row, "ports", i));
        const char *name = ovsdb_string(ovsdb_row(mirror, "Port", uuid), "name");
        if (name && found < len) {
            ret_names[found] = name;
        }
        found += name != NULL;
    }
    return found;
}

/* The bridge that has the port. */
static const char *bridge_of(const struct ovsdb_mirror *mirror, const char *port_uuid)
{
    const struct omap *bridges = ovsdb_rows(mirror, "Bridge");

    for (struct omap_entry *e = bridges ? omap_first_from(bridges, "") : NULL; e;
         e = omap_next(bridges, e)) {
        for (size_t i = 0; i < ovsdb_set_len(e->value, "ports"); i++) {
            const char *uuid = ovsdb_uuid(ovsdb_set_at(e->value, "ports", i));
            if (uuid && strcmp(uuid, port_uuid) == 0) {
                return e->key;
            }
        }
    }
    return NULL;
}

static int not_ours(const char *what, const char *name, struct error *error)
{
    return error_set(error, 409, NULL, "there is a %s \"%s\" that isn't ours", what, name);
}

/* --- pieces of operations --- */

static json_t *where(const char *uuid)
{
    return json_pack("[[s, s, [s, s]]]", "_uuid", "==", "uuid", uuid);
}

static json_t *set_of(const char *const *strings)
{
    json_t *set = json_array();

    for (; strings && *strings; strings++) {
        json_array_append_new(set, json_string(*strings));
    }
    return json_pack("[s, o]", "set", set);
}

static json_t *map_of(const char *key, const char *value)
{
    return json_pack("[s, [[s, s]]]", "map", key, value);
}

static void insert(json_t *ops, const char *table, json_t *row, const char *name)
{
    json_array_append_new(ops, json_pack("{s:s, s:s, s:o, s:s}", "op", "insert", "table", table,
                                         "row", row, "uuid-name", name));
}

static void mutate(json_t *ops, const char *table, json_t *condition, json_t *mutations)
{
    json_array_append_new(ops, json_pack("{s:s, s:s, s:o, s:o}", "op", "mutate", "table", table,
                                         "where", condition, "mutations", mutations));
}

/* A row in or out of the list of its parent. */
static json_t *list_change(const char *column, const char *change, const char *kind,
                           const char *uuid)
{
    return json_pack("[[s, s, [s, [[s, s]]]]]", column, change, "set", kind, uuid);
}

/* --- bridges --- */

static int is_as_wanted(const json_t *row, const struct vswitch_bridge_state *state,
                        const struct vswitch_bridge_spec *spec)
{
    size_t len = 0;

    for (; spec->protocols && spec->protocols[len]; len++) {
        if (!ovsdb_set_has(row, "protocols", spec->protocols[len])) {
            return 0;
        }
    }
    return ovsdb_set_len(row, "protocols") == len && strcmp(state->mark, spec->mark) == 0 &&
           state->datapath_type && strcmp(state->datapath_type, spec->datapath_type) == 0 &&
           state->hardware && strcmp(state->hardware, spec->hardware) == 0 && state->fail_mode &&
           strcmp(state->fail_mode, "secure") == 0;
}

static void make_bridge(const struct vswitch_bridge_spec *spec, json_t *ops)
{
    /* A bridge's own port has the bridge's name. */
    insert(ops, "Interface", json_pack("{s:s, s:s}", "name", spec->name, "type", "internal"),
           "bridge_interface");
    insert(ops, "Port",
           json_pack("{s:s, s:[s, s], s:o}", "name", spec->name, "interfaces", "named-uuid",
                     "bridge_interface", "external_ids", map_of(VSWITCH_MARK, spec->mark)),
           "bridge_port");
    insert(ops, "Bridge",
           json_pack("{s:s, s:[s, s], s:s, s:s, s:o, s:o, s:o}", "name", spec->name, "ports",
                     "named-uuid", "bridge_port", "datapath_type", spec->datapath_type,
                     "fail_mode", "secure", "protocols", set_of(spec->protocols), "other_config",
                     map_of("hwaddr", spec->hardware), "external_ids",
                     map_of(VSWITCH_MARK, spec->mark)),
           NEW_BRIDGE);
    mutate(ops, "Open_vSwitch", json_array(),
           list_change("bridges", "insert", "named-uuid", NEW_BRIDGE));
}

/* Of maps only our keys are changed. An insert doesn't replace a value, so the key goes first. */
static void change_bridge(const char *uuid, const struct vswitch_bridge_spec *spec, json_t *ops)
{
    json_array_append_new(ops, json_pack("{s:s, s:s, s:o, s:{s:s, s:s, s:o}}", "op", "update",
                                         "table", "Bridge", "where", where(uuid), "row",
                                         "datapath_type", spec->datapath_type, "fail_mode",
                                         "secure", "protocols", set_of(spec->protocols)));
    mutate(ops, "Bridge", where(uuid),
           json_pack("[[s, s, [s, [s]]], [s, s, o], [s, s, [s, [s]]], [s, s, o]]", "other_config",
                     "delete", "set", "hwaddr", "other_config", "insert",
                     map_of("hwaddr", spec->hardware), "external_ids", "delete", "set",
                     VSWITCH_MARK, "external_ids", "insert", map_of(VSWITCH_MARK, spec->mark)));
}

int vswitch_put_bridge(const struct ovsdb_mirror *mirror, const struct vswitch_bridge_spec *spec,
                       json_t *ops, struct error *error)
{
    struct vswitch_bridge_state state;

    if (vswitch_get_bridge(mirror, spec->name, &state) < 0) {
        make_bridge(spec, ops);
        return 1;
    }
    if (!state.mark) {
        return not_ours("bridge", spec->name, error);
    }
    if (is_as_wanted(ovsdb_row(mirror, "Bridge", state.uuid), &state, spec)) {
        return 0;
    }
    change_bridge(state.uuid, spec, ops);
    return 1;
}

int vswitch_delete_bridge(const struct ovsdb_mirror *mirror, const char *name, json_t *ops,
                          struct error *error)
{
    struct vswitch_bridge_state state;

    if (vswitch_get_bridge(mirror, name, &state) < 0) {
        return 0;
    }
    if (!state.mark) {
        return not_ours("bridge", name, error);
    }
    mutate(ops, "Open_vSwitch", json_array(),
           list_change("bridges", "delete", "uuid", state.uuid));
    return 1;
}

/* --- ports --- */

static json_t *number_of(unsigned number)
{
    return number ? json_integer(number) : json_pack("[s, []]", "set");
}

static void make_port(const char *bridge_uuid, const struct vswitch_port_spec *spec, json_t *ops)
{
    char interface[32], port[32];

    snprintf(interface, sizeof interface, "interface_%zu", json_array_size(ops));
    snprintf(port, sizeof port, "port_%zu", json_array_size(ops));
    insert(ops, "Interface",
           json_pack("{s:s, s:s, s:o}", "name", spec->name, "type", spec->type, "ofport_request",
                     number_of(spec->number)),
           interface);
    insert(ops, "Port",
           json_pack("{s:s, s:[s, s], s:o}", "name", spec->name, "interfaces", "named-uuid",
                     interface, "external_ids", map_of(VSWITCH_MARK, spec->mark)),
           port);
    mutate(ops, "Bridge",
           bridge_uuid ? where(bridge_uuid)
                       : json_pack("[[s, s, [s, s]]]", "_uuid", "==", "named-uuid", NEW_BRIDGE),
           list_change("ports", "insert", "named-uuid", port));
}

static void change_port(const struct ovsdb_mirror *mirror, const char *port_uuid,
                        const struct vswitch_port_spec *spec, json_t *ops)
{
    const char *uuid = NULL;

    if (ovsdb_find(mirror, "Interface", "name", spec->name, &uuid)) {
        json_array_append_new(ops,
                              json_pack("{s:s, s:s, s:o, s:{s:s, s:o}}", "op", "update", "table",
                                        "Interface", "where", where(uuid), "row", "type",
                                        spec->type, "ofport_request", number_of(spec->number)));
    }
    mutate(ops, "Port", where(port_uuid),
           json_pack("[[s, s, [s, [s]]], [s, s, o]]", "external_ids", "delete", "set",
                     VSWITCH_MARK, "external_ids", "insert", map_of(VSWITCH_MARK, spec->mark)));
}

int vswitch_put_port(const struct ovsdb_mirror *mirror, const char *bridge,
                     const struct vswitch_port_spec *spec, json_t *ops, struct error *error)
{
    struct vswitch_bridge_state parent = {0};
    struct vswitch_port_state state;
    int has_bridge = vswitch_get_bridge(mirror, bridge, &parent) == 0;

    if (has_bridge && !parent.mark) {
        return not_ours("bridge", bridge, error);
    }
    if (vswitch_get_port(mirror, spec->name, &state) < 0) {
        make_port(parent.uuid, spec, ops);
        return 1;
    }
    if (!state.mark) {
        return not_ours("port", spec->name, error);
    }
    const char *owner = bridge_of(mirror, state.uuid);
    if (!owner || !has_bridge || strcmp(owner, parent.uuid) != 0) {
        return error_set(error, 409, NULL, "the port \"%s\" is in another bridge", spec->name);
    }
    if (strcmp(state.mark, spec->mark) == 0 && state.type && strcmp(state.type, spec->type) == 0 &&
        state.wanted_number == (int)spec->number) {
        return 0;
    }
    change_port(mirror, state.uuid, spec, ops);
    return 1;
}

int vswitch_delete_port(const struct ovsdb_mirror *mirror, const char *name, json_t *ops,
                        struct error *error)
{
    struct vswitch_port_state state;

    if (vswitch_get_port(mirror, name, &state) < 0) {
        return 0;
    }
    if (!state.mark) {
        return not_ours("port", name, error);
    }
    const char *owner = bridge_of(mirror, state.uuid);
    if (!owner) {
        return 0; /* nobody refers to it: it is going */
    }
    mutate(ops, "Bridge", where(owner), list_change("ports", "delete", "uuid", state.uuid));
    return 1;
}

/* --- when it is done --- */

void vswitch_ask_next(json_t *ops)
{
    mutate(ops, "Open_vSwitch", json_array(), json_pack("[[s, s, i]]", "next_cfg", "+=", 1));
    json_array_append_new(ops, json_pack("{s:s, s:s, s:[], s:[s]}", "op", "select", "table",
                                         "Open_vSwitch", "where", "columns", "next_cfg"));
}

json_int_t vswitch_next(const json_t *results)
{
    const json_t *last = json_array_get(results, json_array_size(results) - 1);
    const json_t *row = json_array_get(json_object_get(last, "rows"), 0);

    return ovsdb_integer(row, "next_cfg", -EBADMSG);
}

int vswitch_is_done(const struct ovsdb_mirror *mirror, json_int_t next)
{
    const struct omap *rows = ovsdb_rows(mirror, "Open_vSwitch");
    const struct omap_entry *root = rows ? omap_first_from(rows, "") : NULL;

    return root && ovsdb_integer(root->value, "cur_cfg", -1) >= next;
}
