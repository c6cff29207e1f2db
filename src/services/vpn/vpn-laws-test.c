/* The laws (core/laws.h) for both fabrics, and for changing from one to the other. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/laws.h"
#include "lib/file.h"
#include "lib/mem.h"
#include "lib/spawn.h"
#include "services/vpn/ovpn-test-pki.h"
#include "services/vpn/vpn-backend.h"

#define NODE "Agent.1"

/* Public keys that nobody has the private keys of. */
#define KEY_1 "wh3tgGVlD7i6yMwS+yMNbZGrPhGuGywH5G0eSLCB41Q="
#define KEY_2 "2LAzVHIil43nlvH3uekAj+u7skxHLWMaz7LgmmqmKRU="
#define KEY_3 "sqEcZLUcpIImc0kcEBMIa5O9Xy++ayKBM3lXoZH/RHk="
#define KEY_4 "DWenWSXc6vXOUNdcwXNivnHIUH9pvRkkk8cvksJmhPU="
#define KEY_5 "1jNcWdXHGUFYuVLVTYiTbXd9BFb4LCBwAEWlbMMYIgE="

#define SELF(address, range, rest)                                                                \
    "\"vpn/self/" NODE "\":{\"address\":\"" address "\",\"range\":\"" range "\"," rest "}"
#define PEER(id, address, key, hub, rest)                                                         \
    ",\"vpn/peer/" id "\":{\"address\":\"" address "\",\"publicKey\":\"" key "\",\"hub\":" hub    \
    ",\"cloud\":\"\",\"clientRange\":\"\"," rest "}"
#define NOWHERE "\"endpoints\":[]"
#define ENDPOINT(endpoint) "\"endpoints\":[{\"endpoint\":\"" endpoint "\",\"via\":\"declared\"}]"
#define PLAIN(fabric)                                                                             \
    "\"port\":51820,\"mtu\":0,\"hub\":false,\"cloud\":\"\",\"public\":false,\"clientRange\":\"\"" \
    ",\"keyGeneration\":0,\"fabric\":" fabric
#define HUB(fabric)                                                                               \
    "\"port\":51821,\"mtu\":1300,\"hub\":true,\"cloud\":\"x\",\"public\":true,"                   \
    "\"clientRange\":\"10.78.248.0/21\",\"keyGeneration\":1,\"fabric\":" fabric

/* A plain node: a hub, a peer, one that has no key yet, and itself. */
static const char WIREGUARD_SPOKE[] =
    "{" SELF("10.77.0.5", "10.77.0.0/16", PLAIN("\"wireguard\",\"server\":\"\""))
        PEER("Agent.1", "10.77.0.5", KEY_4, "false", NOWHERE)
            PEER("Agent.2", "10.77.0.6", KEY_1, "false", NOWHERE)
                PEER("Agent.3", "10.77.0.7", KEY_2, "false", NOWHERE) PEER("Agent.5", "10.77.0.8",
                                                                           "", "false", NOWHERE)
                    PEER("Server", "10.77.0.1", KEY_3, "true", ENDPOINT("192.0.2.1:51820")) "}";

/* A hub on another range and port, with one peer more, one less, and one with another key; and
 * with a client. */
static const char WIREGUARD_HUB[] = "{" SELF("10.78.0.5", "10.78.0.0/16",
                                             HUB("\"wireguard\",\"server\":\"\""))
    PEER("Agent.1", "10.78.0.5", KEY_4, "true", NOWHERE) PEER("Agent.2", "10.78.0.6", KEY_2,
                                                              "false", NOWHERE)
        PEER("Agent.4", "10.78.0.7", KEY_1, "false", ENDPOINT("192.0.2.7:51820")) PEER(
            "Server", "10.78.0.1", KEY_3, "true",
            ENDPOINT(
                "192.0.2.1:51821")) ",\"vpn/client/wireguard/"
                                    "phone\":{\"address\":\"10.78.252.2\",\"publicKey\":\"" KEY_5
                                    "\"}}";

/* A spoke, whose server doesn't answer. */
static const char OPENVPN_SPOKE[] =
    "{" SELF("10.77.0.5", "10.77.0.0/16", PLAIN("\"openvpn\",\"server\":\"Server\""))
        PEER("Agent.1", "10.77.0.5", "", "false", NOWHERE)
            PEER("Server", "10.77.0.1", "", "true", ENDPOINT("192.0.2.1:51820")) "}";

/* The server; %s is the list of revoked certificates, with newlines as JSON has them. */
static const char OPENVPN_SERVER_FORMAT[] =
    "{" SELF("10.78.0.5", "10.78.0.0/16", HUB("\"openvpn\",\"server\":\"" NODE "\""))
        PEER("Agent.1", "10.78.0.5", "", "true", NOWHERE)
            PEER("Agent.2", "10.78.0.6", KEY_2, "false", NOWHERE)
                PEER("Agent.4", "10.78.0.7", "", "false", NOWHERE)
                    PEER("Server", "10.78.0.1", KEY_3, "true",
                         ENDPOINT("192.0.2.1:51821")) ",\"vpn/crl\":{\"pem\":\"%s\"}}";

