#include "server/config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/file.h"
#include "lib/ip.h"
#include "lib/mem.h"

/* --- values --- */

struct option {
    const char *key;
    /* Reads `value` (without blanks around it, not empty) into the member; -EINVAL if it is
     * wrong. */
    int (*read)(const struct option *option, const char *value, void *member);
    const char *expects; /* ends the sentence "... is not" */
    size_t offset;       /* of the member in struct config */
    long min, max;       /* of a number */
};

static int parse_number(const char *value, long min, long max, long *ret_number)
{
    long number = 0;

    if (value[0] == '\0' || strlen(value) > 9) {
        return -EINVAL;
    }
    for (const char *p = value; *p; p++) {
        if (!isdigit((unsigned char)*p)) {
            return -EINVAL;
        }
        number = number * 10 + (*p - '0');
    }
    if (number < min || number > max) {
        return -EINVAL;
    }
    *ret_number = number;
    return 0;
}

static int read_number(const struct option *option, const char *value, void *member)
{
    long number;
    int rc = parse_number(value, option->min, option->max, &number);

    if (rc == 0) {
        *(unsigned *)member = (unsigned)number;
    }
    return rc;
}

static int read_port(const struct option *option, const char *value, void *member)
{
    long number;
    int rc = parse_number(value, 1, UINT16_MAX, &number);

    if (rc == 0) {
        *(uint16_t *)member = (uint16_t)number;
    }
    return rc;
}

static int read_bool(const struct option *option, const char *value, void *member)
{
    int is_yes = strcmp(value, "yes") == 0;

    if (!is_yes && strcmp(value, "no") != 0) {
        return -EINVAL;
    }
    *(int *)member = is_yes;
    return 0;
}

static int read_level(const struct option *option, const char *value, void *member)
{
    return log_level_parse(value, member);
}

static int replace_text(void *member, const char *value)
{
    free(*(char **)member);
    *(char **)member = xstrdup(value);
    return 0;
}

static int read_path(const struct option *option, const char *value, void *member)
{
    return replace_text(member, value);
}

static int read_address(const struct option *option, const char *value, void *member)
{
    struct in6_addr six;
    uint32_t four;

    if (ip4_parse(value, &four) < 0 && inet_pton(AF_INET6, value, &six) != 1) {
        return -EINVAL;
    }
    return replace_text(member, value);
}

/* A name as in RFC 1123 section 2.1, or an IPv4 address. Four numbers with dots between them are
 * an address, so a wrong one isn't taken for a name. */
static int host_is_valid(const char *host)
{
    uint32_t address;
    size_t label = 0, size = strlen(host);
    int is_numeric = 1;

    if (size == 0 || size > CONFIG_HOST_SIZE_MAX) {
        return 0;
    }
    for (size_t i = 0; i < size; i++) {
        if (host[i] == '.') {
            if (label == 0 || host[i - 1] == '-') {
                return 0;
            }
            label = 0;
            continue;
        }
        if (!isalnum((unsigned char)host[i]) && (host[i] != '-' || label == 0)) {
            return 0;
        }
        is_numeric &= isdigit((unsigned char)host[i]) != 0;
        if (++label > 63) {
            return 0;
        }
    }
    return label > 0 && host[size - 1] != '-' && (!is_numeric || ip4_parse(host, &address) == 0);
}

/* "host" or "host:port"; `text` is changed. */
static int parse_host(char *text, struct config_host *ret_host)
{
    char *colon = strchr(text, ':');
    long port = 0;

    if (colon) {
        *colon = '\0';
        if (parse_number(colon + 1, 1, UINT16_MAX, &port) < 0) {
            return -EINVAL;
        }
    }
    if (!host_is_valid(text)) {
        return -EINVAL;
    }
    snprintf(ret_host->host, sizeof ret_host->host, "%s", text);
    ret_host->port = (uint16_t)port;
    return 0;
}

static char *trim(char *text)
{
    text += strspn(text, " \t");
    for (size_t size = strlen(text); size > 0 && strchr(" \t\r", text[size - 1]); size--) {
        text[size - 1] = '\0';
    }
    return text;
}

