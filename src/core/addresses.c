#include "core/addresses.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"

enum {
    RANGES_MAX = 1024, /* hubs whose client ranges are looked at */
    RANGE_SHARE_BITS = 5,
};

int addresses_overlay(struct view *view, struct ip4_prefix *ret_range)
{
    const char *text = json_get_string(view_spec(view, "settings", "overlay"), "range", NULL);

    if (!text || ip4_prefix_parse(text, ret_range) < 0) {
        return -ENOENT;
    }
    ret_range->address &= ip4_mask(ret_range->len);
    return 0;
}

struct ip4_prefix addresses_top_quarter(struct ip4_prefix overlay)
{
    uint32_t size = ~ip4_mask(overlay.len) / 4 + 1;

    return (struct ip4_prefix){.address = (overlay.address | ~ip4_mask(overlay.len)) - size + 1,
                               .len = (uint8_t)(overlay.len + 2)};
}

/* --- who has what --- */

struct looking {
    struct view *view;
    const char *node;
    struct ip4_prefix range;
    char *holder; /* a sentence's end: "of the hub X"; NULL: nobody yet */
};

static void look_at_hub(void *arg, const char *hub, const json_t *value)
{
    struct looking *l = arg;
    const char *text = json_get_string(view_spec(l->view, "nodes", hub), "clientRange", NULL);
    struct ip4_prefix range;

    if (!l->holder && text && strcmp(hub, l->node) != 0 && ip4_prefix_parse(text, &range) == 0 &&
        ip4_overlaps(range, l->range)) {
        l->holder = xasprintf("the client range %s of %s", text, hub);
    }
}

static void look_at_address(void *arg, const char *text, const json_t *value)
{
    struct looking *l = arg;
    const char *owner = json_get_string(value, "owner", NULL);
    const char *id = owner ? strchr(owner, '/') : NULL;
    uint32_t address;

    if (l->holder || ip4_parse(text, &address) < 0 || !ip4_contains(l->range, address) ||
        (id && strncmp(id + 1, "nodes/", 6) == 0 && strcmp(id + 7, l->node) == 0)) {
        return;
    }
    l->holder =
        id ? xasprintf("the address %s of %s", text, id + 1)
           : xasprintf("the address %s of what was deleted and isn't forgotten everywhere", text);
}

static char *holder_of(struct view *view, const char *node, struct ip4_prefix range, int addresses)
{
    struct looking looking = {.view = view, .node = node, .range = range};

    view_each(view, "index/hub/", look_at_hub, &looking);
    if (addresses && !looking.holder) {
        view_each(view, "claim/address/", look_at_address, &looking);
    }
    return looking.holder;
}

int addresses_check_range(struct view *view, const char *node, struct ip4_prefix range,
                          struct error *error)
{
    _cleanup_free_ char *holder = holder_of(view, node, range, 1);
    char text[IP4_PREFIX_TEXT_SIZE];

    return holder ? error_set(error, 409, "/clientRange", "\"clientRange\" %s overlaps %s",
                              ip4_prefix_format(range, text), holder)
                  : 0;
}

int addresses_check_address(struct view *view, const char *node, uint32_t address,
                            struct error *error)
{
    struct ip4_prefix one = {.address = address, .len = 32};
    _cleanup_free_ char *holder = holder_of(view, node, one, 0);
    char text[IP4_TEXT_SIZE];

    return holder ? error_set(error, 409, "/address", "\"address\" %s lies in %s",
                              ip4_format(address, text), holder)
                  : 0;
}

/* --- choosing --- */

struct ranges {
    struct view *view;
    struct ip4_prefix items[RANGES_MAX];
    size_t len;
};

static void note_range(void *arg, const char *hub, const json_t *value)
{
    struct ranges *ranges = arg;
    const char *text = json_get_string(view_spec(ranges->view, "nodes", hub), "clientRange", "");

    if (ranges->len < RANGES_MAX && ip4_prefix_parse(text, &ranges->items[ranges->len]) == 0) {
        ranges->len++;
    }
}

/* The last address of the range that holds the address; the address itself if none does. */
static uint32_t end_of_range(const struct ranges *ranges, uint32_t address)
{
    for (size_t i = 0; i < ranges->len; i++) {
        if (ip4_contains(ranges->items[i], address)) {
            return address | ~ip4_mask(ranges->items[i].len);
        }
    }
    return address;
}

static int is_free(struct view *view, uint32_t address)
{
    char text[IP4_TEXT_SIZE], key[40];

    snprintf(key, sizeof key, "claim/address/%s", ip4_format(address, text));
    return !view_get(view, key);
}

int addresses_choose(struct view *view, uint32_t hint, uint32_t *ret_address)
{
    struct ranges ranges = {.view = view};
    struct ip4_prefix overlay;

    if (addresses_overlay(view, &overlay) < 0) {
        return -ENOSPC;
    }
    /* Network address and top quarter, with the broadcast address, are left out. */
    uint32_t first = overlay.address + 1;
    uint32_t count = addresses_top_quarter(overlay).address - first;
    uint32_t start = hint >= first && hint - first < count ? hint - first + 1 : 0;
    view_each(view, "index/hub/", note_range, &ranges);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t address = first + (start + i) % count;
        uint32_t end = end_of_range(&ranges, address);
        if (end != address) {
            uint32_t left = first + count - 1 - address; /* before it begins anew from below */
            i += end - address < left ? end - address : left;
        } else if (is_free(view, address)) {
            *ret_address = address;
            return 0;
        }
    }
    return -ENOSPC;
}

int addresses_choose_range(struct view *view, const char *node, struct ip4_prefix *ret_range)
{
    struct ip4_prefix overlay;

    if (addresses_overlay(view, &overlay) < 0) {
        return -ENOSPC;
    }
    struct ip4_prefix quarter = addresses_top_quarter(overlay);
    int len = overlay.len + RANGE_SHARE_BITS;
    struct ip4_prefix range = {
        .len = (uint8_t)(len < CLIENT_RANGE_MAX_LEN ? len : CLIENT_RANGE_MAX_LEN)};
    uint32_t size = ~ip4_mask(range.len) + 1;
    uint32_t count = (~ip4_mask(quarter.len) + 1) / size;

    for (uint32_t i = 1; i <= count; i++) {
        range.address = quarter.address + (count - i) * size;
        _cleanup_free_ char *holder = holder_of(view, node, range, 1);
        if (!holder) {
            *ret_range = range;
            return 0;
        }
    }
    return -ENOSPC;
}
