#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "lib/mem.h"
#include "services/lb/lb-config.h"
#include "services/lb/lb-stat.h"

static const char SPEC[] =
    "{\"address\":\"10.77.0.1\",\"port\":80,\"side\":\"all\",\"mode\":\"http\",\"algorithm\":"
    "\"source\",\"backendPort\":8080,\"check\":{\"type\":\"http\",\"path\":\"/ok\",\"interval\":2,"
    "\"rise\":2,\"fall\":3},\"timeouts\":{\"connect\":5,\"client\":60,\"server\":61},\"sticky\":"
    "\"none\",\"backends\":[{\"node\":\"Web.1\",\"address\":\"10.77.0.2\",\"drain\":false}]}";

static const struct lb_paths PATHS = {
    .folder = "/f", .socket = "/f/s", .state = "/f/servers", .chroot = "/f/e", .uid = 7, .gid = 8};

/* With a member changed to this JSON; NULL: without it. */
static json_t *spec_with(const char *path, const char *value)
{
    json_t *spec = json_loads(SPEC, 0, NULL), *parent = spec;
    const char *slash = strchr(path, '/');

    if (slash) {
        _cleanup_free_ char *outer = xstrndup(path, (size_t)(slash - path));
        parent = json_object_get(spec, outer);
        path = slash + 1;
    }
    if (value) {
        json_object_set_new(parent, path, json_loads(value, JSON_DECODE_ANY, NULL));
    } else {
        json_object_del(parent, path);
    }
    return spec;
}

static char *section(json_t *spec)
{
    struct buf out = BUF_INIT(LB_CONFIG_MAX);
    char proxy[LB_PROXY_SIZE];

    lb_proxy_name("web", spec, proxy);
    lb_config_section(&out, proxy, spec, &PATHS);
    return out.data;
}

static void a_section_says_all(void **state)
{
    json_t *spec = spec_with("port", "80");
    _cleanup_free_ char *text = section(spec);
    static const char *const LINES[] = {
        "\nlisten web:80-",
        "    bind 0.0.0.0:80\n",
        "    mode http\n    balance source\n    hash-type consistent\n",
        "    timeout server 61s\n",
        "    option httpchk GET /ok\n",
        "    server Web.1 10.77.0.2:8080 check inter 2s rise 2 fall 3\n",
    };

    assert_int_equal(lb_spec_check(spec, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(LINES); i++) {
        assert_non_null(strstr(text, LINES[i]));
    }
    json_decref(spec);
}

static void sides_and_tls(void **state)
{
    static const struct {
        const char *path, *value, *line;
    } CASES[] = {
        {"side", "\"overlay\"", "    bind 10.77.0.1:80 transparent\n"},
        {"side", "\"public\"", "    tcp-request connection reject if { dst 10.77.0.1 }\n"},
        {"sticky", "\"source\"", "    stick on src\n"},
        {"sticky", "\"cookie\"", " fall 3 cookie Web.1\n"},
        {"check/type", "\"none\"", "    server Web.1 10.77.0.2:8080\n"},
        {"certificate", "\"PEM\"", " alpn h2,http/1.1\n"},
    };

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        json_t *spec = spec_with(CASES[i].path, CASES[i].value);
        _cleanup_free_ char *text = section(spec);
        assert_non_null(strstr(text, CASES[i].line));
        json_decref(spec);
    }
}

