/* dns-held.c - what the driver holds, from one agent to the next: RUN/dns/held.json, written when
 * an agent ends and taken away when the next begins. So that one knows what the files that it
 * finds say, and changes nothing; without it all is applied again, which finds the same files. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/dns/dns-driver.h"

enum {
    HELD_SIZE_MAX = 64 << 20,
};

void held_save(struct dns *d)
{
    if (!d->self || !d->settings || !d->running) {
        return;
    }
    json_t *items = json_object();
    omap_foreach (e, &d->set.items) {
        json_object_set(items, e->key, e->value);
    }
    json_t *all =
        json_pack("{s:O, s:O, s:o}", "self", d->self, "settings", d->settings, "items", items);
    _cleanup_free_ char *text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    file_write_atomic(d->held_path, text, strlen(text), 0600); /* lost: applied again */
}

static int take(struct dns *d, const json_t *all)
{
    json_t *self = json_object_get(all, "self"), *settings = json_object_get(all, "settings"),
           *spec, *upstreams;
    const char *key;
    char *domain;

    if (dns_self_parse(self, d->address, NULL) < 0 ||
        dns_settings_parse(settings, &domain, &upstreams, NULL) < 0) {
        return -1;
    }
    dns_set_domain(&d->set, domain);
    free(domain);
    d->upstreams = upstreams;
    d->self = json_incref(self);
    d->settings = json_incref(settings);
    json_object_foreach (json_object_get(all, "items"), key, spec) {
        dns_set_put(&d->set, key, spec, NULL);
    }
    return 0;
}

void held_load(struct dns *d)
{
    _cleanup_buf_ struct buf text = BUF_INIT(HELD_SIZE_MAX);
    json_t *all = NULL;

    if (file_read(d->held_path, &text) == 0 &&
        json_parse(text.data ? text.data : "", text.size, &all, NULL) == 0) {
        take(d, all);
    }
    json_decref(all);
    unlink(d->held_path);
}
