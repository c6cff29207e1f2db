/* lb-kinds.h - load-balanced services, the server's half: what they say, where they hold.
 *
 *     text from outside ──► lb_service_validate: every rule that the schema can't say
 *                       ──► lb_service_claims:   a port of a node belongs to one service
 *                       ──► lb_plan:             one resource for each node with the front port
 *                       ──► lb_status:           what these nodes say of the back ends
 *
 * Pure: everything is read through the view. */
#pragma once

#include "core/service.h"
#include "services/where.h"

extern const struct kind LB_SERVICES;

enum {
    LB_PORT_MAX = 65535,
};

/* Has the node the front port where a back end would be? HAProxy's connections to it would come
 * back to HAProxy, again and again. */
int lb_would_loop(const json_t *spec, const char *node, const json_t *node_spec);

/* Calls `each` for every node that is a back end of a service with this spec now; none that would
 * loop is. */
void lb_each_backend(const json_t *spec, struct view *view, where_fn *each, void *arg);

/* With TLS and without key or certificate it can be nowhere. `object` is as stored. */
int lb_lacks_certificate(const json_t *object);

/* A new reference to the spec as it is meant. `before` may be NULL. */
json_t *lb_service_complete(const json_t *before, const json_t *spec);

int lb_service_validate(const char *id, const json_t *spec, struct view *view,
                        struct error *error);
/* With a node's spec: 409 if two services would have one port of it then. */
int lb_node_validate(const char *node, const json_t *spec, struct view *view, struct error *error);
void lb_service_claims(const char *id, const json_t *spec,
                       void (*claim)(void *arg, const char *name, const char *pointer), void *arg);

void lb_plan(const char *kind, const char *id, const json_t *spec, struct view *view,
             struct plan *plan);
void lb_status(const char *kind, const char *id, const json_t *object, struct view *view,
               const struct reports *reports, json_t *status);

extern const struct service SERVICE_LB;
