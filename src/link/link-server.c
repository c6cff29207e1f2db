#include <errno.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/omap.h"
#include "link/internal.h"

enum {
    BACKLOG = 1024,
};

struct link_server {
    uv_tcp_t tcp;
    struct tls_context *tls;
    struct link_limits limits;
    int has_limits;
    unsigned handshakes_max, links_max, unproven_per_source_max;
    link_accept_fn *accepted;
    void *arg;
    struct link *first;
    unsigned links;
    unsigned handshakes;  /* in flight */
    int is_waiting;       /* a connection stands in the listener until a handshake is done */
    struct omap unproven; /* address -> unsigned, how many links without certificate */
    int is_closing, is_tcp_closed;
    uv_idle_t finisher; /* calls done from the loop */
    void (*done)(void *arg);
    void *done_arg;
};

/* --- counting --- */

/* 0, or -EAGAIN when that source has too many already. */
static int count_source(struct link_server *server, struct link *link)
{
    unsigned *count = omap_get(&server->unproven, link->peer_address);

    if (!count) {
        count = xnew(unsigned);
        omap_put(&server->unproven, link->peer_address, count);
    }
    if (*count >= server->unproven_per_source_max) {
        return -EAGAIN;
    }
    ++*count;
    link->is_unproven = 1;
    return 0;
}

static void uncount_source(struct link_server *server, struct link *link)
{
    unsigned *count = omap_get(&server->unproven, link->peer_address);

    link->is_unproven = 0;
    if (count && --*count == 0) {
        free(omap_del(&server->unproven, link->peer_address));
    }
}

static void attach(struct link_server *server, struct link *link)
{
    link->server = server;
    link->next = server->first;
    if (server->first) {
        server->first->previous = link;
    }
    server->first = link;
    server->links++;
}

static void detach(struct link_server *server, struct link *link)
{
    if (link->previous) {
        link->previous->next = link->next;
    } else {
        server->first = link->next;
    }
    if (link->next) {
        link->next->previous = link->previous;
    }
    server->links--;
}

/* --- accepting --- */

static void refuse(struct link *link, const char *why)
{
    struct error error;

    error_set(&error, 503, NULL, "%s", why);
    link_drop(link, &error);
}

static void accept_one(struct link_server *server)
{
    struct link *link = link_new(server->tcp.loop, server->has_limits ? &server->limits : NULL);

    link->tls = tls_ref(server->tls);
    attach(server, link);
    int rc = uv_accept((uv_stream_t *)&server->tcp, (uv_stream_t *)&link->stream.tcp);
    if (rc < 0) {
        refuse(link, uv_strerror(rc));
        return;
    }
    if (server->links > server->links_max) {
        refuse(link, "too many links");
        return;
    }
    link_name_ends(link);
    if (count_source(server, link) < 0) {
        refuse(link, "too many links from this address");
        return;
    }
    link->is_handshaking = 1;
    server->handshakes++;
    link_start(link);
}

static void on_connection(uv_stream_t *tcp, int status)
{
    struct link_server *server = tcp->data;

    if (status < 0 || server->is_closing) {
        return; /* EMFILE and the like: libuv tries again */
    }
    if (server->handshakes >= server->handshakes_max) {
        server->is_waiting = 1; /* not accepted: libuv leaves the rest in the backlog */
        return;
    }
    accept_one(server);
}

static void handshake_over(struct link_server *server, struct link *link)
{
    if (!link->is_handshaking) {
        return;
    }
    link->is_handshaking = 0;
    server->handshakes--;
    if (server->is_waiting && !server->is_closing) {
        server->is_waiting = 0;
        accept_one(server);
    }
}

void link_server_opened(struct link *link)
{
    struct link_server *server = link->server;

    if (link->peer.node) {
        uncount_source(server, link);
    }
    handshake_over(server, link);
    if (server->is_closing) {
        link_close(link);
        return;
    }
    link->handler = server->accepted(server->arg, link, &link->arg);
    if (!link->handler) {
        refuse(link, "not wanted");
    }
}

/* --- closing --- */

static void on_finisher_closed(uv_handle_t *handle)
{
    struct link_server *server = handle->data;
    void (*done)(void *) = server->done;
    void *done_arg = server->done_arg;

    tls_unref(server->tls);
    omap_clear(&server->unproven, free);
    free(server);
    if (done) {
        done(done_arg);
    }
}

