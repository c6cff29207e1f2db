#include "server/serve.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/file.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "server/agents.h"
#include "server/api.h"
#include "server/authorities.h"
#include "server/trials.h"

enum {
    COMPACT_MSEC = 10 * 60 * 1000,
    COMPACT_KEEP = 10000,                 /* revisions whose log stays */
    CERTIFICATE_POLL_MSEC = 2000,         /* an own certificate's files */
    CERTIFICATE_CHECK_MSEC = 3600 * 1000, /* the age of one of our authority's */
    PEM_SIZE_MAX = 256 << 10,
};

struct server {
    struct state *state;
    const struct config *config;
    struct api *api;
    struct agents *agents;
    struct authorities *authorities;
    struct server_trials *trials;
    uv_signal_t terminate, interrupt, hang_up;
    uv_timer_t compact, certificate;
    uv_fs_poll_t own_certificate;
    int rc;
};

/* --- certificates --- */

static int read_pem(const char *path, char **ret_pem, struct error *error)
{
    struct buf buf = BUF_INIT(PEM_SIZE_MAX);
    int rc = file_read(path, &buf);

    if (rc < 0 || buf.size == 0) {
        buf_done(&buf);
        return error_set(error, 500, NULL, "%s: %s", path, rc < 0 ? strerror(-rc) : "it is empty");
    }
    *ret_pem = buf.data;
    return 0;
}

/* The API's own certificate if one is configured, else that of our authority. */
static int api_pems(const struct server *s, char **ret_certificate, char **ret_key,
                    struct error *error)
{
    const struct config *config = s->config;

    if (!config->api_certificate) {
        return pki_server_certificate(s->state->pki, (const char *const *)s->state->names,
                                      ret_certificate, ret_key, error);
    }
    int rc = read_pem(config->api_certificate, ret_certificate, error);
    if (rc == 0) {
        rc = read_pem(config->api_key, ret_key, error);
        if (rc < 0) {
            free(TAKE(*ret_certificate));
        }
    }
    return rc;
}

static void free_key(char *key)
{
    if (key) {
        mem_wipe(key, strlen(key));
        free(key);
    }
}

static void reload_certificate(struct server *s)
{
    char *certificate = NULL, *key = NULL;
    struct error error = {0};

    int rc = api_pems(s, &certificate, &key, &error);
    if (rc == 0) {
        rc = api_certificate(s->api, certificate, key, &error);
    }
    if (rc < 0) {
        log_error("the certificate stays as it was", "error", error.detail, NULL);
    } else {
        log_info("certificate loaded", NULL);
    }
    free(certificate);
    free_key(key);
}

/* The agents' listener always has a certificate of our authority: they pin its root. */
static void reload_link_certificate(struct server *s)
{
    char *certificate = NULL, *key = NULL;
    struct error error = {0};

    int rc = pki_server_certificate(s->state->pki, (const char *const *)s->state->names,
                                    &certificate, &key, &error);
    if (rc == 0) {
        rc = agents_certificate(s->agents, certificate, key, &error);
    }
    if (rc < 0) {
        log_error("the agents' certificate stays as it was", "error", error.detail, NULL);
    }
    free(certificate);
    free_key(key);
}

static void on_authority_changed(void *arg, enum pki_role role)
{
    struct server *s = arg;

    reload_link_certificate(s); /* and whom it trusts */
    if (role == PKI_SERVER && !s->config->api_certificate) {
        reload_certificate(s);
    }
    if (role == PKI_AGENT) {
        agents_announce(s->agents);
    }
}

static void on_own_certificate(uv_fs_poll_t *poll, int status, const uv_stat_t *before,
                               const uv_stat_t *now)
{
    if (status == 0) {
        reload_certificate(poll->data);
    }
}

static void on_certificate_timer(uv_timer_t *timer)
{
    struct server *s = timer->data;

    reload_link_certificate(s);
    if (!s->config->api_certificate) {
        reload_certificate(s);
    }
}

/* --- housekeeping --- */

static void on_compact(uv_timer_t *timer)
{
    struct server *s = timer->data;
    int64_t revision = store_revision(s->state->store);

    if (revision > COMPACT_KEEP) {
        int rc = store_compact(s->state->store, revision - COMPACT_KEEP);
        if (rc < 0) {
            log_warn("compaction failed", "error", strerror(-rc), NULL);
        }
    }
}

static void close_all(struct server *s)
{
    uv_handle_t *const handles[] = {
        (uv_handle_t *)&s->terminate,   (uv_handle_t *)&s->interrupt,
        (uv_handle_t *)&s->hang_up,     (uv_handle_t *)&s->compact,
        (uv_handle_t *)&s->certificate, (uv_handle_t *)&s->own_certificate,
    };

    for (size_t i = 0; i < ARRAY_LEN(handles); i++) {
        if (!uv_is_closing(handles[i])) {
            uv_close(handles[i], NULL);
        }
    }
    api_free(TAKE(s->api));
    authorities_free(TAKE(s->authorities));
    server_trials_free(TAKE(s->trials));
    if (s->agents) {
        agents_close(TAKE(s->agents), NULL, NULL);
    }
}

