/* cnsmo-agent: the program's arguments. Each command is in a file of its name. */
#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "lib/log.h"
#include "lib/mem.h"

enum {
    OPTION_STATE_DIR = 0x100,
    OPTION_RUN_DIR,
    OPTION_LOG_DIR,
    OPTION_LOG_LEVEL,
    OPTION_ID,
    OPTION_SERVICES,
    OPTION_ENDPOINT,
    OPTION_NO_START,
    OPTION_FORCE,
};

struct arguments {
    struct agent_paths paths;
    struct join_options join;
    int force, json;
    char **rest; /* from the command on */
    int rest_len;
};

/* --- options that all commands know --- */

static const struct argp_option GLOBAL_OPTIONS[] = {
    {"state-dir", OPTION_STATE_DIR, "DIR", 0, "Identity and replica (" AGENT_STATE_DIR ")", 1},
    {"run-dir", OPTION_RUN_DIR, "DIR", 0, "What lasts until reboot (" AGENT_RUN_DIR ")", 1},
    {"log-dir", OPTION_LOG_DIR, "DIR", 0, "Logs of what the agent starts (" AGENT_LOG_DIR ")", 1},
    {"log-level", OPTION_LOG_LEVEL, "LEVEL", 0, "debug, info (default), warn or error", 1},
    {0},
};

