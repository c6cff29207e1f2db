#include <stdint.h>

#include "core/replica.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct replica replica = {0};

    replica_parse(&replica, (const char *)data, size, NULL);
    replica_done(&replica);
    return 0;
}
