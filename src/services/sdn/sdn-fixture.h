/* sdn-fixture.h - an agent with nothing but sdn, for tests on a host with Open vSwitch.
 *
 * The tunnel's other end is the namespace "cnsmo", as vpn would make it; the test plays the peer
 * PEER that lives there. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/backend.h"
#include "core/digest.h"
#include "ovs-host.h"

#define NODE "Agent.1"
#define SELF_KEY "sdn/self/" NODE
#define SELF_BODY "{\"address\":\"10.77.0.5\",\"range\":\"10.77.0.0/16\",\"clientRange\":\"\"}"
#define OWN "10.77.0.5"
#define PEER "10.77.0.9"

struct counter {
    uint64_t packets, bytes;
};

struct agent {
    uv_loop_t loop;
    struct reconcile *reconcile;
    json_t *resources; /* what the server wants */
    struct digest digest;
    int64_t revision;
    int64_t applied;      /* the revision that is in force */
    char errors[1024];    /* as last reported, as text */
    struct omap counters; /* struct counter */
};

void agent_start(struct agent *a);
void agent_stop(struct agent *a);

/* Changes one resource (body NULL: deletes it) and sends it; agent_settle() waits until all is in
 * force without errors. */
void agent_put(struct agent *a, const char *key, const char *body);
void agent_send(struct agent *a);
void agent_settle(struct agent *a);

/* Runs the loop until the condition holds; fails the test after 20 s. */
void agent_wait(struct agent *a, int (*condition)(struct agent *a, const void *arg),
                const void *arg, const char *what);
void agent_run(struct agent *a, int msec);

/* UINT64_MAX: it wasn't told. */
uint64_t agent_counter(const struct agent *a, const char *name);
void agent_wait_counter(struct agent *a, const char *name, uint64_t packets);

/* veth, namespace, and the peer's address in it; and the overlay's address on the bridge. */
void overlay_make_tunnel(void);
void overlay_make_address(void);

/* Sends datagrams from the peer to OWN, or from OWN to the peer. */
void send_from_peer(unsigned port, int len);
void send_to_peer(unsigned port, int len);

/* ovs-ofctl's dump, sorted, without counters, "" if there is no bridge; freed by the caller. */
char *flows_now(void);
