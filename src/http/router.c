#include "http/router.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "lib/mem.h"

int router_split(const char *target, struct http_pairs *segments)
{
    size_t end = strcspn(target, "?");

    if (target[0] != '/') {
        return -EINVAL;
    }
    for (size_t at = 1; at <= end;) {
        size_t size = strcspn(target + at, "/?");
        char *text;
        if (http_decode(target + at, size, 0, &text) < 0) {
            return -EINVAL;
        }
        if (strchr(text, '/') || strcmp(text, ".") == 0 || strcmp(text, "..") == 0) {
            free(text);
            return -EINVAL;
        }
        int rc = http_pairs_add(segments, NULL, text);
        if (rc < 0) {
            return rc;
        }
        at += size + 1;
    }
    return 0;
}

static char *join_rest(const struct http_pairs *segments, size_t from)
{
    char *text = xstrdup("");

    for (size_t i = from; i < segments->len; i++) {
        char *longer = xasprintf("%s%s%s", text, i > from ? "/" : "", segments->items[i].value);
        free(text);
        text = longer;
    }
    return text;
}

static int equal(const char *segment, const char *pattern, size_t size, int fold)
{
    if (strlen(segment) != size) {
        return 0;
    }
    return fold ? strncasecmp(segment, pattern, size) == 0 : memcmp(segment, pattern, size) == 0;
}

/* The number of literal characters if the path fits the pattern, else -1. Fills `params` (NULL:
 * don't). */
static int fit(const struct http_route *route, const struct http_pairs *segments,
               struct http_pairs *params)
{
    const char *pattern = route->path + 1;
    size_t len = segments->len, i = 0;
    int literal = 0;

    if (route->fold_case && len > 1 && segments->items[len - 1].value[0] == '\0') {
        len--; /* a slash at the end */
    }
    for (;; i++) {
        size_t size = strcspn(pattern, "/");
        int rest = size > 5 && pattern[0] == '{' && memcmp(pattern + size - 4, "...}", 4) == 0;
        if (i >= len && !(rest && route->fold_case)) { /* there "/a" is as good as "/a/" */
            return -1;
        }
        const char *value = i < len ? segments->items[i].value : "";
        if (rest) {
            if (params) {
                http_pairs_add(params, xstrndup(pattern + 1, size - 5), join_rest(segments, i));
            }
            return literal;
        }
        if (size > 2 && pattern[0] == '{') {
            if (value[0] == '\0') {
                return -1;
            }
            if (params) {
                http_pairs_add(params, xstrndup(pattern + 1, size - 2), xstrdup(value));
            }
        } else if (equal(value, pattern, size, route->fold_case)) {
            literal += (int)size + 1;
        } else {
            return -1;
        }
        if (pattern[size] == '\0') {
            return i + 1 == len ? literal : -1;
        }
        pattern += size + 1;
    }
}

static int takes(const struct http_route *route, const char *method)
{
    if (strcmp(route->method, "*") == 0 || strcmp(route->method, method) == 0) {
        return 1;
    }
    return strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0;
}

static void allow(char **list, const char *method)
{
    if (*list && strstr(*list, method)) { /* no method's name holds another's */
        return;
    }
    char *longer = xasprintf("%s%s%s", *list ? *list : "", *list ? ", " : "", method);

    free(*list);
    *list = longer;
}

int router_match(const struct http_route *routes, const char *method,
                 const struct http_pairs *segments, const struct http_route **ret_route,
                 const struct http_route **ret_path_route, struct http_pairs *params,
                 char **ret_allow)
{
    const struct http_route *best = NULL, *best_path = NULL;
    int best_fit = -1, best_path_fit = -1;
    _cleanup_free_ char *methods = NULL;

    for (const struct http_route *r = routes; r->method; r++) {
        int f = fit(r, segments, NULL);
        if (f < 0) {
            continue;
        }
        if (takes(r, method) && f > best_fit) {
            best = r;
            best_fit = f;
        }
        if (f > best_path_fit) {
            best_path = r;
            best_path_fit = f;
        }
        allow(&methods, r->method);
    }
    *ret_path_route = best_path;
    if (!best) {
        *ret_allow = TAKE(methods);
        return best_path ? -EPERM : -ENOENT;
    }
    fit(best, segments, params);
    *ret_route = best;
    return 0;
}
