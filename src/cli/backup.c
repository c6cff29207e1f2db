/* backup.c - a copy of the server's database. */
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

struct target {
    struct cli *cli;
    const char *name;
    int fd;
    int rc;      /* of the last write */
    size_t size; /* bytes written */
};

static int take(void *arg, const char *data, size_t size)
{
    struct target *target = arg;

    target->rc = cli_write_all(target->fd, data, size);
    target->size += size;
    return target->rc;
}

static enum exit_code fetch(void *arg, int fd)
{
    struct target *target = arg;
    struct error error = {0};
    enum exit_code code = cli_connect(target->cli);

    if (code != CLI_OK) {
        return code;
    }
    target->fd = fd;
    code = client_stream(target->cli->client, API "/backup", take, target, &error);
    if (code != CLI_OK) {
        return cli_fail(target->cli, code, &error);
    }
    if (target->rc < 0) {
        return cli_say(CLI_REFUSED, "cannot write %s: %s", target->name, strerror(-target->rc));
    }
    return target->size > 0 ? CLI_OK : cli_say(CLI_REFUSED, "the server gave an empty backup");
}

/* For its owner alone: it holds password hashes. */
int run_backup(struct cli *cli)
{
    const char *path = cli->args.arguments[0];
    int is_stdout = strcmp(path, "-") == 0;
    struct target target = {.cli = cli, .name = is_stdout ? "standard output" : path};

    if (is_stdout && isatty(STDOUT_FILENO)) {
        return cli_say(CLI_USAGE, "a backup isn't for a terminal's eyes: name a file");
    }
    return cli_write_file(path, fetch, &target);
}
