/* A rule's resource as the server sends it, or else a text of ports; what is made of it is made
 * into a table. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/fw/fw-compile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_ports(const char *text)
{
    struct fw_ports ports;

    if (fw_ports_parse(text, &ports) < 0) {
        return;
    }
    for (size_t i = 0; i < ports.len; i++) {
        if (ports.list[i].from == 0 || ports.list[i].from > ports.list[i].to ||
            (i > 0 && ports.list[i].from <= ports.list[i - 1].to)) {
            abort();
        }
    }
}

static void try_rule(const struct fw_rule *rule)
{
    static const char *const MARKS[] = {NULL};
    struct fw_marked marked = {rule, 7};
    struct fw_policy policy = {.in = FW_DROP, .out = FW_ACCEPT};
    struct fw_document *document = fw_compile(&marked, 1, &policy, MARKS);
    struct buf commands = BUF_INIT(1 << 20);

    /* A document differs in nothing from itself. */
    if (fw_commands(document, document, &commands) != 1 || commands.size > 0 ||
        fw_commands(NULL, document, &commands) != 0 || commands.size == 0) {
        abort();
    }
    buf_done(&commands);
    fw_document_free(document);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = xstrndup((const char *)data, size);
    struct fw_rule rule;
    json_t *body;

    if (json_parse((const char *)data, size, &body, NULL) < 0) {
        try_ports(text);
        return 0;
    }
    if (fw_rule_parse("7", body, &rule, NULL) == 0) {
        try_rule(&rule);
        fw_rule_done(&rule);
    }
    json_decref(body);
    return 0;
}
