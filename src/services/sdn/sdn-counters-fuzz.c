/* A file is believed as a whole or not at all; one that is reads the same when it is written
 * again. */
#include <stdlib.h>

#include "services/sdn/sdn-counters.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sdn_objects objects = {0};
    struct of_flow_stats none = {0};

    if (sdn_counters_parse(&objects, (const char *)data, size) < 0) {
        if (objects.len > 0) {
            abort();
        }
        return 0;
    }
    sdn_objects_foreach (object, &objects) {
        none.flow.cookie = sdn_cookie((enum sdn_kind)object->kind, object->number);
        sdn_found_begin(&objects, &object, 1);
        sdn_found_flow(&objects, &none);
        sdn_found_end(&objects, &object, 1, 0);
    }
    _cleanup_buf_ struct buf text = BUF_INIT(SDN_COUNTERS_MAX);
    struct sdn_objects again = {0};
    if (sdn_counters_format(&objects, &text) < 0 ||
        sdn_counters_parse(&again, text.data, text.size) < 0 || again.len != objects.len) {
        abort();
    }
    sdn_objects_done(&objects);
    sdn_objects_done(&again);
    return 0;
}
