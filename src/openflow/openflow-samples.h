/* openflow-samples.h - flows that have everything, in ovs-ofctl's words and in ours; for tests. */
#pragma once

#include "openflow/flow.h"

enum {
    SAMPLES = 8,
    ETH_IP = 0x0800,
    ETH_ARP = 0x0806,
};

/* The n-th of both say the same; all in table 3, with priorities from 100 down. */
extern const char *const SAMPLE_TEXTS[SAMPLES];
extern struct of_flow_mod sample_mods[SAMPLES]; /* filled by samples_make() */

void samples_make(void);
