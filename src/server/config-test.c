/* The configuration: defaults, the file's form, every key, and the sample file (argument 1). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/buf.h"
#include "lib/file.h"
#include "lib/mem.h"
#include "server/config.h"

struct fixture {
    struct config config;
    struct error error;
};

static const char *sample_path;

static int setup(void **state)
{
    struct fixture *f = xnew(struct fixture);

    config_init(&f->config);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    config_done(&f->config);
    free(f);
    return 0;
}

static int parse(struct fixture *f, const char *text)
{
    return config_parse(text, strlen(text), "F", &f->config, &f->error);
}

static void refused(struct fixture *f, const char *text, const char *message)
{
    assert_int_equal(parse(f, text), -EINVAL);
    assert_string_equal(f->error.detail, message);
    assert_int_equal(f->error.status, 400);
}

static void every_key_is_read(void **state)
{
    struct fixture *f = *state;
    const struct config *c = &f->config;

    assert_int_equal(parse(f, "state_dir=/srv/cnsmod\n"
                              "api_address = ::1\n"
                              "\tapi_port\t=  443  \r\n"
                              "link_address = 127.0.0.1\n"
                              "link_port = 9000 # for agents\n"
                              "\n"
                              "   # a remark = no setting\n"
                              "advertise = a.example , 192.0.2.1:9001\n"
                              "api_certificate = /etc/my certs/a#1.pem\n"
                              "api_key = /k\n"
                              "cors_origin = https://gui.example:8080\n"
                              "log_level = debug\n"
                              "connections_max = 10\n"
                              "agents_max = 100000\n"
                              "metrics_from_loopback = no"),
                     0);
    assert_string_equal(c->state_dir, "/srv/cnsmod");
    assert_string_equal(c->api_address, "::1");
    assert_int_equal(c->api_port, 443);
    assert_string_equal(c->link_address, "127.0.0.1");
    assert_int_equal(c->link_port, 9000);
    assert_int_equal(c->advertise_len, 2);
    assert_string_equal(c->advertise[0].host, "a.example");
    assert_int_equal(c->advertise[0].port, 0);
    assert_string_equal(c->advertise[1].host, "192.0.2.1");
    assert_int_equal(c->advertise[1].port, 9001);
    assert_string_equal(c->api_certificate, "/etc/my certs/a#1.pem");
    assert_string_equal(c->api_key, "/k");
    assert_string_equal(c->cors_origin, "https://gui.example:8080");
    assert_int_equal(c->log_level, LOG_DEBUG);
    assert_int_equal(c->connections_max, 10);
    assert_int_equal(c->agents_max, 100000);
    assert_int_equal(c->metrics_from_loopback, 0);
    assert_int_equal(config_check(c, &f->error), 0);
}

static void a_wrong_line_is_named(void **state)
{
    struct fixture *f = *state;

    refused(f, "\n\napi-port = 1\n", "F:3: there is no setting \"api-port\"");
    refused(f, "api_port = 1\n# x\napi_port = 1\n", "F:3: api_port stands in line 1 already");
    refused(f, "api_port", "F:1: \"api_port\" is not of the form key = value");
    refused(f, "= 1", "F:1: there is no setting \"\"");
    refused(f, "api_port =", "F:1: api_port: the value is missing");
    refused(f, "api_port = # 1", "F:1: api_port: the value is missing");
    refused(f, "state_dir = a\001b",
            "F:1: state_dir: the value has control characters or more than 1024 bytes");
    assert_int_equal(config_parse("a\0b", 3, "F", &f->config, &f->error), -EINVAL);
    assert_non_null(strstr(f->error.detail, "NUL"));
}

static void wrong_values_are_refused(void **state)
{
    static const char *const BAD[][2] = {
        {"api_port", "0"},
        {"api_port", "65536"},
        {"api_port", "-1"},
        {"api_port", "0x50"},
        {"api_port", "99999999999999999999"},
        {"link_port", "80 81"},
        {"api_address", "localhost"},
        {"api_address", "1.2.3"},
        {"link_address", "::g"},
        {"advertise", "a,,b"},
        {"advertise", "a,"},
        {"advertise", "1.2.3.4.5"},
        {"advertise", "1.2.3.400"},
        {"advertise", "-a.example"},
        {"advertise", "a-.example"},
        {"advertise", ".example"},
        {"advertise", "a b"},
        {"advertise", "a:0"},
        {"advertise", "a:1:2"},
        {"advertise", "https://a"},
        {"advertise", "a,b,c,d,e,f,g,h,i"},
        {"cors_origin", "*"},
        {"cors_origin", "https://a/"},
        {"cors_origin", "gui.example"},
        {"cors_origin", "https://a, https://b"},
        {"log_level", "loud"},
        {"connections_max", "9"},
        {"agents_max", "100001"},
        {"metrics_from_loopback", "true"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        if (config_set(&f->config, BAD[i][0], BAD[i][1], &f->error) != -EINVAL) {
            fail_msg("%s = %s was taken", BAD[i][0], BAD[i][1]);
        }
        assert_ptr_equal(strstr(f->error.detail, BAD[i][0]), f->error.detail);
        assert_non_null(strstr(f->error.detail, BAD[i][1]));
    }
    /* None of them left a trace. */
    assert_int_equal(f->config.api_port, 8443);
    assert_int_equal(f->config.advertise_len, 0);
    assert_null(f->config.cors_origin);
    config_set(&f->config, "api_port", "x", &f->error);
    assert_string_equal(f->error.detail, "api_port: \"x\" is not a port, 1 to 65535");
}

