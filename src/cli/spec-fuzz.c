#include <stdint.h>
#include <string.h>

#include "cli/config.h"
#include "cli/spec.h"
#include "lib/json.h"
#include "lib/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char SCHEMA[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"text\":{\"type\":\"string\"},\"number\":{\"type\":\"number\"},"
    "\"whole\":{\"type\":\"integer\"},\"flag\":{\"type\":\"boolean\"},"
    "\"time\":{\"type\":\"string\",\"format\":\"date-time\"},"
    "\"list\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"}},"
    "\"things\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}},"
    "\"map\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"number\"}},"
    "\"deep\":{\"type\":\"object\",\"properties\":{\"er\":{\"type\":\"string\"}}}}}";

/* The first byte chooses the option, the rest is its value; and the whole is a URL. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = xstrndup((const char *)data, size);
    _cleanup_free_ char *url = NULL;
    json_t *schema = json_loads(SCHEMA, 0, NULL), *spec = json_object();
    struct option_list options = {0};
    struct error error;

    spec_options(&options, schema);
    if (text[0]) {
        const struct option *option = &options.items[(unsigned char)text[0] % options.len];
        if (spec_set(spec, option, text + 1, 0, &error) == 0) {
            free(json_canonical(spec));
        }
    }
    url_normalise(text, &url, &error);
    option_list_done(&options);
    json_decref(spec);
    json_decref(schema);
    return 0;
}
