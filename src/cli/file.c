/* file.c - files that hold secrets. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "lib/mem.h"

int cli_write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, data, size);
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

enum exit_code cli_write_file(const char *path, cli_fill_fn *fill, void *arg)
{
    if (strcmp(path, "-") == 0) {
        fflush(stdout);
        return fill(arg, STDOUT_FILENO);
    }
    _cleanup_free_ char *temporary = xasprintf("%s.XXXXXX", path);
    _cleanup_close_ int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        return cli_say(CLI_REFUSED, "cannot write %s: %s", path, strerror(errno));
    }
    enum exit_code code = fill(arg, fd);
    if (code == CLI_OK && (fsync(fd) < 0 || rename(temporary, path) < 0)) {
        code = cli_say(CLI_REFUSED, "cannot write %s: %s", path, strerror(errno));
    }
    if (code != CLI_OK) {
        unlink(temporary);
    }
    return code;
}
