/* completion.c - scripts for bash and zsh, from the same table that the parser reads.
 *
 * One function maps the words so far to what may follow. It is written in the part of the language
 * that both shells share; only the glue differs. */
#include <string.h>

#include "cli/cli.h"

static void word(void *arg, const char *text)
{
    fprintf(arg, " %s", text);
}

/* Words made of letters, digits and hyphens, so nothing needs quoting. */
static void print_case(const struct commands *commands, const char *words, FILE *stream)
{
    fprintf(stream, "    '%s') echo", words);
    commands_next_words(commands, words, word, stream);
    fputs(" ;;\n", stream);
}

static void print_words(const struct commands *commands, FILE *stream)
{
    fputs("_cnsmo_words() {\n    case \"$1\" in\n", stream);
    print_case(commands, "", stream);
    for (size_t i = 0; i < commands_len(commands); i++) {
        const char *words = commands_at(commands, i)->words;
        /* Every beginning of the command's words, once: where the first such command stands. */
        for (const char *blank = strchr(words, ' '); blank; blank = strchr(blank + 1, ' ')) {
            char begin[128];
            size_t size = (size_t)(blank - words);
            snprintf(begin, sizeof begin, "%.*s", (int)size, words);
            int is_first = 1;
            for (size_t j = 0; j < i && is_first; j++) {
                const char *other = commands_at(commands, j)->words;
                is_first = strncmp(other, words, size + 1) != 0;
            }
            if (is_first) {
                print_case(commands, begin, stream);
            }
        }
    }
    fputs("    'completion') echo bash zsh ;;\n    esac\n}\n", stream);
}

static void print_options(const struct commands *commands, FILE *stream)
{
    fputs("_cnsmo_options() {\n    case \"$1\" in\n", stream);
    for (size_t i = 0; i < commands_len(commands); i++) {
        const struct command *command = commands_at(commands, i);
        const struct option *option;
        fprintf(stream, "    '%s') echo", command->words);
        for (size_t j = 0; (option = command_option(command, j)); j++) {
            fprintf(stream, " --%s", option->name);
        }
        fputs(" ;;\n", stream);
    }
    fputs("    esac\n}\n", stream);
}

static int is_global(const struct option *option)
{
    for (const struct option *global = GLOBAL_OPTIONS; global->name; global++) {
        if (global == option) {
            return 1;
        }
    }
    return 0;
}

/* Values of options that have a fixed set of them: "a|b|c". */
static void print_values(const struct commands *commands, FILE *stream)
{
    fputs("_cnsmo_values() {\n    case \"$1 $2\" in\n    *' --output'|*' -o') echo table json "
          "jsonl ;;\n",
          stream);
    for (size_t i = 0; i < commands_len(commands); i++) {
        const struct command *command = commands_at(commands, i);
        const struct option *option;
        for (size_t j = 0; (option = command_option(command, j)) && !is_global(option); j++) {
            if (!option->value || !strchr(option->value, '|')) {
                continue;
            }
            fprintf(stream, "    '%s --%s') echo ", command->words, option->name);
            for (const char *c = option->value; *c; c++) {
                fputc(*c == '|' ? ' ' : *c, stream);
            }
            fputs(" ;;\n", stream);
        }
    }
    fputs("    esac\n}\n", stream);
}

/* The candidates for the word after "$@" that begins with $1. */
static const char COMMON[] =
    "_cnsmo_candidates() {\n"
    "    local current=\"$1\" found='' last='' w next\n"
    "    shift\n"
    "    for w in \"$@\"; do\n"
    "        last=\"$w\"\n"
    "        next=\"$found${found:+ }$w\"\n"
    "        if [ -n \"$(_cnsmo_words \"$next\")$(_cnsmo_options \"$next\")\" ]; then\n"
    "            found=\"$next\"\n"
    "        fi\n"
    "    done\n"
    "    case \"$last\" in\n"
    "    -*) w=\"$(_cnsmo_values \"$found\" \"$last\")\"\n"
    "        if [ -n \"$w\" ]; then echo \"$w\"; return; fi ;;\n"
    "    esac\n"
    "    case \"$current\" in\n"
    "    -*) _cnsmo_options \"$found\" ;;\n"
    "    *) _cnsmo_words \"$found\" ;;\n"
    "    esac\n"
    "}\n";

static void print_common(const struct commands *commands, FILE *stream)
{
    print_words(commands, stream);
    print_options(commands, stream);
    print_values(commands, stream);
    fputs(COMMON, stream);
}

void completion_bash(const struct commands *commands, FILE *stream)
{
    fputs("# bash completion of cnsmo; made by `cnsmo completion bash`.\n", stream);
    print_common(commands, stream);
    fputs("_cnsmo() {\n"
          "    local current=\"${COMP_WORDS[COMP_CWORD]}\"\n"
          "    local before=(\"${COMP_WORDS[@]:1:COMP_CWORD-1}\")\n"
          "    COMPREPLY=($(compgen -W \"$(_cnsmo_candidates \"$current\" \"${before[@]}\")\" -- "
          "\"$current\"))\n"
          "}\n"
          "complete -o default -F _cnsmo cnsmo\n",
          stream);
}

void completion_zsh(const struct commands *commands, FILE *stream)
{
    fputs("#compdef cnsmo\n# zsh completion of cnsmo; made by `cnsmo completion zsh`.\n", stream);
    print_common(commands, stream);
    fputs("_cnsmo() {\n"
          "    local -a candidates\n"
          "    candidates=(${=\"$(_cnsmo_candidates \"${words[CURRENT]}\" "
          "${words[2,CURRENT-1]})\"})\n"
          "    if (( ${#candidates} )); then compadd -- $candidates; else _files; fi\n"
          "}\n"
          "if [ \"$funcstack[1]\" = _cnsmo ]; then _cnsmo \"$@\"; else compdef _cnsmo cnsmo; fi\n",
          stream);
}

int run_completion(struct cli *cli)
{
    const char *shell = cli->args.arguments[0];

    if (strcmp(shell, "bash") == 0) {
        completion_bash(cli->commands, stdout);
    } else if (strcmp(shell, "zsh") == 0) {
        completion_zsh(cli->commands, stdout);
    } else {
        return cli_say(CLI_USAGE, "there is completion for bash and zsh, not for \"%s\"", shell);
    }
    return CLI_OK;
}
