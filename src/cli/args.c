#include "cli/args.h"

#include <string.h>

#include "cli/nearest.h"
#include "lib/buf.h"
#include "lib/mem.h"

struct parser {
    const struct commands *commands;
    struct args *args;
    char *const *argv;
    int argc;
    int next;        /* index of the argument to take */
    int words_ended; /* an argument of the command has come */
};

/* --- words --- */

static void try_word(void *arg, const char *word)
{
    nearest_try(arg, word);
}

static void list_word(void *arg, const char *word)
{
    struct buf *list = arg;
    buf_printf(list, "%s%s", list->size ? ", " : "", word);
}

static int unknown_word(const struct parser *p, const char *word, struct error *error)
{
    struct nearest nearest = {.word = word};
    const char *words = p->args->words;
    const char *blank = words[0] ? " " : "";

    commands_next_words(p->commands, words, try_word, &nearest);
    if (nearest.best[0]) {
        return error_set(error, 400, NULL, "no command \"%s%s%s\"; did you mean \"%s%s%s\"?",
                         words, blank, word, words, blank, nearest.best);
    }
    if (!words[0]) {
        return error_set(error, 400, NULL, "no command \"%s\"; \"cnsmo help\" lists them", word);
    }
    _cleanup_buf_ struct buf list = BUF_INIT(400);
    commands_next_words(p->commands, words, list_word, &list);
    return error_set(error, 400, NULL, "no command \"%s %s\"; there are: %s", words, word,
                     list.data);
}

static void add_argument(struct args *args, const char *text)
{
    args->arguments =
        xrealloc(args->arguments, (args->arguments_len + 1) * sizeof *args->arguments);
    args->arguments[args->arguments_len++] = text;
}

static void note_word(void *arg, const char *word)
{
    int *found = arg;
    *found = 1;
}

static int has_next_word(const struct parser *p)
{
    int found = 0;

    commands_next_words(p->commands, p->args->words, note_word, &found);
    return found;
}

static int take_word(struct parser *p, const char *word, struct error *error)
{
    struct args *args = p->args;

    if (!p->words_ended) {
        _cleanup_free_ char *words =
            xasprintf("%s%s%s", args->words, args->words[0] ? " " : "", word);
        if (word[0] && commands_is_prefix(p->commands, words)) {
            free(args->words);
            args->words = TAKE(words);
            args->command = commands_find(p->commands, args->words);
            return 0;
        }
        /* "settings show" is a command, "settings show overlya" was meant to be a longer one. */
        if (!args->command || (args->command->arguments_max == 0 && has_next_word(p))) {
            return unknown_word(p, word, error);
        }
        p->words_ended = 1;
    }
    if (!word[0]) {
        return error_set(error, 400, NULL, "an argument of \"%s\" is empty", args->words);
    }
    add_argument(args, word);
    return 0;
}

/* --- options --- */

static const struct option *option_at(const struct args *args, size_t i)
{
    static const struct command NONE = {0};
    return command_option(args->command ? args->command : &NONE, i);
}

static int unknown_option(const struct args *args, const char *name, struct error *error)
{
    struct nearest nearest = {.word = name};
    const struct option *option;

    for (size_t i = 0; (option = option_at(args, i)); i++) {
        nearest_try(&nearest, option->name);
    }
    if (nearest.best[0]) {
        return error_set(error, 400, NULL, "no option --%s here; did you mean --%s?", name,
                         nearest.best);
    }
    return error_set(error, 400, NULL, "no option --%s here; \"cnsmo%s%s --help\" lists them",
                     name, args->words[0] ? " " : "", args->words);
}

static void add_given(struct args *args, const struct option *option, const char *value)
{
    args->given = xrealloc(args->given, (args->given_len + 1) * sizeof *args->given);
    args->given[args->given_len++] = (struct given){option, value};
}

