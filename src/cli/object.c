/* object.c - list, show, add, set, label and delete: the same for every kind. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/spec.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"

/* --- reading --- */

/* "a=b" as one field of a query under `prefix`. NULL if it has no '='. */
static char *query_field(const char *prefix, const char *pair, int keep_equals)
{
    const char *equals = strchr(pair, '=');

    if (!equals || equals == pair) {
        return NULL;
    }
    if (keep_equals) {
        _cleanup_free_ char *value = url_escape(pair);
        return xasprintf("%s=%s", prefix, value);
    }
    _cleanup_free_ char *name = xstrndup(pair, (size_t)(equals - pair));
    _cleanup_free_ char *field = url_escape(name);
    _cleanup_free_ char *value = url_escape(equals + 1);
    return xasprintf("%s%s=%s", prefix, field, value);
}

static enum exit_code list_query(const struct cli *cli, char **ret_query)
{
    _cleanup_free_ char *query = xstrdup("");

    for (size_t i = 0; i < cli->args.given_len; i++) {
        const struct given *given = &cli->args.given[i];
        int label = strcmp(given->option->name, "label") == 0;
        if (!label && strcmp(given->option->name, "filter") != 0) {
            continue;
        }
        _cleanup_free_ char *field = query_field(label ? "label" : "spec.", given->value, label);
        if (!field) {
            return cli_say(CLI_USAGE, "--%s takes %s, not \"%s\"", given->option->name,
                           given->option->value, given->value);
        }
        char *longer = xasprintf("%s%s%s", query, query[0] ? "&" : "", field);
        free(query);
        query = longer;
    }
    *ret_query = TAKE(query);
    return CLI_OK;
}

static enum exit_code print_page(struct cli *cli, const json_t *items, void *arg)
{
    print_list(cli, arg, items);
    return CLI_OK;
}

static int by_number(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    long long left = strtoll(json_get_string(x, "id", ""), NULL, 10),
              right = strtoll(json_get_string(y, "id", ""), NULL, 10);

    return (left > right) - (left < right);
}

/* The server's order is that of texts, in which 10 comes before 2. */
static json_t *sort_counted(json_t *items)
{
    size_t len = json_array_size(items), i;
    json_t **sorted = xcalloc(len + 1, sizeof(json_t *)), *item, *result = json_array();

    json_array_foreach (items, i, item) {
        sorted[i] = item;
    }
    qsort(sorted, len, sizeof *sorted, by_number);
    for (i = 0; i < len; i++) {
        json_array_append(result, sorted[i]);
    }
    free(sorted);
    json_decref(items);
    return result;
}

int run_list(struct cli *cli)
{
    const struct kind *kind = cli->args.command->kind;
    _cleanup_free_ char *query = NULL;
    json_t *items = NULL;
    enum exit_code code = list_query(cli, &query);

    if (code == CLI_OK && cli->output == OUTPUT_JSONL) {
        return cli_pages(cli, kind->name, query, 0, print_page, (void *)kind); /* as they come */
    }
    if (code == CLI_OK) {
        code = cli_list(cli, kind->name, query, &items);
    }
    if (code == CLI_OK) {
        items = kind->ids == KIND_ID_COUNTED ? sort_counted(items) : items;
        print_list(cli, kind, items);
        json_decref(items);
    }
    return code;
}

/* The id that the command is about: an argument, or the only one there is. */
static const char *id_of(const struct cli *cli)
{
    const struct kind *kind = cli->args.command->kind;

    if (kind->ids == KIND_ID_SINGLETON) {
        return kind->singleton_id;
    }
    return cli->args.arguments_len > 0 ? cli->args.arguments[0] : NULL;
}

int run_show(struct cli *cli)
{
    _cleanup_free_ char *path = object_path(cli->args.command->kind->name, id_of(cli));
    struct response response;
    enum exit_code code = cli_call(cli, "GET", path, NULL, 0, &response);

    if (code == CLI_OK) {
        print_object(cli, response.body);
    }
    response_done(&response);
    return code;
}

