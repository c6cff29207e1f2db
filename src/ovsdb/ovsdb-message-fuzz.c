#include <stdint.h>
#include <stdlib.h>

#include "lib/json.h"
#include "ovsdb/rpc.h"
#include "ovsdb/vswitch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const PROTOCOLS[] = {"OpenFlow14", NULL};
static const struct vswitch_bridge_spec BRIDGE = {.name = "cnsmo0",
                                                  .mark = "sdn",
                                                  .datapath_type = "netdev",
                                                  .hardware = "02:00:00:00:00:07",
                                                  .protocols = PROTOCOLS};
static const struct vswitch_port_spec PORT = {.name = "up0", .mark = "sdn", .type = ""};

/* Whatever the database holds: what is wanted either is refused or can be said. */
static void want(const struct ovsdb_mirror *mirror)
{
    json_t *ops = json_array();
    struct error error;
    const char *names[4];

    vswitch_put_bridge(mirror, &BRIDGE, ops, &error);
    vswitch_put_port(mirror, "cnsmo0", &PORT, ops, &error);
    vswitch_delete_port(mirror, "up0", ops, &error);
    vswitch_delete_bridge(mirror, "cnsmo0", ops, &error);
    vswitch_ports(mirror, "cnsmo0", names, 4);
    vswitch_is_done(mirror, 1);
    size_t i;
    json_t *op;
    json_array_foreach (ops, i, op) {
        if (!json_is_object(op)) {
            abort();
        }
    }
    json_decref(ops);
}

static void read_message(const json_t *message, struct ovsdb_mirror *mirror)
{
    struct error error;
    struct rpc rpc;

    if (rpc_read(message, &rpc) < 0) {
        return;
    }
    if (rpc.kind == RPC_ERROR) {
        rpc_explain(rpc.payload, "it", &error);
    } else if (rpc.kind == RPC_UPDATE) {
        ovsdb_mirror_apply(mirror, rpc.payload);
    } else if (rpc.kind == RPC_RESULT) {
        ovsdb_mirror_apply(mirror, rpc.payload);
        json_t *ops = json_array();
        rpc_check_results(rpc.payload, ops, &error);
        vswitch_next(rpc.payload);
        json_decref(ops);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ovsdb_mirror mirror = {0};
    json_t *message;

    if (json_parse((const char *)data, size, &message, NULL) < 0) {
        return 0;
    }
    read_message(message, &mirror);
    want(&mirror);
    ovsdb_mirror_clear(&mirror);
    json_decref(message);
    return 0;
}
