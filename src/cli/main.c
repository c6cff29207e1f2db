/* main.c - cnsmo: the command line of a deployment. See cnsmo(1). */
#include <locale.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>

#include "cli/cli.h"
#include "lib/mem.h"

/* -o, colours and where the server is. */
static enum exit_code prepare(struct cli *cli)
{
    static const char *const OUTPUTS[] = {"table", "json", "jsonl"};
    const char *output = args_value(&cli->args, "output", OUTPUTS[0]);
    const char *no_color = getenv("NO_COLOR");
    struct error error = {0};
    size_t i = 0;

    while (i < ARRAY_LEN(OUTPUTS) && strcmp(output, OUTPUTS[i]) != 0) {
        i++;
    }
    if (i == ARRAY_LEN(OUTPUTS)) {
        return cli_say(CLI_USAGE, "--output takes table, json or jsonl, not \"%s\"", output);
    }
    cli->output = (enum output)i;
    cli->color =
        isatty(STDOUT_FILENO) && !(no_color && no_color[0]) && !args_given(&cli->args, "no-color");
    if (config_load(&cli->config, args_value(&cli->args, "url", NULL),
                    args_value(&cli->args, "ca", NULL), &error) < 0) {
        return cli_say(CLI_USAGE, "%s", error.detail);
    }
    return CLI_OK;
}

static enum exit_code run(struct cli *cli, int argc, char **argv)
{
    struct error error = {0};

    if (argc < 2) {
        help_overview(cli->commands, stderr);
        return CLI_USAGE;
    }
    int rc = args_parse(cli->commands, argc, argv, &cli->args, &error);
    if (rc < 0) {
        return cli_say(CLI_USAGE, "%s", error.detail);
    }
    if (args_given(&cli->args, "help")) {
        if (cli->args.words[0]) {
            help_about(cli->commands, cli->args.words, stdout);
        } else {
            help_overview(cli->commands, stdout);
        }
        return CLI_OK;
    }
    if (args_given(&cli->args, "version")) {
        return run_version(cli);
    }
    enum exit_code code = prepare(cli);
    return code == CLI_OK ? (enum exit_code)cli->args.command->run(cli) : code;
}

/* Passwords and tokens pass through JSON: nothing of it stays in freed memory. */
static void free_wiped(void *p)
{
    mem_wipe(p, p ? malloc_usable_size(p) : 0);
    free(p);
}

int main(int argc, char **argv)
{
    _cleanup_free_ const struct kind **kinds = kinds_new();

    setlocale(LC_CTYPE, "");
    json_set_alloc_funcs(malloc, free_wiped); /* before the first document is made */
    struct commands *commands = commands_new(kinds, FIXED_COMMANDS);
    struct cli cli = {.kinds = kinds, .commands = commands};
    curl_global_init(CURL_GLOBAL_DEFAULT);
    enum exit_code code = run(&cli, argc, argv);
    client_free(cli.client);
    config_done(&cli.config);
    args_done(&cli.args);
    commands_free(commands);
    curl_global_cleanup();
    /* What was printed must have arrived: a full disk behind > isn't success. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        code = code == CLI_OK ? cli_say(CLI_REFUSED, "cannot write to standard output") : code;
    }
    return code;
}
