#include "core/laws.h"
#include "services/vpn/vpn-backend.h"

/* Public keys that nobody has the private keys of. */
#define KEY_1 "wh3tgGVlD7i6yMwS+yMNbZGrPhGuGywH5G0eSLCB41Q="
#define KEY_2 "2LAzVHIil43nlvH3uekAj+u7skxHLWMaz7LgmmqmKRU="
#define KEY_3 "sqEcZLUcpIImc0kcEBMIa5O9Xy++ayKBM3lXoZH/RHk="
#define KEY_4 "DWenWSXc6vXOUNdcwXNivnHIUH9pvRkkk8cvksJmhPU="

#define PEER(address, key, hub, endpoints)                                                        \
    "{\"address\":\"" address "\",\"publicKey\":\"" key "\",\"hub\":" hub                         \
    ",\"cloud\":\"\",\"endpoints\":" endpoints "}"
#define ENDPOINT(endpoint) "[{\"endpoint\":\"" endpoint "\",\"via\":\"declared\"}]"

/* A plain node: a hub, a peer with a declared endpoint, one without, and itself. */
static const char A[] =
    "{\"vpn/self/Agent.1\":{\"address\":\"10.77.0.5\",\"range\":\"10.77.0.0/16\",\"port\":51820,"
    "\"mtu\":0,\"hub\":false,\"fabric\":\"wireguard\",\"cloud\":\"\",\"public\":false},"
    "\"vpn/peer/Agent.1\":" PEER("10.77.0.5", KEY_4, "false",
                                 "[]") ","
                                       "\"vpn/peer/Agent.2\":" PEER(
                                           "10.77.0.6", KEY_1, "false",
                                           "[]") ","
                                                 "\"vpn/peer/Agent.3\":" PEER(
                                                     "10.77.0.7", KEY_2, "false",
                                                     "[]") ","
                                                           "\"vpn/peer/Server\":" PEER(
                                                               "10.77.0.1", KEY_3, "true",
                                                               ENDPOINT("192.0.2.1:51820")) "}";

/* A hub on another range and port, with one peer more, one less, and one with another key. */
static const char B[] =
    "{\"vpn/self/Agent.1\":{\"address\":\"10.78.0.5\",\"range\":\"10.78.0.0/16\",\"port\":51821,"
    "\"mtu\":1300,\"hub\":true,\"fabric\":\"wireguard\",\"cloud\":\"x\",\"public\":true},"
    "\"vpn/peer/Agent.1\":" PEER(
        "10.78.0.5", KEY_4, "true",
        "[]") ","
              "\"vpn/peer/Agent.2\":" PEER(
                  "10.78.0.6", KEY_2, "false",
                  "[]") ","
                        "\"vpn/peer/Agent.4\":" PEER(
                            "10.78.0.7", KEY_1, "false",
                            ENDPOINT("192.0.2.7:51820")) ","
                                                         "\"vpn/peer/Server\":" PEER(
                                                             "10.78.0.1", KEY_3, "true",
                                                             ENDPOINT("192.0.2.1:51821")) "}";

static const struct laws_case CASE = {.backend = &BACKEND_VPN, .node = "Agent.1", .a = A, .b = B};

int main(void)
{
    return laws_main(&CASE);
}