static void a_long_name_fits_or_is_refused(void **state)
{
    struct fixture *f = *state;
    char name[400];

    memset(name, 'a', sizeof name);
    for (size_t i = 50; i < sizeof name; i += 50) {
        name[i] = '.';
    }
    name[CONFIG_HOST_SIZE_MAX + 1] = '\0';
    assert_int_equal(config_set(&f->config, "advertise", name, &f->error), -EINVAL);
    name[CONFIG_HOST_SIZE_MAX] = '\0';
    assert_int_equal(config_set(&f->config, "advertise", name, &f->error), 0);
    assert_string_equal(f->config.advertise[0].host, name);
    memset(name, 'a', 64);
    name[64] = '\0';
    assert_int_equal(config_set(&f->config, "advertise", name, &f->error), -EINVAL);
}

static void flags_override_the_file(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(parse(f, "api_port = 443\nlink_port = 444\nadvertise = a,b"), 0);
    assert_int_equal(config_set(&f->config, "api_port", "445", &f->error), 0);
    assert_int_equal(config_set(&f->config, "advertise", "c", &f->error), 0);
    assert_int_equal(config_set(&f->config, "state_dir", "state", &f->error), 0);
    assert_int_equal(f->config.api_port, 445);
    assert_int_equal(f->config.link_port, 444);
    assert_int_equal(f->config.advertise_len, 1);
    assert_string_equal(f->config.state_dir, "state");
}

static void the_whole_is_checked(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(parse(f, "api_key = /k"), 0);
    assert_int_equal(config_check(&f->config, &f->error), -EINVAL);
    assert_string_equal(f->error.detail,
                        "api_key is set without api_certificate: set both or none");
    assert_int_equal(parse(f, "api_certificate = /c\napi_port = 7\nlink_port = 7"), 0);
    assert_int_equal(config_check(&f->config, &f->error), -EINVAL);
    assert_non_null(strstr(f->error.detail, "must differ"));
}

static void a_file_is_loaded(void **state)
{
    struct fixture *f = *state;
    char path[] = "/tmp/config-test-XXXXXX";
    _cleanup_buf_ struct buf big = BUF_INIT(CONFIG_FILE_SIZE_MAX + 1);

    assert_int_equal(config_load("/absent/file", &f->config, &f->error), -ENOENT);
    assert_string_equal(f->error.detail, "cannot read /absent/file: No such file or directory");
    assert_int_equal(config_load("/", &f->config, &f->error), -EISDIR);
    close(mkstemp(path));
    assert_int_equal(config_load(path, &f->config, &f->error), 0); /* empty */
    assert_int_equal(file_write_atomic(path, "x = 1\n", 6, 0600), 0);
    assert_int_equal(config_load(path, &f->config, &f->error), -EINVAL);
    assert_ptr_equal(strstr(f->error.detail, path), f->error.detail);
    assert_non_null(strstr(f->error.detail, ":1: there is no setting"));
    while (buf_append(&big, "#", 1) == 0) {
    }
    assert_int_equal(file_write_atomic(path, big.data, big.size, 0600), 0);
    assert_int_equal(config_load(path, &f->config, &f->error), -EINVAL);
    assert_non_null(strstr(f->error.detail, "more than"));
    unlink(path);
}

/* Takes away the "#" of every line that shows a setting. */
static char *uncomment(const char *text)
{
    char *result = xstrdup(text), *out = result;

    for (const char *p = text; *p; p++) {
        int is_mark = *p == '#' && (p == text || p[-1] == '\n') && p[1] >= 'a' && p[1] <= 'z';
        if (!is_mark) {
            *out++ = *p;
        }
    }
    *out = '\0';
    return result;
}

static void the_sample_tells_every_key_and_default(void **state)
{
    struct fixture *f = *state;
    _cleanup_buf_ struct buf text = BUF_INIT(CONFIG_FILE_SIZE_MAX);
    struct config defaults;

    assert_int_equal(file_read(sample_path, &text), 0);
    assert_int_equal(parse(f, text.data), 0); /* as it is shipped: nothing is set */
    assert_int_equal(f->config.advertise_len, 0);

    _cleanup_free_ char *settings = uncomment(text.data);
    if (parse(f, settings) < 0) {
        fail_msg("%s", f->error.detail);
    }
    for (size_t i = 0; config_key(i); i++) {
        _cleanup_free_ char *line = xasprintf("\n%s = ", config_key(i));
        if (!strstr(settings, line)) {
            fail_msg("the sample doesn't show %s", config_key(i));
        }
    }
    config_init(&defaults);
    assert_string_equal(f->config.state_dir, defaults.state_dir);
    assert_string_equal(f->config.api_address, defaults.api_address);
    assert_int_equal(f->config.api_port, defaults.api_port);
    assert_string_equal(f->config.link_address, defaults.link_address);
    assert_int_equal(f->config.link_port, defaults.link_port);
    assert_int_equal(f->config.log_level, defaults.log_level);
    assert_int_equal(f->config.connections_max, defaults.connections_max);
    assert_int_equal(f->config.agents_max, defaults.agents_max);
    assert_int_equal(f->config.metrics_from_loopback, defaults.metrics_from_loopback);
    assert_int_equal(config_check(&defaults, &f->error), 0);
    config_done(&defaults);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        T(every_key_is_read),        T(a_wrong_line_is_named),
        T(wrong_values_are_refused), T(a_long_name_fits_or_is_refused),
        T(flags_override_the_file),  T(the_whole_is_checked),
        T(a_file_is_loaded),         T(the_sample_tells_every_key_and_default),
    };

    if (argc < 2) {
        return 2;
    }
    sample_path = argv[1];
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
