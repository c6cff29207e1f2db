/* lb-port.c - is a port free, and if not, who has it? HAProxy would share it with whoever lets it,
 * and refuse all of its configuration for one that doesn't. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/mem.h"
#include "services/lb/lb-driver.h"

enum {
    STATE_LISTEN = 10, /* as in /proc/net/tcp, proc(5) */
};

/* The inode of a socket that listens on the port, or 0. */
static unsigned long listener(const char *table, uint16_t port)
{
    FILE *file = fopen(table, "re");
    char line[512];
    unsigned long found = 0, inode;
    unsigned local, state;

    while (file && !found && fgets(line, sizeof line, file)) {
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*s %x %*s %*s %*s %*d %*d %lu", &local, &state,
                   &inode) == 3 &&
            local == port && state == STATE_LISTEN) {
            found = inode;
        }
    }
    if (file) {
        fclose(file);
    }
    return found;
}

static int holds(int process, const char *wanted)
{
    char path[300], link[64];
    _cleanup_free_ char *folder = xasprintf("/proc/%d/fd", process);
    DIR *open_files = opendir(folder);
    int found = 0;

    for (struct dirent *entry; open_files && !found && (entry = readdir(open_files));) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        ssize_t size = readlink(path, link, sizeof link - 1);
        link[size > 0 ? size : 0] = '\0';
        found = strcmp(link, wanted) == 0;
    }
    if (open_files) {
        closedir(open_files);
    }
    return found;
}

/* The process's name, as ps shows it. */
static void name_of(int process, char *name, size_t size)
{
    _cleanup_free_ char *path = xasprintf("/proc/%d/comm", process);
    FILE *file = fopen(path, "re");

    snprintf(name, size, "a program");
    if (file) {
        if (fgets(name, (int)size, file)) {
            name[strcspn(name, "\n")] = '\0';
        }
        fclose(file);
    }
}

/* " by nginx (process 12)", or "" if that can't be seen. */
static void find_holder(uint16_t port, char *text, size_t size)
{
    unsigned long inode = listener("/proc/net/tcp", port);
    char wanted[64], name[32];

    text[0] = '\0';
    inode = inode ? inode : listener("/proc/net/tcp6", port);
    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    DIR *processes = inode ? opendir("/proc") : NULL;
    for (struct dirent *entry; processes && !*text && (entry = readdir(processes));) {
        int process = atoi(entry->d_name);
        if (process > 0 && holds(process, wanted)) {
            name_of(process, name, sizeof name);
            snprintf(text, size, " by %s (process %d)", name, process);
        }
    }
    if (processes) {
        closedir(processes);
    }
}

int lb_port_check(uint32_t address, uint16_t port, struct error *error)
{
    struct sockaddr_in name = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    char holder[100];

    if (fd < 0) {
        return 0; /* HAProxy will say what is wrong */
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* past connections are no trouble */
    if (bind(fd, (struct sockaddr *)&name, sizeof name) == 0 || errno != EADDRINUSE) {
        return 0;
    }
    find_holder(port, holder, sizeof holder);
    return error_set(error, 409, NULL, "port %u is taken%s", port,
                     *holder ? holder : " by another program");
}
