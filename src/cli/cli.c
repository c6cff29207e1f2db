#include "cli/cli.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"

enum {
    PAGE_MAX = 1000, /* objects the server gives at once */
    WAIT_DEFAULT_SEC = 10,
    WAIT_MAX_SEC = 60,
};

enum exit_code cli_say(enum exit_code code, const char *format, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    fflush(stdout); /* so that both come in order on a terminal */
    fputs("cnsmo: ", stderr);
    print_text(stderr, text);
    fputc('\n', stderr);
    return code;
}

enum exit_code cli_fail(const struct cli *cli, enum exit_code code, const struct error *error)
{
    const char *hint = "";

    if (code == CLI_FORBIDDEN && error->status == 401) {
        hint = cli->config.token && !getenv("CNSMO_TOKEN")
                   ? "; the session may have ended: cnsmo login"
                   : "; see cnsmo login";
    }
    if (error->pointer[0]) {
        return cli_say(code, "%s (%s)%s", error->detail, error->pointer, hint);
    }
    return cli_say(code, "%s%s", error->detail, hint);
}

enum exit_code cli_connect(struct cli *cli)
{
    if (cli->client) {
        return CLI_OK;
    }
    if (!cli->config.token && !cli->config.password && cli->config.problem) {
        return cli_say(CLI_FORBIDDEN, "%s; see cnsmo login", cli->config.problem);
    }
    if (!cli->config.url) {
        return cli_say(CLI_FORBIDDEN, "not logged in: cnsmo login URL, or set CNSMO_URL");
    }
    if (!cli->config.token && !cli->config.password) {
        return cli_say(CLI_FORBIDDEN,
                       "not logged in at %s: cnsmo login, or set CNSMO_TOKEN or "
                       "CNSMO_USER and CNSMO_PASSWORD",
                       cli->config.url);
    }
    cli->client = client_new(&cli->config);
    return CLI_OK;
}

enum exit_code cli_call(struct cli *cli, const char *method, const char *path, const json_t *body,
                        unsigned wait_sec, struct response *response)
{
    struct error error = {0};
    enum exit_code code = cli_connect(cli);

    *response = (struct response){0};
    if (code != CLI_OK) {
        return code;
    }
    code = client_call(cli->client, method, path, body, wait_sec, response, &error);
    return code != CLI_OK ? cli_fail(cli, code, &error) : CLI_OK;
}

char *object_path(const char *kind, const char *id)
{
    if (!id) {
        return xasprintf(API "/%s", kind);
    }
    _cleanup_free_ char *escaped = url_escape(id);
    return xasprintf(API "/%s/%s", kind, escaped);
}

/* One page; *cursor becomes the next one's, "" after the last. *len is how many came. */
static enum exit_code one_page(struct cli *cli, const char *kind, const char *query, size_t limit,
                               char **cursor, size_t *len, cli_page_fn *each, void *arg)
{
    _cleanup_free_ char *escaped = url_escape(*cursor);
    _cleanup_free_ char *path =
        xasprintf(API "/%s?limit=%zu%s%s%s%s", kind, limit, query[0] ? "&" : "", query,
                  escaped[0] ? "&cursor=" : "", escaped);
    struct response response;
    enum exit_code code = cli_call(cli, "GET", path, NULL, 0, &response);

    if (code == CLI_OK) {
        const json_t *items = json_object_get(response.body, "items");
        const char *next = json_get_string(response.body, "cursor", "");
        *len = json_array_size(items);
        code = !json_is_array(items) || (next[0] && *len == 0)
                   ? cli_say(CLI_REFUSED, "the server's list of %s can't be understood", kind)
                   : each(cli, items, arg);
        free(*cursor);
        *cursor = xstrdup(next);
    }
    response_done(&response);
    return code;
}

enum exit_code cli_pages(struct cli *cli, const char *kind, const char *query, size_t limit,
                         cli_page_fn *each, void *arg)
{
    _cleanup_free_ char *cursor = xstrdup("");
    enum exit_code code;
    size_t left = limit ? limit : SIZE_MAX;

    do {
        size_t len = 0;
        code = one_page(cli, kind, query, left < PAGE_MAX ? left : PAGE_MAX, &cursor, &len, each,
                        arg);
        left -= len < left ? len : left;
    } while (code == CLI_OK && cursor[0] && left > 0);
    return code;
}

static enum exit_code collect(struct cli *cli, const json_t *items, void *arg)
{
    json_array_extend(arg, (json_t *)items);
    return CLI_OK;
}

enum exit_code cli_list(struct cli *cli, const char *kind, const char *query, json_t **ret_items)
{
    json_t *items = json_array();
    enum exit_code code = cli_pages(cli, kind, query, 0, collect, items);

    if (code != CLI_OK) {
        json_decref(items);
        return code;
    }
    *ret_items = items;
    return CLI_OK;
}

enum exit_code write_options(const struct cli *cli, struct write_options *options)
{
    const struct given *wait = args_given(&cli->args, "wait");

    *options = (struct write_options){.dry_run = args_given(&cli->args, "dry-run") != NULL};
    if (options->dry_run) {
        strcpy(options->query, "?dryRun=true");
    } else if (wait) {
        char *end = NULL;
        long sec = wait->value ? strtol(wait->value, &end, 10) : WAIT_DEFAULT_SEC;
        if (sec < 1 || sec > WAIT_MAX_SEC || (end && *end)) {
            return cli_say(CLI_USAGE, "--wait takes 1 to %d seconds, not \"%s\"", WAIT_MAX_SEC,
                           wait->value);
        }
        options->wait_sec = (unsigned)sec;
        snprintf(options->query, sizeof options->query, "?wait=applied&timeout=%ld", sec);
    }
    if (args_given(&cli->args, "force")) {
        strcat(options->query, options->query[0] ? "&force=true" : "?force=true");
    }
    return CLI_OK;
}

enum exit_code cli_waited(const struct response *response)
{
    const json_t *report = json_object_get(response->body, "applied");
    size_t i;
    json_t *item;

    if (response->status != 202) {
        return CLI_OK;
    }
    cli_say(CLI_WAITED, "done, but not yet in force everywhere: %d of %d nodes have applied it",
            (int)json_get_integer(report, "applied", 0),
            (int)json_get_integer(report, "nodes", 0));
    json_array_foreach (json_object_get(report, "pending"), i, item) {
        const char *node =
            json_is_string(item) ? json_string_value(item) : json_get_string(item, "node", "?");
        cli_say(CLI_WAITED, "%s: %s", node,
                json_get_string(item, "reason", "has not answered yet"));
    }
    json_array_foreach (json_object_get(report, "errors"), i, item) {
        cli_say(CLI_WAITED, "%s: %s (%s)", json_get_string(item, "node", "?"),
                json_get_string(item, "message", "failed"), json_get_string(item, "key", ""));
    }
    return CLI_WAITED;
}
