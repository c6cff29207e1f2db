/* vpn-plan.h - the server's half of vpn; README.md has the resources' form. */
#pragma once

#include "core/service.h"

extern const struct service SERVICE_VPN;

/* --- vpn-plan.c: the overlay between the nodes --- */

/* A node object: what it is itself, and what others must know of it. */
void vpn_plan_node(const char *id, const json_t *spec, struct view *view, struct plan *plan);

/* settings/overlay: the certificates that hubs refuse. */
void vpn_plan_overlay(struct view *view, struct plan *plan);