static void finish_if_done(struct link_server *server)
{
    if (server->is_closing && server->is_tcp_closed && server->links == 0) {
        uv_close((uv_handle_t *)&server->finisher, on_finisher_closed);
    }
}

void link_server_closed(struct link *link)
{
    struct link_server *server = link->server;

    if (link->is_unproven) {
        uncount_source(server, link);
    }
    detach(server, link);
    handshake_over(server, link);
    finish_if_done(server);
}

static void on_tcp_closed(uv_handle_t *handle)
{
    struct link_server *server = handle->data;

    server->is_tcp_closed = 1;
    finish_if_done(server);
}

void link_server_close(struct link_server *server, void (*done)(void *arg), void *arg)
{
    server->is_closing = 1;
    server->done = done;
    server->done_arg = arg;
    for (struct link *link = server->first, *next; link; link = next) {
        next = link->next;
        link_close(link);
        link_linger(link, LINGER_SHUTDOWN_MSEC);
    }
    uv_close((uv_handle_t *)&server->tcp, on_tcp_closed);
}

/* --- making --- */

static int parse_address(const char *address, uint16_t port, struct sockaddr_storage *ret_address)
{
    if (uv_ip4_addr(address, port, (struct sockaddr_in *)ret_address) == 0) {
        return 0;
    }
    return uv_ip6_addr(address, port, (struct sockaddr_in6 *)ret_address);
}

static int listen_on(struct link_server *server, const struct link_server_config *config,
                     struct error *error)
{
    struct sockaddr_storage address = {0};

    if (parse_address(config->address, config->port, &address) < 0) {
        return error_set(error, 400, NULL, "\"%.64s\" is no address to listen on",
                         config->address);
    }
    int rc = uv_tcp_bind(&server->tcp, (struct sockaddr *)&address, 0);
    if (rc == 0) {
        rc = uv_listen((uv_stream_t *)&server->tcp, BACKLOG, on_connection);
    }
    if (rc < 0) {
        return error_set(error, 500, NULL, "cannot listen on %s port %u: %s", config->address,
                         config->port, uv_strerror(rc));
    }
    return 0;
}

int link_server_new(uv_loop_t *loop, const struct link_server_config *config,
                    link_accept_fn *accepted, void *arg, struct link_server **ret_server,
                    struct error *error)
{
    struct tls_context *tls = NULL;
    int rc = tls_server_new(config->certificate_pem, config->key_pem, config->client_ca_pem, &tls,
                            error);

    if (rc < 0) {
        return rc;
    }
    struct link_server *server = xnew(struct link_server);
    server->tls = tls;
    server->has_limits = config->limits != NULL;
    server->limits = config->limits ? *config->limits : (struct link_limits){0};
    server->handshakes_max = config->handshakes_max;
    server->links_max = config->links_max;
    server->unproven_per_source_max = config->unproven_per_source_max;
    server->accepted = accepted;
    server->arg = arg;
    uv_idle_init(loop, &server->finisher);
    uv_tcp_init(loop, &server->tcp);
    server->tcp.data = server->finisher.data = server;
    rc = listen_on(server, config, error);
    if (rc < 0) {
        link_server_close(server, NULL, NULL);
        return rc;
    }
    *ret_server = server;
    return 0;
}

int link_server_renew(struct link_server *server, const char *certificate_pem, const char *key_pem,
                      const char *client_ca_pem, struct error *error)
{
    struct tls_context *tls = NULL;
    int rc = tls_server_new(certificate_pem, key_pem, client_ca_pem, &tls, error);

    if (rc == 0) {
        tls_unref(server->tls); /* links that began with it still hold it */
        server->tls = tls;
    }
    return rc;
}

uint16_t link_server_port(const struct link_server *server)
{
    struct sockaddr_storage address = {0};
    int size = sizeof address;

    if (uv_tcp_getsockname(&server->tcp, (struct sockaddr *)&address, &size) < 0) {
        return 0;
    }
    /* the port stands at the same place for both families */
    return ntohs(((struct sockaddr_in *)&address)->sin_port);
}
