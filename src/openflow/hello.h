/* hello.h - agreeing on a version. Private to src/openflow.
 *
 * Both sides say which versions they speak, as the highest one in the header and, from 1.3 on, as
 * a bitmap; the highest that both have is used. Source: OpenFlow 1.4.1 sections 6.3.3, 7.5.1. */
#pragma once

#include "lib/error.h"
#include "openflow/wire.h"

void of_hello_encode(struct of_out *out, uint32_t xid);

/* The version to use. -EBADMSG if malformed, -EHOSTUNREACH if there is none, both with words. */
int of_hello_decode(const uint8_t *message, size_t size, uint8_t *ret_version,
                    struct error *error);

/* The error message that ends a connection without a common version. */
void of_hello_refuse(struct of_out *out, uint32_t xid, const char *why);
