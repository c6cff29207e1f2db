/* Whatever a resource says: what is accepted makes a section in which no line is anybody else's.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/lb/lb-config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct lb_paths PATHS = {
    .folder = "/f", .socket = "/f/s", .state = "/f/servers", .chroot = "/f/e"};

static void check(const json_t *spec)
{
    static const char *const WORDS[] = {"\nlisten ",    "    bind ",       "    tcp-request ",
                                        "    mode ",    "    balance ",    "    hash-type ",
                                        "    stick",    "    cookie ",     "    option ",
                                        "    timeout ", "    http-check ", "    server "};
    struct buf out = BUF_INIT(LB_CONFIG_MAX);
    char proxy[LB_PROXY_SIZE];

    lb_proxy_name("web", spec, proxy);
    lb_config_section(&out, proxy, spec, &PATHS);
    for (char *rest = out.data + 1, *line; (line = strsep(&rest, "\n"));) {
        size_t i = 1;
        while (i < ARRAY_LEN(WORDS) && strncmp(line, WORDS[i], strlen(WORDS[i])) != 0) {
            i++;
        }
        if (i == ARRAY_LEN(WORDS) && *line && strncmp(line, WORDS[0] + 1, 7) != 0) {
            abort();
        }
    }
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *json = NULL;

    if (json_parse((const char *)data, size, &json, NULL) == 0 && lb_spec_check(json, NULL) == 0) {
        check(json);
    }
    json_decref(json);
    return 0;
}
