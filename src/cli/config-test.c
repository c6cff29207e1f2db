#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/config.h"
#include "cli/sse.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"

static const char *const VARIABLES[] = {"CNSMO_URL", "CNSMO_CA", "CNSMO_TOKEN", "CNSMO_USER",
                                        "CNSMO_PASSWORD"};

static int setup(void **state)
{
    char *folder = xstrdup("/tmp/cnsmo-config.XXXXXX");

    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < ARRAY_LEN(VARIABLES); i++) {
        unsetenv(VARIABLES[i]);
    }
    setenv("XDG_CONFIG_HOME", folder, 1);
    *state = folder;
    return 0;
}

static int teardown(void **state)
{
    static const char *const NAMES[] = {"cnsmo/session.json", "cnsmo/ca.pem", "cnsmo", ""};

    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", (char *)*state, NAMES[i]);
        remove(path);
    }
    free(*state);
    return 0;
}

static void store(const char *url)
{
    struct config config;
    struct error error;

    assert_int_equal(config_load(&config, url, NULL, &error), 0);
    assert_int_equal(
        config_store(&config, "alice", "t0ken", "2030-01-01T00:00:00Z", "PEM\n", &error), 0);
    config_done(&config);
}

static void urls_are_normalised(void **state)
{
    static const struct {
        const char *text, *url;
    } GOOD[] = {
        {"localhost", "https://localhost:8443"},
        {"10.0.0.1:9443", "https://10.0.0.1:9443"},
        {"https://a.example", "https://a.example:8443"},
        {"https://a.example:443/", "https://a.example:443"},
        {"[fd00::1]", "https://[fd00::1]:8443"},
        {"https://[fd00::1]:443", "https://[fd00::1]:443"},
    };
    static const char *const BAD[] = {"",        "https://", "http://a",  "ftp://a",    "a:0",
                                      "a:65536", "a:",       "a:1:2",     "user@a",     "a/b",
                                      "a?b",     "a b",      "[fd00::g]", "https://a//"};
    struct error error;

    for (size_t i = 0; i < ARRAY_LEN(GOOD); i++) {
        _cleanup_free_ char *url = NULL;
        assert_int_equal(url_normalise(GOOD[i].text, &url, &error), 0);
        assert_string_equal(url, GOOD[i].url);
    }
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        char *url = NULL;
        assert_int_equal(url_normalise(BAD[i], &url, &error), -EINVAL);
        assert_null(url);
        assert_non_null(strstr(error.detail, "https://HOST"));
    }
}

static void a_session_is_stored_for_its_owner_only(void **state)
{
    static const struct {
        const char *name;
        mode_t mode;
    } FILES[] = {{"cnsmo", 0700}, {"cnsmo/session.json", 0600}, {"cnsmo/ca.pem", 0600}};
    struct config config;
    struct error error;

    store("a.example");
    for (size_t i = 0; i < ARRAY_LEN(FILES); i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", (char *)*state, FILES[i].name);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, FILES[i].mode);
    }
    assert_int_equal(config_load(&config, NULL, NULL, &error), 0);
    assert_string_equal(config.url, "https://a.example:8443");
    assert_string_equal(config.user, "alice");
    assert_string_equal(config.token, "t0ken");
    assert_non_null(strstr(config.ca, "/cnsmo/ca.pem"));
    assert_int_equal(config_forget(&config, &error), 0);
    assert_int_equal(config_forget(&config, &error), 0);
    config_done(&config);
    assert_int_equal(config_load(&config, NULL, NULL, &error), 0);
    assert_null(config.url);
    assert_null(config.token);
    config_done(&config);
}

static void a_token_never_goes_to_another_server(void **state)
{
    struct config config;
    struct error error;

    store("a.example");
    assert_int_equal(config_load(&config, "b.example", NULL, &error), 0);
    assert_string_equal(config.url, "https://b.example:8443");
    assert_null(config.token);
    assert_null(config.ca);
    config_done(&config);

    setenv("CNSMO_URL", "https://b.example", 1);
    assert_int_equal(config_load(&config, NULL, NULL, &error), 0);
    assert_null(config.token);
    config_done(&config);

    /* The same server under the same name is no other. */
    setenv("CNSMO_URL", "https://a.example:8443/", 1);
    assert_int_equal(config_load(&config, NULL, NULL, &error), 0);
    assert_string_equal(config.token, "t0ken");
    config_done(&config);
}

static void the_environment_comes_before_the_session(void **state)
{
    struct config config;
    struct error error;

    store("a.example");
    setenv("CNSMO_USER", "bob", 1);
    setenv("CNSMO_PASSWORD", "secret", 1);
    setenv("CNSMO_CA", "/some/ca.pem", 1);
    assert_int_equal(config_load(&config, NULL, NULL, &error), 0);
    assert_string_equal(config.user, "bob");
    assert_string_equal(config.password, "secret");
    assert_null(config.token); /* bob doesn't act with alice's */
    assert_string_equal(config.ca, "/some/ca.pem");
    config_done(&config);

    setenv("CNSMO_TOKEN", "other", 1);
    assert_int_equal(config_load(&config, NULL, "/option.pem", &error), 0);
    assert_string_equal(config.token, "other");
    assert_string_equal(config.ca, "/option.pem");
    config_done(&config);
}