/* All of them; they have little in common, so each stands for itself. */
int run_settings(struct cli *cli)
{
    json_t *items = NULL, *item;
    size_t i;
    enum exit_code code = cli_list(cli, "settings", "", &items);

    if (code == CLI_OK && cli->output == OUTPUT_JSON) {
        print_json(cli, items);
    } else if (code == CLI_OK) {
        json_array_foreach (items, i, item) {
            fputs(i > 0 && cli->output == OUTPUT_TABLE ? "\n" : "", stdout);
            print_object(cli, item);
        }
    }
    json_decref(items);
    return code;
}

/* --- writing --- */

/* Of what was forced, and goes away again. */
static void tell_trial(const struct cli *cli, const json_t *object)
{
    const char *by = json_get_string(json_object_get(object, "status"), "confirmBy", NULL);

    if (by) {
        fprintf(stderr, "It is undone at %s unless you confirm it: cnsmo %s confirm %s\n", by,
                cli->args.command->kind->singular, json_get_string(object, "id", ""));
    }
}

/* The answer to a write: what would change, or the object (and whether it is in force). */
static enum exit_code print_written(const struct cli *cli, const struct write_options *options,
                                    const struct response *response)
{
    const struct kind *kind = cli->args.command->kind;
    const char *token = json_get_string(response->body, "token", NULL);

    if (options->dry_run) {
        print_deltas(cli, json_object_get(response->body, "deltas"));
        return CLI_OK;
    }
    if (token && cli->output == OUTPUT_TABLE) {
        /* Alone, so that it can stand in another command's $(...). */
        printf("%s\n", token);
        if (isatty(STDERR_FILENO)) {
            fprintf(stderr, strcmp(kind->name, "tokens") == 0
                                ? "It isn't shown again. On the machine that shall join: "
                                  "cnsmo-agent join TOKEN\n"
                                : "It isn't shown again. Programs send it as "
                                  "\"Authorization: Bearer\"; cnsmo takes it as CNSMO_TOKEN.\n");
        }
    } else if (response->body && json_object_get(response->body, "id")) {
        if (cli->output == OUTPUT_TABLE && kind->ids != KIND_ID_SINGLETON) {
            json_t *list = json_pack("[O]", response->body);
            print_list(cli, kind, list);
            json_decref(list);
        } else {
            print_object(cli, response->body);
        }
        tell_trial(cli, response->body);
    }
    return cli_waited(response);
}

enum exit_code cli_write(struct cli *cli, const char *method, const char *path, const json_t *body)
{
    struct write_options options;
    struct response response;
    enum exit_code code = write_options(cli, &options);

    if (code != CLI_OK) {
        return code;
    }
    _cleanup_free_ char *target = xasprintf("%s%s", path, options.query);
    code = cli_call(cli, method, target, body, options.wait_sec, &response);
    if (code == CLI_OK) {
        code = print_written(cli, &options, &response);
    }
    response_done(&response);
    return code;
}

static enum exit_code write_object(struct cli *cli, const char *method, const char *id,
                                   const json_t *body)
{
    _cleanup_free_ char *path = object_path(cli->args.command->kind->name, id);

    return cli_write(cli, method, path, body);
}

/* The arguments after the id are the members that the schema requires, in its order. */
static enum exit_code argument_spec(const struct cli *cli, json_t *spec, int64_t now_usec)
{
    const struct command *command = cli->args.command;
    unsigned ids = command->kind->ids == KIND_ID_NAMED;
    struct error error = {0};

    for (unsigned i = 0; i < command->required_len && ids + i < cli->args.arguments_len; i++) {
        const struct option *option = command->required[i];
        const char *value = cli->args.arguments[ids + i];
        if (args_given(&cli->args, option->name)) {
            return cli_say(CLI_USAGE, "\"%s\" or what --%s says? Give one of both", value,
                           option->name);
        }
        if (spec_set(spec, option, value, now_usec, &error) < 0) {
            return cli_say(CLI_USAGE, "%s", error.detail);
        }
    }
    return CLI_OK;
}

/* The members given on the command line. */
static enum exit_code given_spec(const struct cli *cli, json_t *spec)
{
    int64_t now_usec = clock_now_usec();
    struct error error = {0};

