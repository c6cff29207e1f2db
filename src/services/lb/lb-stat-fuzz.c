/* Whatever HAProxy says. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "services/lb/lb-stat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *same(void *arg, const char *service)
{
    return service;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = xstrndup((const char *)data, size);
    struct lb_stat stat;

    if (lb_stat_parse(text, &stat) == 0) {
        _cleanup_free_ char *renamed = lb_stat_renamed(stat.servers_text, same, NULL);
        omap_foreach (e, &stat.proxies) {
            const struct lb_proxy *proxy = e->value;
            if (proxy->port == 0 || strcmp(proxy->service, e->key) != 0) {
                abort();
            }
        }
        lb_stat_done(&stat);
    }
    return 0;
}
