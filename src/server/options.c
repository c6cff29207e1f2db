#include "server/options.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

static const char DEFAULT_FILE[] = "/etc/cnsmo/cnsmod.conf";

static const char DOC[] =
    "The CNSMO server: keeps what people ask of the network, and tells the agents.\v"
    "Commands:\n"
    "  run           serve (the default); an empty state directory is initialised first\n"
    "  init          initialise an empty state directory and end\n"
    "  restore FILE  put a backup in the place of the database, with the server stopped\n"
    "  check         open the database and check it, with the server stopped\n"
    "  version       print the version\n";

enum {
    KEY_CONFIG = 256,
    KEY_APPLY,
    KEY_ADMIN,
    KEY_PASSWORD_FILE,
    KEY_SETTING, /* the rest set a configuration key each */
};

static const char *const SETTINGS[] = {"state_dir", "api_address", "api_port", "link_address",
                                       "link_port", "advertise",   "log_level"};

static const struct argp_option OPTIONS[] = {
    {"config", KEY_CONFIG, "FILE", 0, "configuration file (/etc/cnsmo/cnsmod.conf)", 0},
    {"state-dir", KEY_SETTING, "DIR", 0, "where the server keeps its state", 0},
    {"api-address", KEY_SETTING + 1, "ADDRESS", 0, "listen for people here", 0},
    {"api-port", KEY_SETTING + 2, "PORT", 0, "HTTPS port for people (8443)", 0},
    {"link-address", KEY_SETTING + 3, "ADDRESS", 0, "listen for agents here", 0},
    {"link-port", KEY_SETTING + 4, "PORT", 0, "port for agents (8444)", 0},
    {"advertise", KEY_SETTING + 5, "HOST[:PORT],...", 0, "where agents reach this server", 0},
    {"log-level", KEY_SETTING + 6, "LEVEL", 0, "debug, info, warn or error", 0},
    {NULL, 0, NULL, 0, "For init:", 1},
    {"apply", KEY_APPLY, "FILE", 0, "objects to begin with, as cnsmo export writes them", 1},
    {"admin", KEY_ADMIN, "NAME", 0, "name of the first administrator (admin)", 1},
    {"password-file", KEY_PASSWORD_FILE, "FILE", 0,
     "the first administrator's password (else a random one)", 1},
    {0},
};

struct parsing {
    struct options *options;
    const char *config_file;
    const char *settings[ARRAY_LEN(SETTINGS)];
    int words;
};

static const struct {
    const char *name;
    enum command command;
    int has_file;
} COMMANDS[] = {
    {"run", COMMAND_RUN, 0},     {"init", COMMAND_INIT, 0},       {"restore", COMMAND_RESTORE, 1},
    {"check", COMMAND_CHECK, 0}, {"version", COMMAND_VERSION, 0},
};

static void parse_word(struct parsing *parsing, const char *word, struct argp_state *state)
{
    struct options *options = parsing->options;

    if (parsing->words++ == 0) {
        for (size_t i = 0; i < ARRAY_LEN(COMMANDS); i++) {
            if (strcmp(COMMANDS[i].name, word) == 0) {
                options->command = COMMANDS[i].command;
                return;
            }
        }
        argp_error(state, "there is no command \"%s\"", word);
    } else if (options->command == COMMAND_RESTORE && !options->restore_file) {
        options->restore_file = word;
    } else {
        argp_error(state, "\"%s\" is too much", word);
    }
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct parsing *parsing = state->input;

    if (key >= KEY_SETTING && key < KEY_SETTING + (int)ARRAY_LEN(SETTINGS)) {
        parsing->settings[key - KEY_SETTING] = arg;
        return 0;
    }
    switch (key) {
    case KEY_CONFIG:
        parsing->config_file = arg;
        return 0;
    case KEY_APPLY:
        parsing->options->apply_file = arg;
        return 0;
    case KEY_ADMIN:
        parsing->options->admin_name = arg;
        return 0;
    case KEY_PASSWORD_FILE:
        parsing->options->password_file = arg;
        return 0;
    case ARGP_KEY_ARG:
        parse_word(parsing, arg, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void stop(const struct error *error)
{
    fprintf(stderr, "cnsmod: %s\n", error->detail);
    exit(2);
}

static void configure(struct parsing *parsing)
{
    struct config *config = &parsing->options->config;
    struct error error = {0};

    int rc =
        config_load(parsing->config_file ? parsing->config_file : DEFAULT_FILE, config, &error);
    if (rc < 0 && (rc != -ENOENT || parsing->config_file)) {
        stop(&error);
    }
    for (size_t i = 0; i < ARRAY_LEN(SETTINGS); i++) {
        if (parsing->settings[i] &&
            config_set(config, SETTINGS[i], parsing->settings[i], &error) < 0) {
            stop(&error);
        }
    }
    if (config_check(config, &error) < 0) {
        stop(&error);
    }
}

void options_parse(struct options *options, int argc, char **argv)
{
    static const struct argp ARGP = {
        OPTIONS, parse_option, "[run|init|restore FILE|check|version]", DOC, NULL, NULL, NULL};
    struct parsing parsing = {.options = options};

    *options = (struct options){.admin_name = "admin"};
    config_init(&options->config);
    argp_err_exit_status = 2;
    argp_parse(&ARGP, argc, argv, 0, NULL, &parsing);
    if (options->command == COMMAND_RESTORE && !options->restore_file) {
        fputs("cnsmod: restore needs the backup's FILE\n", stderr);
        exit(2);
    }
    if (options->command != COMMAND_VERSION) {
        configure(&parsing);
    }
}

void options_done(struct options *options)
{
    config_done(&options->config);
}
