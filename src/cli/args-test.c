#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/nearest.h"
#include "cli/spec.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    WORDS_MAX = 16,
};

static const int64_t NOW_USEC = 1767225600000000; /* 2026-01-01T00:00:00Z */

/* A kind with a member of every type. */
static const char SCHEMA[] =
    "{\"type\":\"object\",\"additionalProperties\":false,"
    "\"required\":[\"secret\",\"ports\",\"hub\",\"check\",\"mode\"],\"properties\":{"
    "\"name\":{\"type\":\"string\"},"
    "\"mode\":{\"type\":\"string\",\"enum\":[\"fast\",\"slow\"]},"
    "\"maxConns\":{\"type\":\"integer\"},"
    "\"weight\":{\"type\":\"number\"},"
    "\"hub\":{\"type\":\"boolean\"},"
    "\"until\":{\"type\":\"string\",\"format\":\"date-time\"},"
    "\"ports\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"}},"
    "\"backends\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}},"
    "\"labels\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}},"
    "\"limits\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}},"
    "\"check\":{\"type\":\"object\",\"properties\":{\"path\":{\"type\":\"string\"},"
    "\"everySec\":{\"type\":\"integer\"},\"tls\":{\"type\":\"boolean\"}}},"
    "\"secret\":{\"type\":\"string\",\"writeOnly\":true},"
    "\"made\":{\"type\":\"string\",\"readOnly\":true}}}";

static const struct kind THING = {
    .name = "lab/things",
    .singular = "lab thing",
    .schema_text = SCHEMA,
    .ids = KIND_ID_NAMED,
    .write_role = ROLE_OPERATOR,
};
static const struct kind *const THINGS[] = {&THING, NULL};

static int setup(void **state)
{
    *state = commands_new(THINGS, FIXED_COMMANDS);
    return 0;
}

static int teardown(void **state)
{
    commands_free(*state);
    return 0;
}

/* Splits at blanks and parses; the caller calls args_done(). */
static int parse(const struct commands *commands, char *line, struct args *args,
                 struct error *error)
{
    char *argv[WORDS_MAX] = {(char *)"cnsmo"};
    int argc = 1;

    for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) {
        assert_true(argc < WORDS_MAX);
        argv[argc++] = word;
    }
    return args_parse(commands, argc, argv, args, error);
}

/* The spec that the options of a line give, as canonical JSON. */
static int spec_of(const struct commands *commands, const char *options, char **ret_text,
                   struct error *error)
{
    _cleanup_free_ char *line = xasprintf("lab thing set x %s", options);
    struct args args;
    int rc = parse(commands, line, &args, error);
    json_t *spec = json_object();

    for (size_t i = 0; rc == 0 && i < args.given_len; i++) {
        if (args.given[i].option->path) {
            rc = spec_set(spec, args.given[i].option, args.given[i].value, NOW_USEC, error);
        }
    }
    if (rc == 0) {
        *ret_text = json_canonical(spec);
    }
    json_decref(spec);
    args_done(&args);
    return rc;
}

static void options_become_a_spec(void **state)
{
    static const struct {
        const char *options, *spec;
    } CASES[] = {
        {"", "{}"},
        {"--name web", "{\"name\":\"web\"}"},
        {"--name=a=b", "{\"name\":\"a=b\"}"},
        {"--name=", "{\"name\":\"\"}"},
        {"--name 7", "{\"name\":\"7\"}"}, /* the schema's type decides, not the look */
        {"--max-conns 10", "{\"maxConns\":10}"},
        {"--max-conns=-1", "{\"maxConns\":-1}"},
        {"--weight 0.5", "{\"weight\":0.5}"},
        {"--hub", "{\"hub\":true}"},
        {"--no-hub", "{\"hub\":false}"},
        {"--hub=no", "{\"hub\":false}"},
        {"--hub=true", "{\"hub\":true}"},
        {"--hub --no-hub", "{\"hub\":false}"}, /* the last one counts */
        {"--ports 80,443", "{\"ports\":[80,443]}"},
        {"--ports 80 --ports 443", "{\"ports\":[80,443]}"},
        {"--ports=", "{\"ports\":[]}"},
        {"--backends {\"a\":1,\"b\":2} --backends {}", "{\"backends\":[{\"a\":1,\"b\":2},{}]}"},
        {"--labels a=b,c=d --labels e=f", "{\"labels\":{\"a\":\"b\",\"c\":\"d\",\"e\":\"f\"}}"},
        {"--labels a=,b-", "{\"labels\":{\"a\":\"\",\"b\":null}}"},
        {"--limits cpu=3", "{\"limits\":{\"cpu\":3}}"},
        {"--check-path /x --check-every-sec 5", "{\"check\":{\"everySec\":5,\"path\":\"/x\"}}"},
        {"--no-check-tls", "{\"check\":{\"tls\":false}}"},
        {"--until 24h", "{\"until\":\"2026-01-02T00:00:00Z\"}"},
        {"--until 2027-01-31T12:00:00Z", "{\"until\":\"2027-01-31T12:00:00Z\"}"},
    };

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        struct error error = {0};
        _cleanup_free_ char *text = NULL;
        assert_int_equal(spec_of(*state, CASES[i].options, &text, &error), 0);
        assert_string_equal(text, CASES[i].spec);
    }
}

