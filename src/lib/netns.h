/* netns.h - network namespaces with a name, as ip-netns(8) keeps them: /run/netns/<name>.
 *
 * A named one outlives whoever made it. It is made where process 1 sees it: a mount in the private
 * mount namespace of a hardened unit would go with the unit.
 *
 *     int fd = netns_open("cnsmo");          // -ENOENT: there is none
 *     rc = netns_run(fd, function, arg);     // what it opens or starts lives there
 *
 * Functions return 0 or a negative errno; netns_make() and netns_remove() also a sentence. */
#pragma once

#include <sys/types.h>

#include "lib/error.h"

#define NETNS_FOLDER "/run/netns"

/* A descriptor that keeps the namespace alive, or -ENOENT if nothing has this name. */
int netns_open(const char *name);
/* Which one it is: two descriptors of the same have the same number. 0 if that can't be told. */
ino_t netns_inode(int fd);

/* 0 too if it is there. A fault point. */
int netns_make(const char *name, struct error *error);
/* Takes the name away, and with it the namespace once nobody is in it; 0 too if it isn't there. A
 * fault point. */
int netns_remove(const char *name, struct error *error);

/* Runs the function with this thread in the namespace; returns what it returns. */
int netns_run(int fd, int (*function)(void *arg), void *arg);
