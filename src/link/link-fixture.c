#include "link/link-fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"

/* --- the world --- */

char *join_pems(const struct test_cert *a, const struct test_cert *b, const struct test_cert *c)
{
    _cleanup_free_ char *one = test_cert_pem(a);
    _cleanup_free_ char *two = test_cert_pem(b);
    _cleanup_free_ char *three = c ? test_cert_pem(c) : xstrdup("");

    return xasprintf("%s%s%s", one, two, three);
}

int world_make(void **state)
{
    static const struct test_leaf SERVER = {"cnsmo:server", 1, -48, 24};
    struct world *w = xnew(struct world);

    uv_loop_init(&w->loop);
    uv_timer_init(&w->loop, &w->deadline);
    w->root = test_cert_new(NULL, "root", NULL);
    w->server_ca = test_cert_new(&w->root, "servers", NULL);
    w->agent_ca = test_cert_new(&w->root, "agents", NULL);
    w->client_ca = test_cert_new(&w->root, "clients", NULL);
    w->server_cert = test_cert_new(&w->server_ca, "cnsmod", &SERVER);
    w->server_chain = join_pems(&w->server_cert, &w->server_ca, &w->root);
    w->server_key = test_key_pem(&w->server_cert);
    w->agents_chain = join_pems(&w->agent_ca, &w->root, NULL);
    w->fingerprint = test_fingerprint(&w->root);
    w->limits = (struct link_limits){
        .handshake_msec = 10000, .ping_msec = 10000, .silent_msec = 30000, .queue_max = 64 << 20};
    *state = w;
    return 0;
}

int world_drop(void **state)
{
    struct world *w = *state;

    if (w->server) {
        return -1; /* the test failed half way: what it left can't be waited for */
    }
    uv_close((uv_handle_t *)&w->deadline, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    test_cert_done(&w->root);
    test_cert_done(&w->server_ca);
    test_cert_done(&w->agent_ca);
    test_cert_done(&w->client_ca);
    test_cert_done(&w->server_cert);
    free(w->server_chain);
    free(w->server_key);
    free(w->agents_chain);
    free(w->fingerprint);
    free(w);
    return 0;
}

void too_late(uv_timer_t *timer)
{
    /* the world can't be taken down in order now, so not fail() */
    fprintf(stderr, "the deadline passed\n");
    abort();
}

/* Runs the loop until the int is at least `wanted`. */
void run_until(struct world *w, const int *value, int wanted)
{
    uv_timer_start(&w->deadline, too_late, DEADLINE_MSEC, 0);
    while (*value < wanted) {
        uv_run(&w->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&w->deadline);
}

/* --- the ends --- */

static void on_opened(struct link *link, void *arg)
{
    struct end *end = arg;

    end->opened = 1;
}

static void on_message(struct link *link, void *arg, const char *type, const json_t *message)
{
    struct end *end = arg;

    end->messages++;
    snprintf(end->type, sizeof end->type, "%s", type);
    snprintf(end->detail, sizeof end->detail, "%s", json_get_string(message, "detail", ""));
    end->status = (int)json_get_integer(message, "status", 0);
    end->bytes += strlen(json_get_string(message, "data", ""));
    if (end->echoes) {
        link_send(link, message);
    }
    if (end->closes_on_message) {
        link_close(link);
    }
}

static void on_closed(struct link *link, void *arg, const struct error *error)
{
    struct end *end = arg;

    assert_false(end->closed);
    end->closed = 1;
    end->reason = *error;
    end->link = NULL;
}

const struct link_handler HANDLER = {on_opened, on_message, on_closed};

const struct link_handler *on_accepted(void *arg, struct link *link, void **ret_arg)
{
    struct world *w = arg;
    struct end *end = &w->ends[w->accepted++];

    assert_true(w->accepted <= ENDS_MAX);
    end->link = link;
    *ret_arg = end;
    return &HANDLER;
}

void serve_with(struct world *w, unsigned handshakes, unsigned links, unsigned unproven)
{
    const struct link_server_config config = {
        .address = "127.0.0.1",
        .certificate_pem = w->server_chain,
        .key_pem = w->server_key,
        .client_ca_pem = w->agents_chain,
        .handshakes_max = handshakes,
        .links_max = links,
        .unproven_per_source_max = unproven,
        .limits = &w->limits,
    };

    assert_int_equal(link_server_new(&w->loop, &config, on_accepted, w, &w->server, NULL), 0);
}

void serve(struct world *w)
{
    serve_with(w, 16, 16, 16);
}

static void on_server_closed(void *arg)
{
    *(int *)arg = 1;
}

void stop(struct world *w)
{
    link_server_close(w->server, on_server_closed, &w->server_closed);
    run_until(w, &w->server_closed, 1);
    w->server_closed = 0;
    w->server = NULL;
}

struct link_client_config client_config(struct world *w)
{
    return (struct link_client_config){
        .address = "127.0.0.1",
        .port = link_server_port(w->server),
        .fingerprint = w->fingerprint,
        .limits = &w->limits,
    };
}

void join(struct world *w, struct end *end)
{
    struct link_client_config config = client_config(w);

    end->link = link_connect(&w->loop, &config, &HANDLER, end);
}

/* Connects with a leaf of that issuer; the client copies what it needs at once. */
void enter(struct world *w, struct end *end, const struct test_cert *issuer,
           const struct test_leaf *leaf)
{
    struct link_client_config config = client_config(w);
    struct test_cert cert = test_cert_new(issuer, "x", leaf);
    _cleanup_free_ char *chain = join_pems(&cert, issuer, NULL);
    _cleanup_free_ char *key = test_key_pem(&cert);

    config.certificate_pem = chain;
    config.key_pem = key;
    end->link = link_connect(&w->loop, &config, &HANDLER, end);
    test_cert_done(&cert);
}

const struct test_leaf NODE = {"cnsmo:node:Agent.1", 0, -48, 24};

void say(struct link *link, const char *type, size_t data_size)
{
    _cleanup_free_ char *data = xcalloc(data_size + 1, 1);

    memset(data, 'x', data_size);
    json_t *message = json_pack("{s:s,s:s}", "type", type, "data", data);
    link_send(link, message);
    json_decref(message);
}
