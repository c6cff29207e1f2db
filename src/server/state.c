#include "server/state.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

#include "core/service.h"
#include "lib/file.h"
#include "lib/mem.h"

enum {
    NAMES_MAX = 32,
};

static void add_name(char **list, const char *name)
{
    size_t len = 0;

    for (; list[len]; len++) {
        if (strcmp(list[len], name) == 0) {
            return;
        }
    }
    if (len + 1 < NAMES_MAX) {
        list[len] = xstrdup(name);
    }
}

static void add_own_addresses(char **list)
{
    struct ifaddrs *all = NULL;
    char text[INET_ADDRSTRLEN];

    if (getifaddrs(&all) < 0) {
        return;
    }
    for (struct ifaddrs *i = all; i; i = i->ifa_next) {
        if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && !(i->ifa_flags & IFF_LOOPBACK) &&
            strncmp(i->ifa_name, "cnsmo", 5) != 0) {
            const struct sockaddr_in *in = (const struct sockaddr_in *)i->ifa_addr;
            add_name(list, inet_ntop(AF_INET, &in->sin_addr, text, sizeof text));
        }
    }
    freeifaddrs(all);
}

static void find_names(struct state *state, const struct config *config)
{
    char host[HOST_NAME_MAX + 1] = "";

    state->advertise = xcalloc(NAMES_MAX, sizeof *state->advertise);
    state->names = xcalloc(NAMES_MAX, sizeof *state->names);
    for (size_t i = 0; i < config->advertise_len; i++) {
        const struct config_host *advertised = &config->advertise[i];
        _cleanup_free_ char *text = advertised->port
                                        ? xasprintf("%s:%u", advertised->host, advertised->port)
                                        : xstrdup(advertised->host);
        add_name(state->advertise, text);
        add_name(state->names, advertised->host);
    }
    if (config->advertise_len == 0) {
        add_own_addresses(state->advertise);
    }
    if (!state->advertise[0]) {
        add_name(state->advertise, "127.0.0.1");
    }
    add_name(state->names, "localhost");
    add_name(state->names, "127.0.0.1");
    if (gethostname(host, sizeof host - 1) == 0 && *host) {
        add_name(state->names, host);
    }
    add_own_addresses(state->names);
}

static char *unseal(void *pki, const char *sealed)
{
    char *plain = NULL;
    size_t size;

    return pki_unseal(pki, sealed, &plain, &size, NULL) == 0 ? plain : NULL;
}

int state_open(struct state *state, const struct config *config, struct error *error)
{
    _cleanup_free_ char *database = xasprintf("%s/cnsmod.db", config->state_dir);
    _cleanup_free_ char *authority = xasprintf("%s/pki", config->state_dir);

    *state = (struct state){0};
    uv_loop_init(&state->loop);
    int rc = file_make_folder(config->state_dir, 0700);
    if (rc < 0) {
        return error_set(error, 500, NULL, "can't make %s: %s", config->state_dir, strerror(-rc));
    }
    find_names(state, config);
    rc = store_open(&state->loop, database, &state->store, error);
    rc = rc < 0 ? rc : pki_open(authority, &state->pki, error);
    plan_set_unseal(unseal, state->pki);
    return rc < 0
               ? rc
               : deployment_open(&state->loop, state->store, SERVICES, &state->deployment, error);
}

static void free_list(char **list)
{
    for (size_t i = 0; list && list[i]; i++) {
        free(list[i]);
    }
    free(list);
}

void state_close(struct state *state)
{
    store_close(state->store);
    deployment_close(state->deployment);
    pki_free(state->pki);
    uv_run(&state->loop, UV_RUN_DEFAULT);
    uv_loop_close(&state->loop);
    free_list(state->advertise);
    free_list(state->names);
}

int state_is_empty(const struct state *state)
{
    return !tree_first(deployment_tree(state->deployment), "object/users/");
}