/* With sdn: what is there becomes the tunnel's namespace, and goes again. */
static const char WIREGUARD_SDN[] =
    "{" SELF("10.77.0.5", "10.77.0.0/16", PLAIN("\"wireguard\",\"server\":\"\",\"sdn\":true"))
        PEER("Agent.2", "10.77.0.6", KEY_1, "false", NOWHERE)
            PEER("Server", "10.77.0.1", KEY_3, "true", ENDPOINT("192.0.2.1:51820")) "}";
static const char OPENVPN_SDN_FORMAT[] =
    "{" SELF("10.78.0.5", "10.78.0.0/16", HUB("\"openvpn\",\"server\":\"" NODE "\",\"sdn\":true"))
        PEER("Agent.2", "10.78.0.6", KEY_2, "false", NOWHERE) ",\"vpn/crl\":{\"pem\":\"%s\"}}";

static struct buf root_pem = BUF_INIT(1 << 16);

/* The test's own process has the root's key; the hosts get what joining would leave. */
static void joined(const char *state_dir)
{
    _cleanup_free_ char *key = xasprintf("%s/key.key", state_dir);
    _cleanup_free_ char *cert = xasprintf("%s/key.pem", state_dir);
    _cleanup_free_ char *cert_to = xasprintf("%s/cert.pem", state_dir);
    _cleanup_free_ char *root = xasprintf("%s/root.pem", state_dir);

    test_pki_issue(state_dir, "key", NODE, TEST_NODE);
    rename(cert, cert_to);
    rename(key, cert);
    file_write_atomic(root, root_pem.data, root_pem.size, 0644);
}

/* Stands for the bridge, which is another driver's, with the MTU that it will have. */
static void add_bridge(const char *mtu)
{
    const char *const add[] = {"ip",  "link", "add",  "cnsmo-sdn", "address", "0a:63:6e:73:6d:01",
                               "mtu", mtu,    "type", "bridge",    NULL};
    const char *const mark[] = {"ip", "link", "set", "cnsmo-sdn", "alias", "cnsmo", "up", NULL};
    struct error error;

    if (spawn_check(&(struct spawn){.argv = add}, &error) < 0 ||
        spawn_check(&(struct spawn){.argv = mark}, &error) < 0) {
        fprintf(stderr, "%s\n", error.detail);
    }
}

static void joined_with_bridge(const char *state_dir)
{
    joined(state_dir);
    add_bridge("1420");
}

static void joined_with_small_bridge(const char *state_dir)
{
    joined(state_dir);
    add_bridge("1300");
}

/* With newlines as in a JSON string. */
static char *escaped(const char *text)
{
    struct buf buf = BUF_INIT(1 << 20);

    for (const char *at = text; *at; at++) {
        buf_printf(&buf, *at == '\n' ? "\\n" : "%c", *at);
    }
    return buf.data;
}

/* argv[1]: "wireguard", "openvpn", or "both": from one fabric to the other; with "sdn-" sdn is
 * switched on and off. */
int main(int argc, char **argv)
{
    char folder[] = "/tmp/vpn-laws-XXXXXX";
    int rc = argc == 2 && mkdtemp(folder) ? -1 : 1;

    if (rc > 0) {
        return rc;
    }
    _cleanup_free_ char *root = xasprintf("%s/root.pem", folder);
    test_pki_make(folder);
    file_read(root, &root_pem);
    _cleanup_free_ char *pem = test_pki_crl(folder, NULL);
    _cleanup_free_ char *crl = escaped(pem);
    _cleanup_free_ char *openvpn_server = xasprintf(OPENVPN_SERVER_FORMAT, crl);
    _cleanup_free_ char *openvpn_sdn = xasprintf(OPENVPN_SDN_FORMAT, crl);
    const struct {
        const char *name, *a, *b;
        void (*joined)(const char *state_dir);
    } cases[] = {
        {"wireguard", WIREGUARD_SPOKE, WIREGUARD_HUB, joined},
        {"openvpn", OPENVPN_SPOKE, openvpn_server, joined},
        {"both", WIREGUARD_HUB, openvpn_server, joined},
        {"sdn-wireguard", WIREGUARD_SDN, WIREGUARD_HUB, joined_with_bridge},
        {"sdn-openvpn", openvpn_sdn, openvpn_server, joined_with_small_bridge},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (strcmp(cases[i].name, argv[1]) == 0) {
            rc = laws_main(&(struct laws_case){.backend = &BACKEND_VPN,
                                               .node = NODE,
                                               .a = cases[i].a,
                                               .b = cases[i].b,
                                               .joined = cases[i].joined,
                                               .shared = "cnsmo-sdn"});
        }
    }
    buf_done(&root_pem);
    unlink(root);
    rmdir(folder);
    return rc;
}