/* `attached` is the value that came with the option itself; NULL: none. */
static int take_value(struct parser *p, const struct option *option, const char *attached,
                      struct error *error)
{
    if (option->takes == TAKES_NOTHING && attached) {
        return error_set(error, 400, NULL, "--%s takes no value", option->name);
    }
    if (option->takes == TAKES_VALUE && !attached) {
        if (p->next == p->argc) {
            return error_set(error, 400, NULL, "--%s needs a value (%s)", option->name,
                             option->value);
        }
        attached = p->argv[p->next++];
    }
    add_given(p->args, option, attached);
    return 0;
}

static int take_long(struct parser *p, const char *text, struct error *error)
{
    size_t size = strcspn(text, "=");
    const char *value = text[size] ? text + size + 1 : NULL;
    const struct option *option;

    for (size_t i = 0; (option = option_at(p->args, i)); i++) {
        if (strlen(option->name) == size && strncmp(option->name, text, size) == 0) {
            if (option->negated && value) {
                return error_set(error, 400, NULL, "--%s takes no value", option->name);
            }
            return take_value(p, option, value, error);
        }
    }
    _cleanup_free_ char *name = xstrndup(text, size);
    return unknown_option(p->args, name, error);
}

/* "-ojson", "-o json", "-h"; flags aren't bundled: there is only one. */
static int take_short(struct parser *p, const char *text, struct error *error)
{
    const struct option *option;

    for (size_t i = 0; (option = option_at(p->args, i)); i++) {
        if (option->letter == text[0]) {
            return take_value(p, option, text[1] ? text + 1 : NULL, error);
        }
    }
    return error_set(error, 400, NULL, "no option -%c here; \"cnsmo%s%s --help\" lists them",
                     text[0], p->args->words[0] ? " " : "", p->args->words);
}

static int take(struct parser *p, int *options_ended, struct error *error)
{
    const char *text = p->argv[p->next++];

    if (*options_ended || text[0] != '-' || !text[1]) {
        return take_word(p, text, error);
    }
    if (text[1] != '-') {
        return take_short(p, text + 1, error);
    }
    if (!text[2]) {
        *options_ended = 1;
        return 0;
    }
    return take_long(p, text + 2, error);
}

/* --- all of it --- */

static int check_count(const struct parser *p, struct error *error)
{
    const struct args *args = p->args;
    const struct command *command = args->command;

    if (!command) {
        _cleanup_buf_ struct buf list = BUF_INIT(400);
        commands_next_words(p->commands, args->words, list_word, &list);
        return error_set(error, 400, NULL, "%s%s: what about it? There are: %s",
                         args->words[0] ? args->words : "cnsmo", "", list.data ? list.data : "");
    }
    if (args->arguments_len < command->arguments_min ||
        args->arguments_len > command->arguments_max) {
        return error_set(
            error, 400, NULL, "%s %s: usage: cnsmo %s%s%s [OPTION...]", command->words,
            args->arguments_len > command->arguments_max ? "has too many arguments" : "needs more",
            command->words, command->arguments[0] ? " " : "", command->arguments);
    }
    return 0;
}

int args_parse(const struct commands *commands, int argc, char *const *argv, struct args *args,
               struct error *error)
{
    struct parser p = {.commands = commands, .args = args, .argv = argv, .argc = argc, .next = 1};
    int options_ended = 0;

    *args = (struct args){.words = xstrdup("")};
    while (p.next < argc) {
        int rc = take(&p, &options_ended, error);
        if (rc < 0) {
            return rc;
        }
    }
    return args_given(args, "help") || args_given(args, "version") ? 0 : check_count(&p, error);
}

void args_done(struct args *args)
{
    free(args->words);
    free(args->arguments);
    free(args->given);
    *args = (struct args){0};
}

const struct given *args_given(const struct args *args, const char *name)
{
    for (size_t i = args->given_len; i > 0; i--) {
        if (strcmp(args->given[i - 1].option->name, name) == 0) {
            return &args->given[i - 1];
        }
    }
    return NULL;
}

const char *args_value(const struct args *args, const char *name, const char *fallback)
{
    const struct given *given = args_given(args, name);
    return given && given->value ? given->value : fallback;
}
