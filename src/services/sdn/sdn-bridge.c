/* sdn-bridge.c - the bridge and its port, in Open vSwitch's database, and the mark on its device.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/mem.h"
#include "services/overlay.h"
#include "services/sdn/sdn-driver.h"

#define PROGRAM "/usr/sbin/ovs-vswitchd"
#define MARK "sdn"

enum {
    DB_RETRY_MSEC = 100,
    DB_RETRY_MISSING_MSEC = 1000,
    DATAPATH_MSEC = 2000, /* for a bridge to get its id; then the kernel's datapath doesn't work */
    REMOVAL_MSEC = 2000,  /* for the switch to carry out what is out of the database */
    MARK_SIZE = 20,
};

static const char *const PROTOCOLS[] = {"OpenFlow13", "OpenFlow14", NULL};

/* --- the database --- */

static void on_opened(struct ovsdb *db, void *arg)
{
    struct sdn *s = arg;

    if (s->is_stopped) {
        return;
    }
    s->db_peer = (struct sdn_peer){.is_open = 1, .was_open = 1};
    sdn_step(s);
    sdn_wake(s);
}

/* The bridge got its id, or is gone, or somebody changed it. */
static void on_updated(struct ovsdb *db, void *arg)
{
    struct sdn *s = arg;
    struct error error;

    if (s->is_stopped) {
        return;
    }
    sdn_step(s);
    if (s->is_wanted && !s->is_transacting && sdn_bridge_differs(s, &error) != 0) {
        sdn_wake(s);
    }
}

static void lose(struct sdn *s, const char *detail)
{
    struct sdn_peer *peer = &s->db_peer;
    _cleanup_free_ char *path = xasprintf("%s/db.sock", s->run_dir);
    int is_there = access(path, F_OK) == 0;
    int64_t now = clock_monotonic_usec();

    peer->retry_usec = now + (is_there ? DB_RETRY_MSEC : DB_RETRY_MISSING_MSEC) * (int64_t)1000;
    if (peer->is_open || peer->since_usec == 0) {
        peer->since_usec = now;
    }
    peer->is_open = 0;
    peer->is_lost = 1;
    peer->is_missing = !is_there && access(PROGRAM, X_OK) < 0;
    if (peer->is_missing) {
        error_set(&peer->error, 503, NULL,
                  "Open vSwitch is missing: install the package openvswitch-switch");
    } else if (!is_there) {
        error_set(&peer->error, 503, NULL, "Open vSwitch isn't running: there is no %s", path);
    } else {
        error_set(&peer->error, 503, NULL, "Open vSwitch isn't running: %.300s", detail);
    }
}

static void on_closed(struct ovsdb *db, void *arg, const struct error *error)
{
    struct sdn *s = arg;

    s->db = NULL;
    s->is_transacting = 0;
    if (error->status != 0) {
        lose(s, error->detail);
        sdn_wake(s);
    } else {
        s->db_peer = (struct sdn_peer){0};
    }
    sdn_step(s);
    sdn_release(s);
}

void sdn_db_connect(struct sdn *s)
{
    static const struct ovsdb_handler HANDLER = {
        .opened = on_opened, .updated = on_updated, .closed = on_closed};
    _cleanup_free_ char *path = xasprintf("%s/db.sock", s->run_dir);

    if (s->db) {
        return;
    }
    if (access(path, F_OK) < 0) {
        lose(s, strerror(errno));
        return;
    }
    if (s->db_peer.since_usec == 0) {
        s->db_peer.since_usec = clock_monotonic_usec();
    }
    json_t *columns = vswitch_monitor();
    s->handles++;
    s->db = ovsdb_new(
        s->env->loop,
        &(struct ovsdb_config){.path = path, .database = VSWITCH_DATABASE, .monitor = columns},
        &HANDLER, s);
    json_decref(columns);
}

/* --- what is wanted --- */

int sdn_bridge_get(const struct sdn *s, struct vswitch_bridge_state *ret_state)
{
    return s->db_peer.is_open && s->db &&
           vswitch_get_bridge(ovsdb_mirror(s->db), OVERLAY_BRIDGE, ret_state) == 0 &&
           ret_state->mark != NULL;
}

const char *sdn_bridge_version(const struct sdn *s)
{
    const struct omap *rows =
        s->db_peer.is_open && s->db ? ovsdb_rows(ovsdb_mirror(s->db), "Open_vSwitch") : NULL;
    const struct omap_entry *root = rows ? omap_first_from(rows, "") : NULL;
    const char *version = root ? ovsdb_string(root->value, "ovs_version") : NULL;

    return version ? version : "";
}

