/* sdn-counted.c - what people see of filters and flows: what they counted, on which nodes, and why
 * they are on none. */
#include <string.h>

#include "lib/mem.h"
#include "services/counted.h"
#include "services/sdn/sdn-kinds.h"

void sdn_status(const char *kind, const char *id, const json_t *object, struct view *view,
                const struct reports *reports, json_t *status)
{
    int is_filter = strcmp(kind, SDN_FILTERS.name) == 0;
    _cleanup_free_ char *name = xasprintf("sdn/%s/%s", is_filter ? "filter" : "flow", id);

    counted_status("sdn", name, object, view, reports, status);
}