/* Where the name stays only servers are changed, where it doesn't HAProxy is reloaded. */
static void the_name_tells_what_a_reload_is_for(void **state)
{
    static const struct {
        const char *path, *value;
        int is_same;
    } CASES[] = {
        {"backends", "[]", 1},
        {"backends", "[{\"node\":\"B\",\"address\":\"10.77.0.9\",\"drain\":true}]", 1},
        {"address", "\"10.77.0.8\"", 1}, /* not bound to it */
        {"port", "81", 0},
        {"mode", "\"tcp\"", 0},
        {"algorithm", "\"leastconn\"", 0},
        {"backendPort", "8081", 0},
        {"check/interval", "3", 0},
        {"check/type", "\"tcp\"", 0},
        {"timeouts/client", "61", 0},
        {"certificate", "\"PEM\"", 0},
        {"sticky", "\"cookie\"", 0},
    };
    json_t *spec = spec_with("port", "80");
    char name[LB_PROXY_SIZE], other[LB_PROXY_SIZE];

    lb_proxy_name("web", spec, name);
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        json_t *changed = spec_with(CASES[i].path, CASES[i].value);
        lb_proxy_name("web", changed, other);
        assert_int_equal(strcmp(name, other) == 0, CASES[i].is_same);
        json_decref(changed);
    }
    json_decref(spec);
}

static void nothing_gets_out_of_its_line(void **state)
{
    static const struct {
        const char *path, *value;
    } CASES[] = {
        {"address", "\"10.77.0.1\\n\""},
        {"port", "0"},
        {"port", "65536"},
        {"port", NULL},
        {"side", "\"inside\""},
        {"mode", "\"tcp\\nlisten x\""},
        {"algorithm", "7"},
        {"sticky", NULL},
        {"check", NULL},
        {"check/path", "\"/a b\""},
        {"check/path", "\"/a\\nb\""},
        {"check/path", "\"a\""},
        {"check/rise", "0"},
        {"timeouts/server", "0"},
        {"backends", "{}"},
        {"backends", "[{\"node\":\"a b\",\"address\":\"10.77.0.2\"}]"},
        {"backends", "[{\"node\":\"\",\"address\":\"10.77.0.2\"}]"},
        {"backends", "[{\"node\":\"a\",\"address\":\"10.77.0.2 disabled\"}]"},
        {"certificate", "7"},
    };

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        json_t *spec = spec_with(CASES[i].path, CASES[i].value);
        assert_int_equal(lb_spec_check(spec, NULL), -EINVAL);
        json_decref(spec);
    }
}

static void keys(void **state)
{
    char name[LB_NAME_SIZE];

    assert_int_equal(lb_key_parse("lb/service/web.1/Agent.1", "Agent.1", name), 0);
    assert_string_equal(name, "web.1");
    assert_int_equal(lb_key_parse("lb/service/web/Agent.2", "Agent.1", name), -EINVAL);
    assert_int_equal(lb_key_parse("lb/service//Agent.1", "Agent.1", name), -EINVAL);
    assert_int_equal(lb_key_parse("lb/service/a b/Agent.1", "Agent.1", name), -EINVAL);
    assert_int_equal(lb_key_parse("lb/other/web/Agent.1", "Agent.1", name), -EINVAL);
    assert_int_equal(lb_key_parse("lb/service/web", "Agent.1", name), -EINVAL);
}

/* --- what HAProxy says --- */

#define HEADER "# pxname,svname,type,scur,stot,bin,bout,status,rate,check_status,last_chk,\n"
#define STATES                                                                                    \
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state and more\n"

static const char SAID[] = HEADER
    "web:80-0123456789ab,FRONTEND,0,3,20,100,200,OPEN,7,,,\n"
    "web:80-0123456789ab,A,2,1,12,50,100,UP,4,L4OK,,\n"
    "web:80-0123456789ab,B,2,0,8,50,100,DOWN,0,L4CON,\"refused, \"\"no\"\"\",\n"
    "web:80-0123456789ab,BACKEND,1,1,20,100,200,UP,7,,,\n"
    "foreign,FRONTEND,0,9,9,9,9,OPEN,9,,,\n"
    "\n" STATES "2 web:80-0123456789ab 1 A 10.77.0.2 2 0 1 1 1 8 2 0 6 0 0 0 - 8080 - 0 0 - - 0\n"
    "2 web:80-0123456789ab 2 B 10.77.0.3 0 8 1 1 1 8 2 0 6 0 0 0 - 8081 - 0 0 - - 0\n"
    "3 foreign 1 C 10.77.0.4 2 0 1 1 1 8 2 0 6 0 0 0 - 1 - 0 0 - - 0\n\n";

