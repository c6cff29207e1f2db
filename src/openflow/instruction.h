/* instruction.h - the instructions of a flow on the wire. Private to src/openflow. */
#pragma once

#include "openflow/flow.h"
#include "openflow/wire.h"

/* At most OF_ACTIONS_MAX actions. */
void of_instructions_put(struct of_out *out, const struct of_flow *flow);

/* All of `data`. Fills actions, metadata and goto_table; -EBADMSG if a length is wrong. */
int of_instructions_get(const uint8_t *data, size_t size, struct of_flow *flow);
