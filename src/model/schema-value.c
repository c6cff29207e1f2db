#include "model/schema-value.h"

#include <ctype.h>
#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/clock.h"
#include "lib/ip.h"
#include "lib/mem.h"
#include "lib/omap.h"
#include "model/schema.h"

int schema_type_matches(const char *type, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return strcmp(type, "object") == 0;
    case JSON_ARRAY:
        return strcmp(type, "array") == 0;
    case JSON_STRING:
        return strcmp(type, "string") == 0;
    case JSON_INTEGER:
        return strcmp(type, "integer") == 0 || strcmp(type, "number") == 0;
    case JSON_REAL:
        return strcmp(type, "number") == 0;
    case JSON_TRUE:
    case JSON_FALSE:
        return strcmp(type, "boolean") == 0;
    default:
        return strcmp(type, "null") == 0;
    }
}

static int is_label(const char *s, size_t size, const char *more)
{
    if (size == 0 || size > 63 || !isalnum((unsigned char)s[0]) ||
        !isalnum((unsigned char)s[size - 1])) {
        return 0;
    }
    for (size_t i = 0; i < size; i++) {
        if (!isalnum((unsigned char)s[i]) && !strchr(more, s[i])) {
            return 0;
        }
    }
    return 1;
}

int node_id_is_valid(const char *id)
{
    return is_label(id, strlen(id), ".-_");
}

int client_name_is_reserved(const char *name)
{
    return strcasecmp(name, "ca") == 0 || strcasecmp(name, "server") == 0 ||
           strcmp(name, "DEFAULT") == 0 || strcmp(name, "UNDEF") == 0;
}

int client_name_is_valid(const char *name)
{
    size_t size = strlen(name);

    return size > 0 && size <= 63 && isalnum((unsigned char)name[0]) &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
               size &&
           !client_name_is_reserved(name);
}

static int is_dns_label(const char *text)
{
    return is_label(text, strlen(text), "-");
}

static int is_ipv4(const char *text)
{
    uint32_t address;
    return ip4_parse(text, &address) == 0;
}

static int is_ipv4_prefix(const char *text)
{
    struct ip4_prefix prefix;
    return ip4_prefix_parse(text, &prefix) == 0;
}

static int is_ipv4_endpoint(const char *text)
{
    struct ip4_endpoint endpoint;
    return ip4_endpoint_parse(text, &endpoint) == 0;
}

static int is_date_time(const char *text)
{
    int64_t usec;
    return clock_parse(text, &usec) == 0;
}

/* RFC 7468: there may be an explanation before it. */
static int is_pem(const char *text)
{
    return strstr(text, "-----BEGIN ") != NULL;
}

static const struct {
    const char *name;
    int (*matches)(const char *text);
    const char *problem;
} FORMATS[] = {
    {"ipv4", is_ipv4, "must be an IPv4 address such as 10.77.0.5"},
    {"ipv4-prefix", is_ipv4_prefix, "must be an IPv4 prefix such as 10.77.0.0/16"},
    {"ipv4-endpoint", is_ipv4_endpoint,
     "must be an IPv4 address and port such as 192.0.2.1:51820"},
    {"node-id", node_id_is_valid,
     "must be a node id: letters, digits, dot, hyphen and underscore, at most 63"},
    {"dns-label", is_dns_label, "must be a DNS label: letters, digits and hyphens, at most 63"},
    {"pem", is_pem, "must be PEM text, which begins with -----BEGIN"},
    {"date-time", is_date_time, "must be a time in UTC such as 2026-01-02T03:04:05Z"},
};

int schema_format_is_known(const char *format)
{
    for (size_t i = 0; i < ARRAY_LEN(FORMATS); i++) {
        if (strcmp(FORMATS[i].name, format) == 0) {
            return 1;
        }
    }
    return 0;
}

int schema_pattern_matches(const char *pattern, const char *text)
{
    static struct omap compiled; /* pattern -> regex_t */
    regex_t *regex = omap_get(&compiled, pattern);

    if (!regex) {
        regex = xnew(regex_t);
        if (regcomp(regex, pattern, REG_EXTENDED | REG_NOSUB) != 0) {
            free(regex);
            return -EINVAL;
        }
        omap_put(&compiled, pattern, regex);
    }
    return regexec(regex, text, 0, NULL, 0) == 0;
}

static size_t characters(const char *utf8)
{
    size_t count = 0;

    for (; *utf8; utf8++) {
        count += ((unsigned char)*utf8 & 0xc0) != 0x80;
    }
    return count;
}

static int string_problem(const json_t *schema, const char *text, char *problem, size_t size)
{
    size_t length = characters(text);
    json_t *limit = json_object_get(schema, "minLength");
    const char *pattern = json_string_value(json_object_get(schema, "pattern"));
    const char *format = json_string_value(json_object_get(schema, "format"));

    if (limit && length < (size_t)json_integer_value(limit)) {
        if (length == 0) {
            snprintf(problem, size, "is not allowed to be empty");
        } else {
            snprintf(problem, size, "must have at least %lld characters",
                     (long long)json_integer_value(limit));
        }
        return 1;
    }
    limit = json_object_get(schema, "maxLength");
    if (length > (limit ? (size_t)json_integer_value(limit) : 65536)) {
        snprintf(problem, size, "must have at most %lld characters",
                 limit ? (long long)json_integer_value(limit) : 65536);
        return 1;
    }
    if (pattern && schema_pattern_matches(pattern, text) != 1) {
        snprintf(problem, size, "must match %s", pattern);
        return 1;
    }
    for (size_t i = 0; format && i < ARRAY_LEN(FORMATS); i++) {
        if (strcmp(FORMATS[i].name, format) == 0 && !FORMATS[i].matches(text)) {
            snprintf(problem, size, "%s", FORMATS[i].problem);
            return 1;
        }
    }
    return 0;
}

int schema_scalar_problem(const json_t *schema, const json_t *value, char *problem, size_t size)
{
    json_t *limit;

    if (json_is_string(value)) {
        return string_problem(schema, json_string_value(value), problem, size);
    }
    if (!json_is_number(value)) {
        return 0;
    }
    limit = json_object_get(schema, "minimum");
    if (limit && json_number_value(value) < json_number_value(limit)) {
        snprintf(problem, size, "must be at least %g", json_number_value(limit));
        return 1;
    }
    limit = json_object_get(schema, "maximum");
    if (limit && json_number_value(value) > json_number_value(limit)) {
        snprintf(problem, size, "must be at most %.15g", json_number_value(limit));
        return 1;
    }
    return 0;
}
