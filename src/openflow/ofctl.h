/* ofctl.h - ovs-ofctl as a witness, and what goes over a switch's socket; for tests. */
#pragma once

#include <uv.h>

#include "lib/buf.h"

#define RECORDER_PATH "/tmp/recorder"

/* br0 speaks OpenFlow 1.4, br3 only 1.3, br1 only 1.0; each has a port 5. */
void ofctl_add_bridges(void);

/* ovs-ofctl on that bridge, in the version that its name says (br3: 1.3, else 1.4). The caller
 * frees texts. Dumps are sorted. */
void ofctl_add(const char *bridge, const char *const *flows, size_t len); /* one bundle */
char *ofctl_dump(const char *bridge);                                     /* without counters */
char *ofctl_dump_stats(const char *bridge);
char *ofctl_read(const char *command, const char *bridge);
void ofctl_packet_out(const char *bridge, const char *packet);

/* The bytes that a client sends to a switch, noted by a relay that listens at RECORDER_PATH. */
struct recorded {
    struct buf sent;
};

void recorder_start(uv_loop_t *loop, const char *switch_path, struct recorded *recorded);
/* When the client has gone. */
void recorder_stop(uv_loop_t *loop, struct recorded *recorded);
void recorded_done(struct recorded *recorded);

/* As ofctl_add(), through the recorder; runs the loop meanwhile. */
void ofctl_add_through(uv_loop_t *loop, const char *bridge, const char *const *flows, size_t len);

/* How many messages added something to a bundle, and whether the n-th of both are the same but for
 * their numbers and the bundle's. */
size_t recorded_adds(const struct recorded *recorded);
void recorded_assert_same_add(const struct recorded *a, const struct recorded *b, size_t n);
