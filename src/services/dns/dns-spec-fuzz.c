/* Whatever a resource says: what is written for dnsmasq has only lines of the kinds that we mean,
 * and taking the resource away again leaves none. */
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/dns/dns-set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_lines(const char *text)
{
    static const char *const BEGINNINGS[] = {"address=/", "local=/",
                                             "host-record=", "cname=", "ptr-record="};

    for (; text && *text; text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL) {
        int known = strchr("0123456789abcdef:", *text) != NULL;
        for (size_t i = 0; i < ARRAY_LEN(BEGINNINGS); i++) {
            known |= strncmp(text, BEGINNINGS[i], strlen(BEGINNINGS[i])) == 0;
        }
        if (!known) {
            abort();
        }
    }
}

static void write_all(const struct dns_set *set, struct buf *out)
{
    for (size_t i = 0; i < DNS_FILES; i++) {
        dns_set_write_file(set, i, out);
    }
    dns_set_write_special(set, out);
}

static void try_item(const char *key, const json_t *json)
{
    _cleanup_buf_ struct buf out = BUF_INIT(16 << 20), after = BUF_INIT(16 << 20);
    struct dns_set set;

    dns_set_init(&set);
    dns_set_domain(&set, "d.test");
    if (dns_set_put(&set, key, json, NULL) == 0) {
        write_all(&set, &out);
        check_lines(out.data);
        dns_set_drop(&set, key);
    }
    write_all(&set, &after);
    if (after.size > 0) {
        abort();
    }
    dns_set_done(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *json = NULL, *upstreams;
    char *domain, address[16];

    if (json_parse((const char *)data, size, &json, NULL) < 0) {
        return 0;
    }
    try_item("dns/name/A", json);
    try_item("dns/record/1", json);
    if (dns_settings_parse(json, &domain, &upstreams, NULL) == 0) {
        if (strpbrk(domain, "\n/ ")) {
            abort();
        }
        free(domain);
        json_decref(upstreams);
    }
    dns_self_parse(json, address, NULL);
    json_decref(json);
    return 0;
}
