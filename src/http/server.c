#include <errno.h>
#include <gnutls/gnutls.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>

#include "http/internal.h"
#include "lib/clock.h"
#include "lib/mem.h"

enum {
    POOL_BYTES = 8192, /* headers both ways; a longer request line or header set is refused */
    REAPER_MSEC = 1000,
    BACKLOG = 256,
};

/* Forward secrecy and authenticated ciphers only, for 1.2 too. */
static const char PRIORITIES[] = "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-DHE-RSA:"
                                 "-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:"
                                 "%SERVER_PRECEDENCE";

static void credentials_unref(struct http_credentials *credentials)
{
    if (credentials && --credentials->refs == 0) {
        gnutls_certificate_free_credentials(credentials->x509);
        free(credentials);
    }
}

static int credentials_new(const char *certificate_pem, const char *key_pem,
                           struct http_credentials **ret_credentials, struct error *error)
{
    gnutls_certificate_credentials_t x509;
    gnutls_datum_t certificate = {(unsigned char *)certificate_pem,
                                  (unsigned)strlen(certificate_pem)};
    gnutls_datum_t key = {(unsigned char *)key_pem, (unsigned)strlen(key_pem)};

    if (gnutls_certificate_allocate_credentials(&x509) < 0) {
        abort();
    }
    int rc = gnutls_certificate_set_x509_key_mem(x509, &certificate, &key, GNUTLS_X509_FMT_PEM);
    if (rc < 0) {
        gnutls_certificate_free_credentials(x509);
        return error_set(error, 400, NULL, "the certificate and key can't be used: %s",
                         gnutls_strerror(rc));
    }
    struct http_credentials *credentials = xnew(struct http_credentials);
    credentials->refs = 1;
    credentials->x509 = x509;
    *ret_credentials = credentials;
    return 0;
}

/* The daemon has just made the connection's TLS session with the certificate that it was started
 * with; ours may be newer. */
static void connection_started(struct http_server *server, struct MHD_Connection *connection,
                               void **context)
{
    struct http_connection *peer = xnew(struct http_connection);
    const union MHD_ConnectionInfo *info;

    peer->server = server;
    peer->since_usec = clock_monotonic_usec();
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (info) {
        peer->credentials = server->credentials;
        peer->credentials->refs++;
        gnutls_credentials_set(info->tls_session, GNUTLS_CRD_CERTIFICATE, peer->credentials->x509);
    }
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    peer->fd = info ? info->connect_fd : -1;
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info) {
        socklen_t size = info->client_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                                  : sizeof(struct sockaddr_in);
        getnameinfo(info->client_addr, size, peer->source, sizeof peer->source, NULL, 0,
                    NI_NUMERICHOST);
    }
    if (strncmp(peer->source, "::ffff:", 7) == 0 && strchr(peer->source, '.')) {
        memmove(peer->source, peer->source + 7, strlen(peer->source + 7) + 1);
    }
    peer->next = server->connections;
    if (peer->next) {
        peer->next->previous = peer;
    }
    server->connections = peer;
    *context = peer;
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = cls;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection_started(server, connection, context);
        return;
    }
    struct http_connection *peer = *context;
    if (!peer) {
        return;
    }
    if (peer->next) {
        peer->next->previous = peer->previous;
    }
    *(peer->previous ? &peer->previous->next : &server->connections) = peer->next;
    credentials_unref(peer->credentials);
    free(peer);
    *context = NULL;
}

static void run(struct http_server *server);

static void on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    run(poll->data);
}

static void run(struct http_server *server)
{
    MHD_UNSIGNED_LONG_LONG msec;

    MHD_run(server->daemon);
    if (MHD_get_timeout(server->daemon, &msec) == MHD_YES) {
        uv_timer_start(&server->timer, on_timer, msec, 0);
    } else {
        uv_timer_stop(&server->timer);
    }
}

void http_kick(struct http_server *server)
{
    uv_timer_start(&server->timer, on_timer, 0, 0);
}

/* A client that sends a byte now and then is never idle, so the whole request has a deadline. */
static void on_reaper(uv_timer_t *timer)
{
    struct http_server *server = timer->data;
    int64_t oldest = clock_monotonic_usec() - 2000000LL * server->idle_sec;

    for (struct http_connection *c = server->connections; c; c = c->next) {
        if (c->since_usec && c->since_usec < oldest) {
            shutdown(c->fd, SHUT_RDWR);
        }
    }
}

