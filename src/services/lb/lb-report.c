/* lb-report.c - what the user is told of this node's services and their back ends. */
#include <stdio.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/lb/lb-driver.h"

enum {
    /* A status is one line on the link (link.h: 1 MiB). */
    FRONTS_SHOWN_MAX = 500,
    BACKENDS_SHOWN_MAX = 2000, /* of all services */
};

/* In one word; HAProxy has many ("UP 1/3", "DOWN (agent)", "no check"). */
static const char *state_word(const struct lb_server *server, int is_drained)
{
    if (!server) {
        return "starting";
    }
    if (strncmp(server->state, "DOWN", 4) == 0) {
        return "down";
    }
    if (is_drained) {
        return "drained";
    }
    return server->is_off ? "starting" : "up";
}

static json_t *backend_status(const json_t *backend, const struct lb_proxy *proxy)
{
    const char *node = json_get_string(backend, "node", "");
    const struct lb_server *server = proxy ? omap_get(&proxy->servers, node) : NULL;

    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "node", node, "address",
                     json_get_string(backend, "address", ""), "state",
                     state_word(server, json_get_bool(backend, "drain", 0)), "why",
                     server ? server->why : "", "sessions",
                     (json_int_t)(server ? server->current : 0), "rate",
                     (json_int_t)(server ? server->rate : 0), "total",
                     (json_int_t)(server ? server->total : 0));
}

static const char *front_state(const struct lb *lb, const struct lb_wanted *w)
{
    if (w->problem[0]) {
        return "failed";
    }
    if (lb->hung_usec) {
        return "degraded";
    }
    if (lb_wanted_is_loaded(lb, w)) {
        return "running";
    }
    return lb->problem[0] ? "failed" : "starting";
}

static json_t *front_status(const struct lb *lb, const struct lb_wanted *w, size_t *shown)
{
    const struct lb_proxy *proxy = omap_get(&lb->stat.proxies, w->name);
    json_t *backends = json_array(), *backend;
    const char *message = w->problem[0]    ? w->problem
                          : lb->hung_usec  ? "haproxy doesn't answer"
                          : lb->problem[0] ? lb->problem
                                           : "";
    size_t i;

    json_array_foreach (json_object_get(w->spec, "backends"), i, backend) {
        if ((*shown)++ < BACKENDS_SHOWN_MAX) {
            json_array_append_new(backends, backend_status(backend, proxy));
        }
    }
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:o}", "service", w->name, "state",
                     front_state(lb, w), "message", message, "port",
                     json_get_integer(w->spec, "port", 0), "sessions",
                     (json_int_t)(proxy ? proxy->current : 0), "rate",
                     (json_int_t)(proxy ? proxy->rate : 0), "backends", backends);
}

struct summary {
    size_t failed, loaded;
    int is_missing; /* the program, while there is no service that would say so */
    size_t shown;   /* back ends */
    char message[400];
};

/* One bad service doesn't make the others so: "degraded". */
static const char *state_of(const struct lb *lb, const struct summary *s)
{
    if (s->is_missing) {
        return "failed";
    }
    if (s->loaded == lb->wanted.len && s->failed == 0 && !lb->hung_usec) {
        return "running";
    }
    if (lb->hung_usec || (s->failed > 0 && s->loaded > 0)) {
        return "degraded";
    }
    return s->failed > 0 || lb->problem[0] ? "failed" : "starting";
}

static const char *message_of(const struct lb *lb, struct summary *s)
{
    if (lb->hung_usec) {
        return "haproxy doesn't answer";
    }
    if (lb->problem[0] || s->is_missing) {
        return s->is_missing ? LB_MISSING : lb->problem;
    }
    if (!s->message[0]) {
        snprintf(s->message, sizeof s->message, "%zu service%s", lb->wanted.len,
                 lb->wanted.len == 1 ? "" : "s");
    }
    return s->message;
}

json_t *lb_report(void *self)
{
    const struct lb *lb = self;
    json_t *fronts = json_array();
    struct summary s = {.is_missing = lb->wanted.len == 0 && !lb_process_is_installed()};

    omap_foreach (e, &lb->wanted) {
        const struct lb_wanted *w = e->value;
        if (json_array_size(fronts) < FRONTS_SHOWN_MAX) {
            json_array_append_new(fronts, front_status(lb, w, &s.shown));
        }
        s.failed += w->problem[0] != '\0';
        s.loaded += (size_t)lb_wanted_is_loaded(lb, w);
        if (w->problem[0] && !s.message[0]) {
            snprintf(s.message, sizeof s.message, "%s: %s", w->name, w->problem);
        }
    }
    const char *message = message_of(lb, &s);
    return json_pack("{s:s, s:s, s:o}", "state", state_of(lb, &s), "message", message, "fronts",
                     fronts);
}
