#include "core/laws.h"
#include "services/sdn/sdn-public.h"

#define SELF "\"sdn/self/Agent.1\":{\"address\":\"10.77.0.5\",\"range\":\"10.77.0.0/16\"}"
#define FILTER(id_, body_) ",\"sdn/filter/" id_ "/Agent.1\":{" body_ "}"

/* Ports, ranges, addresses and the node itself; one within the overlay, which has no part here;
 * and two that look at the same packets. */
static const char A[] = "{" SELF FILTER(
    "1", "\"direction\":\"in\",\"protocol\":\"tcp\",\"source\":\"0.0.0.0/0\","
         "\"destination\":\"134.157.0.0/16\",\"port\":\"1919\",\"destinationSelf\":true")
    FILTER("2", "\"direction\":\"both\",\"protocol\":\"udp\",\"port\":\"8000-8010\"")
        FILTER("3", "\"direction\":\"out\",\"protocol\":\"any\",\"source\":\"10.77.0.5/32\"")
            FILTER("4", "\"direction\":\"in\",\"protocol\":\"udp\",\"port\":\"8008\","
                        "\"priority\":1000")
                FILTER("5", "\"direction\":\"in\",\"protocol\":\"icmp\",\"priority\":20") "}";

/* Another range, in which 3 has a part after all; 1 changed, 2 gone, 6 new, 5 with another
 * priority, and 4 left alone with what it shared. */
static const char B[] =
    "{\"sdn/self/Agent.1\":{\"address\":\"10.78.0.5\",\"range\":\"10.78.0.0/16\"}" FILTER(
        "1", "\"direction\":\"in\",\"protocol\":\"tcp\",\"source\":\"198.51.100.0/24\","
             "\"destination\":\"134.157.0.0/16\",\"port\":\"1919\"")
        FILTER("3", "\"direction\":\"out\",\"protocol\":\"any\",\"source\":\"10.77.0.5/32\"")
            FILTER("4", "\"direction\":\"in\",\"protocol\":\"udp\",\"port\":\"8008\","
                        "\"priority\":1000")
                FILTER("5", "\"direction\":\"in\",\"protocol\":\"icmp\",\"priority\":3000")
                    FILTER("6", "\"source\":\"203.0.113.0/24\",\"sourceSelf\":true") "}";

static const char *const NIC[] = {"ip",   "link", "add",  "eth0", "type",
                                  "veth", "peer", "name", "far0", NULL};
static const char *const ADDRESS[] = {"ip",  "address", "add", "192.0.2.77/24",
                                      "dev", "eth0",    NULL};
static const char *const SECOND[] = {"ip",  "address", "add", "203.0.113.77/24",
                                     "dev", "far0",    NULL};
static const char *const *const FOREIGN[] = {NIC, ADDRESS, SECOND, NULL};

int main(void)
{
    return laws_main(&(struct laws_case){
        .backend = &BACKEND_SDN_PUBLIC, .node = "Agent.1", .a = A, .b = B, .foreign = FOREIGN});
}
