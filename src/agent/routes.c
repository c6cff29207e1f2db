#include "agent/routes.h"

#include <arpa/inet.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/file.h"
#include "lib/ip.h"

enum {
    TEXT_MAX = 1 << 20,
    ROUTES_MAX = 500, /* told to the server */
};

/* Iface Destination Gateway Flags RefCnt Use Metric Mask ...; addresses in hex, as in memory. */
static void parse_line(const char *line, const char *but_device, json_t *routes)
{
    char device[32], text[IP4_PREFIX_TEXT_SIZE];
    unsigned destination, flags, mask;

    if (sscanf(line, "%31s %x %*x %x %*d %*d %*d %x", device, &destination, &flags, &mask) != 4 ||
        strcmp(device, but_device) == 0 || mask == 0 || (flags & RTF_REJECT) ||
        json_array_size(routes) >= ROUTES_MAX) {
        return;
    }
    struct ip4_prefix prefix = {.address = ntohl(destination),
                                .len = (uint8_t)__builtin_popcount(mask)};
    json_array_append_new(routes, json_string(ip4_prefix_format(prefix, text)));
}

json_t *routes_parse(char *text, const char *but_device)
{
    json_t *routes = json_array();
    char *rest = text;

    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        parse_line(line, but_device, routes); /* the heading isn't numbers, and falls through */
    }
    return routes;
}

json_t *routes_of_host(const char *but_device)
{
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_MAX);

    if (file_read("/proc/net/route", &text) < 0 || !text.data) {
        return json_array();
    }
    return routes_parse(text.data, but_device);
}
