/* lb.c - what load-balanced services have beside the commands of every kind. */
#include "cli/cli.h"
#include "lib/mem.h"

int run_lb_renew(struct cli *cli)
{
    _cleanup_free_ char *object = object_path("lb/services", cli->args.arguments[0]);
    _cleanup_free_ char *path = xasprintf("%s/renew", object);

    return cli_write(cli, "POST", path, NULL);
}
