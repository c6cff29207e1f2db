/* laws.h - what every driver must obey, written once and run against each in a network namespace.
 *
 *   1 settled      A second reconcile does nothing.
 *   2 killed       Killed before any operation on the host, the next agent converges.
 *   3 failing      With any one operation failing, it converges all the same.
 *   4 changes      From A to B and back: as if it had always been so.
 *   5 strangers    What isn't ours on the host is left alone.
 *   6 gone         Deletion of everything leaves nothing behind, and neither does leaving.
 *   7 leaving      With any one operation failing it can be tried again, and then is complete.
 *   8 told         What is acknowledged is in force: a pass over everything finds nothing to do,
 *                  also where only the keys that changed were looked at.
 *
 * "Converges" means: reconcile passes come to one that does nothing, and then the host looks as it
 * does after an undisturbed run. How it looks is what `ip -j` (links, addresses, routes, rules),
 * `nft -j list ruleset` and the sysctls under net/ipv4 and net/ipv6 say; numbers that the kernel
 * gives (interface indexes, handles, counters) don't count.
 *
 * A service's test is then:
 *
 *     static const struct laws_case CASE = {.backend = &BACKEND_VPN_WIREGUARD, .node = "Agent.1",
 *                                           .a = A_JSON, .b = B_JSON};
 *     int main(void) { return laws_main(&CASE); }
 *
 * registered in meson's suite 'root' with laws_dep. Each law runs in network, mount and process
 * namespaces of its own, with an empty /run and /tmp. It needs root. */
#pragma once

#include "core/backend.h"

struct laws_case {
    const struct backend *backend;
    const char *node; /* whose agent this is */
    /* Two sets of resources: {"key":{body},…} as text. B should differ from A in each way that can
     * be: a key more, a key less, a body changed a little (update) and much (replace). */
    const char *a;
    const char *b;
    /* What stands on the host before we come, argument lists, each and all ended by
     * NULL: {(const char *const[]){"ip", "link", "add", "x0", "type", "bridge", NULL}, NULL}.
     * Some strangers of each kind are always there. NULL: no more than those. */
    const char *const *const *foreign;
    /* Puts into the state directory what joining puts there and the driver needs; NULL: nothing.
     */
    void (*joined)(const char *state_dir);
    /* A link that another driver makes and this one gives addresses: it may change while resources
     * are there. NULL: none. */
    const char *shared;
};

/* Runs all laws as cmocka tests; the exit code for main(). */
int laws_main(const struct laws_case *laws);

/* The same without cmocka: 0, or -1 at the first law that is broken. */
int laws_check(const struct laws_case *laws);
