/* laws-host.h - a host of its own for one test, and how it looks. Private to the laws. */
#pragma once

#include <jansson.h>

/* Runs `test` as a process in new network, mount and process namespaces, with loopback up and
 * empty /run and /tmp; 0 if it returned 0. All that it left running is killed. */
int host_run(int (*test)(const void *arg), const void *arg);

/* Runs a command; ends the process with a sentence if it fails. */
void host_do(const char *const *argv);

/* Puts strangers there: a link with an address and a route, a rule, an nftables table. */
void host_add_strangers(void);

/* {"links":[…],"addresses":[…],"routes":[…],"rules":[…],"nft":[…],"sysctls":{…}}, without what
 * the kernel numbers or counts. A new reference. */
json_t *host_look(void);

/* Prints what differs between two looks, and returns whether something does. Sysctls count only
 * `with_sysctls`: a running service may set some. */
int host_differs(const json_t *before, const json_t *after, int with_sysctls);

/* Prints what was there before and isn't any more, and returns whether there is such a thing. What
 * is of the link `shared` doesn't count; NULL: all does. */
int host_lost(const json_t *before, const json_t *after, const char *shared);
