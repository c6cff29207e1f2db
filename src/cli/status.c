/* status.c - the deployment on one screen: the server, every node with its services, and what
 * needs attention. */
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    WATCH_EVERY_SEC = 2,
};

static void attend(json_t *attention, const char *node, const char *format, const char *a,
                   const char *b)
{
    _cleanup_free_ char *text = xasprintf(format, a, b);
    json_array_append_new(attention, json_pack("{s:s, s:s}", "node", node, "message", text));
}

static void attend_services(json_t *attention, const char *id, const json_t *services)
{
    const char *name;
    json_t *service;

    json_object_foreach ((json_t *)services, name, service) {
        const char *state = json_get_string(service, "state", "");
        const char *message = json_get_string(service, "message", "");
        if (strcmp(state, "running") != 0) {
            _cleanup_free_ char *what = xasprintf("%s is %s", name, state);
            attend(attention, id, message[0] ? "%s: %s" : "%s", what, message);
        }
    }
}

static void attend_node(json_t *attention, const json_t *node)
{
    const json_t *status = json_object_get(node, "status");
    const char *id = json_get_string(node, "id", "?");
    const char *seen = json_get_string(status, "lastSeen", NULL);
    size_t i;
    json_t *error;

    if (!json_get_bool(status, "connected", 0)) {
        attend(attention, id, seen ? "away since %s" : "has never connected", seen, NULL);
        return;
    }
    attend_services(attention, id, json_object_get(status, "services"));
    json_array_foreach (json_object_get(status, "errors"), i, error) {
        attend(attention, id, "%s: %s", json_get_string(error, "key", "error"),
               json_is_string(error) ? json_string_value(error)
                                     : json_get_string(error, "message", ""));
    }
    json_array_foreach (json_object_get(json_object_get(status, "inForce"), "pending"), i, error) {
        attend(attention, id, "not in force on %s",
               json_is_string(error) ? json_string_value(error)
                                     : json_get_string(error, "node", "?"),
               NULL);
    }
}

/* {"server":{...},"nodes":{"total","connected"},"attention":[...],"items":[...]} */
static json_t *make_overview(const struct cli *cli, const char *version, const json_t *nodes)
{
    json_t *attention = json_array(), *node;
    size_t i, connected = 0;

    json_array_foreach ((json_t *)nodes, i, node) {
        connected += (size_t)json_get_bool(json_object_get(node, "status"), "connected", 0);
        attend_node(attention, node);
    }
    return json_pack("{s:{s:s, s:s}, s:{s:i, s:i}, s:o, s:O}", "server", "url", cli->config.url,
                     "version", version, "nodes", "total", (int)json_array_size(nodes),
                     "connected", (int)connected, "attention", attention, "items", nodes);
}

static void print_overview(const struct cli *cli, const json_t *overview)
{
    const json_t *server = json_object_get(overview, "server");
    const json_t *nodes = json_object_get(overview, "nodes");
    size_t i;
    json_t *item;

    if (cli->output != OUTPUT_TABLE) {
        print_json(cli, overview);
        return;
    }
    printf("Server  %s, version ", json_get_string(server, "url", ""));
    print_text(stdout, json_get_string(server, "version", ""));
    printf("\nNodes   %d, of which %d connected\n", (int)json_get_integer(nodes, "total", 0),
           (int)json_get_integer(nodes, "connected", 0));
    if (json_array_size(json_object_get(overview, "items")) > 0) {
        putchar('\n');
        print_list(cli, kind_named(cli->kinds, "nodes"), json_object_get(overview, "items"));
    }
    if (json_array_size(json_object_get(overview, "attention")) > 0) {
        printf("\n%sNeeds attention%s\n", cli->color ? "\033[33m" : "",
               cli->color ? "\033[0m" : "");
    }
    json_array_foreach (json_object_get(overview, "attention"), i, item) {
        printf("  ");
        print_text(stdout, json_get_string(item, "node", ""));
        printf(": ");
        print_text(stdout, json_get_string(item, "message", ""));
        putchar('\n');
    }
}

/* The server's version, as its API's document tells it. */
static enum exit_code ask_version(struct cli *cli, char **ret_version)
{
    struct response response;
    enum exit_code code = cli_call(cli, "GET", API "/openapi.json", NULL, 0, &response);

    if (code == CLI_OK) {
        free(*ret_version);
        *ret_version =
            xstrdup(json_get_string(json_object_get(response.body, "info"), "version", "unknown"));
    }
    response_done(&response);
    return code;
}

static enum exit_code show_once(struct cli *cli, int clear)
{
    _cleanup_free_ char *version = NULL;
    json_t *nodes = NULL;
    enum exit_code code = ask_version(cli, &version);

    if (code == CLI_OK) {
        code = cli_list(cli, "nodes", "", &nodes);
    }
    if (code == CLI_OK) {
        json_t *overview = make_overview(cli, version, nodes);
        fputs(clear ? "\033[H\033[2J" : "", stdout);
        print_overview(cli, overview);
        fflush(stdout);
        json_decref(overview);
    }
    json_decref(nodes);
    return code;
}

int run_status(struct cli *cli)
{
    int watch = args_given(&cli->args, "watch") != NULL;
    int clear = watch && cli->output == OUTPUT_TABLE && isatty(STDOUT_FILENO);
    enum exit_code code;

    do {
        code = show_once(cli, clear);
        if (watch) {
            sleep(WATCH_EVERY_SEC);
        }
        /* A server that is away for a moment is what somebody who watches wants to see. */
    } while (watch && (code == CLI_OK || code == CLI_UNREACHABLE));
    return code;
}
