/* lb-rules.c - the rules of lb/services.
 *
 * Which services have the same port is seen by their claims, "lb-port/<port>/<service>": so a
 * check looks at those alone. Two that name the same node can't pass each other, by a claim; where
 * selectors meet on a node, the write that makes them meet is refused, be it the node's own. */
#include <stdio.h>
#include <string.h>

#include "lb-schemas.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/lb/lb-kinds.h"

enum {
    DNS_PORT = 53,
    API_PORT = 8443, /* where the server is for people, unless it was told otherwise */
};

const struct kind LB_SERVICES = {
    .name = "lb/services",
    .singular = "lb service",
    .summary = "A front port behind which nodes share the work.",
    .schema_text = SCHEMA_LB_SERVICES,
    .ids = KIND_ID_NAMED,
    .one_by_one = 1, /* keys come with some */
    .read_role = ROLE_VIEWER,
    .write_role = ROLE_OPERATOR,
};

/* --- members --- */

static int check_list(const json_t *list, const json_t *before, struct view *view,
                      struct error *error)
{
    size_t i;
    json_t *node;

    json_array_foreach ((json_t *)list, i, node) {
        const char *name = json_string_value(node);
        if (!view_spec(view, "nodes", name) && !json_array_has(before, name)) {
            return error_set(error, 400, "/backends/nodes", "\"nodes\": there is no node \"%s\"",
                             name);
        }
    }
    return 0;
}

/* Those that a selector or pattern finds are left out instead. */
static int check_loops(const json_t *spec, const json_t *nodes, struct view *view,
                       struct error *error)
{
    size_t i;
    json_t *node;

    json_array_foreach ((json_t *)nodes, i, node) {
        const char *name = json_string_value(node);
        if (lb_would_loop(spec, name, view_spec(view, "nodes", name))) {
            return error_set(error, 400, "/backends/nodes",
                             "\"nodes\": %s has the front port itself: give the back ends "
                             "another \"backendPort\"",
                             name);
        }
    }
    return 0;
}

static int check_backends(const json_t *spec, const json_t *before, struct view *view,
                          struct error *error)
{
    const json_t *backends = json_object_get(spec, "backends");
    const json_t *nodes = json_object_get(backends, "nodes");

    if (json_object_size(backends) != 1) {
        return error_set(error, 400, "/backends",
                         "\"backends\" must have exactly one of \"selector\", \"pattern\" and "
                         "\"nodes\"");
    }
    int rc = check_list(nodes, json_object_get(json_object_get(before, "backends"), "nodes"), view,
                        error);
    return rc < 0 ? rc : check_loops(spec, nodes, view, error);
}

static int check_http(const json_t *spec, struct error *error)
{
    int is_http = strcmp(json_get_string(spec, "mode", "tcp"), "http") == 0;

    if (strcmp(json_get_string(spec, "sticky", "none"), "cookie") == 0 && !is_http) {
        return error_set(error, 400, "/sticky",
                         "\"sticky\": a cookie needs the mode http; use source with tcp");
    }
    return 0;
}

/* A key is no member of what is stored: the API takes it out before, and checks what belongs
 * together (server/api-lb.c). One that came on another way must not be stored in clear. */
static int check_tls(const json_t *spec, struct error *error)
{
    const json_t *tls = json_object_get(spec, "tls");
    int from_ca = json_get_bool(tls, "fromCa", 0);
    const char *certificate = json_get_string(tls, "certificate", "");
    int has_certificate = json_object_get(tls, "certificate") != NULL;

    if (json_object_get(tls, "key")) {
        return error_set(error, 400, "/tls/key", "\"key\" can only be given through the API");
    }
    if (strstr(certificate, "PRIVATE KEY-----")) {
        return error_set(error, 400, "/tls/certificate",
                         "\"certificate\" has a private key in it, and everybody may read it: "
                         "give the certificates alone");
    }
    if (tls && from_ca == has_certificate) {
        return error_set(error, 400, "/tls",
                         from_ca ? "\"tls\": a certificate and \"fromCa\" exclude each other"
                                 : "\"tls\" needs a certificate and its key, or \"fromCa\"");
    }
    if (!from_ca && json_array_size(json_object_get(tls, "names")) > 0) {
        return error_set(error, 400, "/tls/names",
                         "\"names\" are for a certificate with "
                         "\"fromCa\"");
    }
    return 0;
}

/* --- what the caller left --- */

/* A patch that names the back ends in another way means that one, not both. */
json_t *lb_service_complete(const json_t *before, const json_t *spec)
{
    static const char *const WAYS[] = {"selector", "pattern", "nodes"};
    const json_t *had = json_object_get(before, "backends");
    json_t *result = json_copy((json_t *)spec);
    json_t *backends = json_copy(json_object_get(result, "backends"));

    for (size_t i = 0; i < ARRAY_LEN(WAYS); i++) {
        json_t *kept = json_object_get(had, WAYS[i]);
        if (kept && json_object_size(backends) > 1 &&
            json_equal(kept, json_object_get(backends, WAYS[i]))) {
            json_object_del(backends, WAYS[i]);
        }
    }
    if (backends) {
        json_object_set_new(result, "backends", backends);
    }
    return result;
}

