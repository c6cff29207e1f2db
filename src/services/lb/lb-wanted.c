/* lb-wanted.c - the services that this node is to have. */
#include <stdio.h>
#include <string.h>

#include "lib/ip.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/lb/lb-driver.h"

static struct lb_wanted *wanted_get(struct lb *lb, const char *name)
{
    struct lb_wanted *w = omap_get(&lb->wanted, name);

    if (!w) {
        w = xnew(struct lb_wanted);
        snprintf(w->name, sizeof w->name, "%s", name);
        omap_put(&lb->wanted, name, w);
    }
    return w;
}

static void use(struct lb_wanted *w, json_t *spec)
{
    lb_proxy_name(w->name, spec, w->proxy);
    json_decref(w->spec);
    w->spec = json_incref(spec);
}

int lb_wanted_put(struct lb *lb, const char *name, const json_t *spec, struct error *error)
{
    int rc = lb_spec_check(spec, error);

    if (rc < 0) {
        return rc;
    }
    struct lb_wanted *w = wanted_get(lb, name);
    if (w->asked && json_equal(w->asked, (json_t *)spec)) {
        return 0;
    }
    if (lb_wanted_is_loaded(lb, w)) {
        json_decref(w->before);
        w->before = json_incref(w->spec);
    }
    json_decref(w->asked);
    w->asked = json_incref((json_t *)spec);
    w->is_refused = w->has_fallback = 0;
    w->problem[0] = '\0';
    use(w, w->asked);
    return 0;
}

void lb_wanted_refuse(struct lb_wanted *w, const char *why)
{
    w->is_refused = 1;
    snprintf(w->problem, sizeof w->problem, "%.299s", why);
    if (w->before && !json_equal(w->before, w->asked)) {
        w->has_fallback = 1;
        use(w, w->before);
    }
}

static void free_wanted(void *value)
{
    struct lb_wanted *w = value;

    if (w) {
        json_decref(w->asked);
        json_decref(w->spec);
        json_decref(w->before);
    }
    free(w);
}

void lb_wanted_del(struct lb *lb, const char *name)
{
    free_wanted(omap_del(&lb->wanted, name));
}

void lb_wanted_clear(struct lb *lb)
{
    omap_clear(&lb->wanted, free_wanted);
}

int lb_wanted_is_loaded(const struct lb *lb, const struct lb_wanted *w)
{
    const struct lb_proxy *proxy = omap_get(&lb->stat.proxies, w->name);

    return lb->is_running && proxy && strcmp(proxy->name, w->proxy) == 0;
}

static uint32_t front_address(const struct lb_wanted *w)
{
    uint32_t address = 0;

    if (strcmp(json_get_string(w->spec, "side", ""), "overlay") == 0) {
        ip4_parse(json_get_string(w->spec, "address", ""), &address);
    }
    return address;
}

static uint16_t front_port(const struct lb_wanted *w)
{
    return (uint16_t)json_get_integer(w->spec, "port", 0);
}

/* Whoever of ours has the port now gives it up, or keeps it, with the next configuration. */
static int is_own_port(const struct lb *lb, uint16_t port)
{
    if (!lb->is_running) {
        return 0;
    }
    omap_foreach (e, &lb->stat.proxies) {
        if (((struct lb_proxy *)e->value)->port == port) {
            return 1;
        }
    }
    return 0;
}

/* The service before it, in the order of names, that has the same port; NULL: none. The server
 * refuses that, but for two writes that passed each other. */
static const struct lb_wanted *same_port(const struct lb *lb, const struct lb_wanted *w)
{
    omap_foreach (e, &lb->wanted) {
        if (e->value == w) {
            break;
        }
        if (front_port(e->value) == front_port(w)) {
            return e->value;
        }
    }
    return NULL;
}

static int check_port(const struct lb *lb, const struct lb_wanted *w, struct error *error)
{
    const struct lb_wanted *other = same_port(lb, w);

    if (other) {
        return error_set(error, 409, NULL, "port %u is taken by the lb service %s", front_port(w),
                         other->name);
    }
    return lb_wanted_is_loaded(lb, w) || is_own_port(lb, front_port(w))
               ? 0
               : lb_port_check(front_address(w), front_port(w), error);
}

void lb_wanted_check_ports(struct lb *lb)
{
    struct error error;

    omap_foreach (e, &lb->wanted) {
        struct lb_wanted *w = e->value;
        if (w->is_refused) {
            continue;
        }
        w->problem[0] = '\0';
        if (check_port(lb, w, &error) < 0) {
            snprintf(w->problem, sizeof w->problem, "%.299s", error.detail);
        }
    }
}
