/* parse.h - the small texts in a request: percent-encoding, query strings, cookies.
 *
 * Everything here comes from strangers. Decoded texts are valid UTF-8 without control characters;
 * what isn't so is refused (-EINVAL), never repaired. Sources: RFC 3986 section 2.1, the WHATWG
 * URL standard's form encoding for '+', RFC 6265 section 5.4. */
#pragma once

#include <stddef.h>

enum {
    HTTP_PAIRS_MAX = 64, /* parameters in one query */
};

struct http_pair {
    char *name;
    char *value;
};

struct http_pairs {
    struct http_pair *items;
    size_t len;
};

/* Decodes %XX, and '+' to a blank if `plus`. The caller frees the text. */
int http_decode(const char *text, size_t size, int plus, char **ret_text);

/* Adds one pair; takes over both texts. -E2BIG past HTTP_PAIRS_MAX (both are freed then). */
int http_pairs_add(struct http_pairs *pairs, char *name, char *value);

/* Adds the parameters of "a=b&c=d"; an empty text has none. */
int http_pairs_parse(struct http_pairs *pairs, const char *query);

/* The first value of that name, borrowed, or NULL. */
const char *http_pairs_get(const struct http_pairs *pairs, const char *name);

void http_pairs_done(struct http_pairs *pairs);

/* The value of one cookie in a Cookie header; the caller frees it. -ENOENT if it isn't there. */
int http_cookie_find(const char *header, const char *name, char **ret_value);
