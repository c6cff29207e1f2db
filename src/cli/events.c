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

struct tail {
    json_t *items;
    size_t limit;
};

static enum exit_code keep_tail(struct cli *cli, const json_t *items, void *arg)
{
    struct tail *tail = arg;

    json_array_extend(tail->items, (json_t *)items);
    while (json_array_size(tail->items) > tail->limit) {
        json_array_remove(tail->items, 0);
    }
    return CLI_OK;
}

static enum exit_code limit_of(const struct cli *cli, size_t *ret_limit)
{
    const char *text = args_value(&cli->args, "limit", NULL);
    char *end = NULL;
    long limit = text ? strtol(text, &end, 10) : LIMIT_DEFAULT;

    if (limit < 0 || limit > LIMIT_MAX || (text && (*end || end == text))) {
        return cli_say(CLI_USAGE, "--limit takes 0 to %d, not \"%s\"", LIMIT_MAX, text);
    }
    *ret_limit = (size_t)limit;
    return CLI_OK;
}

static void print_field(const json_t *spec, const char *key, const char *after)
{
    print_text(stdout, json_get_string(spec, key, "-"));
    fputs(after, stdout);
}

/* One line, as it comes: a table can't be laid out before its end is known. */
static int print_event(void *arg, const char *event, const char *data)
{
    struct cli *cli = arg;
    json_t *json = NULL;

    if (json_parse(data, strlen(data), &json, NULL) < 0) {
        return 0;
    }
    const json_t *object = json_object_get(json, "object");
    object = object ? object : json;
    const json_t *spec = json_object_get(object, "spec");
    if (spec && cli->output != OUTPUT_TABLE) {
        json_dumpf(object, stdout, JSON_COMPACT);
        fputc('\n', stdout);
    } else if (spec) {
        print_field(spec, "time", "  ");
        print_field(spec, "actor", "  ");
        print_field(spec, "reason", "  ");
        print_field(spec, "subject", "  ");
        print_field(spec, "message", "\n");
    }
    fflush(stdout);
    json_decref(json);
    return 0;
}

static int feed(void *arg, const char *data, size_t size)
{
    return sse_feed(arg, data, size);
}

static enum exit_code follow(struct cli *cli)
{
    struct sse sse = SSE_INIT(print_event, cli);
    struct error error = {0};
    enum exit_code code =
        client_stream(cli->client, API "/watch?kinds=events", feed, &sse, &error);

    sse_done(&sse);
    return code != CLI_OK ? cli_fail(cli, code, &error)
                          : cli_say(CLI_UNREACHABLE, "the server ended the stream");
}

int run_events(struct cli *cli)
{
    struct tail tail = {.items = json_array()};
    enum exit_code code = limit_of(cli, &tail.limit);

    if (code == CLI_OK) {
        code = cli_pages(cli, "events", "", keep_tail, &tail);
    }
    int is_following = args_given(&cli->args, "follow") != NULL;
    if (code == CLI_OK && is_following && cli->output == OUTPUT_JSON) {
        cli->output = OUTPUT_JSONL; /* an array without an end is of no use */
    }
    if (code == CLI_OK) {
        print_list(cli, kind_named(cli->kinds, "events"), tail.items);
        fflush(stdout);
        code = is_following ? follow(cli) : CLI_OK;
    }
    json_decref(tail.items);
    return code;
}
