/* authority.c - the certificate authorities and their rollover. */
#include <string.h>

#include "cli/cli.h"
#include "lib/mem.h"

static void show(const struct cli *cli, const json_t *answer)
{
    print_columns(cli,
                  "NAME=name STATE=state IN-USE=inUse HOLDERS=holders CREATED=created "
                  "EXPIRES=expires KEY=keyId",
                  json_object_get(answer, "items"));
}

static int call_and_show(struct cli *cli, const char *method, const char *path)
{
    struct response response;
    enum exit_code code = cli_call(cli, method, path, NULL, 0, &response);

    if (code == CLI_OK) {
        show(cli, response.body);
    }
    response_done(&response);
    return code;
}

int run_authority_list(struct cli *cli)
{
    return call_and_show(cli, "GET", API "/authorities");
}

int run_authority_rollover(struct cli *cli)
{
    _cleanup_free_ char *name = url_escape(cli->args.arguments[0]);
    _cleanup_free_ char *path = xasprintf(API "/authorities/%s/rollover", name);

    return call_and_show(cli, "POST", path);
}
