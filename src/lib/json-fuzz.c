#include <stdint.h>

#include "lib/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *json;

    if (json_parse((const char *)data, size, &json, NULL) == 0) {
        char *text = json_canonical(json);
        json_decref(json);
        free(text);
    }
    return 0;
}
