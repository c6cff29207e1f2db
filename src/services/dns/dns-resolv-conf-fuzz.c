/* Whatever resolv.conf says: ours is rewritten to one of ours. */
#include <stdint.h>
#include <stdlib.h>

#include "lib/mem.h"
#include "services/dns/dns-resolver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = xstrndup((const char *)data, size);
    _cleanup_buf_ struct buf out = BUF_INIT(1 << 20);

    resolver_rewrite(text, "d.test", &out);
    if (size < 64 << 10 && !resolver_is_ours(out.data)) {
        abort();
    }
    return 0;
}
