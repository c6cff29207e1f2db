/* status.c - the deployment on one screen: the server, every node with its services, and what
 * needs attention. */
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    WATCH_EVERY_SEC = 2,
};

static void attend(json_t *attention, const char *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void attend(json_t *attention, const char *node, const char *format, ...)
{
    _cleanup_free_ char *text = NULL;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&text, format, ap) < 0) {
        abort();
    }
    va_end(ap);
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
            attend(attention, id, "%s is %s%s%s", name, state, message[0] ? ": " : "", message);
        }
    }
}

static int is_connected(const json_t *node)
{
    return json_get_bool(json_object_get(node, "status"), "connected", 0);
}

static void attend_node(json_t *attention, const json_t *node)
{
    const json_t *status = json_object_get(node, "status");
    const char *id = json_get_string(node, "id", "?");
    const char *seen = json_get_string(status, "lastSeen", NULL);
    size_t i;
    json_t *error;

    if (!is_connected(node)) {
        attend(attention, id, seen ? "away since %s" : "away", seen);
        return;
    }
    attend_services(attention, id, json_object_get(status, "services"));
    json_array_foreach (json_object_get(status, "errors"), i, error) {
        attend(attention, id, "%s: %s", json_get_string(error, "key", "error"),
               json_get_string(error, "message", ""));
    }
}

/* Counts by node what isn't in force there yet: {"Agent.2":3}. */
static void count_pending(json_t *counts, const json_t *object)
{
    const json_t *in_force = json_object_get(json_object_get(object, "status"), "inForce");
    size_t i;
    json_t *pending;

    json_array_foreach (json_object_get(in_force, "pending"), i, pending) {
        const char *node = json_get_string(pending, "node", "?");
        json_object_set_new(counts, node, json_integer(json_get_integer(counts, node, 0) + 1));
    }
}

/* A node that is away is named once, and not again for everything that waits for it. */
static json_t *make_attention(const json_t *nodes)
{
    json_t *attention = json_array(), *counts = json_object(), *node;
    size_t i;

    json_array_foreach ((json_t *)nodes, i, node) {
        count_pending(counts, node);
    }
    json_array_foreach ((json_t *)nodes, i, node) {
        const char *id = json_get_string(node, "id", "?");
        int waiting = (int)json_get_integer(counts, id, 0);
        attend_node(attention, node);
        if (waiting > 0 && is_connected(node)) {
            attend(attention, id, "has not applied %d node%s yet", waiting,
                   waiting == 1 ? "" : "s");
        }
    }
    json_decref(counts);
    return attention;
}

/* {"server":{...},"nodes":{"total","connected"},"attention":[...],"items":[...]} */
static json_t *make_overview(const struct cli *cli, const char *version, const json_t *nodes)
{
    json_t *node;
    size_t i;
    int connected = 0;

    json_array_foreach ((json_t *)nodes, i, node) {
        connected += is_connected(node);
    }
    return json_pack("{s:{s:s, s:s}, s:{s:i, s:i}, s:o, s:O}", "server", "url", cli->config.url,
                     "version", version, "nodes", "total", (int)json_array_size(nodes),
                     "connected", connected, "attention", make_attention(nodes), "items", nodes);
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
        const json_t *info = json_object_get(response.body, "info");
        *ret_version = xstrdup(json_get_string(info, "version", "unknown"));
    }
    response_done(&response);
    return code;
}

static enum exit_code show_once(struct cli *cli, const char *version, int clear)
{
    json_t *nodes = NULL;
    enum exit_code code = cli_list(cli, "nodes", "", &nodes);

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
    _cleanup_free_ char *version = NULL;
    enum exit_code code = ask_version(cli, &version);

    if (code != CLI_OK) {
        return code;
    }
    do {
        code = show_once(cli, version, clear);
        if (watch) {
            sleep(WATCH_EVERY_SEC);
        }
        /* A server that is away for a moment is what somebody who watches wants to see. */
    } while (watch && (code == CLI_OK || code == CLI_UNREACHABLE));
    return code;
}