static error_t parse_global(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    enum log_level level;

    switch (key) {
    case OPTION_STATE_DIR:
        arguments->paths.state_dir = value;
        return 0;
    case OPTION_RUN_DIR:
        arguments->paths.run_dir = value;
        return 0;
    case OPTION_LOG_DIR:
        arguments->paths.log_dir = value;
        return 0;
    case OPTION_LOG_LEVEL:
        if (log_level_parse(value, &level) < 0) {
            argp_error(state, "--log-level: \"%s\" isn't debug, info, warn or error", value);
        }
        log_set_level(level);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp GLOBAL = {.options = GLOBAL_OPTIONS, .parser = parse_global};

/* Hands the input down to GLOBAL; every command's parser does this first. */
static void share_input(struct argp_state *state)
{
    state->child_inputs[0] = state->input;
}

static const struct argp_child CHILDREN[] = {{&GLOBAL, 0, "Options of every command:", 10}, {0}};

/* --- join --- */

static const struct argp_option JOIN_OPTIONS[] = {
    {"id", OPTION_ID, "ID", 0, "The node's id, such as Agent.1 (the host's name)", 0},
    {"services", OPTION_SERVICES, "A,B", 0, "What to run here (what the token gives)", 0},
    {"endpoint", OPTION_ENDPOINT, "ADDR[:PORT]", 0,
     "Where other nodes reach this machine, if it has a public address", 0},
    {"no-start", OPTION_NO_START, NULL, 0, "Only enrol; don't start the agent", 0},
    {0},
};

static error_t parse_join(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        share_input(state);
        return 0;
    case OPTION_ID:
        arguments->join.id = value;
        return 0;
    case OPTION_SERVICES:
        arguments->join.services = value;
        return 0;
    case OPTION_ENDPOINT:
        arguments->join.endpoint = value;
        return 0;
    case OPTION_NO_START:
        arguments->join.no_start = 1;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->join.token) {
            argp_error(state, "one token is enough");
        }
        arguments->join.token = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->join.token) {
            argp_error(state, "a token is missing; `cnsmo token create` makes one");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int command_join(const struct arguments *arguments)
{
    return agent_join(&arguments->paths, &arguments->join);
}

/* --- run, leave, status, version --- */

static error_t parse_plain(int key, char *value, struct argp_state *state)
{
    switch (key) {
    case ARGP_KEY_INIT:
        share_input(state);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is too much", value);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option LEAVE_OPTIONS[] = {
    {"force", OPTION_FORCE, NULL, 0, "Leave even if the server can't be told", 0},
    {0},
};

static error_t parse_leave(int key, char *value, struct argp_state *state)
{
    if (key == OPTION_FORCE) {
        ((struct arguments *)state->input)->force = 1;
        return 0;
    }
    return parse_plain(key, value, state);
}

static const struct argp_option STATUS_OPTIONS[] = {
    {"output", 'o', "FORMAT", 0, "table (default) or json", 0},
    {0},
};

static error_t parse_status(int key, char *value, struct argp_state *state)
{
    if (key != 'o') {
        return parse_plain(key, value, state);
    }
    if (strcmp(value, "json") != 0 && strcmp(value, "table") != 0) {
        argp_error(state, "-o: \"%s\" isn't table or json", value);
    }
    ((struct arguments *)state->input)->json = value[0] == 'j';
    return 0;
}

static int command_run(const struct arguments *arguments)
{
    return agent_run(&arguments->paths);
}

static int command_leave(const struct arguments *arguments)
{
    return agent_leave(&arguments->paths, arguments->force);
}

static int command_status(const struct arguments *arguments)
{
    return agent_status(&arguments->paths, arguments->json);
}

static int command_version(const struct arguments *arguments)
{
    printf("cnsmo-agent %s\n", CNSMO_VERSION);
    return 0;
}

static const struct command {
    const char *name;
    struct argp argp;
    int (*run)(const struct arguments *arguments);
} COMMANDS[] = {
    {"join",
     {JOIN_OPTIONS, parse_join, "TOKEN", "Makes this machine a node of the deployment.", CHILDREN},
     command_join},
    {"run", {NULL, parse_plain, NULL, "Runs the agent in the foreground.", CHILDREN}, command_run},
    {"leave",
     {LEAVE_OPTIONS, parse_leave, NULL,
      "Takes this machine out of the deployment and puts it back as it was.", CHILDREN},
     command_leave},
    {"status",
     {STATUS_OPTIONS, parse_status, NULL, "Shows what the agent here does.", CHILDREN},
     command_status},
    {"version", {NULL, parse_plain, NULL, "Prints the version.", CHILDREN}, command_version},
};

/* --- the program --- */

static error_t parse_main(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        share_input(state);
        return 0;
    case ARGP_KEY_ARG:
        /* The command: what follows is its own. */
        arguments->rest = state->argv + state->next - 1;
        arguments->rest_len = state->argc - state->next + 1;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "a command is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp MAIN = {
    .parser = parse_main,
    .args_doc = "COMMAND [ARGUMENT...]",
    .doc = "The agent of CNSMO on a node.\v"
           "Commands: join TOKEN, run, leave, status, version. `cnsmo-agent COMMAND --help` "
           "tells more.\n\nExit codes: 0 well, 1 failed, 2 wrong arguments, 10 this machine "
           "hasn't joined, 11 the server has removed it, 12 an agent runs already.",
    .children = CHILDREN,
};

static void use_safe_path(void)
{
    const char *path = getenv("PATH");
    _cleanup_free_ char *longer =
        xasprintf("%s%s/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
                  path ? path : "", path && path[0] ? ":" : "");

    /* The tools that we run stand in sbin, which not every caller has. */
    setenv("PATH", longer, 1);
    setenv("LC_ALL", "C", 1);
}

/* Files are named in records and arguments of processes that don't stand in our folder. */
static char *absolute(const char *path)
{
    _cleanup_free_ char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);

    return here ? xasprintf("%s/%s", here, path) : xstrdup(path);
}

static int run_command(const struct command *command, struct arguments *arguments)
{
    _cleanup_free_ char *state_dir = absolute(arguments->paths.state_dir);
    _cleanup_free_ char *run_dir = absolute(arguments->paths.run_dir);
    _cleanup_free_ char *log_dir = absolute(arguments->paths.log_dir);

    arguments->paths = (struct agent_paths){state_dir, run_dir, log_dir};
    return command->run(arguments);
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.paths = {AGENT_STATE_DIR, AGENT_RUN_DIR, AGENT_LOG_DIR}};

    argp_err_exit_status = EXIT_USAGE;
    /* Where whoever started us ignores it, no child's end would ever be told. */
    signal(SIGCHLD, SIG_DFL);
    use_safe_path();
    argp_parse(&MAIN, argc, argv, ARGP_IN_ORDER, NULL, &arguments);
    for (size_t i = 0; i < ARRAY_LEN(COMMANDS); i++) {
        if (strcmp(arguments.rest[0], COMMANDS[i].name) == 0) {
            char name[64];
            snprintf(name, sizeof name, "cnsmo-agent %s", COMMANDS[i].name);
            arguments.rest[0] = name;
            argp_parse(&COMMANDS[i].argp, arguments.rest_len, arguments.rest, 0, NULL, &arguments);
            return run_command(&COMMANDS[i], &arguments);
        }
    }
    fprintf(stderr, "cnsmo-agent: there is no command \"%s\"; see `cnsmo-agent --help`\n",
            arguments.rest[0]);
    return EXIT_USAGE;
}