static void an_answer(void **state)
{
    struct lb_stat stat;

    assert_int_equal(lb_stat_parse(SAID, &stat), 0);
    assert_int_equal(stat.proxies.len, 1);
    const struct lb_proxy *web = omap_get(&stat.proxies, "web");
    assert_int_equal(web->port, 80);
    assert_int_equal(web->total, 20);
    assert_int_equal(web->bytes, 300);
    const struct lb_server *a = omap_get(&web->servers, "A"), *b = omap_get(&web->servers, "B");
    assert_true(a->address == 0x0a4d0002 && a->port == 8080 && !a->is_drained && !a->is_off);
    assert_int_equal(a->total, 12);
    assert_true(b->is_drained && b->port == 8081);
    assert_string_equal(b->state, "DOWN");
    assert_string_equal(b->why, "refused, \"no\"");
    lb_stat_done(&stat);
}

/* They are ids that a node may have. */
static void nodes_called_as_rows_are(void **state)
{
    static const char TEXT[] = HEADER "web:80-0123456789ab,FRONTEND,0,3,20,100,200,OPEN,7,,,\n"
                                      "web:80-0123456789ab,FRONTEND,2,1,12,50,100,UP,4,L4OK,,\n"
                                      "web:80-0123456789ab,BACKEND,2,0,8,50,100,UP,0,L4OK,,\n"
                                      "web:80-0123456789ab,BACKEND,1,1,20,100,200,UP,7,,,\n"
                                      "\n" STATES;
    struct lb_stat stat;

    assert_int_equal(lb_stat_parse(TEXT, &stat), 0);
    const struct lb_proxy *web = omap_get(&stat.proxies, "web");
    assert_int_equal(web->total, 20);
    assert_int_equal(web->servers.len, 2);
    assert_int_equal(((struct lb_server *)omap_get(&web->servers, "FRONTEND"))->total, 12);
    assert_int_equal(((struct lb_server *)omap_get(&web->servers, "BACKEND"))->total, 8);
    lb_stat_done(&stat);
}

static void no_answers(void **state)
{
    static const char *const TEXTS[] = {
        "",
        "\n",
        "# pxname,svname,\n\n1\n",
        HEADER,
        HEADER "\n",
        HEADER "\n2\n# other\n",
        "Unknown command\n\n1\n",
    };
    struct lb_stat stat;

    for (size_t i = 0; i < ARRAY_LEN(TEXTS); i++) {
        assert_int_equal(lb_stat_parse(TEXTS[i], &stat), -EINVAL);
    }
}

static const char *rename_web(void *arg, const char *service)
{
    return strcmp(service, "web") == 0 ? "web:81-ba9876543210" : NULL;
}

static void servers_for_the_next_worker(void **state)
{
    struct lb_stat stat;

    assert_int_equal(lb_stat_parse(SAID, &stat), 0);
    _cleanup_free_ char *text = lb_stat_renamed(stat.servers_text, rename_web, NULL);
    assert_string_equal(
        text,
        STATES "2 web:81-ba9876543210 1 A 10.77.0.2 2 0 1 1 1 8 2 0 6 0 0 0 - 8080 - 0 0 - - 0\n"
               "2 web:81-ba9876543210 2 B 10.77.0.3 0 8 1 1 1 8 2 0 6 0 0 0 - 8081 - 0 0 - - 0\n");
    lb_stat_done(&stat);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_section_says_all),
        cmocka_unit_test(sides_and_tls),
        cmocka_unit_test(the_name_tells_what_a_reload_is_for),
        cmocka_unit_test(nothing_gets_out_of_its_line),
        cmocka_unit_test(keys),
        cmocka_unit_test(an_answer),
        cmocka_unit_test(nodes_called_as_rows_are),
        cmocka_unit_test(no_answers),
        cmocka_unit_test(servers_for_the_next_worker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
