#include "services/vpn/vpn-openvpn-config.h"

#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/json.h"

enum {
    TEXT_SIZE_MAX = 1 << 16,
    TUN_MTU_MIN = 1500,
    RENEW_SEC = 7 * 86400,
};

#define LOADED_UNTIL "setenv CNSMO_CERTIFICATE_UNTIL "
#define MODE_SERVER "\nmode server\n"
#define NODE_USAGE "2.25.201838361293746121.1"

/* In quotes, as openvpn(8) reads them. */
static void add_file(struct buf *text, const char *option, const char *folder, const char *name)
{
    buf_printf(text, "%s \"", option);
    for (const char *at = folder; *at; at++) {
        buf_printf(text, *at == '"' || *at == '\\' ? "\\%c" : "%c", *at);
    }
    buf_printf(text, "/%s\"\n", name);
}

static void add_server(struct buf *text, const struct openvpn_config *config)
{
    buf_printf(text, "lport %u\nmultihome\ndh none\nmax-clients 10000\n", config->port);
    buf_printf(text, "ping 1\nping-restart 6\n");
}

static void add_spoke(struct buf *text, const struct openvpn_config *config)
{
    char address[IP4_TEXT_SIZE];

    buf_printf(text, "client\nnobind\nauth-retry nointeract\nconnect-retry 1 1\n");
    buf_printf(text, "verify-x509-name \"%s\" name\n", config->server_id);
    buf_printf(text, "ping 1\nping-restart 2\n");
    for (size_t i = 0; i < config->remotes_len; i++) {
        buf_printf(text, "remote %s %u\n", ip4_format(config->remotes[i].address, address),
                   config->remotes[i].port);
    }
}

char *openvpn_config_text(const struct openvpn_config *config)
{
    struct buf text = BUF_INIT(TEXT_SIZE_MAX);

    buf_printf(&text, "proto udp4\npersist-tun\nmssfix 0\nmtu-disc no\n");
    buf_printf(&text, "tun-mtu %u\n",
               config->mtu_bytes > TUN_MTU_MIN ? config->mtu_bytes : TUN_MTU_MIN);
    add_file(&text, "ca", config->state_dir, "root.pem");
    add_file(&text, "cert", config->state_dir, "cert.pem");
    add_file(&text, "key", config->state_dir, "key.pem");
    buf_printf(&text, LOADED_UNTIL "%lld\n", (long long)config->loaded_until_sec);
    buf_printf(&text, "remote-cert-eku " NODE_USAGE "\ntls-version-min 1.2\n"
                      "data-ciphers AES-256-GCM:CHACHA20-POLY1305\n"
                      "hand-window 4\ntls-timeout 1\n");
    if (config->server) {
        add_server(&text, config);
    } else {
        add_spoke(&text, config);
    }
    return text.data;
}

int64_t openvpn_loaded_until(const char *text)
{
    const char *line = strstr(text, "\n" LOADED_UNTIL);

    return line ? strtoll(line + strlen("\n" LOADED_UNTIL), NULL, 10) : 0;
}

int openvpn_is_server(const char *text)
{
    return strstr(text, MODE_SERVER) != NULL;
}

int64_t openvpn_choose_until(int64_t loaded_sec, int64_t on_disk_sec, int64_t now_sec)
{
    int renew = on_disk_sec > loaded_sec && loaded_sec - now_sec < RENEW_SEC;

    return loaded_sec == 0 || renew ? on_disk_sec : loaded_sec;
}

static int turn_of(const char *via, int same_cloud)
{
    if (strcmp(via, "declared") == 0 || strcmp(via, "public") == 0) {
        return 0;
    }
    if (strcmp(via, "local") == 0) {
        return same_cloud ? 1 : -1;
    }
    return 2;
}

size_t openvpn_remotes(const json_t *peer, const char *cloud, struct ip4_endpoint *ret_remotes,
                       size_t max)
{
    const char *theirs = json_get_string(peer, "cloud", "");
    int same_cloud = theirs[0] && strcmp(theirs, cloud) == 0;
    struct ip4_endpoint endpoint;
    const json_t *item;
    size_t i, len = 0;

    for (int turn = 0; turn < 3; turn++) {
        if (turn == 2 && len > 0) {
            break; /* one that doesn't answer costs seconds */
        }
        json_array_foreach (json_object_get(peer, "endpoints"), i, item) {
            if (turn_of(json_get_string(item, "via", ""), same_cloud) == turn && len < max &&
                ip4_endpoint_parse(json_get_string(item, "endpoint", ""), &endpoint) == 0 &&
                endpoint.port) {
                ret_remotes[len++] = endpoint;
            }
        }
    }
    return len;
}
