/* counted.h - what people see of an object that counts on nodes: its sums, and why it is on none.
 * The server's half. */
#pragma once

#include "core/service.h"

/* Adds "packets", "bytes", "nodes" (the first hundred; the sums are over all), "problem" and, of
 * one on trial, "confirmBy". `name` is the counter's. */
void counted_status(const char *service, const char *name, const json_t *object, struct view *view,
                    const struct reports *reports, json_t *status);

/* "confirmBy" alone. */
void counted_add_deadline(const json_t *object, json_t *status);
