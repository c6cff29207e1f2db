/* golden.h - tests of plans, written once for every service: golden files and the laws of
 * planning.
 *
 * A golden file is what a tree holds and what a service makes of it:
 *
 *     {"tree": {"object/nodes/A": {"spec": {...}}, "fact/A/vpn.self": {...}},
 *      "resources": {"node/A": {"vpn/self/A": {...}}, "service/vpn": {...}}}
 *
 * golden_run() plans each file's tree and compares. Then it puts the keys one by one in several
 * orders, takes each away and puts it back, and after every step what was planned incrementally
 * must equal what a recomputation gives. With CNSMO_GOLDEN_UPDATE=1 in the environment the files'
 * resources are written anew: read the difference before you commit it. */
#pragma once

#include "core/service.h"

/* The main() of a service's plan test: `folder` holds the *.json. Returns the exit status; at
 * least one file must be there. */
int golden_run(const struct service *service, const char *folder);