static void a_bad_session_is_not_used(void **state)
{
    static const char *const BAD[] = {"", "{", "[]", "{}", "{\"url\":7}"};
    _cleanup_free_ char *path = xasprintf("%s/cnsmo/session.json", (char *)*state);
    struct config config;
    struct error error;

    store("a.example");
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(config_load(&config, NULL, NULL, &error), 0);
    assert_non_null(strstr(config.problem, "others can read"));
    assert_null(config.token);
    config_done(&config);
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        assert_int_equal(file_write_atomic(path, BAD[i], strlen(BAD[i]), 0600), 0);
        assert_int_equal(config_load(&config, NULL, NULL, &error), 0);
        assert_non_null(strstr(config.problem, "damaged"));
        assert_null(config.url);
        config_done(&config);
    }
}

static void exit_codes_follow_the_status(void **state)
{
    static const struct {
        int status;
        enum exit_code code;
    } CASES[] = {
        {200, CLI_OK},      {201, CLI_OK},      {202, CLI_OK},        {204, CLI_OK},
        {301, CLI_REFUSED}, {400, CLI_REFUSED}, {401, CLI_FORBIDDEN}, {403, CLI_FORBIDDEN},
        {404, CLI_REFUSED}, {409, CLI_REFUSED}, {412, CLI_REFUSED},   {429, CLI_REFUSED},
        {500, CLI_REFUSED}, {503, CLI_REFUSED},
    };

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        assert_int_equal(exit_code_of(CASES[i].status), CASES[i].code);
    }
    /* They are documented: scripts rely on the numbers. */
    assert_int_equal(CLI_OK, 0);
    assert_int_equal(CLI_REFUSED, 1);
    assert_int_equal(CLI_USAGE, 2);
    assert_int_equal(CLI_FORBIDDEN, 3);
    assert_int_equal(CLI_UNREACHABLE, 4);
    assert_int_equal(CLI_WAITED, 5);
}

static void cells_are_readable(void **state)
{
    static const struct {
        const char *json, *text;
    } CASES[] = {
        {"null", "-"},
        {"\"\"", "-"},
        {"\"a\"", "a"},
        {"true", "yes"},
        {"false", "no"},
        {"0", "0"},
        {"[]", "-"},
        {"[\"vpn\",\"dns\"]", "vpn,dns"},
        {"{}", "-"},
        {"{\"a\":\"b\",\"c\":1}", "a=b,c=1"},
        {"{\"vpn\":{\"state\":\"running\",\"message\":\"\"}}", "vpn:running"},
    };

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        json_t *json;
        assert_int_equal(json_parse(CASES[i].json, strlen(CASES[i].json), &json, NULL), 0);
        _cleanup_free_ char *text = cell_text(json);
        assert_string_equal(text, CASES[i].text);
        json_decref(json);
    }
    _cleanup_free_ char *absent = cell_text(NULL);
    assert_string_equal(absent, "-");
}

static void control_characters_do_not_reach_the_terminal(void **state)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);

    print_text(stream, "a\033[31mb\x7f"
                       "c\xc2\x9b"
                       "d\xc3\xa9\te");
    fclose(stream);
    assert_string_equal(text, "a?[31mb?c?d\xc3\xa9\te");
    free(text);
}

/* --- SSE --- */

static int note(void *arg, const char *event, const char *data)
{
    struct buf *notes = arg;

    buf_printf(notes, "%s:%s;", event, data);
    return strcmp(data, "stop") == 0 ? 7 : 0;
}

static void events_are_taken_apart_at_any_cut(void **state)
{
    static const char STREAM[] = ": hello\n\n"
                                 "event: ready\nid: 4\ndata: {\"revision\":4}\n\n"
                                 "data: a\r\ndata: b\r\n\r\n"
                                 "event: put\nretry: 5\ndata:c\n\n"
                                 "event: lost\n\n"
                                 "data: unfinished\n";
    static const char EXPECTED[] = "ready:{\"revision\":4};message:a\nb;put:c;";

    for (size_t cut = 0; cut < sizeof STREAM; cut++) {
        _cleanup_buf_ struct buf notes = BUF_INIT(1000);
        struct sse sse = SSE_INIT(note, &notes);
        assert_int_equal(sse_feed(&sse, STREAM, cut), 0);
        assert_int_equal(sse_feed(&sse, STREAM + cut, sizeof STREAM - 1 - cut), 0);
        assert_string_equal(notes.data, EXPECTED);
        sse_done(&sse);
    }
}

static void a_stream_can_be_stopped_and_is_limited(void **state)
{
    _cleanup_buf_ struct buf notes = BUF_INIT(1000);
    struct sse sse = SSE_INIT(note, &notes);
    static const char STOP[] = "data: stop\n\ndata: more\n\n";
    char *blob = xcalloc(1, SSE_EVENT_MAX + 1);

    assert_int_equal(sse_feed(&sse, STOP, strlen(STOP)), 7);
    assert_string_equal(notes.data, "message:stop;");
    sse_done(&sse);
    memset(blob, 'a', SSE_EVENT_MAX + 1);
    assert_int_equal(sse_feed(&sse, blob, SSE_EVENT_MAX + 1), -E2BIG);
    sse_done(&sse);
    free(blob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_normalised),
        cmocka_unit_test_setup_teardown(a_session_is_stored_for_its_owner_only, setup, teardown),
        cmocka_unit_test_setup_teardown(a_token_never_goes_to_another_server, setup, teardown),
        cmocka_unit_test_setup_teardown(the_environment_comes_before_the_session, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_session_is_not_used, setup, teardown),
        cmocka_unit_test(exit_codes_follow_the_status),
        cmocka_unit_test(cells_are_readable),
        cmocka_unit_test(control_characters_do_not_reach_the_terminal),
        cmocka_unit_test(events_are_taken_apart_at_any_cut),
        cmocka_unit_test(a_stream_can_be_stopped_and_is_limited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