    for (size_t i = 0; i < cli->args.given_len; i++) {
        const struct given *given = &cli->args.given[i];
        if (given->option->path &&
            spec_set(spec, given->option, given->value, now_usec, &error) < 0) {
            return cli_say(CLI_USAGE, "%s", error.detail);
        }
    }
    return argument_spec(cli, spec, now_usec);
}

/* Secrets that every new object has and that weren't given are asked for, if somebody is there. */
static enum exit_code ask_secrets(const struct cli *cli, json_t *spec)
{
    const struct command *command = cli->args.command;

    for (size_t i = 0; i < command->members_len; i++) {
        const struct option *option = &command->members[i];
        if (!option->from_file || strchr(option->path, '/') ||
            json_object_get(spec, option->path) || !isatty(STDIN_FILENO)) {
            continue;
        }
        char *secret = NULL;
        _cleanup_free_ char *question = xasprintf("New %s: ", option->path);
        enum exit_code code = ask_password(cli, question, 1, &secret);
        if (code != CLI_OK) {
            return code;
        }
        json_object_set_new(spec, option->path, json_string(secret));
        free_secret(secret);
    }
    return CLI_OK;
}

enum exit_code cli_add(struct cli *cli, void (*complete)(json_t *spec))
{
    json_t *spec = json_object();
    json_t *body = json_pack("{s:o}", "spec", spec);
    int is_named = cli->args.command->kind->ids == KIND_ID_NAMED;
    enum exit_code code = given_spec(cli, spec);

    if (is_named && json_object_set_new(body, "id", json_string(cli->args.arguments[0])) < 0) {
        code = cli_say(CLI_USAGE, "the id is not valid UTF-8");
    }
    if (code == CLI_OK) {
        code = ask_secrets(cli, spec);
    }
    if (code == CLI_OK && complete) {
        complete(spec);
    }
    if (code == CLI_OK) {
        code = write_object(cli, "POST", NULL, body);
    }
    json_decref(body);
    return code;
}

int run_add(struct cli *cli)
{
    return cli_add(cli, NULL);
}

int run_set(struct cli *cli)
{
    json_t *spec = json_object();
    json_t *body = json_pack("{s:o}", "spec", spec);
    enum exit_code code = given_spec(cli, spec);

    if (code == CLI_OK && json_object_size(spec) == 0) {
        code = cli_say(CLI_USAGE, "nothing to set; \"cnsmo %s --help\" lists what can be",
                       cli->args.words);
    }
    if (code == CLI_OK) {
        code = write_object(cli, "PATCH", id_of(cli), body);
    }
    json_decref(body);
    return code;
}

int run_label(struct cli *cli)
{
    json_t *labels = json_object();
    json_t *body = json_pack("{s:{s:o}}", "spec", "labels", labels);
    json_t *text = json_pack("{s:s}", "type", "string");
    struct error error = {0};
    enum exit_code code = CLI_OK;

    for (unsigned i = 1; i < cli->args.arguments_len && code == CLI_OK; i++) {
        if (spec_set_pair(labels, text, cli->args.arguments[i], &error) < 0) {
            code = cli_say(CLI_USAGE, "a label %s", error.detail);
        }
    }
    if (code == CLI_OK) {
        code = write_object(cli, "PATCH", id_of(cli), body);
    }
    json_decref(text);
    json_decref(body);
    return code;
}

int run_confirm(struct cli *cli)
{
    _cleanup_free_ char *object =
        object_path(cli->args.command->kind->name, cli->args.arguments[0]);
    _cleanup_free_ char *path = xasprintf("%s/confirm", object);

    return cli_write(cli, "POST", path, NULL);
}

int run_delete(struct cli *cli)
{
    enum exit_code first = CLI_OK;

    /* One that can't be deleted doesn't keep the others: each is reported, the first one counts.
     */
    for (unsigned i = 0; i < cli->args.arguments_len; i++) {
        enum exit_code code = write_object(cli, "DELETE", cli->args.arguments[i], NULL);
        if (code == CLI_USAGE || code == CLI_UNREACHABLE || code == CLI_FORBIDDEN) {
            return code;
        }
        first = first == CLI_OK ? code : first;
    }
    return first;
}