static void bad_values_name_their_option(void **state)
{
    static const struct {
        const char *options, *name, *about;
    } CASES[] = {
        {"--max-conns 1.5", "--max-conns", "whole number"},
        {"--max-conns ten", "--max-conns", "\"ten\""},
        {"--max-conns 99999999999999999999", "--max-conns", "whole number"},
        {"--max-conns=", "--max-conns", "whole number"},
        {"--weight nan", "--weight", "number"},
        {"--hub=maybe", "--hub", "true or false"},
        {"--ports 80,x", "--ports", "\"x\""},
        {"--ports 80,,443", "--ports", "\"\""},
        {"--labels web", "--labels", "KEY=VALUE"},
        {"--labels =web", "--labels", "empty key"},
        {"--labels -", "--labels", "KEY=VALUE"},
        {"--limits cpu=many", "--limits", "whole number"},
        {"--backends {", "--backends", "JSON"},
        {"--name \xff", "--name", "UTF-8"},
        {"--labels \xff=a", "--labels", "UTF-8"},
        {"--secret-file /nonexistent/file", "--secret-file", "cannot read"},
        {"--made now", "--made", "no option"},        /* read only */
        {"--secret x", "--secret-file", "no option"}, /* never on the command line */
        {"--no-hub=true", "--no-hub", "no value"},
        {"--name", "--name", "needs a value"},
    };

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        struct error error = {0};
        _cleanup_free_ char *text = NULL;
        assert_int_equal(spec_of(*state, CASES[i].options, &text, &error), -EINVAL);
        assert_non_null(strstr(error.detail, CASES[i].name));
        assert_non_null(strstr(error.detail, CASES[i].about));
    }
}

static void secrets_come_from_the_first_line_of_a_file(void **state)
{
    char path[] = "/tmp/cnsmo-secret.XXXXXX";
    _cleanup_close_ int fd = mkstemp(path);
    _cleanup_free_ char *options = xasprintf("--secret-file %s", path);
    _cleanup_free_ char *text = NULL;
    struct error error = {0};

    assert_int_equal(write(fd, "s3cret word\nmore\n", 17), 17);
    assert_int_equal(spec_of(*state, options, &text, &error), 0);
    assert_string_equal(text, "{\"secret\":\"s3cret word\"}");
    unlink(path);
}

static void durations_are_strict(void **state)
{
    static const char *const BAD[] = {"",    "h",   "1",     "1y",          "-1h",
                                      " 1h", "1h ", "1h30m", "9999999999s", "999999999w"};
    int64_t sec = 7;

    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        assert_int_equal(duration_parse(BAD[i], &sec), -EINVAL);
    }
    assert_int_equal(sec, 7);
    assert_int_equal(duration_parse("90s", &sec), 0);
    assert_int_equal(sec, 90);
    assert_int_equal(duration_parse("2w", &sec), 0);
    assert_int_equal(sec, 14 * 24 * 3600);
}

static void required_members_may_be_arguments(void **state)
{
    const struct command *add = commands_find(*state, "lab thing add");
    const struct command *set = commands_find(*state, "lab thing set");

    /* In the schema's order; no secret, no yes or no, nothing nested. */
    assert_string_equal(add->arguments, "ID [PORTS] [MODE]");
    assert_int_equal(add->arguments_min, 1);
    assert_int_equal(add->arguments_max, 3);
    assert_int_equal(add->required_len, 2);
    assert_string_equal(add->required[1]->path, "mode");
    assert_string_equal(set->arguments, "ID");
    assert_int_equal(set->arguments_max, 1);
}

static void words_arguments_and_options_mix(void **state)
{
    char line[] = "-o json lab thing label a --wait=3 k=v -- --hub";
    struct args args;
    struct error error;

    /* THING has labels, so it has the verb. */
    assert_int_equal(parse(*state, line, &args, &error), 0);
    assert_string_equal(args.command->words, "lab thing label");
    assert_int_equal(args.arguments_len, 3);
    assert_string_equal(args.arguments[0], "a");
    assert_string_equal(args.arguments[1], "k=v");
    assert_string_equal(args.arguments[2], "--hub");
    assert_string_equal(args_value(&args, "output", ""), "json");
    assert_string_equal(args_value(&args, "wait", ""), "3");
    assert_null(args_given(&args, "dry-run"));
    args_done(&args);
}

