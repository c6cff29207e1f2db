#include <stdint.h>

#include "server/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config;
    struct error error;

    config_init(&config);
    if (config_parse((const char *)data, size, "fuzz", &config, &error) == 0) {
        config_check(&config, &error);
    }
    config_done(&config);
    return 0;
}
