/* vswitch.h - Open vSwitch's database: our bridge and its ports, wanted and found.
 *
 * Pure: these functions compare what is wanted with the mirror of an open connection (ovsdb.h,
 * followed with vswitch_monitor()) and append to a transaction what makes it so:
 *
 *     json_t *ops = json_array();
 *     rc = vswitch_put_bridge(mirror, &bridge, ops, error);        // 1: something to do
 *     rc = vswitch_put_port(mirror, "cnsmo0", &port, ops, error);  // also of a bridge put above
 *     vswitch_ask_next(ops);                                       // to know when it is done
 *     ovsdb_transact(db, ops, done, arg);
 *     ...
 *     done(): next = vswitch_next(results);
 *     updated(): if (vswitch_is_done(mirror, next)) the switch has carried it out;
 *                vswitch_get_port(mirror, "up0", &state) tells its number, or why it has none
 *
 * The mark of ownership is external_ids:cnsmo on bridges and ports. One of the same name without
 * it is somebody else's and never touched: -EEXIST with a sentence. What others keep in our rows
 * (other keys of other_config, say) stays. Nothing is added when all is as wanted already.
 *
 * Deleting a bridge or port takes its row out of its parent's list; the server collects rows that
 * nobody refers to. States are borrowed from the mirror, till the next update.
 *
 * Sources: ovs-vswitchd.conf.db(5), RFC 7047 section 5.2. */
#pragma once

#include "ovsdb/mirror.h"

#define VSWITCH_DATABASE "Open_vSwitch"
#define VSWITCH_MARK "cnsmo" /* the key in external_ids */

struct vswitch_bridge_spec {
    const char *name;
    const char *mark;             /* external_ids:cnsmo */
    const char *datapath_type;    /* "system" (the kernel's) or "netdev" */
    const char *hardware;         /* "02:…", also of the bridge's own port */
    const char *const *protocols; /* {"OpenFlow14", NULL} */
};

/* fail_mode is always "secure": without us the flows stay, and nothing else passes. */
struct vswitch_bridge_state {
    const char *uuid;
    const char *mark;                                 /* NULL: not ours */
    const char *datapath_type, *hardware, *fail_mode; /* NULL if not set */
    const char *datapath_id; /* NULL: the switch hasn't made it, or can't */
};

struct vswitch_port_spec {
    const char *name; /* of the device */
    const char *mark;
    const char *type; /* "" for a device that exists, "internal" for one to be made */
    unsigned number;  /* OpenFlow's, 1 to 65279; 0: any */
};

struct vswitch_port_state {
    const char *uuid;
    const char *mark; /* NULL: not ours */
    const char *type;
    int number;        /* OpenFlow's; -1: it couldn't be opened, see error; 0: not yet */
    int wanted_number; /* 0: any */
    const char *error; /* the switch's words, or NULL */
    const char *hardware;
    int is_up; /* the link's state */
};

/* The columns to follow; a new reference. */
json_t *vswitch_monitor(void);

/* -ENOENT if there is none. */
int vswitch_get_bridge(const struct ovsdb_mirror *mirror, const char *name,
                       struct vswitch_bridge_state *ret_state);
int vswitch_get_port(const struct ovsdb_mirror *mirror, const char *name,
                     struct vswitch_port_state *ret_state);

/* The names of the bridge's ports, its own too; returns how many there are, and fills at most
 * `len`. */
size_t vswitch_ports(const struct ovsdb_mirror *mirror, const char *bridge, const char **ret_names,
                     size_t len);

/* 1 if operations were added, 0 if it is so already. -EEXIST: somebody else's. At most one bridge
 * that isn't there yet can be put in one transaction. */
int vswitch_put_bridge(const struct ovsdb_mirror *mirror, const struct vswitch_bridge_spec *spec,
                       json_t *ops, struct error *error);
int vswitch_delete_bridge(const struct ovsdb_mirror *mirror, const char *name, json_t *ops,
                          struct error *error);

/* A port of ours in another bridge is -EEXIST, too: delete it first. */
int vswitch_put_port(const struct ovsdb_mirror *mirror, const char *bridge,
                     const struct vswitch_port_spec *spec, json_t *ops, struct error *error);
int vswitch_delete_port(const struct ovsdb_mirror *mirror, const char *name, json_t *ops,
                        struct error *error);

/* The switch notes which number it has carried out. Append as the last of a transaction; then
 * vswitch_next() finds the number in the results (-EBADMSG if it isn't there). */
void vswitch_ask_next(json_t *ops);
json_int_t vswitch_next(const json_t *results);
int vswitch_is_done(const struct ovsdb_mirror *mirror, json_int_t next);
