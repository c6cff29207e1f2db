/* sdn-counters.h - the file in which totals outlive the agent. Pure.
 *
 *     cnsmo-sdn-counters 1
 *     filter 7 -12 -1180 40 5432        kind, number, base (packets, bytes), total (packets,
 * bytes) base 1 0 0 3 252 end 2 1f0c…                        how many lines, and a sum over them
 *
 * A file that isn't whole isn't believed at all: then the switch's own counters are the start. */
#pragma once

#include "lib/buf.h"
#include "services/sdn/sdn-set.h"

enum {
    SDN_COUNTERS_MAX = 32 << 20, /* bytes */
};

/* Appends the file's text. */
int sdn_counters_format(const struct sdn_objects *objects, struct buf *buf);
/* Makes the objects. -EBADMSG, and none, if it can't be believed. */
int sdn_counters_parse(struct sdn_objects *objects, const char *text, size_t size);
