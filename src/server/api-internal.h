/* api-internal.h - what the files of the API share.
 *
 *     http ──► api.c: who, may they? ──► handler of the route (api-objects.c, api-session.c ...)
 *                                            └─► exactly one call_reply*()
 */
#pragma once

#include "http/http.h"
#include "lib/buf.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "server/api.h"
#include "server/auth.h"

enum {
    API_BODY_MAX = 256 << 10,
    API_LIST_MAX = 500, /* objects that are made at once */
    API_STREAMS_MAX = 200,
    API_RECENT_MAX = 1024, /* changes that a stream may resume over */
};

struct api_call;
typedef void api_handler_fn(struct api_call *call);

enum api_form {
    FORM_PROBLEM, /* RFC 9457 */
    FORM_V1,      /* {"code","message","errors"} */
};

/* Documents of a route, as JSON texts; all may be NULL. */
struct api_doc {
    const char *summary;
    const char *description;
    const char *request;    /* schema of the body */
    const char *response;   /* schema of the good answer */
    const char *example;    /* of the body */
    const char *parameters; /* array of OpenAPI parameters, but for those in the path */
    const char *tag;        /* NULL: the kind, "v1" or "server" */
};

struct api_route {
    const char *method;
    const char *path;
    enum role role; /* least role; ROLE_NONE: anybody */
    size_t body_max;
    api_handler_fn *handler;
    enum api_form form;
    int loopback_free;   /* from 127.0.0.1 or ::1 nobody is asked who they are */
    int hidden;          /* not in the document */
    int makes_conflicts; /* it may answer 409; routes over objects that write do anyway */
    int asks_node;       /* it may answer 503: the node is away */
    int good_status;
    struct api_doc doc;
    const struct kind *kind; /* of a route over objects, else NULL */
};

struct change {
    int64_t revision;
    char *key;
};

struct api {
    uv_loop_t *loop;
    struct deployment *deployment;
    struct pki *pki;
    struct authorities *authorities;
    struct agents *agents;
    struct auth *auth;
    struct http_server *http;
    char **advertise;
    uint16_t link_port;
    char *cors_origin;
    char *scratch_dir;
    struct api_route *routes; /* the fixed ones and those of the kinds */
    struct http_route *http_routes;
    size_t routes_len;
    struct omap strings; /* paths made for kinds */
    json_t *document;    /* OpenAPI, made when first asked for */
    /* api-cache.c */
    struct omap answers; /* target -> struct answer, all of one generation */
    size_t answers_bytes;
    uint64_t answers_generation;
    /* api-watch.c */
    struct deployment_listener listener;
    struct watcher *watchers;
    size_t watchers_len;
    struct change recent[API_RECENT_MAX];
    size_t recent_at;
    int64_t recent_from; /* every change after this revision is in `recent` */
    uv_timer_t heartbeat;
    /* api-system.c */
    int64_t probed_usec; /* when the store was last written for /readyz; 0: never */
    int probe_rc;
    int backing_up;
    int demoting;         /* an admin is being deleted, disabled or demoted */
    uint64_t requests[6]; /* by the first digit of the status */
    unsigned refs;
    int freed;
};

/* One request being answered. Freed by the reply. */
struct api_call {
    struct api *api;
    struct http_request *request;
    const struct api_route *route;
    struct identity who; /* .user "" if nobody was asked */
};

struct api *api_ref(struct api *api);
void api_unref(struct api *api);

/* --- replies: exactly one for each call, which is gone then --- */
void call_reply_json(struct api_call *call, int status, json_t *json); /* takes the reference */
void call_reply_text(struct api_call *call, int status, const char *type, const char *text);
void call_reply_empty(struct api_call *call, int status);
void call_fail(struct api_call *call, const struct error *error);
/* 503: for an answer that comes when api->freed. */
void call_fail_stopping(struct api_call *call);
/* With 429 and Retry-After. */
void call_fail_later(struct api_call *call, unsigned retry_sec, const struct error *error);
/* For answers that http makes otherwise (file, stream). */
void call_done(struct api_call *call, int status);

/* Fills *ret_actor, which borrows from the call. */
void call_actor(const struct api_call *call, struct actor *ret_actor);

/* --- api-cache.c: the same for lists that are the same for everybody --- */
/* Answers with what was kept: 1, and the call is gone; 0 if there is nothing. */
int call_reply_cached(struct api_call *call);
/* Answers 200, and keeps it; takes the reference. */
void call_reply_and_keep(struct api_call *call, json_t *json);
void cache_done(struct api *api);

/* --- checking input --- */
/* Only these parameters, each at most once; NULL-terminated. One ending in '+' may come often, one
 * in '*' is a prefix and may too. */
int call_check_query(const struct api_call *call, const char *const *names, struct error *error);
/* The number in a parameter; `fallback` when it isn't there. */
int call_query_number(const struct api_call *call, const char *name, int64_t min, int64_t max,
                      int64_t fallback, int64_t *ret_value, struct error *error);
/* "limit" and "cursor" of a list; *ret_cursor stays as it is without one, else the caller's. */
int call_read_page(const struct api_call *call, size_t *ret_limit, char **ret_cursor,
                   struct error *error);
/* There is more after `last`. */
void page_add_cursor(json_t *answer, const char *last);
/* "true" or "false"; false when it isn't there. */
int call_query_bool(const struct api_call *call, const char *name, int *ret_value,
                    struct error *error);
