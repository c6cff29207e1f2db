#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "link/internal.h"

/* What a link has more at the client's side, until it is connected and after. */
struct link_client {
    uv_getaddrinfo_t resolver;
    uv_connect_t connecting;
};

void link_client_freed(struct link *link)
{
    free(link->client);
}

static void fail(struct link *link, const char *what, int rc)
{
    struct error error;

    error_set(&error, 503, NULL, "%s: %s", what, uv_strerror(rc));
    link_drop(link, &error);
}

static void on_connected(uv_connect_t *request, int status)
{
    struct link *link = request->data;

    if (link->is_dropped) {
        return; /* the handle is closing; this is its cancellation */
    }
    if (status < 0) {
        fail(link, "cannot connect", status);
        return;
    }
    link_start(link);
}

static void connect_to(struct link *link, const struct sockaddr *address)
{
    struct link_client *client = link->client;

    client->connecting.data = link;
    int rc = uv_tcp_connect(&client->connecting, &link->stream.tcp, address, on_connected);
    if (rc < 0) {
        fail(link, "cannot connect", rc);
    }
}

/* The overlay's underlay is IPv4 first of all. */
static const struct addrinfo *choose(const struct addrinfo *list)
{
    for (const struct addrinfo *a = list; a; a = a->ai_next) {
        if (a->ai_family == AF_INET) {
            return a;
        }
    }
    return list;
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct link *link = request->data;

    if (link->is_dropped) {
        uv_freeaddrinfo(list);
        link_settle(link);
        return;
    }
    link->pending--; /* never the last one: the handles are open */
    if (status < 0 || !list) {
        fail(link, "cannot find the server's address", status < 0 ? status : UV_EAI_NODATA);
    } else {
        connect_to(link, choose(list)->ai_addr);
    }
    uv_freeaddrinfo(list);
}

static int bind_source(struct link *link, const char *source)
{
    struct sockaddr_in address;
    int rc = uv_ip4_addr(source, 0, &address);

    return rc < 0 ? rc : uv_tcp_bind(&link->stream.tcp, (const struct sockaddr *)&address, 0);
}

static void resolve(struct link *link, uv_loop_t *loop, const struct link_client_config *config)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct sockaddr_storage address = {0};
    char port[sizeof "65535"];

    if (uv_ip4_addr(config->address, config->port, (struct sockaddr_in *)&address) == 0 ||
        uv_ip6_addr(config->address, config->port, (struct sockaddr_in6 *)&address) == 0) {
        connect_to(link, (struct sockaddr *)&address);
        return;
    }
    snprintf(port, sizeof port, "%u", config->port);
    link->client->resolver.data = link;
    int rc =
        uv_getaddrinfo(loop, &link->client->resolver, on_resolved, config->address, port, &hints);
    if (rc < 0) {
        fail(link, "cannot find the server's address", rc);
        return;
    }
    link->pending++;
}

struct link *link_connect(uv_loop_t *loop, const struct link_client_config *config,
                          const struct link_handler *handler, void *arg)
{
    struct link *link = link_new(loop, config->limits);
    struct link_client *client = xnew(struct link_client);
    struct error error;

    link->client = client;
    link->handler = handler;
    link->arg = arg;
    if (tls_client_new(config->fingerprint, config->certificate_pem, config->key_pem, &link->tls,
                       &error) < 0) {
        link_drop(link, &error);
        return link;
    }
    int rc = config->source ? bind_source(link, config->source) : 0;
    if (rc < 0) {
        fail(link, "cannot connect from this address", rc);
        return link;
    }
    link_begin_deadline(link);
    resolve(link, loop, config);
    return link;
}
