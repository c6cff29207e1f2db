/* dns-tree.c - what stands at a name, read by its claims; and where a CNAME leads. */
#include <stdio.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/dns/dns-kinds.h"

const char *dns_domain(struct view *view)
{
    return json_get_string(view_spec(view, "settings", "dns"), "domain", "cnsmo.internal");
}

struct looking {
    struct view *view;
    view_each_fn *each;
    void *arg;
};

static void look(void *arg, const char *rest, const json_t *claim)
{
    static const char OWNER[] = "object/dns/records/";
    const struct looking *looking = arg;
    const char *owner = json_get_string(claim, "owner", "");

    if (strncmp(owner, OWNER, sizeof OWNER - 1) == 0) {
        const char *id = owner + sizeof OWNER - 1;
        const json_t *spec = view_spec(looking->view, DNS_RECORDS.name, id);
        if (spec) {
            looking->each(looking->arg, id, spec);
        }
    }
}

void dns_each_at(struct view *view, const char *name, view_each_fn *each, void *arg)
{
    struct looking looking = {.view = view, .each = each, .arg = arg};
    char hex[SHA256_HEX_SIZE], prefix[DNS_CLAIM_SIZE];

    snprintf(prefix, sizeof prefix, "claim/dns-at/%s/", hash_text_hex(name, hex));
    view_each(view, prefix, look, &looking);
}

const char *dns_node_at(struct view *view, const char *name)
{
    static const char OWNER[] = "object/nodes/";
    char key[DNS_CLAIM_SIZE];

    if (strlen(name) > DNS_LABEL_MAX || strchr(name, '.')) {
        return NULL;
    }
    snprintf(key, sizeof key, "claim/dns-node/%s", name);
    const char *owner = json_get_string(view_get(view, key), "owner", "");
    return strncmp(owner, OWNER, sizeof OWNER - 1) == 0 ? owner + sizeof OWNER - 1 : NULL;
}

/* --- following --- */

struct following {
    json_t *addresses;
    const char *next; /* borrowed from the tree */
    size_t found;
};

static void follow(void *arg, const char *id, const json_t *spec)
{
    struct following *f = arg;
    const char *value = json_get_string(spec, "value", "");

    f->found++;
    if (strcmp(json_get_string(spec, "type", ""), "CNAME") == 0) {
        f->next = value;
    } else if (!json_array_has(f->addresses, value)) {
        json_array_append_new(f->addresses, json_string(value));
    }
}

void dns_follow(struct view *view, const char *name, struct dns_target *ret_target)
{
    struct following f = {.addresses = json_array(), .next = name};

    *ret_target = (struct dns_target){.addresses = f.addresses};
    for (size_t i = 0; f.next && i < DNS_CNAMES_MAX; i++) {
        name = f.next;
        f.next = NULL;
        f.found = 0;
        const char *node = dns_node_at(view, name);
        const char *address =
            node ? json_get_string(view_spec(view, "nodes", node), "address", NULL) : NULL;
        if (address) {
            json_array_append_new(f.addresses, json_string(address));
        }
        dns_each_at(view, name, follow, &f);
        if (f.found == 0 && dns_name_is_outside(name)) {
            ret_target->outside = xstrndup(name, strlen(name) - 1);
        }
    }
}

void dns_target_done(struct dns_target *target)
{
    json_decref(target->addresses);
    free(target->outside);
}
