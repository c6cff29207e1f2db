#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "lib/mem.h"

static int write_all(void *arg, const char *data, size_t size)
{
    const int *fd = arg;

    while (size > 0) {
        ssize_t written = write(*fd, data, size);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0) {
            return -errno;
        }
        data += written;
        size -= (size_t)written;
    }
    return 0;
}

struct target {
    int fd;
    int rc;      /* of the last write */
    size_t size; /* bytes written */
};

static int take(void *arg, const char *data, size_t size)
{
    struct target *target = arg;

    target->rc = write_all(&target->fd, data, size);
    target->size += size;
    return target->rc;
}

static enum exit_code fetch(struct cli *cli, struct target *target, const char *name)
{
    struct error error = {0};
    enum exit_code code = cli_connect(cli);

    if (code != CLI_OK) {
        return code;
    }
    code = client_stream(cli->client, API "/backup", take, target, &error);
    if (code != CLI_OK) {
        return cli_fail(cli, code, &error);
    }
    if (target->rc < 0) {
        return cli_say(CLI_REFUSED, "cannot write %s: %s", name, strerror(-target->rc));
    }
    return target->size > 0 ? CLI_OK : cli_say(CLI_REFUSED, "the server gave an empty backup");
}

/* Into a file beside the wanted one, 0600 (it holds password hashes), which then takes its name: a
 * backup that breaks off never replaces one that was whole. */
int run_backup(struct cli *cli)
{
    const char *path = cli->args.arguments[0];

    if (strcmp(path, "-") == 0 && isatty(STDOUT_FILENO)) {
        return cli_say(CLI_USAGE, "a backup isn't for a terminal's eyes: name a file");
    }
    if (strcmp(path, "-") == 0) {
        struct target target = {.fd = STDOUT_FILENO};
        return fetch(cli, &target, "standard output");
    }
    _cleanup_free_ char *temporary = xasprintf("%s.XXXXXX", path);
    _cleanup_close_ int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        return cli_say(CLI_REFUSED, "cannot write %s: %s", path, strerror(errno));
    }
    struct target target = {.fd = fd};
    enum exit_code code = fetch(cli, &target, path);
    if (code == CLI_OK && (fsync(fd) < 0 || rename(temporary, path) < 0)) {
        code = cli_say(CLI_REFUSED, "cannot write %s: %s", path, strerror(errno));
    }
    if (code != CLI_OK) {
        unlink(temporary);
    }
    return code;
}
