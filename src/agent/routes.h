/* routes.h - where this host already sends packets, so that no overlay is laid over it. */
#pragma once

#include <jansson.h>

/* The IPv4 routes of the main table as ["10.0.0.0/8",…], from /proc/net/route: without the default
 * route, unreachable ones and the device `but_device`. A new reference; empty if unreadable. */
json_t *routes_of_host(const char *but_device);

/* The same from the file's text, which this cuts up. */
json_t *routes_parse(char *text, const char *but_device);
