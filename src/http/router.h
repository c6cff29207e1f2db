/* router.h - from method and path to a route; pure. */
#pragma once

#include "http/http.h"
#include "http/parse.h"

/* Splits and decodes the path of a request target ("/a/b%20c?x"); -EINVAL for one that isn't
 * absolute, has dot segments, an encoded slash or a bad escape. `segments` are name-less pairs. */
int router_split(const char *target, struct http_pairs *segments);

/* The best route for the method and segments, with the values of its braces in `params`. -ENOENT:
 * no route has the path; -EPERM: some have it, for the methods then listed in *ret_allow (freed by
 * the caller). *ret_path_route is the best route of the path whatever its method, or NULL. */
int router_match(const struct http_route *routes, const char *method,
                 const struct http_pairs *segments, const struct http_route **ret_route,
                 const struct http_route **ret_path_route, struct http_pairs *params,
                 char **ret_allow);