/* The body as an object with no other members than these (NULL-terminated). */
int call_body(struct api_call *call, const char *const *members, json_t **ret_body,
              struct error *error);
/* Does the body begin as a JSON list does? */
int call_has_list(const struct api_call *call);

/* --- api-routes.c --- */
void api_routes_make(struct api *api);
void api_routes_free(struct api *api);
extern const char *const API_BASE;

/* --- api-objects.c --- */
json_t *object_json(struct api *api, const struct kind *kind, const char *id,
                    const struct tree_entry *entry);
void object_list(struct api_call *call);
void object_get(struct api_call *call);
/* --- api-write.c --- */
void object_create(struct api_call *call);
void object_replace(struct api_call *call);
void object_patch(struct api_call *call);
void object_delete(struct api_call *call);

void object_renew(struct api_call *call);

/* What a write's query says. */
struct write_query {
    int dry_run, force, wait;
    unsigned timeout_msec;
};

/* --- api-list.c --- */
/* Takes the reference. */
void object_create_list(struct api_call *call, const struct write_query *query, json_t *list);
void object_confirm(struct api_call *call);

/* --- api-confirm.c --- */
/* Calls `done` once, perhaps before it returns: NULL, what was forced cuts off nobody; else 404,
 * or 409 and who stands in the way. */
typedef void confirm_fn(void *arg, const struct error *error);
void confirm_prove(struct api *api, const char *kind, const char *id, confirm_fn *done, void *arg);

/* --- api-clients.c --- */
/* A write of a VPN client under way, for what its keys and certificates need. */
struct client_change {
    enum write_verb verb; /* not WRITE_DELETE */
    int renews;           /* everything that is ours is made anew */
    const char *id;       /* NULL: none was given */
    json_t *spec;         /* whole, or the patch; gets the public key of what is made */
    json_t *sealed;       /* out: NULL: stays as it is; else a new reference */
    int64_t if_match;     /* out: the revision that `sealed` continues; 0: none */
};
int client_prepare(struct api *api, struct client_change *change, struct error *error);
/* What one file of a client holds ("key", "cert", "config", "ca", "ovpn", "wireguard", "qr"). Wipe
 * it. Reading a secret is told as an event. 404, or 409 when it can't be made now. */
int client_read_file(struct api_call *call, const char *id, const char *file, struct buf *out,
                     struct error *error);
extern const struct api_route CLIENT_ROUTES[]; /* ended by .method NULL, as those below */

/* --- api-lb.c --- */
/* The same for a load-balanced service: takes the key out of the spec, which is stored sealed. */
int lb_service_prepare(struct api *api, struct client_change *change, struct error *error);
extern const struct api_route LB_ROUTES[];

/* --- api-counters.c --- */
/* 404 or 409 unless there is such a node, and it runs sdn. */
int api_check_sdn(const struct api *api, const char *node, struct error *error);
void counters_metrics(const struct api *api, struct buf *buf);
extern const struct api_route COUNTER_ROUTES[];

/* --- api-v1-certs.c --- */
extern const struct api_route V1_CERT_ROUTES[];

/* --- api-v1-dns.c --- */
extern const struct api_route V1_DNS_ROUTES[];

/* --- api-v1-add.c --- */
enum {
    V1_WAIT_MSEC = 10000, /* for something to be in force, or to be gone */
};
struct v1_addition {
    const char *kind;
    const json_t *spec;
    int is_for_all;      /* then it holds while some nodes are away */
    const char *outcome; /* "nothing was blocked" */
    void (*answer)(struct api_call *call, const char *id);
};
void v1_add(struct api_call *call, const struct v1_addition *addition);
/* Of a wait's report: the first node that is there and doesn't have it in force, or NULL. */
const json_t *v1_late(const struct api *api, const json_t *report);
/* 503 in words: who, why, and what became of it. */
void v1_error(const json_t *late, const char *outcome, struct error *error);

/* --- api-v1-sdn.c, api-v1-block.c --- */
void v1_block(struct api_call *call);
extern const struct api_route V1_SDN_ROUTES[];

/* --- api-v1-fw.c --- */
extern const struct api_route V1_FW_ROUTES[];

/* --- api-session.c --- */
void session_create(struct api_call *call);
void session_get(struct api_call *call);
void session_delete(struct api_call *call);
void api_token_create(struct api_call *call);
void api_token_list(struct api_call *call);
void api_token_delete(struct api_call *call);

/* --- api-authorities.c --- */
void authority_list(struct api_call *call);
void authority_rollover(struct api_call *call);

/* --- api-watch.c --- */
void watch_init(struct api *api);
void watch_done(struct api *api);
void watch_begin(struct api_call *call);

/* --- api-doc.c, api-page.c --- */
const json_t *doc_openapi(struct api *api);
void doc_get_openapi(struct api_call *call);
void doc_get_page(struct api_call *call);
void doc_get_style(struct api_call *call);

/* --- api-system.c --- */
void system_healthz(struct api_call *call);
void system_readyz(struct api_call *call);
void system_metrics(struct api_call *call);
void system_backup(struct api_call *call);
void system_preflight(struct api_call *call);

/* --- api-v1.c --- */
/* A member that must be there, as text; 400 in v1's words. */
int v1_read_text(const json_t *body, const char *name, const char **ret_text, struct error *error);
void v1_fail(struct http_request *request, const struct error *error);
void v1_authenticate(struct api_call *call);
void v1_nodes(struct api_call *call);
void v1_unknown(struct api_call *call);
