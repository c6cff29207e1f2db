/* help.c - help, from the same table that the parser reads. */
#include <string.h>

#include "cli/cli.h"
#include "lib/buf.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    WIDTH = 80,
    WORD_COLUMN = 26, /* where explanations begin */
};

/* Prints words wrapped at WIDTH, the following lines indented; the line stands at `indent`. */
static void wrap(FILE *stream, const char *text, unsigned indent)
{
    unsigned at = indent;

    while (*text) {
        size_t size = strcspn(text, " ");
        if (at > indent && at + 1 + size > WIDTH) {
            fprintf(stream, "\n%*s", (int)indent, "");
            at = indent;
        } else if (at > indent) {
            fputc(' ', stream);
            at++;
        }
        fprintf(stream, "%.*s", (int)size, text);
        at += (unsigned)size;
        text += size;
        text += strspn(text, " ");
    }
    fputc('\n', stream);
}

/* A word or option on the left, what it is on the right. */
static void entry(FILE *stream, const char *left, const char *right)
{
    int at = fprintf(stream, "  %s", left);

    if (at + 2 > WORD_COLUMN) {
        fputc('\n', stream);
        at = 0;
    }
    fprintf(stream, "%*s", WORD_COLUMN - at, "");
    wrap(stream, right, WORD_COLUMN);
}

/* The first sentence, without its stop. */
static char *first_sentence(const char *text)
{
    const char *stop = strstr(text, ". ");
    size_t size = stop ? (size_t)(stop - text) : strlen(text);

    if (size > 0 && text[size - 1] == '.') {
        size--;
    }
    return xstrndup(text, size);
}

static void list_commands(const struct commands *commands, const char *words, FILE *stream)
{
    size_t size = strlen(words);

    for (size_t i = 0; i < commands_len(commands); i++) {
        const struct command *command = commands_at(commands, i);
        int is_under = strncmp(command->words, words, size) == 0 &&
                       (size == 0 || command->words[size] == ' ' || !command->words[size]);
        if (is_under) {
            _cleanup_free_ char *summary = first_sentence(command->summary);
            entry(stream, command->words, summary);
        }
    }
}

static const char EXIT_CODES[] =
    "Exit codes:\n"
    "  0  done\n"
    "  1  the server refused or failed, or something here went wrong\n"
    "  2  the command line is wrong; nothing was changed\n"
    "  3  not logged in, or not allowed\n"
    "  4  the server can't be reached or trusted\n"
    "  5  done, but not in force everywhere within --wait\n";

static void print_option(FILE *stream, const struct option *option)
{
    char letter[8] = "";

    if (option->negated) {
        return; /* stands with the one it negates */
    }
    if (option->letter) {
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    }
    int is_boolean = option->path && option->takes == TAKES_OPTIONAL;
    const char *before = option->takes == TAKES_OPTIONAL ? "[=" : " ";
    _cleanup_free_ char *left =
        is_boolean ? xasprintf("--%s, --no-%s", option->name, option->name)
                   : xasprintf("%s--%s%s%s%s", letter, option->name, option->value ? before : "",
                               option->value ? option->value : "",
                               option->value && before[0] == '[' ? "]" : "");
    const json_t *fallback = json_object_get(option->schema, "default");
    _cleanup_free_ char *standard = fallback ? cell_text(fallback) : NULL;
    _cleanup_free_ char *right = standard && strcmp(standard, "-") != 0
                                     ? xasprintf("%s Default: %s.", option->help, standard)
                                     : xstrdup(option->help);
    entry(stream, left, right);
}

static void print_global(FILE *stream)
{
    fputs("\nOptions of every command:\n", stream);
    for (const struct option *option = GLOBAL_OPTIONS; option->name; option++) {
        print_option(stream, option);
    }
}

struct overview {
    const struct commands *commands;
    FILE *stream;
    int nouns; /* nouns with their verbs, or whole commands? */
};

static void add_word(void *arg, const char *word)
{
    struct buf *list = arg;
    buf_printf(list, "%s%s", list->size ? ", " : "", word);
}

static void overview_word(void *arg, const char *word)
{
    const struct overview *overview = arg;
    const struct command *command = commands_find(overview->commands, word);

    if (command && !overview->nouns) {
        _cleanup_free_ char *summary = first_sentence(command->summary);
        entry(overview->stream, word, summary);
    } else if (!command && overview->nouns) {
        _cleanup_buf_ struct buf list = BUF_INIT(1024);
        commands_next_words(overview->commands, word, add_word, &list);
        entry(overview->stream, word, list.data ? list.data : "");
    }
}

void help_overview(const struct commands *commands, FILE *stream)
{
    struct overview overview = {commands, stream, 1};

    fputs("Usage: cnsmo COMMAND [ARGUMENT...] [OPTION...]\n\n"
          "Objects, and what can be done with them:\n",
          stream);
    commands_next_words(commands, "", overview_word, &overview);
    fputs("\nCommands:\n", stream);
    overview.nouns = 0;
    commands_next_words(commands, "", overview_word, &overview);
    print_global(stream);
    fputs("\nEnvironment: CNSMO_URL, CNSMO_CA, CNSMO_TOKEN, CNSMO_USER, CNSMO_PASSWORD,\n"
          "NO_COLOR.\n\n",
          stream);
    fputs(EXIT_CODES, stream);
    fputs("\n\"cnsmo help COMMAND\" explains one; the manual is cnsmo(1).\n", stream);
}

static void about_command(const struct command *command, FILE *stream)
{
    const struct option *option;

    fprintf(stream, "Usage: cnsmo %s%s%s [OPTION...]\n\n", command->words,
            command->arguments[0] ? " " : "", command->arguments);
    wrap(stream, command->summary, 0);
    for (size_t i = 0; (option = command_option(command, i)) && option != GLOBAL_OPTIONS; i++) {
        if (i == 0) {
            fputs("\nOptions:\n", stream);
        }
        print_option(stream, option);
    }
    print_global(stream);
}

int help_about(const struct commands *commands, const char *words, FILE *stream)
{
    const struct command *command = commands_find(commands, words);

    if (command) {
        about_command(command, stream);
        return 1;
    }
    if (!commands_is_prefix(commands, words)) {
        return 0;
    }
    fprintf(stream, "Usage: cnsmo %s ...\n\nCommands:\n", words);
    list_commands(commands, words, stream);
    fprintf(stream, "\n\"cnsmo help %s ...\" explains one.\n", words);
    return 1;
}

int run_version(struct cli *cli)
{
    puts("cnsmo " CNSMO_VERSION);
    return CLI_OK;
}

int run_help(struct cli *cli)
{
    _cleanup_free_ char *words = xstrdup("");

    for (unsigned i = 0; i < cli->args.arguments_len; i++) {
        char *longer = xasprintf("%s%s%s", words, i ? " " : "", cli->args.arguments[i]);
        free(words);
        words = longer;
    }
    if (!words[0]) {
        help_overview(cli->commands, stdout);
        return CLI_OK;
    }
    if (!help_about(cli->commands, words, stdout)) {
        return cli_say(CLI_USAGE, "no command \"%s\"; \"cnsmo help\" lists them", words);
    }
    return CLI_OK;
}
