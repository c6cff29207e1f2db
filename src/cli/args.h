/* args.h - the command line, taken apart by the table of commands.
 *
 * Our own parser and not argp: the options come from the kinds' schemas at run time, and what is
 * mistyped gets the nearest word as an answer. Words come first, options may stand anywhere,
 * "--" ends them. Long options may not be cut short (a script would break with the next one). */
#pragma once

#include <stddef.h>

#include "cli/command.h"
#include "lib/error.h"

struct given {
    const struct option *option;
    const char *value; /* NULL: none */
};

struct args {
    const struct command *command; /* NULL: `words` isn't a whole command */
    char *words;                   /* as far as they were understood: "node" */
    const char **arguments;        /* borrowed from argv */
    unsigned arguments_len;
    struct given *given; /* in the order of the command line */
    size_t given_len;
};

/* `argv` lives on. -EINVAL: *error has a sentence for the user; *args is valid then too, as far as
 * it goes (help may have been asked for). */
int args_parse(const struct commands *commands, int argc, char *const *argv, struct args *args,
               struct error *error);
void args_done(struct args *args);

/* The last one given with this name, NULL if none. */
const struct given *args_given(const struct args *args, const char *name);

/* Its value, or the fallback. */
const char *args_value(const struct args *args, const char *name, const char *fallback);
