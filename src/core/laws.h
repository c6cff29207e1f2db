/* laws.h - what every driver must obey, written once and run against each in a network namespace.
 *
 *   1 settled      A second reconcile does nothing.
 *   2 killed       Stopped after any operation on the host, a new driver converges.
 *   3 failing      With any one operation failing, it converges all the same.
 *   4 changes      From A to B and back: as if it had always been so.
 *   5 strangers    What isn't ours on the host is left alone.
 *   6 gone         Deletion of everything leaves nothing behind.
 *
 * "Converges" means: reconcile passes come to one that does nothing, and then the host looks as it
 * does after an undisturbed run. It looks as `ip -j` (links, addresses, routes, rules, neighbours
 * we set), `nft -j list ruleset` and the sysctls of net.ipv4 say; numbers that the kernel gives
 * (interface indexes, handles, counters) don't count.
 *
 * A service's test is then:
 *
 *     static const struct laws_case CASE = {.backend = &BACKEND_VPN_WIREGUARD, .node = "Agent.1",
 *                                           .a = A_JSON, .b = B_JSON};
 *     int main(void) { return laws_main(&CASE); }
 *
 * registered in meson's suite 'root' with laws_dep. Each law runs in a process and namespace of
 * its own (own /run, /var/log below a temporary folder). It needs root. */
#pragma once

#include "core/backend.h"

struct laws_case {
    const struct backend *backend;
    const char *node; /* whose agent this is */
    /* Two sets of resources: {"key":{body},…} as text. B should differ from A in each way that can
     * be: a key more, a key less, a body changed a little (update) and much (replace). */
    const char *a;
    const char *b;
    /* What stands on the host before we come, argument lists ended by NULL, the list ended by
     * NULL: {(const char *const[]){"ip", "link", "add", "x0", "type", "dummy", NULL}, NULL}.
     * Some strangers of each kind are always there. NULL: no more than those. */
    const char *const *const *foreign;
    /* Called often between passes; makes what comes from outside in real life, such as a child's
     * socket. NULL: nothing. */
    void (*tick)(void *self);
};

/* Runs all laws as cmocka tests; the exit code for main(). */
int laws_main(const struct laws_case *laws);
