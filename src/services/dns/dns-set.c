#include "services/dns/dns-set.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "lib/ip.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    NAME_MAX_SIZE = 253,
    ADDRESSES_MAX = 64 * 16,
    TTL_MAX = 604800,
    UPSTREAMS_MAX = 8,
};

#define NAME_PREFIX "dns/name/"

void dns_set_init(struct dns_set *set)
{
    *set = (struct dns_set){.domain = xstrdup("")};
    memset(set->changed, 1, sizeof set->changed);
}

static void free_json(void *value)
{
    json_decref(value);
}

void dns_set_done(struct dns_set *set)
{
    omap_clear(&set->items, free_json);
    omap_clear(&set->special, NULL);
    for (size_t i = 0; i < DNS_FILES; i++) {
        omap_clear(&set->lines[i], NULL);
    }
    free(TAKE(set->domain));
}

/* --- what is let in --- */

/* Nothing that could end a line or a member of one. */
static int is_name(const char *text)
{
    size_t size = strlen(text);

    return size > 0 && size <= NAME_MAX_SIZE + 1 &&
           text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.-*@")] == '\0';
}

static int is_address(const char *text)
{
    struct in6_addr address;

    return inet_pton(strchr(text, ':') ? AF_INET6 : AF_INET, text, &address) == 1;
}

static int are_addresses(const json_t *list, size_t max)
{
    json_t *one;
    size_t i;

    if (!json_is_array(list) || json_array_size(list) > max) {
        return 0;
    }
    json_array_foreach ((json_t *)list, i, one) {
        if (!json_is_string(one) || !is_address(json_string_value(one))) {
            return 0;
        }
    }
    return 1;
}

static int is_item(const char *key, const json_t *spec)
{
    const char *target = json_get_string(spec, "target", NULL);
    json_int_t ttl = json_get_integer(spec, "ttl", 0);

    if (!is_name(json_get_string(spec, "name", ""))) {
        return 0;
    }
    if (strncmp(key, NAME_PREFIX, strlen(NAME_PREFIX)) == 0) {
        return is_address(json_get_string(spec, "address", ""));
    }
    return are_addresses(json_object_get(spec, "addresses"), ADDRESSES_MAX) &&
           (!target || is_name(target)) && ttl >= 0 && ttl <= TTL_MAX;
}

int dns_settings_parse(const json_t *json, char **ret_domain, json_t **ret_upstreams,
                       struct error *error)
{
    const char *domain = json_get_string(json, "domain", "");
    json_t *upstreams = json_object_get(json, "upstreams");

    if (!is_name(domain) || strpbrk(domain, "*@") || !are_addresses(upstreams, UPSTREAMS_MAX)) {
        return error_set(error, 400, NULL, "dns/settings isn't as this agent knows it");
    }
    *ret_domain = xstrdup(domain);
    *ret_upstreams = json_incref(upstreams);
    return 0;
}

int dns_self_parse(const json_t *json, char ret_address[16], struct error *error)
{
    const char *address = json_get_string(json, "address", "");
    uint32_t number;

    if (ip4_parse(address, &number) < 0) {
        return error_set(error, 400, NULL, "dns/self isn't as this agent knows it");
    }
    ip4_format(number, ret_address);
    return 0;
}

/* --- lines --- */

static size_t file_of(const char *address)
{
    uint32_t hash = 2166136261U; /* FNV-1a */

    for (; *address; address++) {
        hash = (hash ^ (uint8_t)*address) * 16777619U;
    }
    return hash % DNS_FILES;
}

static void change_line(struct dns_set *set, const char *address, char rank, const char *name,
                        int by)
{
    size_t file = file_of(address);
    _cleanup_free_ char *line = xasprintf("%s %c %s", address, rank, name);
    intptr_t before = (intptr_t)omap_get(&set->lines[file], line);

    if (before + by > 0) {
        omap_put(&set->lines[file], line, (void *)(before + by));
    } else {
        omap_del(&set->lines[file], line);
    }
    set->changed[file] |= before == 0 || before + by == 0;
}

/* Host files know neither. */
static int is_special(const json_t *spec)
{
    return json_get_integer(spec, "ttl", 0) > 0 || json_object_get(spec, "target") ||
           json_get_string(spec, "name", "")[0] == '*';
}

static void change_item(struct dns_set *set, const char *key, json_t *spec, int by)
{
    const char *name = json_get_string(spec, "name", "");
    char rank = json_get_bool(spec, "canonical", 0) ? '1' : '2';
    json_t *address;
    size_t i;

    if (strncmp(key, NAME_PREFIX, strlen(NAME_PREFIX)) == 0) {
        change_line(set, json_get_string(spec, "address", ""), '0', name, by);
    } else if (is_special(spec)) {
        if (by > 0) {
            omap_put(&set->special, key, spec);
        } else {
            omap_del(&set->special, key);
        }
    } else {
        json_array_foreach (json_object_get(spec, "addresses"), i, address) {
            change_line(set, json_string_value(address), rank, name, by);
        }
    }
}

void dns_set_drop(struct dns_set *set, const char *key)
{
    json_t *before = omap_del(&set->items, key);

    if (before) {
        change_item(set, key, before, -1);
        json_decref(before);
    }
}

