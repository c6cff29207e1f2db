/* sdn.c - what sdn has beside the verbs of every kind: the flows that are really in a node's
 * bridge, a filter's counter as it rises, and the shorthands of "sdn filter add". */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/sse.h"
#include "lib/json.h"
#include "lib/mem.h"

/* --- sdn filter add --- */

/* A port is mostly one of TCP. */
static void default_protocol(json_t *spec)
{
    if (json_object_get(spec, "port") && !json_object_get(spec, "protocol")) {
        json_object_set_new(spec, "protocol", json_string("tcp"));
    }
}

int run_filter_add(struct cli *cli)
{
    return cli_add(cli, default_protocol);
}

/* --- sdn flows --- */

int run_flows(struct cli *cli)
{
    const char *node = args_value(&cli->args, "node", NULL);
    struct response response;

    if (!node) {
        return cli_say(CLI_USAGE, "--node is required: whose flows?");
    }
    _cleanup_free_ char *object = object_path("nodes", node);
    _cleanup_free_ char *path = xasprintf("%s/sdn/flows", object);
    enum exit_code code = cli_call(cli, "GET", path, NULL, 0, &response);
    if (code == CLI_OK && cli->output == OUTPUT_JSON) {
        print_json(cli, response.body);
    } else if (code == CLI_OK) {
        print_columns(cli,
                      "TABLE=table PRIORITY=priority OWNER=owner PACKETS=packets BYTES=bytes "
                      "MEANING=text",
                      json_object_get(response.body, "flows"));
        if (json_get_bool(response.body, "truncated", 0)) {
            fputs("cnsmo: there are more; these are the first ones\n", stderr);
        }
    }
    response_done(&response);
    return code;
}

/* --- sdn watch --- */

struct watching {
    struct cli *cli;
    const char *id;
    char *counter;      /* "sdn/filter/7" */
    json_int_t packets; /* printed last; -1: nothing yet */
    enum exit_code code;
};

/* One line for each time it has risen: a table can't be laid out before its end is known. */
static void print_rise(struct watching *w, json_int_t packets, json_int_t bytes)
{
    if (packets == w->packets) {
        return;
    }
    if (w->cli->output != OUTPUT_TABLE) {
        json_t *line =
            json_pack("{s:s, s:I, s:I}", "id", w->id, "packets", packets, "bytes", bytes);
        print_json(w->cli, line);
        json_decref(line);
    } else if (w->packets < 0) {
        printf("%lld packets, %lld bytes\n", (long long)packets, (long long)bytes);
    } else {
        printf("%lld packets, %lld bytes (%+lld)\n", (long long)packets, (long long)bytes,
               (long long)(packets - w->packets));
    }
    fflush(stdout);
    w->packets = packets;
}

/* The sum over all nodes, asked for on a connection of its own: the stream has the other. */
static void look(struct watching *w)
{
    struct cli other = *w->cli;
    _cleanup_free_ char *path = object_path("sdn/filters", w->id);
    struct response response;

    other.client = NULL;
    w->code = cli_call(&other, "GET", path, NULL, 0, &response);
    if (w->code == CLI_OK) {
        const json_t *status = json_object_get(response.body, "status");
        print_rise(w, json_get_integer(status, "packets", 0),
                   json_get_integer(status, "bytes", 0));
    }
    response_done(&response);
    client_free(other.client);
}

static int concerns(const struct watching *w, const char *event, const json_t *data)
{
    if (strcmp(event, "counters") == 0) {
        return json_object_get(json_object_get(data, "totals"), w->counter) != NULL;
    }
    return strcmp(event, "delete") == 0 && strcmp(json_get_string(data, "id", ""), w->id) == 0;
}

static int on_event(void *arg, const char *event, const char *text)
{
    struct watching *w = arg;
    json_t *data = NULL;

    if (json_parse(text, strlen(text), &data, NULL) == 0 &&
        (strcmp(event, "ready") == 0 || concerns(w, event, data))) {
        look(w);
    }
    json_decref(data);
    return w->code != CLI_OK;
}

static int feed(void *arg, const char *data, size_t size)
{
    return sse_feed(arg, data, size);
}

int run_watch(struct cli *cli)
{
    struct watching w = {.cli = cli, .id = cli->args.arguments[0], .packets = -1};
    struct sse sse = SSE_INIT(on_event, &w);
    struct error error = {0};
    enum exit_code code = cli_connect(cli);

    w.counter = xasprintf("sdn/filter/%s", w.id);
    if (cli->output == OUTPUT_JSON) {
        cli->output = OUTPUT_JSONL; /* an array without an end is of no use */
    }
    if (code == CLI_OK) {
        code = client_stream(cli->client, API "/watch?kinds=counters,sdn/filters", feed, &sse,
                             &error);
        code = code != CLI_OK     ? cli_fail(cli, code, &error)
               : w.code != CLI_OK ? w.code
                                  : cli_say(CLI_UNREACHABLE, "the server ended the stream");
    }
    sse_done(&sse);
    free(w.counter);
    return code;
}