/* One that works already stays on its datapath. One on the kernel's that gets no id is moved. */
static const char *choose_datapath(struct sdn *s)
{
    struct vswitch_bridge_state state;
    int64_t now = clock_monotonic_usec();

    if (!sdn_bridge_get(s, &state)) {
        s->bridge_usec = 0;
    } else if (state.datapath_id && state.datapath_type) {
        s->datapath = strcmp(state.datapath_type, "netdev") == 0 ? "netdev" : "system";
        s->bridge_usec = 0;
    } else if (s->bridge_usec == 0) {
        s->bridge_usec = now;
    } else if (s->datapath && now > s->bridge_usec + DATAPATH_MSEC * (int64_t)1000) {
        s->datapath = "netdev";
    }
    if (!s->datapath) {
        s->datapath = sdn_datapath_find();
    }
    return s->datapath;
}

/* The mark of a port to the tunnel's end that is there now, made by vpn: which link it is.
 * Anything else of that name isn't touched. 0, and no mark: it isn't there. */
static int port_mark(struct sdn *s, char ret_mark[MARK_SIZE])
{
    struct netlink_link link;
    int is_there = netlink_link_get(s->nl, OVERLAY_PORT, &link) == 0 &&
                   strcmp(link.alias, NETLINK_ALIAS) == 0;

    ret_mark[0] = '\0';
    if (is_there) {
        snprintf(ret_mark, MARK_SIZE, MARK " %d", link.index);
    }
    return is_there;
}

/* Our port's link is gone, or another one has its name now, which the switch doesn't see. */
static int is_stale(struct sdn *s)
{
    struct vswitch_port_state there;
    char mark[MARK_SIZE];

    port_mark(s, mark);
    return vswitch_get_port(ovsdb_mirror(s->db), OVERLAY_PORT, &there) == 0 && there.mark &&
           strncmp(there.mark, MARK, strlen(MARK)) == 0 && strcmp(there.mark, mark) != 0;
}

/* One that is stale must be out of the switch before it comes in again. */
static int put_port(struct sdn *s, json_t *ops, struct error *error)
{
    const struct ovsdb_mirror *mirror = ovsdb_mirror(s->db);
    char mark[MARK_SIZE];
    const struct vswitch_port_spec port = {
        .name = OVERLAY_PORT, .mark = mark, .type = "", .number = SDN_PORT_TUNNEL};

    if (is_stale(s)) {
        return vswitch_delete_port(mirror, OVERLAY_PORT, ops, error);
    }
    return port_mark(s, mark) ? vswitch_put_port(mirror, OVERLAY_BRIDGE, &port, ops, error) : 0;
}

/* Appends what makes it so: 1 if there is something to do. */
static int put_all(struct sdn *s, json_t *ops, struct error *error)
{
    const struct vswitch_bridge_spec bridge = {.name = OVERLAY_BRIDGE,
                                               .mark = MARK,
                                               .datapath_type = choose_datapath(s),
                                               .hardware = OVERLAY_BRIDGE_MAC,
                                               .protocols = PROTOCOLS};

    int rc = vswitch_put_bridge(ovsdb_mirror(s->db), &bridge, ops, error);
    int more = rc < 0 ? rc : put_port(s, ops, error);
    return more < 0 ? more : rc || more;
}

int sdn_bridge_differs(struct sdn *s, struct error *error)
{
    struct vswitch_bridge_state state;
    json_t *ops = json_array();

    int rc = put_all(s, ops, error);
    json_decref(ops);
    if (rc == 0 && (!sdn_bridge_get(s, &state) || !state.datapath_id)) {
        return 1;
    }
    return rc;
}

const char *sdn_port_problem(struct sdn *s)
{
    struct vswitch_port_state port;

    if (!s->db_peer.is_open || vswitch_get_port(ovsdb_mirror(s->db), OVERLAY_PORT, &port) < 0) {
        return "waits for the tunnel's device " OVERLAY_PORT;
    }
    if (port.number < 0) {
        return port.error ? port.error : "Open vSwitch can't open " OVERLAY_PORT;
    }
    return port.number == SDN_PORT_TUNNEL ? "" : "waits for the port " OVERLAY_PORT;
}

/* --- changing it --- */

