/* lb-runtime.c - back ends come and go while HAProxy runs, by its commands.
 *
 * One that goes is drained first, and deleted when its last session has ended or has had time to:
 * a connection that it serves isn't cut. Source: HAProxy 2.6's management manual, section 9.3. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/ip.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/lb/lb-driver.h"

enum {
    COMMAND_MSEC = 500,
    ANSWER_MAX = 1 << 16,
    COMMAND_MAX = 4096,
};

/* --- what differs --- */

static const json_t *backend_of(const struct lb_wanted *w, const char *node)
{
    json_t *backend;
    size_t i;

    json_array_foreach (json_object_get(w->spec, "backends"), i, backend) {
        if (strcmp(json_get_string(backend, "node", ""), node) == 0) {
            return backend;
        }
    }
    return NULL;
}

static int has_address(const struct lb_wanted *w, const json_t *backend,
                       const struct lb_server *server)
{
    uint32_t address = 0;

    ip4_parse(json_get_string(backend, "address", ""), &address);
    return server->address == address &&
           server->port == json_get_integer(w->spec, "backendPort", 0);
}

static int server_matches(const struct lb_wanted *w, const json_t *backend,
                          const struct lb_server *server)
{
    return server && !server->is_off && has_address(w, backend, server) &&
           server->is_drained == json_get_bool(backend, "drain", 0);
}

static int is_gone(const struct lb_server *server)
{
    return server->is_off || server->is_drained;
}

int lb_runtime_matches(const struct lb *lb, const struct lb_wanted *w)
{
    const struct lb_proxy *proxy = omap_get(&lb->stat.proxies, w->name);
    json_t *backend;
    size_t i;

    if (!proxy) {
        return 0;
    }
    json_array_foreach (json_object_get(w->spec, "backends"), i, backend) {
        const char *node = json_get_string(backend, "node", "");
        if (!server_matches(w, backend, omap_get(&proxy->servers, node))) {
            return 0;
        }
    }
    omap_foreach (e, &proxy->servers) {
        if (!is_gone(e->value) && !backend_of(w, e->key)) {
            return 0;
        }
    }
    return 1;
}

/* --- commands --- */

/* Commands that change something say nothing when it worked, or one of these. */
static int is_good_news(const char *answer)
{
    static const char *const NEWS[] = {"New server registered", "Server deleted", "IP changed",
                                       "port changed", "no need to change"};

    answer += strspn(answer, "\n ");
    for (size_t i = 0; i < ARRAY_LEN(NEWS); i++) {
        if (strstr(answer, NEWS[i])) {
            return 1;
        }
    }
    return *answer == '\0';
}

static int command(struct lb *lb, const char *text, struct error *error)
{
    _cleanup_buf_ struct buf answer = BUF_INIT(ANSWER_MAX);
    int rc = fault_point();

    rc = rc < 0 ? rc : lb_ask(lb->socket, text, COMMAND_MSEC, &answer);
    if (rc == -ETIMEDOUT) {
        lb->hung_usec = clock_monotonic_usec();
    }
    if (rc < 0) {
        error_set(error, error_status(rc), NULL, "haproxy doesn't answer: %s", strerror(-rc));
        return rc;
    }
    if (answer.data && !is_good_news(answer.data)) {
        const char *words = answer.data + strspn(answer.data, "\n ");
        return error_set(error, 500, NULL, "haproxy says: %.*s", (int)strcspn(words, "\n"), words);
    }
    return 0;
}

/* Puts the server into use, or drains it; also after only half of that was done. */
static void add_state(struct buf *text, const struct lb_wanted *w, const json_t *backend)
{
    const char *node = json_get_string(backend, "node", "");
    const char *type = json_get_string(json_object_get(w->spec, "check"), "type", "");

    buf_printf(text, "set server %s/%s state %s", w->proxy, node,
               json_get_bool(backend, "drain", 0) ? "drain" : "ready");
    if (strcmp(type, "none") != 0) {
        buf_printf(text, ";enable health %s/%s", w->proxy, node);
    }
    buf_printf(text, "\n");
}

static int add_server(struct lb *lb, const struct lb_wanted *w, const json_t *backend,
                      struct error *error)
{
    _cleanup_buf_ struct buf text = BUF_INIT(COMMAND_MAX);

    buf_printf(&text, "add server %s/%s ", w->proxy, json_get_string(backend, "node", ""));
    lb_config_server(&text, w->spec, backend);
    buf_printf(&text, ";");
    add_state(&text, w, backend);
    return command(lb, text.data, error);
}

static int change_server(struct lb *lb, const struct lb_wanted *w, const json_t *backend,
                         struct error *error)
{
    _cleanup_buf_ struct buf text = BUF_INIT(COMMAND_MAX);

    buf_printf(&text, "set server %s/%s addr %s port %d;", w->proxy,
               json_get_string(backend, "node", ""), json_get_string(backend, "address", ""),
               (int)json_get_integer(w->spec, "backendPort", 0));
    add_state(&text, w, backend);
    return command(lb, text.data, error);
}

static int drain_server(struct lb *lb, const struct lb_wanted *w, const char *node,
                        struct error *error)
{
    _cleanup_free_ char *text = xasprintf("set server %s/%s state drain\n", w->proxy, node);

    return command(lb, text, error);
}

static int bring_backend(struct lb *lb, const struct lb_wanted *w, const struct lb_proxy *proxy,
                         const json_t *backend, struct error *error)
{
    const struct lb_server *server =
        omap_get(&proxy->servers, json_get_string(backend, "node", ""));

    if (!server) {
        return add_server(lb, w, backend, error);
    }
    return server_matches(w, backend, server) ? 0 : change_server(lb, w, backend, error);
}

/* Those that get work come before those that get none any more: there is somebody at any time. */
int lb_runtime_apply(struct lb *lb, const struct lb_wanted *w, struct error *error)
{
    const struct lb_proxy *proxy = omap_get(&lb->stat.proxies, w->name);
    json_t *backend;
    int rc = 0;
    size_t i;

    for (int drain = 0; drain < 2; drain++) {
        json_array_foreach (json_object_get(w->spec, "backends"), i, backend) {
            if (rc == 0 && json_get_bool(backend, "drain", 0) == drain) {
                rc = bring_backend(lb, w, proxy, backend, error);
            }
        }
    }
    omap_foreach (e, &proxy->servers) {
        if (rc == 0 && !is_gone(e->value) && !backend_of(w, e->key)) {
            rc = drain_server(lb, w, e->key, error);
        }
    }
    return rc;
}

/* --- those that have gone --- */

/* What is refused, since there is a connection after all, is tried again the next time. */
static void delete_server(struct lb *lb, const struct lb_proxy *proxy, const char *node)
{
    _cleanup_free_ char *text = xasprintf("set server %s/%s state maint;del server %s/%s\n",
                                          proxy->name, node, proxy->name, node);
    struct error ignored;

    command(lb, text, &ignored);
}

void lb_runtime_sweep(struct lb *lb)
{
    omap_foreach (p, &lb->stat.proxies) {
        const struct lb_proxy *proxy = p->value;
        const struct lb_wanted *w = omap_get(&lb->wanted, p->key);
        if (!w || !lb_wanted_is_loaded(lb, w)) {
            continue;
        }
        omap_foreach (e, &proxy->servers) {
            const struct lb_server *server = e->value;
            if (is_gone(server) && server->current == 0 && !lb->hung_usec &&
                !backend_of(w, e->key)) {
                delete_server(lb, proxy, e->key);
            }
        }
    }
}
