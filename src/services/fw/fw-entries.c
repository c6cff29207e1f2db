#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/fw/fw-driver.h"

enum {
    FORMAT = 1, /* to be raised when the same resources are made into another table */
};

static const char *const PREFIX[] = {"fw/rule/", "fw/policy/", "fw/self/"};

/* --- keys: fw/rule/<id>/<node>, fw/policy/<id>/<node>, fw/self/<node> --- */

struct fw_entry *fw_entry_get(struct fw *fw, const char *key)
{
    struct fw_entry *entry = omap_get(&fw->entries, key);

    for (int kind = FW_RULE; !entry && kind <= FW_SELF; kind++) {
        size_t size = strlen(PREFIX[kind]);
        if (strncmp(key, PREFIX[kind], size) != 0) {
            continue;
        }
        size_t len = strcspn(key + size, "/");
        entry = xcalloc(1, sizeof *entry + len + 1);
        entry->kind = (enum fw_kind)kind;
        memcpy(entry->id, key + size, len);
        omap_put(&fw->entries, key, entry);
    }
    return entry;
}

void fw_entry_drop(struct fw_entry *entry)
{
    if (entry->is_wanted && entry->kind == FW_RULE) {
        fw_rule_done(&entry->rule);
    }
    entry->is_wanted = 0;
}

static void entry_free(struct fw_entry *entry)
{
    fw_entry_drop(entry);
    free(entry);
}

void fw_entries_sweep(struct fw *fw)
{
    omap_foreach (e, &fw->entries) {
        struct fw_entry *entry = e->value;
        if (!entry->is_wanted && !entry->in_kernel) {
            omap_del(&fw->entries, e->key);
            entry_free(entry);
        }
    }
}

void fw_entries_clear(struct fw *fw)
{
    omap_foreach (e, &fw->entries) {
        struct fw_entry *entry = e->value;
        omap_del(&fw->entries, e->key);
        entry_free(entry);
    }
}

/* --- bodies --- */

/* FNV-1a of what it says, without for how long: a confirmed trial is the same rule. */
static uint64_t hash_of(const json_t *spec)
{
    json_t *copy = json_copy((json_t *)spec);
    uint64_t hash = 0xcbf29ce484222325 + FORMAT;

    json_object_del(copy, "confirmWithin");
    json_object_del(copy, "otherwise");
    _cleanup_free_ char *text = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(copy);
    for (const char *c = text; c && *c; c++) {
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3;
    }
    return hash;
}

static int read_default(const json_t *spec, const char *name, int *ret_action, struct error *error)
{
    const char *word = json_get_string(spec, name, NULL);
    int action = word ? fw_action_parse(word) : -1;

    if (word && (action < 0 || action == FW_LOG)) {
        return error_set(error, 400, NULL, "\"%s\": a default isn't \"%.40s\"", name, word);
    }
    *ret_action = action;
    return 0;
}

static int read_policy(struct fw_entry *entry, const json_t *spec, struct error *error)
{
    entry->policy.rank = json_get_integer(spec, "rank", 0);
    int rc = read_default(spec, "in", &entry->policy.in, error);
    return rc < 0 ? rc : read_default(spec, "out", &entry->policy.out, error);
}

static int read_self(struct fw_entry *entry, const json_t *spec, struct error *error)
{
    const json_t *ports = json_object_get(spec, "ports");

    entry->self.len = 0;
    for (size_t i = 0; i < json_array_size(ports) && i < FW_VPN_PORTS_MAX; i++) {
        json_int_t port = json_integer_value(json_array_get(ports, i));
        if (port < 1 || port > UINT16_MAX) {
            return error_set(error, 400, NULL, "\"ports\": there is one that is none");
        }
        entry->self.ports[entry->self.len++] = (uint16_t)port;
    }
    return 0;
}

int fw_entry_take(struct fw *fw, const char *key, const json_t *spec, struct error *error)
{
    struct fw_entry *entry = fw_entry_get(fw, key);

    if (!entry) {
        return error_set(error, 400, NULL, "\"%.100s\" is no key of the firewall's", key);
    }
    uint64_t hash = hash_of(spec);
    if (entry->is_wanted && entry->hash == hash) {
        return 0;
    }
    fw_entry_drop(entry);
    int rc = entry->kind == FW_RULE     ? fw_rule_parse(entry->id, spec, &entry->rule, error)
             : entry->kind == FW_POLICY ? read_policy(entry, spec, error)
                                        : read_self(entry, spec, error);
    if (rc < 0) {
        return rc;
    }
    entry->hash = hash;
    entry->is_wanted = 1;
    return 0;
}

/* --- all of them --- */

/* Of policies of one rank the first by name. */
static int stronger(int action, int64_t rank, int64_t strongest)
{
    return action >= 0 && rank > strongest;
}

struct fw_policy fw_entries_policy(const struct fw *fw)
{
    struct fw_policy policy = {.in = FW_ACCEPT, .out = FW_ACCEPT};
    int64_t in = INT64_MIN, out = INT64_MIN;

    omap_foreach (e, &fw->entries) {
        const struct fw_entry *entry = e->value;
        if (entry->is_wanted && entry->kind == FW_POLICY) {
            if (stronger(entry->policy.in, entry->policy.rank, in)) {
                policy.in = (enum fw_action)entry->policy.in;
                in = entry->policy.rank;
            }
            if (stronger(entry->policy.out, entry->policy.rank, out)) {
                policy.out = (enum fw_action)entry->policy.out;
                out = entry->policy.rank;
            }
        } else if (entry->is_wanted && entry->kind == FW_SELF) {
            memcpy(policy.vpn_ports, entry->self.ports, sizeof policy.vpn_ports);
            policy.vpn_ports_len = entry->self.len;
        }
    }
    return policy;
}

static char *mark_of(const struct fw_entry *entry)
{
    return entry->kind == FW_POLICY ? xasprintf("p.%016" PRIx64 ".%s", entry->hash, entry->id)
                                    : xasprintf("s.%016" PRIx64, entry->hash);
}

struct fw_document *fw_entries_compile(const struct fw *fw)
{
    struct fw_policy policy = fw_entries_policy(fw);
    _cleanup_free_ struct fw_marked *rules = xcalloc(fw->entries.len + 1, sizeof *rules);
    _cleanup_free_ char **marks = xcalloc(fw->entries.len + 1, sizeof *marks);
    struct fw_document *document = NULL;
    size_t len = 0, marks_len = 0;

    omap_foreach (e, &fw->entries) {
        const struct fw_entry *entry = e->value;
        if (entry->is_wanted && entry->kind == FW_RULE) {
            rules[len++] = (struct fw_marked){&entry->rule, entry->hash};
        } else if (entry->is_wanted) {
            marks[marks_len++] = mark_of(entry);
        }
    }
    if (len + marks_len > 0) {
        document = fw_compile(rules, len, &policy, (const char *const *)marks);
    }
    for (size_t i = 0; i < marks_len; i++) {
        free(marks[i]);
    }
    return document;
}
