/* Which devices are the machine's own ways to the world: those with a global IPv4 address, but not
 * what is ours, nor bridges that containers and virtual machines live behind. */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "lib/mem.h"
#include "services/bridges.h"
#include "services/sdn/sdn-public-driver.h"

static int is_private(const char *name)
{
    return bridges_has(name) || strncmp(name, "cnsmo", 5) == 0 || strcmp(name, "lo") == 0;
}

static const struct netlink_link *find_nic(const struct netlink_link *links, size_t len, int index)
{
    for (size_t i = 0; i < len; i++) {
        if (links[i].index == index) {
            int is_ours = strcmp(links[i].alias, NETLINK_ALIAS) == 0;
            return is_ours || is_private(links[i].name) ? NULL : &links[i];
        }
    }
    return NULL;
}

static int compare_numbers(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static int compare_nics(const void *a, const void *b)
{
    const struct public_nic *x = a, *y = b;

    return x->index - y->index;
}

/* What there is now, in the form of the driver's members. */
struct look {
    struct public_nic *nics;
    size_t nics_len;
    uint32_t *own;
    size_t own_len;
};

static void add(struct look *look, const struct netlink_link *link, uint32_t address)
{
    size_t at = 0;

    while (at < look->nics_len && look->nics[at].index != link->index) {
        at++;
    }
    if (at == look->nics_len) {
        struct public_nic *nic = &look->nics[look->nics_len++];
        nic->index = link->index;
        memcpy(nic->name, link->name, sizeof nic->name);
    }
    for (at = 0; at < look->own_len; at++) {
        if (look->own[at] == address) {
            return;
        }
    }
    look->own[look->own_len++] = address;
}

static struct look look_at(const struct netlink_link *links, size_t links_len,
                           const struct netlink_address *addresses, size_t addresses_len)
{
    struct look look = {.nics = xcalloc(addresses_len + 1, sizeof *look.nics),
                        .own = xcalloc(addresses_len + 1, sizeof *look.own)};

    for (size_t i = 0; i < addresses_len; i++) {
        const struct netlink_link *link = find_nic(links, links_len, addresses[i].index);
        if (link && addresses[i].scope == RT_SCOPE_UNIVERSE) {
            add(&look, link, addresses[i].prefix.address);
        }
    }
    qsort(look.nics, look.nics_len, sizeof *look.nics, compare_nics);
    qsort(look.own, look.own_len, sizeof *look.own, compare_numbers);
    return look;
}

static int is_new(const struct public *p, const struct look *look)
{
    return look->nics_len != p->nics_len || look->own_len != p->own_len ||
           (p->nics_len > 0 && memcmp(look->nics, p->nics, p->nics_len * sizeof *p->nics) != 0) ||
           (p->own_len > 0 && memcmp(look->own, p->own, p->own_len * sizeof *p->own) != 0);
}

int public_nics_look(struct public *p, struct error *error)
{
    _cleanup_free_ struct netlink_link *links = NULL;
    _cleanup_free_ struct netlink_address *addresses = NULL;
    size_t links_len = 0, addresses_len = 0;

    int rc = netlink_links(p->nl, &links, &links_len);
    if (rc == 0) {
        rc = netlink_addresses(p->nl, &addresses, &addresses_len);
    }
    if (rc < 0) {
        return error_set(error, error_status(rc), NULL, "cannot list the NICs: %s", strerror(-rc));
    }
    struct look look = look_at(links, links_len, addresses, addresses_len);
    int differs = is_new(p, &look);
    public_nics_done(p);
    p->nics = look.nics;
    p->nics_len = look.nics_len;
    p->own = look.own;
    p->own_len = look.own_len;
    return differs;
}

void public_nics_done(struct public *p)
{
    free(p->nics);
    free(p->own);
    p->nics = NULL;
    p->own = NULL;
    p->nics_len = p->own_len = 0;
}