static int read_hosts(const struct option *option, const char *value, void *member)
{
    struct config *config =
        (struct config *)(void *)((char *)member - offsetof(struct config, advertise));
    struct config_host hosts[CONFIG_ADVERTISE_MAX];
    _cleanup_free_ char *copy = xstrdup(value);
    char *rest = copy;
    size_t len = 0;

    for (char *part; (part = strsep(&rest, ","));) {
        if (len == CONFIG_ADVERTISE_MAX || parse_host(trim(part), &hosts[len++]) < 0) {
            return -EINVAL;
        }
    }
    memcpy(config->advertise, hosts, len * sizeof *hosts);
    config->advertise_len = len;
    return 0;
}

static int read_origin(const struct option *option, const char *value, void *member)
{
    struct config_host host;
    int is_plain = strncmp(value, "http://", 7) == 0;

    if (!is_plain && strncmp(value, "https://", 8) != 0) {
        return -EINVAL;
    }
    _cleanup_free_ char *copy = xstrdup(value + (is_plain ? 7 : 8));
    return parse_host(copy, &host) < 0 ? -EINVAL : replace_text(member, value);
}

/* --- settings --- */

#define MEMBER(name) .key = #name, .offset = offsetof(struct config, name)

static const char AN_ADDRESS[] = "a numeric IPv4 or IPv6 address";
static const char A_PORT[] = "a port, 1 to 65535";

static const struct option OPTIONS[] = {
    {MEMBER(state_dir), .read = read_path, .expects = "a folder"},
    {MEMBER(api_address), .read = read_address, .expects = AN_ADDRESS},
    {MEMBER(api_port), .read = read_port, .expects = A_PORT},
    {MEMBER(link_address), .read = read_address, .expects = AN_ADDRESS},
    {MEMBER(link_port), .read = read_port, .expects = A_PORT},
    {MEMBER(advertise), .read = read_hosts,
     .expects = "a list of at most 8 hosts, HOST or HOST:PORT with commas between them"},
    {MEMBER(api_certificate), .read = read_path, .expects = "a file"},
    {MEMBER(api_key), .read = read_path, .expects = "a file"},
    {MEMBER(cors_origin), .read = read_origin,
     .expects = "one origin, https://HOST or https://HOST:PORT without a path"},
    {MEMBER(log_level), .read = read_level, .expects = "one of debug, info, warn, error"},
    {MEMBER(connections_max), .read = read_number, .min = 10, .max = 100000,
     .expects = "a number from 10 to 100000"},
    {MEMBER(agents_max), .read = read_number, .min = 1, .max = 100000,
     .expects = "a number from 1 to 100000"},
    {MEMBER(metrics_from_loopback), .read = read_bool, .expects = "yes or no"},
};

const char *config_key(size_t i)
{
    return i < ARRAY_LEN(OPTIONS) ? OPTIONS[i].key : NULL;
}

static const struct option *find_option(const char *key)
{
    for (size_t i = 0; i < ARRAY_LEN(OPTIONS); i++) {
        if (strcmp(OPTIONS[i].key, key) == 0) {
            return &OPTIONS[i];
        }
    }
    return NULL;
}

static int has_control_character(const char *text)
{
    for (; *text; text++) {
        if (iscntrl((unsigned char)*text)) {
            return 1;
        }
    }
    return 0;
}

void config_init(struct config *config)
{
    *config = (struct config){
        .state_dir = xstrdup("/var/lib/cnsmod"),
        .api_address = xstrdup("0.0.0.0"),
        .api_port = 8443,
        .link_address = xstrdup("0.0.0.0"),
        .link_port = 8444,
        .log_level = LOG_INFO,
        .connections_max = 1000,
        .agents_max = 10000,
        .metrics_from_loopback = 1,
    };
}

void config_done(struct config *config)
{
    free(config->state_dir);
    free(config->api_address);
    free(config->link_address);
    free(config->api_certificate);
    free(config->api_key);
    free(config->cors_origin);
    *config = (struct config){0};
}

