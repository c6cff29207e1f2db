#include "core/laws.h"
#include "services/lb/lb-backend.h"

#define SERVICE(name_, body_)                                                                     \
    "\"lb/service/" name_ "/Agent.1\":{\"address\":\"127.0.0.77\"," body_ "}"
#define REST                                                                                      \
    ",\"check\":{\"type\":\"none\",\"path\":\"/\",\"interval\":2,\"rise\":2,\"fall\":3},"         \
    "\"timeouts\":{\"connect\":5,\"client\":60,\"server\":60},\"sticky\":\"none\""
#define BACKEND(node_, address_)                                                                  \
    "{\"node\":\"" node_ "\",\"address\":\"" address_ "\",\"drain\":false}"

/* One that stays as it is, one whose servers change, one that changes in itself, one that goes. */
static const char A[] = "{" SERVICE(
    "same",
    "\"port\":8001,\"side\":\"all\",\"mode\":\"tcp\",\"algorithm\":"
    "\"leastconn\",\"backendPort\":9001,\"backends\":[" BACKEND(
        "B",
        "127.0.0.2") "]" REST) "," SERVICE("servers",
                                           "\"port\":8002,\"side\":\"overlay\",\"mode\":\"http\","
                                           "\"algorithm\":"
                                           "\"roundrobin\",\"backendPort\":9002,\"backends\":"
                                           "[" BACKEND("B", "127.0.0.2") "," BACKEND(
                                               "C",
                                               "127.0.0.3") "]" REST) "," SERVICE("changed",
                                                                                  "\"port\":8003,"
                                                                                  "\"side\":"
                                                                                  "\"public\","
                                                                                  "\"mode\":"
                                                                                  "\"tcp\","
                                                                                  "\"algorithm\":"
                                                                                  "\"source\","
                                                                                  "\"backendPort\""
                                                                                  ":9003,"
                                                                                  "\"backends\":["
                                                                                  "]" REST) "," SERVICE("gone",
                                                                                                        "\"port\":8004,\"side\":\"all\",\"mode\":\"tcp\",\"algorithm\":"
                                                                                                        "\"leastconn\",\"backendPort\":9004,\"backends\":[" BACKEND(
                                                                                                            "D",
                                                                                                            "127.0.0.4") "]" REST) "}";

static const char B[] = "{" SERVICE(
    "same",
    "\"port\":8001,\"side\":\"all\",\"mode\":\"tcp\",\"algorithm\":"
    "\"leastconn\",\"backendPort\":9001,\"backends\":[" BACKEND(
        "B",
        "127.0.0.2") "]" REST) "," SERVICE("servers",
                                           "\"port\":8002,\"side\":\"overlay\",\"mode\":"
                                           "\"http\",\"algorithm\":"
                                           "\"roundrobin\",\"backendPort\":9002,\"backends\":"
                                           "[" BACKEND("B", "127.0.0.9") "," BACKEND(
                                               "E",
                                               "127.0.0.5") "]" REST) "," SERVICE("changed",
                                                                                  "\"port\":"
                                                                                  "8004,"
                                                                                  "\"side\":"
                                                                                  "\"all\","
                                                                                  "\"mode\":"
                                                                                  "\"tcp\","
                                                                                  "\"algorithm"
                                                                                  "\":"
                                                                                  "\"leastconn"
                                                                                  "\","
                                                                                  "\"backendPo"
                                                                                  "rt\":9003,"
                                                                                  "\"backends"
                                                                                  "\":"
                                                                                  "[" BACKEND(
                                                                                      "D",
                                                                                      "127.0."
                                                                                      "0.4") "]" REST) "," SERVICE("new",
                                                                                                                   "\"port\":8005,\"side\":\"all\",\"mode\":\"http\",\"algorithm\":"
                                                                                                                   "\"leastconn\",\"backendPort\":9004,\"backends\":[]" REST) "}";

int main(void)
{
    return laws_main(
        &(struct laws_case){.backend = &BACKEND_LB, .node = "Agent.1", .a = A, .b = B});
}
