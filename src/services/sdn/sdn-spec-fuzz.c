/* Whatever a resource says: a rule makes only flows that a switch takes, in the right table, and
 * not without end. */
#include <stdlib.h>

#include "lib/json.h"
#include "services/sdn/sdn-flows.h"

enum {
    FLOWS_MAX = 2 * OF_PORT_MASKS_MAX,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct sdn_rule *rule, uint8_t table)
{
    struct of_flow flow;
    size_t len = 0;

    while (sdn_rule_flow(rule, 1, len, &flow)) {
        if (flow.table != table || !of_match_has(&flow.match, OF_IN_PORT) ||
            of_match_check(&flow.match, NULL) < 0 || ++len > FLOWS_MAX) {
            abort();
        }
    }
    if (len == 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sdn_rule rule;
    struct sdn_self self;
    struct of_flow flow;
    json_t *json = NULL;

    if (json_parse((const char *)data, size, &json, NULL) < 0) {
        return 0;
    }
    if (sdn_filter_parse(json, &rule, NULL) == 0) {
        check(&rule, SDN_TABLE_FILTERS);
    }
    if (sdn_flow_parse(json, &rule, NULL) == 0) {
        check(&rule, SDN_TABLE_FLOWS);
    }
    if (sdn_self_parse(json, &self, NULL) == 0 && !sdn_base_flow(&self, 0, 0, &flow)) {
        abort();
    }
    json_decref(json);
    return 0;
}
