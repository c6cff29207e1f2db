#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "services/vpn/vpn-dump.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = xstrndup((const char *)data, size);
    struct dump dump;
    struct error error;

    if (dump_parse(text, &dump, &error) == 0) {
        for (size_t i = 0; i < dump.len; i++) {
            if (!dump_find(&dump, dump.peers[i].key)) {
                abort();
            }
        }
        dump_done(&dump);
    }
    return 0;
}