static void mistakes_get_the_nearest_answer(void **state)
{
    static const struct {
        const char *line, *answer;
    } CASES[] = {
        {"statsu", "did you mean \"status\"?"},
        {"lba thing list", "did you mean \"lab\"?"},
        {"lab thing lst", "did you mean \"lab thing list\"?"},
        {"lab thing remove", "there are: list, show, add, set, label, delete"},
        {"frobnicate", "\"cnsmo help\" lists them"},
        {"lab", "There are: thing"},
        {"lab thing set x --nam web", "did you mean --name?"},
        {"lab thing set x --zzzzzzzz", "--help\" lists them"},
        {"lab thing set x -z", "no option -z"},
        {"lab thing list x", "too many"},
        {"lab thing show", "usage: cnsmo lab thing show ID"},
        {"status --watch=1", "takes no value"},
        {"backup", "usage: cnsmo backup FILE"},
    };

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        _cleanup_free_ char *line = xstrdup(CASES[i].line);
        struct args args;
        struct error error = {0};
        assert_int_equal(parse(*state, line, &args, &error), -EINVAL);
        if (!strstr(error.detail, CASES[i].answer)) {
            fail_msg("%s: %s", CASES[i].line, error.detail);
        }
        args_done(&args);
    }
}

static void help_needs_no_arguments(void **state)
{
    char line[] = "lab thing show --help";
    struct args args;
    struct error error;

    assert_int_equal(parse(*state, line, &args, &error), 0);
    assert_non_null(args_given(&args, "help"));
    args_done(&args);
}

static void distance_counts_edits(void **state)
{
    assert_int_equal(word_distance("", ""), 0);
    assert_int_equal(word_distance("node", "node"), 0);
    assert_int_equal(word_distance("", "node"), 4);
    assert_int_equal(word_distance("node", ""), 4);
    assert_int_equal(word_distance("ndoe", "node"), 1); /* neighbours swapped */
    assert_int_equal(word_distance("nod", "node"), 1);
    assert_int_equal(word_distance("nodes", "node"), 1);
    assert_int_equal(word_distance("mode", "node"), 1);
    assert_int_equal(word_distance("kitten", "sitting"), 3);
    char *long_word = xcalloc(1000, 1);
    memset(long_word, 'a', 999);
    assert_int_equal(word_distance(long_word, "a"), UINT_MAX);
    free(long_word);
}

static void far_words_are_not_suggested(void **state)
{
    struct nearest far = {.word = "x"}, near = {.word = "sett"}, best = {.word = "lisst"};

    nearest_try(&far, "y");
    assert_string_equal(far.best, "");
    nearest_try(&near, "settings"); /* only its end is missing */
    assert_string_equal(near.best, "settings");
    nearest_try(&best, "last");
    nearest_try(&best, "list");
    assert_string_equal(best.best, "list");
}

static void kinds_get_the_verbs_that_fit(void **state)
{
    const struct kind **kinds = kinds_new();
    struct commands *commands = commands_new(kinds, FIXED_COMMANDS);
    static const char *const THERE[] = {"node list",
                                        "node show",
                                        "node add",
                                        "node set",
                                        "node label",
                                        "node delete",
                                        "token list",
                                        "token create",
                                        "token show",
                                        "token delete",
                                        "user add",
                                        "user passwd",
                                        "settings show overlay",
                                        "settings set overlay",
                                        "api-token list",
                                        "api-token create",
                                        "api-token delete",
                                        "status",
                                        "apply"};
    static const char *const NOT_THERE[] = {
        "token set",     "token add",      "event delete", "event add",
        "api-token set", "api-token show", "user label",   "settings delete overlay"};

    for (size_t i = 0; i < ARRAY_LEN(THERE); i++) {
        if (!commands_find(commands, THERE[i])) {
            fail_msg("no %s", THERE[i]);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(NOT_THERE); i++) {
        assert_null(commands_find(commands, NOT_THERE[i]));
    }
    commands_free(commands);
    free(kinds);
}

/* No two options of one command may have the same name or letter: the first would hide the other.
 */
static void options_are_unique(void **state)
{
    const struct kind **kinds = kinds_new();
    struct commands *commands = commands_new(kinds, FIXED_COMMANDS);

    for (size_t i = 0; i < commands_len(commands); i++) {
        const struct command *command = commands_at(commands, i);
        const struct option *a, *b;
        for (size_t j = 0; (a = command_option(command, j)); j++) {
            for (size_t k = 0; k < j && (b = command_option(command, k)); k++) {
                if (strcmp(a->name, b->name) == 0 || (a->letter && a->letter == b->letter)) {
                    fail_msg("%s: --%s and --%s", command->words, a->name, b->name);
                }
            }
        }
    }
    commands_free(commands);
    free(kinds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(options_become_a_spec, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_values_name_their_option, setup, teardown),
        cmocka_unit_test_setup_teardown(secrets_come_from_the_first_line_of_a_file, setup,
                                        teardown),
        cmocka_unit_test(durations_are_strict),
        cmocka_unit_test_setup_teardown(required_members_may_be_arguments, setup, teardown),
        cmocka_unit_test_setup_teardown(words_arguments_and_options_mix, setup, teardown),
        cmocka_unit_test_setup_teardown(mistakes_get_the_nearest_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(help_needs_no_arguments, setup, teardown),
        cmocka_unit_test(distance_counts_edits),
        cmocka_unit_test(far_words_are_not_suggested),
        cmocka_unit_test(kinds_get_the_verbs_that_fit),
        cmocka_unit_test(options_are_unique),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
