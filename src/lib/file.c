#include "lib/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/mem.h"

int file_read(const char *path, struct buf *buf)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    char chunk[4096];

    if (fd < 0) {
        return -errno;
    }
    for (;;) {
        ssize_t size = read(fd, chunk, sizeof chunk);
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size <= 0) {
            return size < 0 ? -errno : 0;
        }
        int rc = buf_append(buf, chunk, (size_t)size);
        if (rc < 0) {
            return rc;
        }
    }
}

static int write_all(int fd, const char *data, size_t size)
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
    return fsync(fd) < 0 ? -errno : 0;
}

static int sync_folder(const char *path)
{
    _cleanup_free_ char *folder = xstrdup(path);
    char *slash = strrchr(folder, '/');

    if (slash) {
        slash[slash == folder] = '\0';
    }
    _cleanup_close_ int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int file_write_atomic(const char *path, const void *data, size_t size, mode_t mode)
{
    _cleanup_free_ char *temporary = xasprintf("%s.XXXXXX", path);
    _cleanup_close_ int fd = mkostemp(temporary, O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    int rc = fchmod(fd, mode) < 0 ? -errno : write_all(fd, data, size);
    if (rc == 0 && rename(temporary, path) < 0) {
        rc = -errno;
    }
    if (rc < 0) {
        unlink(temporary);
        return rc;
    }
    return sync_folder(path);
}

int file_append(const char *path, size_t at, const void *data, size_t size)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return -errno;
    }
    if (!S_ISREG(st.st_mode) || (size_t)st.st_size != at) {
        return -ESTALE;
    }
    int rc = write_all(fd, data, size);
    if (rc < 0 && ftruncate(fd, (off_t)at) < 0) {
        return -EIO;
    }
    return rc;
}

int file_make_folder(const char *path, mode_t mode)
{
    _cleanup_free_ char *copy = xstrdup(path);

    for (char *slash = strchr(copy + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash) {
            *slash = '\0';
        }
        if (mkdir(copy, mode) < 0 && errno != EEXIST) {
            return -errno;
        }
        if (!slash) {
            return 0;
        }
        *slash = '/';
    }
}