static int listen_on(const struct http_config *config, int *ret_fd, int *ret_family,
                     struct error *error)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_PASSIVE, .ai_socktype = SOCK_STREAM},
                    *at;
    char port[8];
    int one = 1;

    snprintf(port, sizeof port, "%u", config->port);
    if (getaddrinfo(config->address, port, &hints, &at) != 0) {
        return error_set(error, 400, NULL, "\"%s\" is not an address to listen on",
                         config->address);
    }
    int family = at->ai_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    }
    int rc = fd < 0 || bind(fd, at->ai_addr, at->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0;
    freeaddrinfo(at);
    if (rc) {
        rc = error_set(error, errno == EADDRINUSE ? 409 : 500, NULL, "can't listen on %s:%s: %s",
                       config->address, port, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return rc;
    }
    *ret_fd = fd;
    *ret_family = family;
    return 0;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0) {
        return 0;
    }
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

static struct MHD_Daemon *start_daemon(struct http_server *server,
                                       const struct http_config *config, int fd, int family)
{
    unsigned flags = MHD_USE_TLS | MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME |
                     (family == AF_INET6 ? MHD_USE_IPv6 : 0);

    return MHD_start_daemon(
        flags, 0, NULL, NULL, http_on_access, server, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_HTTPS_MEM_CERT, config->certificate_pem, MHD_OPTION_HTTPS_MEM_KEY,
        config->key_pem, MHD_OPTION_HTTPS_PRIORITIES, PRIORITIES,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_CONNECTION_LIMIT,
        config->connections_max, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        config->connections_per_source_max, MHD_OPTION_CONNECTION_TIMEOUT, config->idle_sec,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_URI_LOG_CALLBACK, http_on_target, server,
        MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, server, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, server, MHD_OPTION_END);
}

static void on_closed(uv_handle_t *handle)
{
    struct http_server *server = handle->data;

    if (--server->handles == 0) {
        free(server);
    }
}

static void attach(struct http_server *server)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);

    uv_poll_init(server->loop, &server->poll, info->epoll_fd);
    uv_timer_init(server->loop, &server->timer);
    uv_timer_init(server->loop, &server->reaper);
    server->poll.data = server->timer.data = server->reaper.data = server;
    server->handles = 3;
    uv_poll_start(&server->poll, UV_READABLE, on_poll);
    uv_timer_start(&server->reaper, on_reaper, REAPER_MSEC, REAPER_MSEC);
    http_kick(server);
}

int http_server_new(uv_loop_t *loop, const struct http_config *config,
                    const struct http_route *routes, void *arg, struct http_server **ret_server,
                    struct error *error)
{
    struct http_credentials *credentials = NULL;
    int fd = -1, family = AF_INET;
    int rc = credentials_new(config->certificate_pem, config->key_pem, &credentials, error);

    if (rc < 0) {
        return rc;
    }
    rc = listen_on(config, &fd, &family, error);
    if (rc < 0) {
        credentials_unref(credentials);
        return rc;
    }
    struct http_server *server = xnew(struct http_server);
    server->loop = loop;
    server->routes = routes;
    server->arg = arg;
    server->idle_sec = config->idle_sec;
    server->credentials = credentials;
    server->port = bound_port(fd);
    server->daemon = start_daemon(server, config, fd, family);
    if (!server->daemon) {
        close(fd);
        credentials_unref(credentials);
        free(server);
        return error_set(error, 500, NULL, "the HTTPS server can't be started");
    }
    attach(server);
    *ret_server = server;
    return 0;
}

int http_server_certificate(struct http_server *server, const char *certificate_pem,
                            const char *key_pem, struct error *error)
{
    struct http_credentials *credentials = NULL;
    int rc = credentials_new(certificate_pem, key_pem, &credentials, error);

    if (rc < 0) {
        return rc;
    }
    credentials_unref(server->credentials);
    server->credentials = credentials;
    return 0;
}

void http_server_free(struct http_server *server)
{
    if (!server) {
        return;
    }
    uv_close((uv_handle_t *)&server->poll, on_closed); /* before its descriptor is closed */
    for (struct http_request *r = server->requests, *next; r; r = next) {
        next = r->next;
        http_request_abandon(r);
    }
    MHD_stop_daemon(server->daemon);
    credentials_unref(server->credentials);
    uv_close((uv_handle_t *)&server->timer, on_closed);
    uv_close((uv_handle_t *)&server->reaper, on_closed);
}

uint16_t http_server_port(const struct http_server *server)
{
    return server->port;
}
