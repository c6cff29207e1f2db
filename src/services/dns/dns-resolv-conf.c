/* dns-resolv-conf.c - resolv.conf as text. Pure; source: resolv.conf(5). */
#include <arpa/inet.h>
#include <string.h>

#include "lib/mem.h"
#include "services/dns/dns-query.h"
#include "services/dns/dns-resolver.h"

enum {
    FALLBACKS_MAX = 2, /* glibc reads three in all */
    SEARCH_MAX = 5,    /* of before: old resolvers read six in all */
};

#define MARK "# cnsmo: names are answered on this machine. What was here comes back without dns.\n"

int resolver_is_ours(const char *text)
{
    return strncmp(text, MARK, strlen(MARK)) == 0;
}

/* The next line, cut out; NULL at the end. Blanks at its front are passed over. */
static char *next_line(char **rest)
{
    char *line = strsep(rest, "\n");

    return line ? line + strspn(line, " \t") : NULL;
}

/* What follows the keyword, or NULL. */
static char *after_word(char *line, const char *word)
{
    size_t size = strlen(word);

    return strncmp(line, word, size) == 0 && (line[size] == ' ' || line[size] == '\t')
               ? line + size + strspn(line + size, " \t")
               : NULL;
}

static int is_address(const char *text)
{
    struct in6_addr address;

    return inet_pton(strchr(text, ':') ? AF_INET6 : AF_INET, text, &address) == 1;
}

void resolver_nameservers(const char *text, size_t max, struct buf *out)
{
    _cleanup_free_ char *copy = xstrdup(text);
    char *rest = copy;
    size_t len = 0;

    for (char *line; len < max && (line = next_line(&rest));) {
        char *address = after_word(line, "nameserver");
        if (!address) {
            continue;
        }
        address[strcspn(address, " \t\r#;")] = '\0';
        if (is_address(address) && strcmp(address, DNS_ADDRESS) != 0) {
            buf_printf(out, "nameserver %s\n", address);
            len++;
        }
    }
}

/* The last "search" or "domain" counts. */
static void add_search(const char *before, const char *domain, struct buf *out)
{
    _cleanup_free_ char *copy = xstrdup(before);
    char *rest = copy, *found = NULL, *name;

    for (char *line; (line = next_line(&rest));) {
        char *search = after_word(line, "search");
        search = search ? search : after_word(line, "domain");
        found = search ? search : found;
    }
    buf_printf(out, "search %s", domain);
    for (size_t i = 0; found && i < SEARCH_MAX && (name = strsep(&found, " \t\r"));) {
        if (*name && strcmp(name, domain) != 0) {
            buf_printf(out, " %s", name);
            i++;
        }
    }
    buf_append(out, "\n", 1);
}

static void add_options(const char *before, struct buf *out)
{
    _cleanup_free_ char *copy = xstrdup(before);
    char *rest = copy;

    for (char *line; (line = next_line(&rest));) {
        if (after_word(line, "options") || after_word(line, "sortlist")) {
            buf_printf(out, "%s\n", line);
        }
    }
}

void resolver_rewrite(const char *before, const char *domain, struct buf *out)
{
    buf_printf(out, MARK "nameserver " DNS_ADDRESS "\n");
    resolver_nameservers(before, FALLBACKS_MAX, out);
    add_search(before, domain, out);
    add_options(before, out);
}
