/* dns-names.h - names as people write them, checked and in one form. Pure.
 *
 *     "Web", "web.cnsmo.internal"      "web"               within the domain
 *     "cnsmo.internal."                "@"                 the domain itself
 *     "www.example.org."               "www.example.org."  outside of it
 *
 * Limits: RFC 1035 section 2.3.4 (labels of 63, names of 253 characters as text), RFC 1123 section
 * 2.1 (letters, digits, hyphens). A wildcard (RFC 4592) is a whole first label. */
#pragma once

#include "lib/error.h"

enum {
    DNS_NAME_MAX = 253,
    DNS_LABEL_MAX = 63,
};

/* The name in its one form; the caller frees it. Whatever is given gives something: check it. */
char *dns_name_canonical(const char *text, const char *domain);

/* A domain in lower case, as names in it are; the caller frees it. */
char *dns_domain_canonical(const char *text);

/* Is a canonical name one? 400 at the pointer, in words about the member. */
int dns_name_check(const char *name, const char *domain, int may_be_wildcard, const char *member,
                   const char *pointer, struct error *error);

/* A domain: no wildcard, no dot at its end. */
int dns_domain_check(const char *domain, struct error *error);

int dns_name_is_wildcard(const char *name);

/* Does it stand outside of the domain? */
int dns_name_is_outside(const char *name);

/* A node's label: its id in lower case, with hyphens for what a label can't have. */
enum {
    DNS_LABEL_SIZE = DNS_LABEL_MAX + 1,
};
const char *dns_label_of(const char *node, char label[DNS_LABEL_SIZE]);
