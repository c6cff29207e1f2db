#include "core/laws.h"
#include "services/lb/lb-backend.h"

#define BACKEND(node_, address_)                                                                  \
    "{\"node\":\"" node_ "\",\"address\":\"" address_ "\",\"drain\":false}"
#define SERVICE(name_, port_, side_, mode_, algorithm_, backend_port_, backends_)                 \
    "\"lb/service/" name_ "/Agent.1\":{\"address\":\"127.0.0.77\",\"port\":" port_                \
    ",\"side\":\"" side_ "\",\"mode\":\"" mode_ "\",\"algorithm\":\"" algorithm_                  \
    "\",\"backendPort\":" backend_port_ ",\"backends\":[" backends_                               \
    "],\"check\":{\"type\":\"none\",\"path\":\"/\",\"interval\":2,\"rise\":2,\"fall\":3},"        \
    "\"timeouts\":{\"connect\":5,\"client\":60,\"server\":60},\"sticky\":\"none\"}"

/* One that stays as it is, one whose servers change, one that changes in itself and takes the port
 * of one that goes, and a new one. */
#define SAME SERVICE("same", "8001", "all", "tcp", "leastconn", "9001", BACKEND("B", "127.0.0.2"))
#define SERVERS(backends_)                                                                        \
    SERVICE("servers", "8002", "overlay", "http", "roundrobin", "9002", backends_)
#define BEFORE BACKEND("B", "127.0.0.2") "," BACKEND("C", "127.0.0.3")
#define AFTER BACKEND("B", "127.0.0.9") "," BACKEND("E", "127.0.0.5")
#define D BACKEND("D", "127.0.0.4")

#define CHANGED_A SERVICE("changed", "8003", "public", "tcp", "source", "9003", "")
#define CHANGED_B SERVICE("changed", "8004", "all", "tcp", "leastconn", "9003", D)
#define GONE SERVICE("gone", "8004", "all", "tcp", "leastconn", "9004", D)
#define NEW SERVICE("new", "8005", "all", "http", "leastconn", "9004", "")

static const char A[] = "{" SAME "," SERVERS(BEFORE) "," CHANGED_A "," GONE "}";
static const char B[] = "{" SAME "," SERVERS(AFTER) "," CHANGED_B "," NEW "}";

int main(void)
{
    return laws_main(
        &(struct laws_case){.backend = &BACKEND_LB, .node = "Agent.1", .a = A, .b = B});
}
