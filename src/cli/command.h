/* command.h - what can be typed: one table of commands, most of them made from the kinds' schemas.
 *
 * Help, completion and the parser read the same table, so they can't disagree. A kind gives its
 * noun the verbs that fit its traits, and every member of its schema is an option of `add` and
 * `set`:
 *
 *     struct commands *commands = commands_new(KINDS, FIXED_COMMANDS);
 *     const struct command *command = commands_find(commands, "node add");
 *     ...
 *     commands_free(commands);
 *
 * Everything found is borrowed and lives as long as the table. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "model/kind.h"

struct cli;

enum option_takes {
    TAKES_NOTHING,
    TAKES_VALUE,
    TAKES_OPTIONAL, /* --wait or --wait=5 */
};

struct option {
    const char *name; /* without the dashes */
    char letter;      /* 'o' for -o; 0: none */
    enum option_takes takes;
    const char *value; /* what help calls the value; NULL if it takes none */
    const char *help;  /* one sentence or more */

    /* Of an option made from a member of a spec, or short for one; else NULL and 0. */
    const char *path;     /* "address", or "check/interval" for a nested one */
    const json_t *schema; /* of the member, borrowed from the kind's; NULL: a text */
    int negated;          /* --no-hub */
    int from_file;        /* the value is the name of a file that holds it: secrets */
};

/* Runs a command; gives an enum exit_code (cli.h). */
typedef int command_fn(struct cli *cli);

struct command {
    const char *words;     /* "node add" */
    const char *arguments; /* for help: "[ID]" */
    const char *summary;   /* a sentence or more; the first one stands in lists */
    unsigned arguments_min, arguments_max;
    const struct option *fixed;   /* ended by .name NULL; may be NULL */
    const struct kind *kind;      /* NULL: not about objects of a kind */
    const struct option *members; /* made from the kind's schema; NULL: none */
    size_t members_len;
    /* Of a command that makes an object: the members that the schema requires, in its order. They
     * may be given as arguments after the id: "dns record add web 10.77.0.3". */
    const struct option *const *required;
    size_t required_len;
    command_fn *run;
};

struct commands;

enum {
    ARGUMENTS_MANY = 4096, /* arguments_max of a command that takes a list */
};

/* `kinds` is NULL-terminated, `fixed` ends with .words NULL; both live on. Aborts if a schema
 * isn't valid JSON: they are built in. */
struct commands *commands_new(const struct kind *const *kinds, const struct command *fixed);
void commands_free(struct commands *commands);

size_t commands_len(const struct commands *commands);
const struct command *commands_at(const struct commands *commands, size_t i);
const struct command *commands_find(const struct commands *commands, const char *words);

/* Is there a command whose words begin with these? "" always; "node"; not "nod". */
int commands_is_prefix(const struct commands *commands, const char *words);

/* Calls `each` once for every word that may follow `words`, in the table's order. */
void commands_next_words(const struct commands *commands, const char *words,
                         void (*each)(void *arg, const char *word), void *arg);

/* Options that every command takes; ended by .name NULL. */
extern const struct option GLOBAL_OPTIONS[];

/* The i-th option of a command, its members' first and the global ones last; NULL past the end. */
const struct option *command_option(const struct command *command, size_t i);