static void on_stop(uv_signal_t *signal, int number)
{
    log_info("stopping", "signal", strsignal(number), NULL);
    close_all(signal->data);
}

static void on_hang_up(uv_signal_t *signal, int number)
{
    reload_certificate(signal->data);
}

static void start_handles(struct server *s)
{
    uv_loop_t *loop = &s->state->loop;

    uv_signal_init(loop, &s->terminate);
    uv_signal_init(loop, &s->interrupt);
    uv_signal_init(loop, &s->hang_up);
    uv_timer_init(loop, &s->compact);
    uv_timer_init(loop, &s->certificate);
    uv_fs_poll_init(loop, &s->own_certificate);
    s->terminate.data = s->interrupt.data = s->hang_up.data = s;
    s->compact.data = s->certificate.data = s->own_certificate.data = s;
    uv_signal_start(&s->terminate, on_stop, SIGTERM);
    uv_signal_start(&s->interrupt, on_stop, SIGINT);
    uv_signal_start(&s->hang_up, on_hang_up, SIGHUP);
    uv_timer_start(&s->compact, on_compact, COMPACT_MSEC, COMPACT_MSEC);
    uv_timer_start(&s->certificate, on_certificate_timer, CERTIFICATE_CHECK_MSEC,
                   CERTIFICATE_CHECK_MSEC);
    if (s->config->api_certificate) {
        uv_fs_poll_start(&s->own_certificate, on_own_certificate, s->config->api_certificate,
                         CERTIFICATE_POLL_MSEC);
    }
}

/* --- the listeners --- */

static int start_api(struct server *s, struct error *error)
{
    const struct config *config = s->config;
    char *certificate = NULL, *key = NULL;

    int rc = api_pems(s, &certificate, &key, error);
    if (rc == 0) {
        struct api_config api = {
            .address = config->api_address,
            .port = config->api_port,
            .certificate_pem = certificate,
            .key_pem = key,
            .advertise = (const char *const *)s->state->advertise,
            .link_port = config->link_port,
            .cors_origin = config->cors_origin,
            .connections_max = config->connections_max,
            .scratch_dir = config->state_dir,
            .authorities = s->authorities,
            .agents = s->agents,
        };
        rc = api_new(&s->state->loop, s->state->deployment, s->state->pki, &api, &s->api, error);
    }
    free(certificate);
    free_key(key);
    return rc;
}

static int start_agents(struct server *s, struct error *error)
{
    const struct config *config = s->config;
    char *certificate = NULL, *key = NULL;

    int rc = pki_server_certificate(s->state->pki, (const char *const *)s->state->names,
                                    &certificate, &key, error);
    if (rc == 0) {
        struct agents_config agents = {
            .address = config->link_address,
            .port = config->link_port,
            .certificate_pem = certificate,
            .key_pem = key,
            .links_max = config->agents_max,
        };
        rc = agents_new(&s->state->loop, s->state->deployment, s->state->pki, &agents, &s->agents,
                        error);
    }
    free(certificate);
    free_key(key);
    return rc;
}

/* Each agent and each person's connection takes a descriptor. */
static void raise_descriptors(const struct config *config)
{
    struct rlimit limit;
    rlim_t want = config->agents_max + config->connections_max + 256;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < want) {
        limit.rlim_cur =
            limit.rlim_max == RLIM_INFINITY || limit.rlim_max > want ? want : limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
            log_warn("can't raise the limit of open files", "error", strerror(errno), NULL);
        }
    }
}

int serve(struct state *state, const struct options *options, struct error *error)
{
    struct server s = {.state = state, .config = &options->config};

    signal(SIGPIPE, SIG_IGN);
    raise_descriptors(s.config);
    start_handles(&s);
    s.authorities =
        authorities_new(&state->loop, state->deployment, state->pki, on_authority_changed, &s);
    s.trials = server_trials_new(&state->loop, state->deployment);
    int rc = start_agents(&s, error);
    rc = rc < 0 ? rc : start_api(&s, error);
    if (rc < 0) {
        close_all(&s);
        uv_run(&state->loop, UV_RUN_DEFAULT);
        return rc;
    }
    char api_port_text[8], link_port_text[8];
    snprintf(api_port_text, sizeof api_port_text, "%u", api_port(s.api));
    snprintf(link_port_text, sizeof link_port_text, "%u", agents_port(s.agents));
    log_info("serving", "version", CNSMO_VERSION, "api", api_port_text, "agents", link_port_text,
             NULL);
    uv_run(&state->loop, UV_RUN_DEFAULT);
    return 0;
}
