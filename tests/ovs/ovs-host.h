/* ovs-host.h - a host of its own with Open vSwitch on it, for one test program.
 *
 *     int main(void) { return ovs_host_main(tests); }
 *
 * runs tests() as a process in new network, mount and process namespaces, with empty /run and
 * /tmp, in which ovsdb-server and ovs-vswitchd (user-space datapath) run at their usual places:
 * /run/openvswitch/db.sock, /run/openvswitch/<bridge>.mgmt. When tests() returns all of it is
 * gone. It needs root. */
#pragma once

#include <sys/types.h>

#define OVS_RUN "/run/openvswitch"
#define OVS_DB OVS_RUN "/db.sock"

/* The exit code for main(): that of tests(). The daemons' logs are printed if it isn't 0. */
int ovs_host_main(int (*tests)(void));

void ovs_start_server(void);
void ovs_start_switch(void);
pid_t ovs_server_pid(void);
pid_t ovs_switch_pid(void);
/* Kills a daemon and waits until it is gone. */
void ovs_kill(pid_t pid);

/* Runs a command; ends the process with a sentence if it fails. ovs_read() returns what it
 * printed, to be freed. Arguments end with NULL. */
void ovs_do(const char *const *argv);
char *ovs_read(const char *const *argv);

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})
