/* cli.h - what the commands of cnsmo share: the state of one run, asking the server, printing.
 *
 * A command is a function that gets the parsed command line, asks, prints and returns an exit
 * code. Results go to standard output, everything said to a person goes to standard error. Texts
 * that come from the server are printed without control characters. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "cli/args.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/config.h"
#include "cli/exit.h"

enum output {
    OUTPUT_TABLE,
    OUTPUT_JSON,  /* one document, indented */
    OUTPUT_JSONL, /* one line for each object */
};

struct cli {
    const struct kind *const *kinds; /* NULL-terminated */
    const struct commands *commands;
    struct args args;
    struct config config;
    enum output output;
    int color;
    struct client *client; /* NULL until first needed: cli_call() */
};

/* --- asking (cli.c) --- */

/* client_call() that says on standard error what went wrong. */
enum exit_code cli_call(struct cli *cli, const char *method, const char *path, const json_t *body,
                        unsigned wait_sec, struct response *response);

/* Makes the client; CLI_FORBIDDEN and a message if no server or login is known. */
enum exit_code cli_connect(struct cli *cli);

/* Prints "cnsmo: " and the sentence, with the field if there is one, and gives the code back. */
enum exit_code cli_fail(const struct cli *cli, enum exit_code code, const struct error *error);

/* The same for a sentence of our own. */
enum exit_code cli_say(enum exit_code code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Calls `each` for the pages of a list, up to `limit` objects (0: all); `query` ("label=a%3Db")
 * may be "". `each` gets one page's array. Stops when it doesn't give CLI_OK. */
typedef enum exit_code cli_page_fn(struct cli *cli, const json_t *items, void *arg);
enum exit_code cli_pages(struct cli *cli, const char *kind, const char *query, size_t limit,
                         cli_page_fn *each, void *arg);

/* All of them in one new array. */
enum exit_code cli_list(struct cli *cli, const char *kind, const char *query, json_t **ret_items);

/* "/api/v2/nodes/Agent.1"; `id` NULL: the list. The caller frees it. */
char *object_path(const char *kind, const char *id);

/* What --wait, --dry-run and --force ask for. */
struct write_options {
    unsigned wait_sec; /* 0: don't */
    int dry_run;
    char query[64]; /* "?wait=applied&timeout=10&force=true", or "" */
};
enum exit_code write_options(const struct cli *cli, struct write_options *options);

/* Says which nodes have not applied it, and gives CLI_WAITED, if the answer to a ?wait= says so.
 */
enum exit_code cli_waited(const struct response *response);

/* Sends one write of an object of the command's kind, with those options, and prints its answer
 * (object.c). */
enum exit_code cli_write(struct cli *cli, const char *method, const char *path,
                         const json_t *body);

/* Creates an object of the command's kind with the members that were given, after `complete` has
 * added to them what their short forms mean (object.c). It may be NULL. */
enum exit_code cli_add(struct cli *cli, void (*complete)(json_t *spec));

/* Makes a file of what `fill` writes to the descriptor, or fills standard output for "-" (file.c).
 * It is its owner's alone from the beginning (0600), and takes its name when it is whole: what was
 * there before is never half replaced. `fill` gives CLI_OK, or has said what is wrong. */
typedef enum exit_code cli_fill_fn(void *arg, int fd);
enum exit_code cli_write_file(const char *path, cli_fill_fn *fill, void *arg);
/* Writes all of it; a negative errno. */
int cli_write_all(int fd, const char *data, size_t size);

/* --- printing (print.c) --- */

void print_list(const struct cli *cli, const struct kind *kind, const json_t *items);
void print_object(const struct cli *cli, const json_t *object);
void print_json(const struct cli *cli, const json_t *json);
/* A list that is of no kind; columns as "HEADER=path HEADER=path". */
void print_columns(const struct cli *cli, const char *columns, const json_t *items);
void print_deltas(const struct cli *cli, const json_t *deltas);

/* A value as the text of a table's cell; the caller frees it. */
char *cell_text(const json_t *value);

/* Prints text from outside with control characters replaced. */
void print_text(FILE *stream, const char *text);

/* --- asking a person (prompt.c) --- */

/* A password from --password-file, else typed without echo (twice if `repeat`). CLI_USAGE and a
 * message if there is neither a file nor a terminal. The caller wipes and frees it. */
enum exit_code ask_password(const struct cli *cli, const char *question, int repeat,
                            char **ret_password);

/* --- help (help.c, completion.c) --- */

void help_overview(const struct commands *commands, FILE *stream);
/* About a command, or the commands that begin with these words. 0 if there is none. */
int help_about(const struct commands *commands, const char *words, FILE *stream);
void completion_bash(const struct commands *commands, FILE *stream);
void completion_zsh(const struct commands *commands, FILE *stream);

/* --- kinds (kinds.c) --- */

const struct kind **kinds_new(void); /* NULL-terminated; the caller frees the array */
/* NULL: none. */
const struct kind *kind_named(const struct kind *const *kinds, const char *name);

/* --- the commands themselves --- */

extern const struct command FIXED_COMMANDS[]; /* ended by .words NULL */

command_fn run_list, run_show, run_add, run_set, run_label, run_delete, run_confirm,
    run_settings;                                                           /* object.c */
command_fn run_login, run_logout, run_passwd;                               /* session.c */
command_fn run_status;                                                      /* status.c */
command_fn run_events;                                                      /* events.c */
command_fn run_export, run_apply;                                           /* apply.c */
command_fn run_backup;                                                      /* backup.c */
command_fn run_authority_list, run_authority_rollover;                      /* authority.c */
command_fn run_client_add, run_client_config, run_client_renew, run_rotate; /* vpn.c */
command_fn run_lb_renew;                                                    /* lb.c */
command_fn run_filter_add, run_flows, run_watch;                            /* sdn.c */
command_fn run_version, run_help;                                           /* help.c */
command_fn run_completion;                                                  /* completion.c */
