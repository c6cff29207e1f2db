/* A schema and a value, separated by a NUL byte. */
#include <stdint.h>
#include <string.h>

#include "lib/json.h"
#include "model/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *separator = memchr(data, 0, size);
    json_t *schema = NULL, *value = NULL;
    struct error error;

    if (!separator) {
        return 0;
    }
    size_t first = (size_t)(separator - data);
    if (json_parse((const char *)data, first, &schema, &error) == 0 &&
        json_parse((const char *)separator + 1, size - first - 1, &value, &error) == 0 &&
        schema_check(schema, &error) == 0 && schema_validate(schema, value, &error) == 0) {
        json_decref(schema_fill(schema, value));
    }
    json_decref(schema);
    json_decref(value);
    return 0;
}
