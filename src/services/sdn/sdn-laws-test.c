/* The laws (core/laws.h). Open vSwitch runs on the host from the start, with a bridge of somebody
 * else's; the tunnel's end is there, as vpn makes it. */
#include <stdlib.h>

#include "core/laws.h"
#include "services/overlay.h"
#include "services/sdn/sdn-backend.h"

#define NODE "Agent.1"
#define RUN "/run/openvswitch"
#define SELF(address, range, clients)                                                             \
    "\"sdn/self/" NODE "\":{\"address\":\"" address "\",\"range\":\"" range                       \
    "\",\"clientRange\":\"" clients "\"}"
#define FILTER(number, direction, protocol, destination, port)                                    \
    ",\"sdn/filter/" number "/" NODE "\":{\"direction\":\"" direction                             \
    "\",\"protocol\":\"" protocol "\",\"source\":\"0.0.0.0/0\",\"destination\":\"" destination    \
    "\",\"port\":\"" port "\",\"priority\":1000,\"sourceSelf\":false,\"destinationSelf\":false}"
#define FLOW(number, match, action)                                                               \
    ",\"sdn/flow/" number "/" NODE "\":{\"priority\":7,\"match\":{" match                         \
    "},\"actions\":[\"" action "\"]}"
#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

/* 1 and 5 want the same flow on one of their two sides. */
static const char A[] =
    "{" SELF("10.77.0.5", "10.77.0.0/16", "") FILTER("1", "both", "tcp", "0.0.0.0/0", "80")
        FILTER("2", "in", "udp", "10.77.0.5", "1000-1999")
            FILTER("5", "in", "tcp", "0.0.0.0/0", "80") FLOW("3", "\"ip_proto\":1", "drop") "}";

/* Another address, and clients; 1 has gone, 2 is another, 3 passes, 4 is new. */
static const char B[] = "{" SELF("10.77.0.6", "10.77.0.0/16", "10.77.248.0/21")
    FILTER("2", "out", "udp", "10.77.0.5", "53") FILTER("4", "both", "any", "10.77.0.9", "")
        FILTER("5", "in", "tcp", "0.0.0.0/0", "80") FLOW("3", "\"ip_proto\":1", "pass") "}";

/* That bridge keeps "ovs-netdev" there, whose hardware address is another each time it comes. */
static const char *const *const FOREIGN[] = {
    ARGV("mkdir", "-p", RUN),
    ARGV("ovsdb-tool", "create", RUN "/conf.db", "/usr/share/openvswitch/vswitch.ovsschema"),
    ARGV("ovsdb-server", RUN "/conf.db", "--remote=punix:" RUN "/db.sock",
         "--unixctl=" RUN "/server.ctl", "--pidfile=" RUN "/server.pid",
         "--log-file=" RUN "/server.log", "-vconsole:off", "--detach", "--no-chdir"),
    ARGV("ovs-vsctl", "--no-wait", "init"),
    ARGV("ovs-vswitchd", "unix:" RUN "/db.sock", "--pidfile=" RUN "/ovs-vswitchd.pid",
         "--log-file=" RUN "/switch.log", "-vconsole:off", "--detach", "--no-chdir"),
    ARGV("ovs-vsctl", "add-br", "theirs", "--", "set", "bridge", "theirs", "datapath_type=netdev"),
    ARGV("ip", "link", "add", OVERLAY_PORT, "type", "veth", "peer", "name", OVERLAY_INNER),
    /* As Open vSwitch has its ports, so that they look the same before and after. */
    ARGV("ip", "link", "set", OVERLAY_PORT, "up", "promisc", "on", "alias", "cnsmo"),
    NULL,
};

static const struct laws_case CASE = {
    .backend = &BACKEND_SDN, .node = NODE, .a = A, .b = B, .foreign = FOREIGN};

int main(void)
{
    setenv("OVS_RUNDIR", RUN, 1);
    return laws_main(&CASE);
}
