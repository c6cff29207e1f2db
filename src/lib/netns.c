#include "lib/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/mem.h"
#include "lib/spawn.h"

int netns_open(const char *name)
{
    _cleanup_free_ char *path = xasprintf(NETNS_FOLDER "/%s", name);
    struct statfs fs;

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    /* An ordinary file is what ip-netns(8) leaves when it is killed before it mounts. */
    if (fstatfs(fd, &fs) < 0 || fs.f_type != NSFS_MAGIC) {
        close(fd);
        return -ENOENT;
    }
    return fd;
}

ino_t netns_inode(int fd)
{
    struct stat st;

    return fstat(fd, &st) < 0 ? 0 : st.st_ino;
}

static int ip_netns(const char *verb, const char *name, struct error *error)
{
    const char *const argv[] = {"nsenter", "--mount=/proc/1/ns/mnt", "ip", "netns", verb, name,
                                NULL};

    return spawn_check(&(struct spawn){.argv = argv}, error);
}

int netns_make(const char *name, struct error *error)
{
    _cleanup_free_ char *path = xasprintf(NETNS_FOLDER "/%s", name);
    int fd = netns_open(name);

    if (fd >= 0) {
        close(fd);
        return 0;
    }
    int rc = access(path, F_OK) == 0 ? ip_netns("delete", name, error) : 0;
    return rc < 0 ? rc : ip_netns("add", name, error);
}

int netns_remove(const char *name, struct error *error)
{
    _cleanup_free_ char *path = xasprintf(NETNS_FOLDER "/%s", name);

    if (access(path, F_OK) < 0 && errno == ENOENT) {
        return 0;
    }
    return ip_netns("delete", name, error);
}

int netns_run(int fd, int (*function)(void *arg), void *arg)
{
    _cleanup_close_ int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

    if (home < 0 || setns(fd, CLONE_NEWNET) < 0) {
        return -errno;
    }
    int rc = function(arg);
    if (setns(home, CLONE_NEWNET) < 0) {
        abort(); /* whatever came next would happen to the wrong network */
    }
    return rc;
}
