/* where.h - on which nodes an object of a service holds: one node, or a selector of labels. The
 * server's half.
 *
 *     "node": "Agent.1"               that one
 *     "selector": {"role": "web"}     every node with these labels that runs the service
 *     "selector": {}                  every node that runs it
 *
 * Pure: all is read through the view, by index, so that a node's change concerns only the objects
 * that it can move. Services need vpn beside them: a node runs one if it has both. One that
 * doesn't any more, or is gone, simply isn't among them, and the object stays. */
#pragma once

#include <jansson.h>

#include "lib/error.h"
#include "model/plan.h"

/* Does a node with this spec run the service? */
int where_runs(const char *service, const json_t *node_spec);

/* A node's spec that has the service without vpn: 400 at /services. */
int where_check_services(const char *service, const json_t *node_spec, struct error *error);

/* "/node" names a node that runs the service: 400 if there is none, 409 with the command that
 * turns it on. One that the object had before is left alone: it can still be changed otherwise. */
int where_check_node(const char *service, const json_t *spec, const json_t *before,
                     struct view *view, struct error *error);

/* Exactly one of "node" and "selector", and each well-formed. `before` is the present spec; NULL:
 * the object is new. */
int where_check(const char *service, const json_t *spec, const json_t *before, struct view *view,
                struct error *error);

/* Calls `each` for every node on which an object with this spec holds now. */
typedef void where_fn(void *arg, const char *node);
void where_each(const char *service, const json_t *spec, struct view *view, where_fn *each,
                void *arg);

/* Does it hold on the node, if the node's spec is this? */
int where_holds_on(const char *service, const json_t *spec, const char *node,
                   const json_t *node_spec);
