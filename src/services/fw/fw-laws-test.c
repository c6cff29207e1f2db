#include "core/laws.h"
#include "services/fw/fw-backend.h"

#define SELF(port_) "\"fw/self/Agent.1\":{\"ports\":[" port_ "]}"
#define RULE(id_, body_) ",\"fw/rule/" id_ "/Agent.1\":{" body_ "}"
#define POLICY(id_, body_) ",\"fw/policy/" id_ "/Agent.1\":{" body_ "}"

/* Sets, plain rules, one that another one covers, a log, both directions; a default. */
static const char A[] = "{" SELF("51820")
    RULE("1", "\"order\":10,\"direction\":\"in\",\"protocol\":\"tcp\",\"port\":\"22\","
              "\"action\":\"accept\"")
        RULE("2", "\"order\":20,\"direction\":\"in\",\"source\":[\"198.51.100.7/32\"],"
                  "\"action\":\"drop\"")
            RULE("3", "\"order\":21,\"direction\":\"in\",\"source\":[\"198.51.100.7/32\"],"
                      "\"action\":\"drop\"")
                RULE("4", "\"order\":30,\"direction\":\"in\",\"protocol\":\"udp\","
                          "\"port\":\"53,8000-8010\",\"side\":\"public\",\"action\":\"reject\"")
                    RULE("5", "\"order\":40,\"direction\":\"out\",\"action\":\"log\"")
                        RULE("6", "\"order\":50,\"direction\":\"out\",\"destination\":"
                                  "[\"203.0.113.0/24\"],\"action\":\"drop\"")
                            POLICY("all", "\"rank\":0,\"in\":\"drop\"") "}";

/* Another order, 2 gone so that 3 counts, 4 changed, 5 gone, 6 with other addresses, 7 new; a
 * stronger policy. */
static const char B[] = "{" SELF("51821,1194")
    RULE("1", "\"order\":60,\"direction\":\"in\",\"protocol\":\"tcp\",\"port\":\"22\","
              "\"action\":\"accept\"")
        RULE("3", "\"order\":21,\"direction\":\"in\",\"source\":[\"198.51.100.7/32\"],"
                  "\"action\":\"drop\"")
            RULE("4", "\"order\":30,\"direction\":\"in\",\"protocol\":\"udp\","
                      "\"port\":\"53\",\"side\":\"overlay\",\"action\":\"reject\"")
                RULE("6", "\"order\":50,\"direction\":\"out\",\"destination\":"
                          "[\"203.0.113.0/24\",\"192.0.2.0/24\"],\"action\":\"drop\"")
                    RULE("7", "\"order\":50,\"direction\":\"out\",\"destination\":"
                              "[\"192.0.2.0/24\"],\"action\":\"drop\"")
                        POLICY("all", "\"rank\":0,\"in\":\"drop\"") POLICY(
                            "one", "\"rank\":1000,\"in\":\"accept\",\"out\":\"reject\"") "}";

int main(void)
{
    return laws_main(
        &(struct laws_case){.backend = &BACKEND_FW, .node = "Agent.1", .a = A, .b = B});
}
