#include <stdint.h>
#include <string.h>

#include "cli/sse.h"
#include "lib/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int take(void *arg, const char *event, const char *data)
{
    json_t *json;

    if (json_parse(data, strlen(data), &json, NULL) == 0) {
        json_decref(json);
    }
    return strcmp(event, "stop") == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sse sse = SSE_INIT(take, NULL);
    size_t cut = size > 0 ? data[0] % size : 0; /* two pieces, at a place that the input chooses */

    if (sse_feed(&sse, (const char *)data, cut) == 0) {
        sse_feed(&sse, (const char *)data + cut, size - cut);
    }
    sse_done(&sse);
    return 0;
}