int dns_set_put(struct dns_set *set, const char *key, const json_t *spec, struct error *error)
{
    const json_t *before = omap_get(&set->items, key);

    if (before && json_equal(before, spec)) {
        return 0;
    }
    dns_set_drop(set, key);
    if (!is_item(key, spec)) {
        return error_set(error, 400, NULL, "%s isn't as this agent knows it", key);
    }
    omap_put(&set->items, key, json_incref((json_t *)spec));
    change_item(set, key, (json_t *)spec, 1);
    return 0;
}

void dns_set_domain(struct dns_set *set, const char *domain)
{
    if (strcmp(set->domain, domain) != 0) {
        free(set->domain);
        set->domain = xstrdup(domain);
        memset(set->changed, 1, sizeof set->changed);
    }
}

/* --- text --- */

/* NULL: it is too long with this domain. The caller frees it. */
static char *whole_name(const struct dns_set *set, const char *name)
{
    size_t size = strlen(name);
    char *whole = strcmp(name, "@") == 0              ? xstrdup(set->domain)
                  : size > 0 && name[size - 1] == '.' ? xstrndup(name, size - 1)
                                                      : xasprintf("%s.%s", name, set->domain);

    if (strlen(whole) > NAME_MAX_SIZE) {
        free(TAKE(whole));
    }
    return whole;
}

void dns_set_write_file(const struct dns_set *set, size_t file, struct buf *out)
{
    omap_foreach (e, &set->lines[file]) {
        const char *name = strrchr(e->key, ' ') + 1;
        _cleanup_free_ char *whole = whole_name(set, name);
        if (whole) {
            buf_printf(out, "%.*s %s\n", (int)strcspn(e->key, " "), e->key, whole);
        }
    }
}

/* As an answer's name: 5.0.77.10.in-addr.arpa, or the same of IPv6. */
static void write_reverse(const char *address, struct buf *out)
{
    uint8_t bytes[16];
    int is_ip6 = strchr(address, ':') != NULL;
    size_t len = is_ip6 ? 16 : 4;

    inet_pton(is_ip6 ? AF_INET6 : AF_INET, address, bytes);
    while (len > 0) {
        len--;
        if (is_ip6) {
            buf_printf(out, "%x.%x.", bytes[len] & 15, bytes[len] >> 4);
        } else {
            buf_printf(out, "%d.", bytes[len]);
        }
    }
    buf_printf(out, is_ip6 ? "ip6.arpa" : "in-addr.arpa");
}

/* A host-record takes its address's reverse from the files' names: that of a better or the same
 * rank has it back. */
static void write_pointer(const struct dns_set *set, const char *address, char rank,
                          struct buf *out)
{
    _cleanup_free_ char *beginning = xasprintf("%s ", address);
    const struct omap_entry *first = omap_first_from(&set->lines[file_of(address)], beginning);
    size_t size = strlen(beginning);

    if (!first || strncmp(first->key, beginning, size) != 0 || first->key[size] > rank) {
        return;
    }
    _cleanup_free_ char *whole = whole_name(set, first->key + size + 2);
    if (whole) {
        buf_printf(out, "ptr-record=");
        write_reverse(address, out);
        buf_printf(out, ",%s\n", whole);
    }
}

/* Of each address with a host-record, the best rank of these. */
static void note_ranks(const json_t *spec, struct omap *ranks)
{
    intptr_t rank = json_get_bool(spec, "canonical", 0) ? '1' : '2';
    json_t *address;
    size_t i;

    if (json_object_get(spec, "target") || json_get_string(spec, "name", "")[0] == '*') {
        return;
    }
    json_array_foreach (json_object_get(spec, "addresses"), i, address) {
        intptr_t before = (intptr_t)omap_get(ranks, json_string_value(address));
        if (!before || rank < before) {
            omap_put(ranks, json_string_value(address), (void *)rank);
        }
    }
}

static void write_special(const char *name, const json_t *spec, struct buf *out)
{
    const char *target = json_get_string(spec, "target", NULL);
    json_int_t ttl = json_get_integer(spec, "ttl", 0);
    json_t *address;
    size_t i;

    if (target) {
        buf_printf(out, "cname=%s,%s", name, target);
        if (ttl > 0) {
            buf_printf(out, ",%d", (int)ttl);
        }
        buf_append(out, "\n", 1);
        return;
    }
    if (name[0] == '*') { /* what else is asked of such a name has no answer, and isn't unknown */
        buf_printf(out, "local=/%s/\n", name);
    }
    json_array_foreach (json_object_get(spec, "addresses"), i, address) {
        const char *text = json_string_value(address);
        if (name[0] == '*') {
            buf_printf(out, "address=/%s/%s\n", name, text);
        } else {
            buf_printf(out, "host-record=%s,%s,%d\n", name, text, (int)ttl);
        }
    }
}

void dns_set_write_special(const struct dns_set *set, struct buf *out)
{
    struct omap ranks = {0};

    omap_foreach (e, &set->special) {
        const json_t *spec = e->value;
        _cleanup_free_ char *whole = whole_name(set, json_get_string(spec, "name", ""));
        if (whole) {
            write_special(whole, spec, out);
            note_ranks(spec, &ranks);
        }
    }
    omap_foreach (e, &ranks) {
        write_pointer(set, e->key, (char)(intptr_t)e->value, out);
    }
    omap_clear(&ranks, NULL);
}