/* --- the front port --- */

static json_int_t port_of(const json_t *spec)
{
    return json_get_integer(spec, "port", 0);
}

/* A port of the node that something of CNSMO's has. */
static int check_own_ports(const char *node, const json_t *node_spec, json_int_t port,
                           struct view *view, const char *pointer, struct error *error)
{
    _cleanup_free_ char *seen_key = xasprintf("fact/%s/core.seen", node);
    const json_t *seen = view_get(view, seen_key);
    const char *server = json_get_string(seen, "server", "");
    const char *address = json_get_string(seen, "address", "");
    size_t size = strcspn(server, ":");

    if (port == DNS_PORT && json_array_has(json_object_get(node_spec, "services"), "dns")) {
        return error_set(error, 409, pointer, "port %d of %s is taken by its dns", DNS_PORT, node);
    }
    /* The link comes from where it goes to: the server is on that node. */
    if (*server && strlen(address) == size && strncmp(server, address, size) == 0 &&
        (port == API_PORT || port == atoi(server + size + (server[size] == ':')))) {
        return error_set(error, 409, pointer, "port %d of %s is taken by the CNSMO server",
                         (int)port, node);
    }
    return 0;
}

struct checking {
    const char *id; /* of the service */
    const json_t *spec;
    struct view *view;
    struct error *error;
    const char *node; /* at hand */
    int rc;
};

static void meet_other(void *arg, const char *other, const json_t *value)
{
    struct checking *c = arg;
    const json_t *spec = view_spec(c->view, LB_SERVICES.name, other);
    const json_t *node_spec = view_spec(c->view, "nodes", c->node);

    if (c->rc == 0 && strcmp(other, c->id) != 0 && spec &&
        where_holds_on("lb", spec, c->node, node_spec)) {
        c->rc =
            error_set(c->error, 409, "/port", "\"port\" %d of %s is taken by the lb service %s",
                      (int)port_of(c->spec), c->node, other);
    }
}

static void check_front(void *arg, const char *node)
{
    struct checking *c = arg;
    char prefix[40];

    if (c->rc == 0) {
        c->rc = check_own_ports(node, view_spec(c->view, "nodes", node), port_of(c->spec), c->view,
                                "/port", c->error);
    }
    c->node = node;
    snprintf(prefix, sizeof prefix, "claim/lb-port/%d/", (int)port_of(c->spec));
    view_each(c->view, prefix, meet_other, c);
}

int lb_service_validate(const char *id, const json_t *spec, struct view *view, struct error *error)
{
    const json_t *before = view_spec(view, LB_SERVICES.name, id);
    struct checking checking = {.id = id, .spec = spec, .view = view, .error = error};
    int rc = where_check("lb", spec, before, view, error);

    rc = rc < 0 ? rc : check_backends(spec, before, view, error);
    rc = rc < 0 ? rc : check_http(spec, error);
    rc = rc < 0 ? rc : check_tls(spec, error);
    if (rc < 0) {
        return rc;
    }
    where_each("lb", spec, view, check_front, &checking);
    return checking.rc;
}

void lb_service_claims(const char *id, const json_t *spec,
                       void (*claim)(void *arg, const char *name, const char *pointer), void *arg)
{
    const char *node = json_get_string(spec, "node", NULL);
    _cleanup_free_ char *index = xasprintf("lb-port/%d/%s", (int)port_of(spec), id);

    claim(arg, index, "/port");
    if (node) {
        _cleanup_free_ char *front = xasprintf("lb-front/%s/%d", node, (int)port_of(spec));
        claim(arg, front, "/port");
    }
}

/* --- a node's change --- */

struct meeting {
    const char *node;
    const json_t *spec, *before; /* of the node */
    struct view *view;
    struct error *error;
    const char *taken[LB_PORT_MAX + 1]; /* by port: who has it */
    int rc;
};

static void note_service(void *arg, const char *id, const json_t *value)
{
    struct meeting *m = arg;
    const json_t *spec = json_object_get(value, "spec");
    json_int_t port = port_of(spec);

    if (m->rc < 0 || port < 1 || port > LB_PORT_MAX ||
        !where_holds_on("lb", spec, m->node, m->spec)) {
        return;
    }
    if (m->taken[port]) {
        m->rc = error_set(m->error, 409, "/labels",
                          "the lb services %s and %s would both have port %d of %s",
                          m->taken[port], id, (int)port, m->node);
    } else {
        m->rc = check_own_ports(m->node, m->spec, port, m->view, "/services", m->error);
    }
    m->taken[port] = id;
}

int lb_node_validate(const char *node, const json_t *spec, struct view *view, struct error *error)
{
    const json_t *before = view_spec(view, "nodes", node);
    int is_same =
        before && json_equal(json_object_get(before, "labels"), json_object_get(spec, "labels")) &&
        json_equal(json_object_get(before, "services"), json_object_get(spec, "services"));

    if (is_same || !where_runs("lb", spec)) {
        return 0;
    }
    struct meeting *m = xnew(struct meeting);
    *m = (struct meeting){.node = node, .spec = spec, .view = view, .error = error};
    view_each(view, "object/lb/services/", note_service, m);
    int rc = m->rc;
    free(m);
    return rc;
}
