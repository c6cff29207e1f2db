/* sdn-explain.h - a flow of the switch for people and programs. Pure. */
#pragma once

#include <jansson.h>

#include "openflow/flow.h"

/* {"table","priority","cookie","match":{…},"actions":[…],"packets","bytes","owner","text"}; a new
 * reference. Fields have OpenFlow's names; in_port is "tunnel", "local" or a number; a mask that
 * isn't a prefix stands behind a slash. The text is a sentence:
 *
 *     TCP from anywhere to 10.77.0.2 port 1919, coming from the tunnel, is dropped. */
json_t *sdn_explain(const struct of_flow_stats *stats);
