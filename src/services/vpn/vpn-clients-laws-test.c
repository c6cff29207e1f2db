#include <limits.h>
#include <stdio.h>

#include "core/laws.h"
#include "lib/mem.h"
#include "lib/spawn.h"
#include "services/vpn/ovpn-test-pki.h"
#include "services/vpn/vpn-clients-openvpn.h"

/* Each law has a /tmp of its own, so what all of them need comes from elsewhere. */
static char folder[] = "/var/tmp/vpn-clients-laws-XXXXXX";

/* Takes the references. The caller frees the text. */
static char *resources(const char *server, const char *clients, const char *revoked)
{
    _cleanup_free_ char *crl = test_pki_crl(folder, revoked);
    json_t *all = json_pack("{s:{s:s}, s:o}", "vpn/crl", "pem", crl, "vpn/clients/Agent.1",
                            json_loads(server, 0, NULL));
    json_t *more = json_loads(clients, 0, NULL);

    json_object_update(all, more);
    json_decref(more);
    char *text = json_dumps(all, 0);
    json_decref(all);
    return text;
}

static int remove_folder(void)
{
    const char *const argv[] = {"rm", "-rf", folder, NULL};
    struct spawn spawn = {.argv = argv};

    return spawn_run(&spawn);
}

int main(void)
{
    if (!mkdtemp(folder)) {
        perror(folder);
        return 1;
    }
    test_pki_make(folder);
    test_pki_issue(folder, "cert", "Agent.1", TEST_NODE);
    test_pki_issue(folder, "alice", "alice", TEST_CLIENT);
    char *a =
        resources("{\"range\":\"10.77.248.0/21\",\"port\":1194,\"overlay\":\"10.77.0.0/16\"}",
                  "{\"vpn/client/openvpn/alice\":{\"address\":\"10.77.248.1\"},"
                  "\"vpn/client/openvpn/bob\":{\"address\":\"10.77.248.2\"}}",
                  NULL);
    char *b =
        resources("{\"range\":\"10.78.240.0/24\",\"port\":1195,\"overlay\":\"10.78.0.0/16\"}",
                  "{\"vpn/client/openvpn/carol\":{\"address\":\"10.78.240.7\"},"
                  "\"vpn/client/openvpn/bob\":{\"address\":\"10.78.240.2\"}}",
                  "alice");
    char *key = xasprintf("%s/cert.key", folder), *key_pem = xasprintf("%s/key.pem", folder);
    rename(key, key_pem);
    const char *const copy[] = {"cp", "-r", folder, "/tmp/state", NULL};
    const char *const *const foreign[] = {copy, NULL};
    struct laws_case laws = {
        .backend = &BACKEND_VPN_CLIENTS, .node = "Agent.1", .a = a, .b = b, .foreign = foreign};
    int failed = laws_main(&laws);

    remove_folder();
    free(key);
    free(key_pem);
    free(a);
    free(b);
    return failed;
}
