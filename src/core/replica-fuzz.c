#include <stdint.h>
#include <stdlib.h>

#include "core/replica.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct replica replica = {0};

    int rc = replica_parse(&replica, (const char *)data, size, NULL);
    /* Something is added only to a file that was taken to its end. */
    if (replica.size > 0 && (rc < 0 || replica.size != size)) {
        abort();
    }
    replica_done(&replica);
    return 0;
}