static void on_done(void *arg, const json_t *results, const struct error *error)
{
    struct sdn *s = arg;

    s->is_transacting = 0;
    if (s->is_stopped) {
        return;
    }
    if (error) {
        sdn_fail(s, error);
        return;
    }
    if (s->removal < 0) {
        s->removal = vswitch_next(results);
        s->removal_usec = clock_monotonic_usec();
    }
    sdn_step(s);
}

/* Takes the reference. */
static int transact(struct sdn *s, json_t *ops)
{
    struct error error;
    int rc = fault_point();

    vswitch_ask_next(ops);
    if (rc == 0) {
        rc = ovsdb_transact(s->db, ops, on_done, s);
    }
    json_decref(ops);
    if (rc < 0) {
        error_set(&error, error_status(rc), NULL, "cannot change the bridge: %s", strerror(-rc));
        sdn_fail(s, &error);
        return 0;
    }
    s->is_transacting = 1;
    return 1;
}

/* The switch has carried out what was taken away, or has had its time. */
static int is_removed(const struct sdn *s)
{
    return s->removal > 0 &&
           (vswitch_is_done(ovsdb_mirror(s->db), s->removal) ||
            clock_monotonic_usec() > s->removal_usec + REMOVAL_MSEC * (int64_t)1000);
}

static int make(struct sdn *s)
{
    struct error error = {0};

    if (s->removal && !is_removed(s)) {
        return 1; /* the port comes back after that */
    }
    json_t *ops = json_array();
    s->removal = 0;
    /* First the file that says that there may be one, so that it is found again. */
    int rc = put_all(s, ops, &error);
    if (rc > 0 && !s->has_file) {
        int saved = sdn_counters_save(s);
        if (saved < 0) {
            rc = error_set(&error, 500, NULL, "cannot write to %s: %s", s->env->state_dir,
                           strerror(-saved));
        }
    }
    if (rc > 0) {
        s->removal = is_stale(s) ? -1 : 0; /* its number comes with the answer */
        int has_begun = transact(s, ops);
        s->removal = has_begun ? s->removal : 0;
        return has_begun;
    }
    json_decref(ops);
    if (rc < 0) {
        sdn_fail(s, &error);
    }
    return 0;
}

static void finish_removal(struct sdn *s)
{
    struct error error;

    sdn_switch_close(s);
    if (sdn_counters_forget(s, &error) < 0) {
        sdn_fail(s, &error);
        return;
    }
    s->removal = 0;
    s->is_removing = 0;
    s->datapath = NULL;
    s->of_peer = (struct sdn_peer){0}; /* that its connection broke was no accident */
    sdn_found_nothing(&s->objects);
    sdn_sweep(s);
    sdn_wake(s);
}

static int take_down(struct sdn *s)
{
    struct vswitch_bridge_state state;
    json_t *ops = json_array();

    if (!sdn_bridge_get(s, &state)) {
        json_decref(ops);
        if (s->removal == 0 || is_removed(s)) {
            finish_removal(s);
        }
        return 0;
    }
    vswitch_delete_bridge(ovsdb_mirror(s->db), OVERLAY_BRIDGE, ops, NULL);
    s->removal = -1; /* its number comes with the answer */
    if (!transact(s, ops)) {
        s->removal = 0;
        return 0;
    }
    return 1;
}

int sdn_bridge_step(struct sdn *s)
{
    if (s->is_transacting || !s->db_peer.is_open) {
        return 1;
    }
    if (s->is_removing) {
        return take_down(s);
    }
    return s->is_wanted && s->is_ordered ? make(s) : 0;
}

/* --- the mark --- */

int sdn_bridge_is_marked(struct sdn *s)
{
    struct netlink_link link;

    return netlink_link_get(s->nl, OVERLAY_BRIDGE, &link) == 0 &&
           strcmp(link.alias, NETLINK_ALIAS) == 0;
}

int sdn_bridge_mark(struct sdn *s, struct error *error)
{
    struct netlink_link link;

    int rc = netlink_link_get(s->nl, OVERLAY_BRIDGE, &link);
    if (rc == 0 && strcmp(link.alias, NETLINK_ALIAS) != 0) {
        rc = netlink_link_set_alias(s->nl, link.index, NETLINK_ALIAS);
    }
    if (rc < 0 && rc != -ENODEV) {
        return error_set(error, error_status(rc), NULL, "cannot mark %s: %s", OVERLAY_BRIDGE,
                         strerror(-rc));
    }
    return rc;
}