int config_set(struct config *config, const char *key, const char *value, struct error *error)
{
    const struct option *option = find_option(key);

    if (!option) {
        return error_set(error, 400, NULL, "there is no setting \"%.64s\"", key);
    }
    if (value[0] == '\0') {
        return error_set(error, 400, NULL, "%s: the value is missing", key);
    }
    if (strlen(value) > CONFIG_VALUE_SIZE_MAX || has_control_character(value)) {
        return error_set(error, 400, NULL,
                         "%s: the value has control characters or more than %d bytes", key,
                         CONFIG_VALUE_SIZE_MAX);
    }
    if (option->read(option, value, (char *)config + option->offset) < 0) {
        return error_set(error, 400, NULL, "%s: \"%.128s\" is not %s", key, value,
                         option->expects);
    }
    return 0;
}

int config_check(const struct config *config, struct error *error)
{
    if (!config->api_certificate != !config->api_key) {
        return error_set(error, 400, NULL, "%s is set without %s: set both or none",
                         config->api_key ? "api_key" : "api_certificate",
                         config->api_key ? "api_certificate" : "api_key");
    }
    if (config->api_port == config->link_port) {
        return error_set(error, 400, NULL, "api_port and link_port are both %u: they must differ",
                         config->api_port);
    }
    return 0;
}

/* --- the file --- */

struct reader {
    struct config *config;
    unsigned line;
    unsigned seen[ARRAY_LEN(OPTIONS)]; /* the line where a key stood; 0: not yet */
};

/* "# text", or " # text" after a value; a "#" within a word belongs to the word. */
static void cut_comment(char *line)
{
    for (char *p = line; *p; p++) {
        if (*p == '#' && (p == line || p[-1] == ' ' || p[-1] == '\t')) {
            *p = '\0';
            return;
        }
    }
}

static int read_line(struct reader *reader, char *line, struct error *error)
{
    cut_comment(line);
    char *key = trim(line);
    if (*key == '\0') {
        return 0;
    }
    char *equals = strchr(key, '=');
    if (!equals) {
        return error_set(error, 400, NULL, "\"%.64s\" is not of the form key = value", key);
    }
    *equals = '\0';
    key = trim(key);
    const struct option *option = find_option(key);
    unsigned *seen = option ? &reader->seen[option - OPTIONS] : NULL;
    if (seen && *seen > 0) {
        return error_set(error, 400, NULL, "%s stands in line %u already", key, *seen);
    }
    int rc = config_set(reader->config, key, trim(equals + 1), error);
    if (rc == 0 && seen) {
        *seen = reader->line;
    }
    return rc;
}

int config_parse(const char *text, size_t size, const char *name, struct config *config,
                 struct error *error)
{
    struct reader reader = {.config = config};
    _cleanup_free_ char *copy = xstrndup(text ? text : "", size);
    char *rest = copy;
    struct error inner;

    if (strlen(copy) != size) {
        return error_set(error, 400, NULL, "%s: it has a NUL byte, so it isn't a text", name);
    }
    for (char *line; (line = strsep(&rest, "\n"));) {
        reader.line++;
        if (read_line(&reader, line, &inner) < 0) {
            return error_set(error, 400, NULL, "%s:%u: %s", name, reader.line, inner.detail);
        }
    }
    return 0;
}

int config_load(const char *path, struct config *config, struct error *error)
{
    _cleanup_buf_ struct buf text = BUF_INIT(CONFIG_FILE_SIZE_MAX);
    int rc = file_read(path, &text);

    if (rc == -E2BIG) {
        return error_set(error, 400, NULL, "%s: it has more than %d bytes", path,
                         CONFIG_FILE_SIZE_MAX);
    }
    if (rc < 0) {
        error_set(error, rc == -ENOENT ? 404 : 500, NULL, "cannot read %s: %s", path,
                  strerror(-rc));
        return rc;
    }
    return config_parse(text.data, text.size, path, config, error);
}
