#include "services/lb/lb-config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/ip.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    PORT_MAX = 65535,
    SECONDS_MAX = 86400,
    TIMES_MAX = 100,
    PATH_SIZE_MAX = 200,
    PEM_SIZE_MAX = 64 << 10,
};

/* --- what may stand in a configuration --- */

static const char NAME[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

static int is_name(const char *text, size_t size)
{
    return size > 0 && size < LB_NAME_SIZE && strspn(text, NAME) >= size;
}

int lb_key_parse(const char *key, const char *node, char ret_name[LB_NAME_SIZE])
{
    size_t prefix = strlen(LB_KEY_PREFIX);

    if (strncmp(key, LB_KEY_PREFIX, prefix) != 0) {
        return -EINVAL;
    }
    size_t size = strcspn(key + prefix, "/");
    if (!is_name(key + prefix, size) || key[prefix + size] != '/' ||
        strcmp(key + prefix + size + 1, node) != 0) {
        return -EINVAL;
    }
    memcpy(ret_name, key + prefix, size);
    ret_name[size] = '\0';
    return 0;
}

static int is_one_of(const json_t *spec, const char *member, const char *const *words)
{
    const char *word = json_get_string(spec, member, NULL);

    for (; word && *words; words++) {
        if (strcmp(word, *words) == 0) {
            return 1;
        }
    }
    return 0;
}

static int is_within(const json_t *spec, const char *member, json_int_t max)
{
    json_int_t value = json_get_integer(spec, member, 0);

    return value >= 1 && value <= max;
}

/* Nothing that would be more than one word for HAProxy. */
static int is_path(const char *path)
{
    size_t size = path ? strlen(path) : 0;

    return size > 0 && size <= PATH_SIZE_MAX && path[0] == '/' &&
           strspn(path, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                        "/._~%?&=+,:;@!*()-") == size;
}

static int is_check(const json_t *check)
{
    static const char *const TYPES[] = {"none", "tcp", "http", NULL};

    return is_one_of(check, "type", TYPES) && is_path(json_get_string(check, "path", NULL)) &&
           is_within(check, "interval", SECONDS_MAX) && is_within(check, "rise", TIMES_MAX) &&
           is_within(check, "fall", TIMES_MAX);
}

static int is_backends(const json_t *list)
{
    size_t i;
    json_t *backend;
    uint32_t address;

    if (!json_is_array(list) || json_array_size(list) > LB_BACKENDS_MAX) {
        return 0;
    }
    json_array_foreach ((json_t *)list, i, backend) {
        const char *node = json_get_string(backend, "node", "");
        if (!is_name(node, strlen(node)) ||
            ip4_parse(json_get_string(backend, "address", ""), &address) < 0) {
            return 0;
        }
    }
    return 1;
}

static int is_pem(const json_t *spec, const char *member)
{
    const json_t *pem = json_object_get(spec, member);

    return !pem || (json_is_string(pem) && json_string_length(pem) <= PEM_SIZE_MAX);
}

int lb_spec_check(const json_t *spec, struct error *error)
{
    static const char *const SIDES[] = {"all", "overlay", "public", NULL};
    static const char *const MODES[] = {"tcp", "http", NULL};
    static const char *const ALGORITHMS[] = {"leastconn", "roundrobin", "source", NULL};
    static const char *const STICKY[] = {"none", "source", "cookie", NULL};
    const json_t *timeouts = json_object_get(spec, "timeouts");
    uint32_t address;
    int is_right = ip4_parse(json_get_string(spec, "address", ""), &address) == 0 &&
                   is_within(spec, "port", PORT_MAX) && is_within(spec, "backendPort", PORT_MAX) &&
                   is_one_of(spec, "side", SIDES) && is_one_of(spec, "mode", MODES) &&
                   is_one_of(spec, "algorithm", ALGORITHMS) && is_one_of(spec, "sticky", STICKY);

    is_right = is_right && is_check(json_object_get(spec, "check")) &&
               is_within(timeouts, "connect", SECONDS_MAX) &&
               is_within(timeouts, "client", SECONDS_MAX) &&
               is_within(timeouts, "server", SECONDS_MAX) &&
               is_backends(json_object_get(spec, "backends")) && is_pem(spec, "certificate") &&
               is_pem(spec, "secret");
    return is_right ? 0 : error_set(error, 400, NULL, "the service isn't as this agent knows it");
}

/* --- a section --- */

int lb_has_tls(const json_t *spec)
{
    return json_object_get(spec, "certificate") != NULL;
}

void lb_certificate_name(const char *proxy, char *ret_file, size_t size)
{
    snprintf(ret_file, size, "%s.pem", proxy);
}

static int is(const json_t *spec, const char *member, const char *word)
{
    return strcmp(json_get_string(spec, member, ""), word) == 0;
}

/* An address that isn't there yet, since the overlay is about to come, is no obstacle. */
static void add_bind(struct buf *out, const char *proxy, const json_t *spec, const char *folder)
{
    const char *address = json_get_string(spec, "address", "");
    int overlay_only = is(spec, "side", "overlay");
    char file[LB_PROXY_SIZE + 8];

    buf_printf(out, "    bind %s:%d%s", overlay_only ? address : "0.0.0.0",
               (int)json_get_integer(spec, "port", 0), overlay_only ? " transparent" : "");
    if (lb_has_tls(spec)) {
        lb_certificate_name(proxy, file, sizeof file);
        buf_printf(out, " ssl crt %s/%s%s", folder, file,
                   is(spec, "mode", "http") ? " alpn h2,http/1.1" : "");
    }
    buf_printf(out, "\n");
    if (is(spec, "side", "public")) {
        buf_printf(out, "    tcp-request connection reject if { dst %s }\n", address);
    }
}

static void add_balance(struct buf *out, const json_t *spec)
{
    buf_printf(out, "    mode %s\n    balance %s\n", json_get_string(spec, "mode", ""),
               json_get_string(spec, "algorithm", ""));
    if (is(spec, "algorithm", "source")) {
        buf_printf(out, "    hash-type consistent\n"); /* or servers couldn't come and go */
    }
    if (is(spec, "sticky", "source")) {
        buf_printf(out, "    stick-table type ip size 100k expire 30m\n    stick on src\n");
    }
    if (is(spec, "sticky", "cookie")) {
        buf_printf(out, "    cookie CNSMO insert indirect nocache httponly\n");
    }
    if (is(spec, "mode", "http")) {
        buf_printf(out, "    option forwardfor\n    option idle-close-on-response\n");
    }
}

static void add_rest(struct buf *out, const json_t *spec)
{
    static const char *const TIMEOUTS[] = {"connect", "client", "server"};
    const json_t *check = json_object_get(spec, "check");
    const json_t *timeouts = json_object_get(spec, "timeouts");

    for (size_t i = 0; i < ARRAY_LEN(TIMEOUTS); i++) {
        buf_printf(out, "    timeout %s %ds\n", TIMEOUTS[i],
                   (int)json_get_integer(timeouts, TIMEOUTS[i], 0));
    }
    if (is(check, "type", "http")) {
        buf_printf(out, "    option httpchk GET %s\n    http-check expect status 200-399\n",
                   json_get_string(check, "path", "/"));
    }
}

static void add_settings(struct buf *out, const char *proxy, const json_t *spec,
                         const char *folder)
{
    add_bind(out, proxy, spec, folder);
    add_balance(out, spec);
    add_rest(out, spec);
}

void lb_config_server(struct buf *out, const json_t *spec, const json_t *backend)
{
    const json_t *check = json_object_get(spec, "check");

    buf_printf(out, "%s:%d", json_get_string(backend, "address", ""),
               (int)json_get_integer(spec, "backendPort", 0));
    if (!is(check, "type", "none")) {
        buf_printf(
            out, " check inter %ds rise %d fall %d", (int)json_get_integer(check, "interval", 0),
            (int)json_get_integer(check, "rise", 0), (int)json_get_integer(check, "fall", 0));
    }
    if (is(spec, "sticky", "cookie")) {
        buf_printf(out, " cookie %s", json_get_string(backend, "node", ""));
    }
}

static void add_servers(struct buf *out, const json_t *spec)
{
    size_t i;
    json_t *backend;

    json_array_foreach (json_object_get(spec, "backends"), i, backend) {
        buf_printf(out, "    server %s ", json_get_string(backend, "node", ""));
        lb_config_server(out, spec, backend);
        buf_printf(out, "\n");
    }
}

/* The checks' numbers stand with the servers, and are the section's all the same. A server with a
 * cookie can't be added to a section that runs (HAProxy 2.6), so there they are its part too. */
void lb_proxy_name(const char *name, const json_t *spec, char ret_proxy[LB_PROXY_SIZE])
{
    struct buf text = BUF_INIT(LB_CONFIG_MAX);
    char hex[SHA256_HEX_SIZE];
    json_t *check = json_object_get(spec, "check");
    _cleanup_free_ char *numbers = json_dumps(check, JSON_SORT_KEYS);

    add_settings(&text, "", spec, "");
    buf_printf(&text, "%d %s\n%s\n%s\n", (int)json_get_integer(spec, "backendPort", 0), numbers,
               json_get_string(spec, "certificate", ""), json_get_string(spec, "secret", ""));
    if (is(spec, "sticky", "cookie")) {
        add_servers(&text, spec);
    }
    hash_text_hex(text.data, hex);
    snprintf(ret_proxy, LB_PROXY_SIZE, "%.63s:%d-%.12s", name,
             (int)json_get_integer(spec, "port", 0), hex);
    mem_wipe(text.data, text.size);
    buf_done(&text);
}

void lb_config_section(struct buf *out, const char *proxy, const json_t *spec,
                       const struct lb_paths *paths)
{
    buf_printf(out, "\nlisten %s\n", proxy);
    add_settings(out, proxy, spec, paths->folder);
    add_servers(out, spec);
}

/* --- what all have --- */

/* A connection that a back end refuses goes to another one; idle clients are told before a worker
 * ends. A worker whose connections last may live on beside its successors. */
void lb_config_global(struct buf *out, const struct lb_paths *paths)
{
    buf_printf(out,
               "# Made by cnsmo-agent; changes are lost.\n"
               "global\n"
               "    stats socket %s mode 600 level admin expose-fd listeners\n"
               "    stats timeout 5m\n"
               "    server-state-file %s\n"
               "    chroot %s\n"
               "    uid %u\n"
               "    gid %u\n"
               "    ssl-default-bind-options ssl-min-ver TLSv1.2\n",
               paths->socket, paths->state, paths->chroot, (unsigned)paths->uid,
               (unsigned)paths->gid);
    buf_printf(out, "\ndefaults\n"
                    "    option redispatch 1\n"
                    "    retries 3\n"
                    "    timeout queue 10s\n"
                    "    timeout http-request 30s\n"
                    "    load-server-state-from-file global\n");
}
