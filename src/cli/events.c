/* events.c - what happened: the newest events, and those to come. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/sse.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    LIMIT_DEFAULT = 50,
    LIMIT_MAX = 10000,
};

static enum exit_code limit_of(const struct cli *cli, size_t *ret_limit)
{
    const char *text = args_value(&cli->args, "limit", NULL);
    char *end = NULL;
    long limit = text ? strtol(text, &end, 10) : LIMIT_DEFAULT;

    if (limit < 1 || limit > LIMIT_MAX || (end && *end)) {
        return cli_say(CLI_USAGE, "--limit takes 1 to %d, not \"%s\"", LIMIT_MAX, text);
    }
    *ret_limit = (size_t)limit;
    return CLI_OK;
}

/* The server lists the newest first; people read the other way. */
static enum exit_code prepend(struct cli *cli, const json_t *items, void *arg)
{
    size_t i;
    json_t *item;

    json_array_foreach ((json_t *)items, i, item) {
        json_array_insert(arg, 0, item);
    }
    return CLI_OK;
}

/* --- following --- */

struct follower {
    struct cli *cli;
    size_t limit;
    json_int_t printed; /* revision of the newest event that was printed */
    enum exit_code code;
};

static void print_field(const json_t *spec, const char *key, const char *after)
{
    print_text(stdout, json_get_string(spec, key, "-"));
    fputs(after, stdout);
}

/* One line, as it comes: a table can't be laid out before its end is known. */
static void print_event(const struct cli *cli, const json_t *object)
{
    const json_t *spec = json_object_get(object, "spec");

    if (cli->output != OUTPUT_TABLE) {
        print_json(cli, object);
        return;
    }
    print_field(spec, "time", "  ");
    print_field(spec, "actor", "  ");
    print_field(spec, "source", "  ");
    print_field(spec, "reason", "  ");
    print_field(spec, "subject", "  ");
    print_field(spec, "message", "\n");
}

static void print_once(struct follower *follower, const json_t *object)
{
    json_int_t revision = json_get_integer(object, "revision", 0);

    if (revision > follower->printed) {
        print_event(follower->cli, object);
        follower->printed = revision;
    }
}

/* What was before the stream began, asked on a connection of its own: the stream has the other. */
static void print_past(struct follower *follower)
{
    struct cli other = *follower->cli;
    json_t *items = json_array(), *item;
    size_t i;

    other.client = NULL;
    follower->code = cli_pages(&other, "events", "", follower->limit, prepend, items);
    json_array_foreach (items, i, item) {
        print_once(follower, item);
    }
    json_decref(items);
    client_free(other.client);
}

static int on_event(void *arg, const char *event, const char *data)
{
    struct follower *follower = arg;
    json_t *json = NULL;

    if (strcmp(event, "ready") == 0) {
        print_past(follower); /* now nothing can be missed; what comes twice is seen by revision */
    } else if (strcmp(event, "put") == 0 && json_parse(data, strlen(data), &json, NULL) == 0) {
        print_once(follower, json_object_get(json, "object"));
    }
    fflush(stdout);
    json_decref(json);
    return follower->code != CLI_OK;
}

static int feed(void *arg, const char *data, size_t size)
{
    return sse_feed(arg, data, size);
}

static enum exit_code follow(struct cli *cli, size_t limit)
{
    struct follower follower = {.cli = cli, .limit = limit};
    struct sse sse = SSE_INIT(on_event, &follower);
    struct error error = {0};
    enum exit_code code = cli_connect(cli);

    if (cli->output == OUTPUT_JSON) {
        cli->output = OUTPUT_JSONL; /* an array without an end is of no use */
    }
    if (code == CLI_OK) {
        code = client_stream(cli->client, API "/watch?kinds=events", feed, &sse, &error);
        code = code != CLI_OK            ? cli_fail(cli, code, &error)
               : follower.code != CLI_OK ? follower.code
                                         : cli_say(CLI_UNREACHABLE, "the server ended the stream");
    }
    sse_done(&sse);
    return code;
}

int run_events(struct cli *cli)
{
    json_t *items = json_array();
    size_t limit = 0;
    enum exit_code code = limit_of(cli, &limit);

    if (code == CLI_OK && args_given(&cli->args, "follow")) {
        code = follow(cli, limit);
    } else if (code == CLI_OK) {
        code = cli_pages(cli, "events", "", limit, prepend, items);
        if (code == CLI_OK) {
            print_list(cli, kind_named(cli->kinds, "events"), items);
        }
    }
    json_decref(items);
    return code;
}
