#include <stdint.h>

#include "agent/routes.h"
#include "lib/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = xstrndup((const char *)data, size);

    json_decref(routes_parse(text, "cnsmo0"));
    return 0;
}
