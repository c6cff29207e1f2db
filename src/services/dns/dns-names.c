#include "services/dns/dns-names.h"

#include <string.h>

#include "lib/ip.h"
#include "lib/mem.h"

/* Of ASCII alone, whatever the locale says. */
static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static void lower_all(char *text)
{
    for (; *text; text++) {
        *text = lower(*text);
    }
}

/* Where "<dot>domain" begins at the end of a name, or NULL. */
static char *find_domain(char *name, const char *domain)
{
    size_t size = strlen(name), tail = strlen(domain);

    return size > tail + 1 && name[size - tail - 1] == '.' &&
                   strcmp(name + size - tail, domain) == 0
               ? name + size - tail - 1
               : NULL;
}

char *dns_name_canonical(const char *text, const char *domain)
{
    _cleanup_free_ char *name = xstrdup(text), *own = xstrdup(domain);
    size_t size = strlen(name);
    int is_absolute = size > 1 && name[size - 1] == '.' && name[size - 2] != '.';

    lower_all(name);
    lower_all(own);
    if (is_absolute) {
        name[size - 1] = '\0';
    }
    if (strcmp(name, own) == 0) {
        return xstrdup("@");
    }
    char *end = find_domain(name, own);
    if (end) {
        *end = '\0';
        return TAKE(name);
    }
    return is_absolute ? xasprintf("%s.", name) : TAKE(name);
}

char *dns_domain_canonical(const char *text)
{
    char *domain = xstrdup(text);

    lower_all(domain);
    return domain;
}

int dns_name_is_wildcard(const char *name)
{
    return strncmp(name, "*.", 2) == 0 || strcmp(name, "*") == 0;
}

int dns_name_is_outside(const char *name)
{
    size_t size = strlen(name);

    return size > 0 && name[size - 1] == '.';
}

static int check_label(const char *label, size_t size, const char *member, const char *pointer,
                       struct error *error)
{
    if (size == 0) {
        return error_set(error, 400, pointer,
                         "\"%s\" has an empty label: two dots, or one at its "
                         "beginning",
                         member);
    }
    if (size > DNS_LABEL_MAX) {
        return error_set(error, 400, pointer,
                         "\"%s\" has a label of %zu characters, and %d are allowed (RFC 1035)",
                         member, size, DNS_LABEL_MAX);
    }
    for (size_t i = 0; i < size; i++) {
        char c = lower(label[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) {
            return error_set(error, 400, pointer,
                             "\"%s\" may have letters, digits and hyphens, with dots between "
                             "(RFC 1123); a * is a whole first label",
                             member);
        }
    }
    return label[0] == '-' || label[size - 1] == '-'
               ? error_set(error, 400, pointer,
                           "\"%s\" has a label that begins or ends with a hyphen (RFC 1123)",
                           member)
               : 0;
}

static int check_labels(const char *name, size_t size, const char *member, const char *pointer,
                        struct error *error)
{
    const char *end = name + size;
    int rc = 0;

    for (const char *dot; rc == 0 && name <= end; name = dot + 1) {
        dot = memchr(name, '.', (size_t)(end - name));
        dot = dot ? dot : end;
        rc = check_label(name, (size_t)(dot - name), member, pointer, error);
    }
    return rc;
}

int dns_name_check(const char *name, const char *domain, int may_be_wildcard, const char *member,
                   const char *pointer, struct error *error)
{
    size_t size = strlen(name) - (size_t)dns_name_is_outside(name);
    size_t whole = size + (dns_name_is_outside(name) ? 0 : 1 + strlen(domain));
    _cleanup_free_ char *bare = xstrndup(name, size);
    uint32_t address;

    if (!*name) {
        return error_set(error, 400, pointer, "\"%s\" is not allowed to be empty", member);
    }
    if (strcmp(name, "@") == 0) {
        return 0;
    }
    if (whole > DNS_NAME_MAX) {
        return error_set(
            error, 400, pointer,
            "\"%s\" has %zu characters with its domain, and %d are allowed (RFC 1035)", member,
            whole, DNS_NAME_MAX);
    }
    if (ip4_parse(bare, &address) == 0) {
        return error_set(error, 400, pointer, "\"%s\" %s is an address, and must be a name",
                         member, bare);
    }
    if (!dns_name_is_wildcard(name)) {
        return check_labels(name, size, member, pointer, error);
    }
    if (!may_be_wildcard) {
        return error_set(error, 400, pointer, "\"%s\" can't be a wildcard", member);
    }
    return size > 1 ? check_labels(name + 2, size - 2, member, pointer, error) : 0;
}

int dns_domain_check(const char *domain, struct error *error)
{
    if (!*domain) {
        return error_set(error, 400, "/domain", "\"domain\" is not allowed to be empty");
    }
    if (strlen(domain) > DNS_NAME_MAX - 1 - DNS_LABEL_MAX) {
        return error_set(error, 400, "/domain",
                         "\"domain\" has more than %d characters: nodes' names need room before "
                         "it (RFC 1035)",
                         DNS_NAME_MAX - 1 - DNS_LABEL_MAX);
    }
    return check_labels(domain, strlen(domain), "domain", "/domain", error);
}

const char *dns_label_of(const char *node, char label[DNS_LABEL_SIZE])
{
    size_t i;

    for (i = 0; node[i] && i < DNS_LABEL_MAX; i++) {
        label[i] = node[i] == '.' || node[i] == '_' ? '-' : lower(node[i]);
    }
    label[i] = '\0';
    return label;
}
