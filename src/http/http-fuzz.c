/* A request target, a line feed, a Cookie header: what strangers can make us parse. */
#include <stdint.h>
#include <string.h>

#include "http/router.h"
#include "lib/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http_route ROUTES[] = {
    {.method = "GET", .path = "/api/v2/nodes"},
    {.method = "PUT", .path = "/api/v2/nodes/{id}"},
    {.method = "GET", .path = "/a/{x}/b/{y}"},
    {.method = "*", .path = "/api/v1/{rest...}", .fold_case = 1},
    {.method = NULL},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = xstrndup((const char *)data, size);
    char *cookie = strchr(text, '\n'), *value = NULL, *allow = NULL;
    struct http_pairs segments = {0}, params = {0}, query = {0};
    const struct http_route *route, *near;

    if (cookie) {
        *cookie++ = '\0';
        if (http_cookie_find(cookie, "a", &value) == 0) {
            free(value);
        }
    }
    const char *question = strchr(text, '?');
    if (question) {
        http_pairs_parse(&query, question + 1);
    }
    if (router_split(text, &segments) == 0) {
        router_match(ROUTES, "GET", &segments, &route, &near, &params, &allow);
    }
    free(allow);
    http_pairs_done(&segments);
    http_pairs_done(&params);
    http_pairs_done(&query);
    return 0;
}
