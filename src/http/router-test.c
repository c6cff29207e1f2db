#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/router.h"
#include "lib/mem.h"

static const struct http_route ROUTES[] = {
    {.method = "GET", .path = "/api/v2/nodes"},
    {.method = "POST", .path = "/api/v2/nodes"},
    {.method = "GET", .path = "/api/v2/nodes/{id}"},
    {.method = "GET", .path = "/api/v2/nodes/own"},
    {.method = "GET", .path = "/{rest...}"},
    {.method = "*", .path = "/api/v1/{rest...}", .fold_case = 1},
    {.method = "GET", .path = "/api/v1/nodes/{id}/flows", .fold_case = 1},
    {.method = NULL},
};

struct found {
    int rc;
    const struct http_route *route;
    struct http_pairs segments, params;
    char *allow;
};

static void find(struct found *found, const char *method, const char *target)
{
    const struct http_route *near;

    *found = (struct found){0};
    found->rc = router_split(target, &found->segments);
    if (found->rc == 0) {
        found->rc = router_match(ROUTES, method, &found->segments, &found->route, &near,
                                 &found->params, &found->allow);
    }
}

static void found_done(struct found *found)
{
    http_pairs_done(&found->segments);
    http_pairs_done(&found->params);
    free(found->allow);
}

static void finds(const char *method, const char *target, int index, const char *name,
                  const char *value)
{
    struct found found;

    find(&found, method, target);
    assert_int_equal(found.rc, 0);
    assert_ptr_equal(found.route, &ROUTES[index]);
    if (name) {
        assert_string_equal(http_pairs_get(&found.params, name), value);
    }
    found_done(&found);
}

static void best_route_wins(void **state)
{
    finds("GET", "/api/v2/nodes", 0, NULL, NULL);
    finds("HEAD", "/api/v2/nodes?limit=1", 0, NULL, NULL);
    finds("POST", "/api/v2/nodes", 1, NULL, NULL);
    finds("GET", "/api/v2/nodes/Agent.1", 2, "id", "Agent.1");
    finds("GET", "/api/v2/nodes/%41gent.1", 2, "id", "Agent.1");
    finds("GET", "/api/v2/nodes/own", 3, NULL, NULL);
    finds("GET", "/index.html", 4, "rest", "index.html");
    finds("GET", "/", 4, "rest", "");
    finds("GET", "/api/v2/nodes/", 4, "rest", "api/v2/nodes/");
    finds("GET", "/api/V1/NODES/Agent.1/Flows/", 6, "id", "Agent.1");
    finds("GET", "/api/v1", 5, "rest", "");
    finds("GET", "/api/V1/", 5, "rest", "");
    finds("DELETE", "/api/v1/nodes/Agent.1/flows", 5, "rest", "nodes/Agent.1/flows");
}

static void missing_routes_say_why(void **state)
{
    struct found found;

    find(&found, "DELETE", "/api/v2/nodes");
    assert_int_equal(found.rc, -EPERM);
    assert_string_equal(found.allow, "GET, POST");
    found_done(&found);
    find(&found, "PUT", "/nothing");
    assert_int_equal(found.rc, -EPERM);
    found_done(&found);
}

static void bad_paths_are_refused(void **state)
{
    static const char *const BAD[] = {"",         "*",    "http://x/", "/a/../b", "/.",
                                      "/a%2fb",   "/a%",  "/a%4",      "/%zz",    "/%00",
                                      "/a%0d%0a", "/%ff", "/%c0%af"};

    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        struct found found;
        find(&found, "GET", BAD[i]);
        assert_int_equal(found.rc, -EINVAL);
        found_done(&found);
    }
}

static void queries_decode(void **state)
{
    struct http_pairs query = {0};

    assert_int_equal(http_pairs_parse(&query, "a=1&b=x%3dy+z&&c&a=2"), -EINVAL);
    http_pairs_done(&query);
    assert_int_equal(http_pairs_parse(&query, "a=1&b=x%3dy+z&c&a=2"), 0);
    assert_int_equal(query.len, 4);
    assert_string_equal(http_pairs_get(&query, "a"), "1");
    assert_string_equal(http_pairs_get(&query, "b"), "x=y z");
    assert_string_equal(http_pairs_get(&query, "c"), "");
    assert_null(http_pairs_get(&query, "d"));
    http_pairs_done(&query);
    char many[1024] = "";
    for (int i = 0; i < HTTP_PAIRS_MAX + 1; i++) {
        strcat(many, "a=b&");
    }
    assert_int_equal(http_pairs_parse(&query, many), -E2BIG);
    http_pairs_done(&query);
}

static void cookies_are_found(void **state)
{
    char *value;

    assert_int_equal(http_cookie_find("b=2; a=1 ; ab=3", "a", &value), 0);
    assert_string_equal(value, "1");
    free(value);
    assert_int_equal(http_cookie_find("ab=3;a=", "a", &value), 0);
    assert_string_equal(value, "");
    free(value);
    assert_int_equal(http_cookie_find("ab=3; xa=1; a", "a", &value), -ENOENT);
    assert_int_equal(http_cookie_find("a=\xff", "a", &value), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(best_route_wins),       cmocka_unit_test(missing_routes_say_why),
        cmocka_unit_test(bad_paths_are_refused), cmocka_unit_test(queries_decode),
        cmocka_unit_test(cookies_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
